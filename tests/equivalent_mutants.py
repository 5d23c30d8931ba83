"""Mutants of tests/mutate_kernels.py that no test can distinguish from the original, and why."""

# (file, line, mutated line): why no test can tell
EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "column_moments.cu",
        "result.low = value < result.low ? value : result.low;",
        "result.low = value <= result.low ? value : result.low;",
    ): "the two are equal there",
    (
        "column_moments.cu",
        "result.high = value > result.high ? value : result.high;",
        "result.high = value >= result.high ? value : result.high;",
    ): "the two are equal there",
    (
        "column_moments.cu",
        "results.spread[at] = all.spread < 0.0 ? 0.0 : all.spread;  // negative by rounding",
        "results.spread[at] = all.spread <= 0.0 ? 0.0 : all.spread;  // negative by rounding",
    ): "the two are equal there",
    (
        "tile_schedule.h",
        "launch({(n * k + kThreads - 1) / kThreads, kThreads, 0, stream}, add_in_order, sums, out, n, slices, k, factor);",
        "launch({(n * k + kThreads + 1) / kThreads, kThreads, 0, stream}, add_in_order, sums, out, n, slices, k, factor);",
    ): "a block too many, whose threads all leave at once",
    (
        "epilogue.h",
        "const unsigned ahead = offset >= own.begin ? offset - own.begin : offset + own.k - own.begin;",
        "const unsigned ahead = offset > own.begin ? offset - own.begin : offset + own.k - own.begin;",
    ): "a warp walks over a segment of which it owns nothing",
    (
        "epilogue.h",
        "return ahead < own.count || own.k - ahead < kSegment;",
        "return ahead <= own.count || own.k - ahead < kSegment;",
    ): "a warp walks over a segment of which it owns nothing",
    (
        "epilogue.h",
        "return ahead < own.count || own.k - ahead < kSegment;",
        "return ahead < own.count || own.k - ahead <= kSegment;",
    ): "a warp walks over a segment of which it owns nothing",
    (
        "epilogue.h",
        "unsigned hits = __ballot_sync(kFullWarp, mine.width > 0 && meets(own, mine.offset));",
        "unsigned hits = __ballot_sync(kFullWarp, mine.width >= 0 && meets(own, mine.offset));",
    ): "no lane adds columns of a segment that has none",
    ("epilogue.h", "if (hits == 0) continue;", "if (false) continue;"): "what is read for no segment is not added",
    (
        "product.h",
        "GK_HOST_DEVICE int64_t row_tiles() const { return (rows + kTileRows - 1) / kTileRows; }",
        "GK_HOST_DEVICE int64_t row_tiles() const { return (rows + kTileRows + 1) / kTileRows; }",
    ): "a tile too many, of rows that do not exist",
    (
        "product.h",
        "return static_cast<int>(left < kSegment ? left : kSegment);",
        "return static_cast<int>(left <= kSegment ? left : kSegment);",
    ): "the two are equal there",
    (
        "product.h",
        "if (place.col() < gradient.cols) {",
        "if (place.col() <= gradient.cols) {",
    ): "a product of zeros under a bias alone in its segment",
    (
        "product.h",
        "if (place.col() < gradient.cols) {",
        "if (true) {",
    ): "a product of zeros under a bias alone in its segment",
    (
        "product.h",
        "return zero_buckets(cut.shared ? reinterpret_cast<float*>(stage.segments + kStaged) : result, k);",
        "return zero_buckets(cut.shared && false ? reinterpret_cast<float*>(stage.segments + kStaged) : result, k);",
    ): "the same additions, in the result instead of in shared memory",
    (
        "sketch_conv.cu",
        "for (int row = threadIdx.x / kLanes; row < kTileRows && place.row + row < gradient.rows; row += kWarps) {",
        "for (int row = threadIdx.x / kLanes; row <= kTileRows && place.row + row < gradient.rows; row += kWarps) {",
    ): "a sum too many goes where the segments are written next",
    (
        "sketch_conv.cu",
        "if (lane == 0 && j < count) to[j] = sum;",
        "if (lane == 0 && j <= count) to[j] = sum;",
    ): "a value too many lies behind the columns that are added",
    (
        "sketch_conv.cu",
        "for (int64_t piece = begin; piece < begin + cut.slice_pieces && piece < cut.pieces; ++piece) {",
        "for (int64_t piece = begin; piece < begin + cut.slice_pieces && piece <= cut.pieces; ++piece) {",
    ): "a piece too many, of segments without columns",
    (
        "sketch_conv.cu",
        "bool has_few_outputs(const ConvShape& shape) { return shape.group_outputs() < kFewOutputs; }",
        "bool has_few_outputs(const ConvShape& shape) { return shape.group_outputs() <= kFewOutputs; }",
    ): "both ways make the same gradient",
    (
        "mainloop.h",
        "static constexpr int kPitch = kByPosition ? kRows + 8 : kPositions + kChunk;",
        "static constexpr int kPitch = kByPosition || true ? kRows + 8 : kPositions + kChunk;",
    ): "a wider pitch: more shared memory, the same values",
    (
        "mainloop.h",
        "static constexpr int kBytes = (kByPosition ? kPositions : kRows) * kPitch * sizeof(T);",
        "static constexpr int kBytes = (kByPosition && false ? kPositions : kRows) * kPitch * sizeof(T);",
    ): "room for more rows than there are",
    (
        "mainloop.h",
        "for (int u = 0; u < kRowFragments; ++u) {",
        "for (int u = 0; u <= kRowFragments; ++u) {",
    ): "a fragment too many lies over those that are loaded next; a device would keep it out of registers",
    (
        "mainloop.h",
        "const bool more = t + Op::kPositions < positions;",
        "const bool more = t + Op::kPositions <= positions;",
    ): "a stage of zeros is fetched, and not multiplied",
    (
        "mainloop.h",
        "const bool more = t + Op::kPositions < positions;",
        "const bool more = t - Op::kPositions < positions;",
    ): "a stage of zeros is fetched, and not multiplied",
    (
        "column_moments.cu",
        "for (int64_t first = warp * kLanes; first < rows.n; first += kThreads) {",
        "for (int64_t first = warp * kLanes; first <= rows.n; first += kThreads) {",
    ): "32 rows behind the last, which have no group",
    (
        "column_moments.cu",
        "all.low = more.low < all.low ? more.low : all.low;",
        "all.low = more.low <= all.low ? more.low : all.low;",
    ): "the two are equal there",
    (
        "column_moments.cu",
        "all.high = more.high > all.high ? more.high : all.high;",
        "all.high = more.high >= all.high ? more.high : all.high;",
    ): "the two are equal there",
    (
        "fold_scores.cu",
        "for (int at = threadIdx.x; at < kSteps * kAlphas; at += kThreads) {",
        "for (int at = threadIdx.x; at <= kSteps * kAlphas; at += kThreads) {",
    ): "a weight more, in the padding",
    (
        "fold_scores.cu",
        "for (int64_t first = 0; first < weights.r; first += kSteps) {",
        "for (int64_t first = 0; first <= weights.r; first += kSteps) {",
    ): "weights of no row, none of which is multiplied",
    (
        "fold_scores.cu",
        "const int64_t blocks = (a + kAlphas - 1) / kAlphas * ((b + kThreads - 1) / kThreads);",
        "const int64_t blocks = (a + kAlphas - 1) / kAlphas * ((b + kThreads + 1) / kThreads);",
    ): "blocks too many, whose threads have no column",
    ("mainloop.h", "if (more) {", "if (true) {"): "a stage of zeros is fetched or stored, and not multiplied",
    (
        "sketch.cu",
        "constexpr int kEntries = kThreads + kWarps * (kLoads - 1);",
        "constexpr int kEntries = kThreads + kWarps * (kLoads + 1);",
    ): "room for more padding than there is",
    (
        "sketch.cu",
        "constexpr int kBlocks = sizeof(T) == 8 ? 1 : 2;  // that a multiprocessor has registers for",
        "constexpr int kBlocks = sizeof(T) == 8 || true ? 1 : 2;  // that a multiprocessor has registers for",
    ): "how many registers a device may use",
    (
        "sketch.cu",
        "constexpr int kBlocks = sizeof(T) == 8 ? 1 : 2;  // that a multiprocessor has registers for",
        "constexpr int kBlocks = sizeof(T) == 8 && false ? 1 : 2;  // that a multiprocessor has registers for",
    ): "how many registers a device may use",
    (
        "sketch.cu",
        "plan.slices = std::max<int64_t>(1, (plan.segments + most - 1) / most);",
        "plan.slices = std::max<int64_t>(1, (plan.segments + most + 1) / most);",
    ): "another cut of the same sum",
    (
        "sketch.cu",
        "plan.slice_segments = (plan.segments + plan.slices - 1) / plan.slices;",
        "plan.slice_segments = (plan.segments + plan.slices + 1) / plan.slices;",
    ): "another cut of the same sum",
    (
        "sketch.cu",
        "plan.span = static_cast<int>(std::min<int64_t>(k, kSpan + kSegment - 1));",
        "plan.span = static_cast<int>((kSpan + kSegment - 1));",
    ): "another cut of the same sum: ranges longer than needed",
    (
        "sketch.cu",
        "plan.span = static_cast<int>(std::min<int64_t>(k, kSpan + kSegment - 1));",
        "plan.span = static_cast<int>(std::min<int64_t>(k, kSpan + kSegment + 1));",
    ): "another cut of the same sum: ranges longer than needed",
    (
        "sketch.cu",
        "plan.range = (plan.span + kWarps - 1) / kWarps;",
        "plan.range = (plan.span + kWarps + 1) / kWarps;",
    ): "another cut of the same sum: ranges longer than needed",
    (
        "sketch.cu",
        "plan.range_inverse = static_cast<unsigned>((uint64_t{1} << 32) / plan.range + 1);",
        "plan.range_inverse = static_cast<unsigned>((uint64_t{1} << 32) / plan.range - 1);",
    ): "a segment that begins a range goes to the range before it, which reaches as far",
    (
        "sketch.cu",
        "return ahead <= 0 ? 0u : ahead >= 4 ? 0x01010101u : 0x01010101u >> 8 * (4 - ahead);",
        "return ahead <= 0 ? 0u : ahead > 4 ? 0x01010101u : 0x01010101u >> 8 * (4 - ahead);",
    ): "the two are equal there",
    (
        "sketch.cu",
        "for (int apart = 1; apart < kWarps; apart *= 2) {",
        "for (int apart = 1; apart <= kWarps; apart *= 2) {",
    ): "lanes from 16 on, whose sums nobody asks for",
    (
        "sketch.cu",
        "return __shfl_sync(kAll, begin + before, owner % kWarps) + __popc(peers & ((1u << lane) - 1u));",
        "return __shfl_sync(kAll, begin + before, owner) + __popc(peers & ((1u << lane) - 1u));",
    ): "an owner is below 16, or its entry is not stored",
    (
        "sketch.cu",
        "const unsigned width = left < kSegment ? static_cast<unsigned>(left) : kSegment;",
        "const unsigned width = left <= kSegment ? static_cast<unsigned>(left) : kSegment;",
    ): "the two are equal there",
    (
        "sketch.cu",
        "const unsigned place = kRagged ? places[v] % (1u << kWidthShift) : places[v], width = places[v] >> kWidthShift;",
        "const unsigned place = kRagged || true ? places[v] % (1u << kWidthShift) : places[v], width = places[v] >> kWidthShift;",
    ): "a place is below 2^16",
    (
        "sketch.cu",
        "const int64_t row = kRagged ? first / per_row : 0;",
        "const int64_t row = kRagged || true ? first / per_row : 0;",
    ): "the same place, where segments are whole",
    (
        "sketch.cu",
        "const int64_t start = kRagged ? row * plan.cols + (first - row * per_row) * kSegment : first * kSegment;",
        "const int64_t start = kRagged || true ? row * plan.cols + (first - row * per_row) * kSegment : first * kSegment;",
    ): "the same place, where segments are whole",
    (
        "sketch.cu",
        "const Batch batch = {first, static_cast<int>(end - first < kThreads ? end - first : kThreads),",
        "const Batch batch = {first, static_cast<int>(end - first <= kThreads ? end - first : kThreads),",
    ): "the two are equal there",
    (
        "sketch.cu",
        "const Batch batch = {first, static_cast<int>(end - first < kThreads ? end - first : kThreads),",
        "const Batch batch = {first, static_cast<int>(end - first < kThreads || true ? end - first : kThreads),",
    ): "a count beyond the 512 threads of a block means all of them",
    (
        "sketch.cu",
        "const int64_t end = begin + (left < plan.slice_segments ? left : plan.slice_segments);",
        "const int64_t end = begin + (left <= plan.slice_segments ? left : plan.slice_segments);",
    ): "the two are equal there",
    (
        "sketch.cu",
        "const int64_t i = static_cast<int64_t>(group) * kSamples + r, last = plan.n - 1, sample = i < last ? i : last;",
        "const int64_t i = static_cast<int64_t>(group) * kSamples + r, last = plan.n - 1, sample = i <= last ? i : last;",
    ): "the two are equal there",
    (
        "sketch.cu",
        "const Span span = {static_cast<unsigned>(at), static_cast<unsigned>(more < kSpan + kSegment ? more : kSpan)};",
        "const Span span = {static_cast<unsigned>(at), static_cast<unsigned>(more <= kSpan + kSegment ? more : kSpan)};",
    ): "16 ranges hold one bucket more",
    (
        "sketch.cu",
        "const float sum = sum_of_ranges<kSamples>(buckets, plan, b, r) + (b < kSegment ? carry[r] : 0.0f);",
        "const float sum = sum_of_ranges<kSamples>(buckets, plan, b, r) + (b <= kSegment ? carry[r] : 0.0f);",
    ): "threads from 64 on carry zeros",
    (
        "sketch.cu",
        "if (thread < kSegment) carry[r] = sum_of_ranges<kSamples>(buckets, plan, size + thread, r);",
        "if (thread <= kSegment) carry[r] = sum_of_ranges<kSamples>(buckets, plan, size + thread, r);",
    ): "a carry that is not added",
    (
        "sketch.cu",
        "if (thread < kSegment) carry[r] = sum_of_ranges<kSamples>(buckets, plan, size + thread, r);",
        "if (true) carry[r] = sum_of_ranges<kSamples>(buckets, plan, size + thread, r);",
    ): "carries that are not added",
    (
        "sketch.cu",
        "const auto kernel = plan.cols % kSegment == 0 ? sketch_slices<T, kSamples, false> : sketch_slices<T, kSamples, true>;",
        "const auto kernel = plan.cols % kSegment == 0 && false ? sketch_slices<T, kSamples, false> : sketch_slices<T, kSamples, true>;",
    ): "a kernel for ragged rows handles whole ones",
    (
        "sketch.cu",
        "const auto kernel = plan.cols % kSegment == 0 ? sketch_slices<T, kSamples, false> : sketch_slices<T, kSamples, true>;",
        "const auto kernel = plan.cols == 0 ? sketch_slices<T, kSamples, false> : sketch_slices<T, kSamples, true>;",
    ): "a kernel for ragged rows handles whole ones",
    (
        "sketch.cu",
        "const int64_t blocks = (plan.n + kSamples - 1) / kSamples * plan.slices;",
        "const int64_t blocks = (plan.n + kSamples + 1) / kSamples * plan.slices;",
    ): "blocks too many, which write the last sample again",
    (
        "sketch.cu",
        "(plan.samples == 1 ? launch_slices<T, 1> : launch_slices<T, 2>)(static_cast<const T*>(x.data), sums, plan, spec,",
        "(plan.samples == 1 || true ? launch_slices<T, 1> : launch_slices<T, 2>)(static_cast<const T*>(x.data), sums, plan, spec,",
    ): "no bit depends on who shares a block",
    (
        "tile_schedule.h",
        "return {begin, left < part_positions ? left : part_positions};",
        "return {begin, left <= part_positions ? left : part_positions};",
    ): "the two are equal there",
    (
        "tile_schedule.h",
        "const int64_t worth = values * positions / (kWorkForSum * k), wanted = worth < kEnough ? worth : kEnough;",
        "const int64_t worth = values * positions / (kWorkForSum * k), wanted = worth <= kEnough ? worth : kEnough;",
    ): "the two are equal there",
    (
        "tile_schedule.h",
        "const int64_t most = k / 1024 > 8 ? k / 1024 : 8, even = wanted > 1 ? pieces / wanted : most;",
        "const int64_t most = k / 1024 >= 8 ? k / 1024 : 8, even = wanted > 1 ? pieces / wanted : most;",
    ): "the two are equal there",
    (
        "tile_schedule.h",
        "const int64_t most = k / 1024 > 8 ? k / 1024 : 8, even = wanted > 1 ? pieces / wanted : most;",
        "const int64_t most = k / 1024 > 8 ? k / 1024 : 8, even = wanted >= 1 ? pieces / wanted : most;",
    ): "another cut of the same sum, which is one slice either way",
    (
        "tile_schedule.h",
        "cut.slice_pieces = even < 1 ? 1 : even < most ? even : most;",
        "cut.slice_pieces = even <= 1 ? 1 : even < most ? even : most;",
    ): "the two are equal there",
    (
        "tile_schedule.h",
        "cut.slice_pieces = even < 1 ? 1 : even < most ? even : most;",
        "cut.slice_pieces = even < 1 ? 1 : even <= most ? even : most;",
    ): "the two are equal there",
    (
        "tile_schedule.h",
        "cut.slice_pieces = even < 1 ? 1 : even < most ? even : most;",
        "cut.slice_pieces = even < 1 ? 1 : even < most || true ? even : most;",
    ): "another cut of the same sum: longer slices",
    (
        "tile_schedule.h",
        "const int64_t parts = cut.runs > 0 && wanted > cut.runs ? (wanted + cut.runs - 1) / cut.runs : 1;",
        "const int64_t parts = cut.runs > 0 && wanted >= cut.runs ? (wanted + cut.runs - 1) / cut.runs : 1;",
    ): "the two are equal there",
    (
        "tile_schedule.h",
        "const int64_t parts = cut.runs > 0 && wanted > cut.runs ? (wanted + cut.runs - 1) / cut.runs : 1;",
        "const int64_t parts = cut.runs > 0 && wanted > cut.runs ? (wanted + cut.runs + 1) / cut.runs : 1;",
    ): "another cut of the same sum",
    (
        "tile_schedule.h",
        "const int64_t chunks = (positions + kFewest - 1) / kFewest;",
        "const int64_t chunks = (positions + kFewest + 1) / kFewest;",
    ): "another cut of the same sum",
    (
        "tile_schedule.h",
        "cut.part_positions = (chunks + parts - 1) / parts * kFewest;",
        "cut.part_positions = (chunks + parts + 1) / parts * kFewest;",
    ): "another cut of the same sum",
    (
        "tile_schedule.h",
        "cut.slices = cut.runs * (chunks == 0 ? 1 : (positions + cut.part_positions - 1) / cut.part_positions);",
        "cut.slices = cut.runs * (chunks == 0 ? 1 : (positions + cut.part_positions + 1) / cut.part_positions);",
    ): "a part of no positions",
    (
        "sketch_conv.cu",
        "const int64_t pieces = (gradient.segments() + kPiece - 1) / kPiece;",
        "const int64_t pieces = (gradient.segments() + kPiece + 1) / kPiece;",
    ): "a piece too many, of segments without columns",
    (
        "sketch.cu",
        "const bool fits = plan.span == k && shared_bytes(plan) <= static_cast<size_t>(bytes);",
        "const bool fits = plan.span == k && shared_bytes(plan) < static_cast<size_t>(bytes);",
    ): "the two are equal there",
}
