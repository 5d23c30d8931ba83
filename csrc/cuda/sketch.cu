// sketch on the GPU.
//
//   out[i, (offset_s + j) mod k] += +-x[i, s, j] / sqrt(nnz)
//
// A block adds one slice of the segments of one or two samples to k buckets in shared memory, of which each of its 16
// warps owns a range. It hashes 512 segments at a time, a thread each, and sorts them by the range in which they begin,
// in order; then every warp walks its own list. A lane adds columns lane and lane + 32 of a segment, so that loads of x
// are coalesced at any address and buckets have neither bank conflicts nor two writers. A range is followed by room for
// the 63 buckets that its segments may reach beyond it, and the block adds these up at the end. So a warp waits for
// loads of x alone, which it asks for 8 segments at a time, and k hardly matters. Lists are padded to such groups with
// segments whose sums nobody reads. The signs and buckets of two samples are the same, so their sums are neighbours in
// shared memory. Another kernel adds the slices of a sample in order. The cut depends on the shape of a sample and k
// alone, so the same call gives the same bits on every device, and a sample has the same bits in every batch. Where k
// buckets do not fit, the slice is hashed once for each span of buckets, and x is still read once. Bound by reading x.
#include <algorithm>
#include <cstring>

#include "../ops.h"
#include "element.h"
#include "launch.h"
#include "shared.h"
#include "tile_schedule.h"

namespace gradkern::cuda {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 16;
constexpr int kOwnerBits = 4;             // that tell 16 warps apart
constexpr int kThreads = kWarps * kWarp;  // and segments that are sorted at a time
constexpr int kSpan = 16384;              // buckets that a block holds at a time: two blocks fit on a multiprocessor
constexpr int kLoads = 8;                 // segments that a warp asks for before it adds the first, of all samples
constexpr int kEntries = kThreads + kWarps * (kLoads - 1);
constexpr int kEntryBytes = 16;
constexpr int kPlaceBytes = 4;
constexpr int kWidthShift = 16;
constexpr unsigned kAll = 0xFFFFFFFFu;

template <typename T>
constexpr int kBlocks = sizeof(T) == 8 ? 1 : 2;  // that a multiprocessor has registers for

struct Plan {
  int64_t n, rows, cols;
  int64_t segments;        // of a sample
  int64_t slice_segments;  // of a block
  int64_t slices;          // of a sample
  int samples;             // of a block
  int span;                // most buckets held at a time
  int range;               // of which a warp owns
  unsigned range_inverse;  // high32(bucket * range_inverse) is the owner
};

Plan make_plan(int64_t n, int64_t rows, int64_t cols, int64_t k) {
  Plan plan;
  plan.n = n;
  plan.rows = rows;
  plan.cols = cols;
  plan.segments = rows * ((cols + kSegment - 1) / kSegment);
  // A slice writes k sums; at least 8 columns for each sum keep that traffic small and in the L2 cache.
  const int64_t most = std::max<int64_t>(2 * kThreads, k / 8);
  plan.slices = std::max<int64_t>(1, (plan.segments + most - 1) / most);
  plan.slice_segments = (plan.segments + plan.slices - 1) / plan.slices;
  plan.samples = 1;
  plan.span = static_cast<int>(std::min<int64_t>(k, kSpan + kSegment - 1));
  plan.range = (plan.span + kWarps - 1) / kWarps;
  plan.range_inverse = static_cast<unsigned>((uint64_t{1} << 32) / plan.range + 1);
  return plan;
}

// Floats of the buckets of a warp, for each sample: its range, what segments reach beyond it, and what nobody reads.
GK_HOST_DEVICE inline int reach(const Plan& plan) { return plan.range + 2 * kSegment; }

// Addresses in shared memory.
struct Stage {
  unsigned buckets;       // [kWarps, reach, samples] floats
  unsigned entries;       // [kEntries] of four words: the signs, the address of the first bucket, none
  unsigned places;        // [kEntries]: where a segment lies behind the first of the batch, and its width << 16
  unsigned char* counts;  // [kWarps, kWarps]: by owner, the segments that each warp has hashed
};

size_t bucket_bytes(const Plan& plan) { return size_t{kWarps} * reach(plan) * plan.samples * sizeof(float); }

size_t shared_bytes(const Plan& plan) {
  return bucket_bytes(plan) + kEntries * (kEntryBytes + kPlaceBytes) + kWarps * kWarps;
}

// Two samples share a block where its shared memory holds their buckets, and the blocks of one sample would fill the
// device twice. No bit depends on it.
int samples_of_a_block(Plan plan, int64_t k) {
  int device, multiprocessors, bytes;
  check(cudaGetDevice(&device));
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
  check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  plan.samples = 2;
  const bool fits = plan.span == k && shared_bytes(plan) <= static_cast<size_t>(bytes);
  return fits && plan.n * plan.slices >= 4 * static_cast<int64_t>(multiprocessors) ? 2 : 1;
}

// The entries of a warp, of which those from `used` on are padding.
struct List {
  unsigned begin, used, end;
};

// How many of the four bytes of a word are those of warps before this one: the last bits of so many bytes are set.
__device__ inline unsigned earlier_of_four(int ahead) {
  return ahead <= 0 ? 0u : ahead >= 4 ? 0x01010101u : 0x01010101u >> 8 * (4 - ahead);
}

// Sorts an entry of every thread by its owner. Returns the index of this thread's entry, and the list of this warp.
template <int kAtOnce>
__device__ inline unsigned sort_entries(bool owned, unsigned owner, unsigned char* counts, List& own) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  unsigned peers = __ballot_sync(kAll, owned), of_lane = peers;  // lanes whose owner is mine, or has my lane's number
#pragma unroll
  for (int bit = 0; bit < kOwnerBits; ++bit) {
    const unsigned votes = __ballot_sync(kAll, owner >> bit & 1u);
    peers &= owner >> bit & 1u ? votes : ~votes;
    of_lane &= lane >> bit & 1 ? votes : ~votes;
  }
  if (lane < kWarps) counts[lane * kWarps + warp] = static_cast<unsigned char>(__popc(of_lane));
  __syncthreads();                                    // and the last readers of the entries of another batch are done
  unsigned words[kWarps / 4], total = 0, before = 0;  // of my lane's number: of all warps, and of those before mine
  load_shared(shared_address(counts + lane % kWarps * kWarps), words);
#pragma unroll
  for (int at = 0; at < kWarps / 4; ++at) {
    total = __dp4a(words[at], 0x01010101u, total);
    before = __dp4a(words[at], earlier_of_four(warp - 4 * at), before);
  }
  const unsigned room = total + (0u - total) % kAtOnce;
  unsigned end = room;
#pragma unroll
  for (int apart = 1; apart < kWarps; apart *= 2) {
    const unsigned left = __shfl_sync(kAll, end, (lane - apart) & (kWarp - 1));
    if (lane >= apart) end += left;
  }
  const unsigned begin = end - room;
  own = {__shfl_sync(kAll, begin, warp), __shfl_sync(kAll, begin + total, warp), __shfl_sync(kAll, end, warp)};
  return __shfl_sync(kAll, begin + before, owner % kWarps) + __popc(peers & ((1u << lane) - 1u));
}

// The buckets [begin, begin + size) of k.
struct Span {
  unsigned begin, size;
};

// Segments [first, first + count) of a sample, the first of which is number `in_row` of its row.
struct Batch {
  int64_t first;
  int count;
  unsigned in_row;
};

// Where a segment of a batch lies behind the first one, and how many columns it has << 16.
template <bool kRagged>
__device__ inline unsigned place_of(const Batch& batch, const Plan& plan, unsigned number) {
  if (!kRagged) return number * kSegment;
  const unsigned per_row = static_cast<unsigned>((plan.cols + kSegment - 1) / kSegment);
  const unsigned segment = batch.in_row + number, row = segment / per_row, in_row = segment - row * per_row;
  const int64_t left = plan.cols - static_cast<int64_t>(in_row) * kSegment;
  const unsigned width = left < kSegment ? static_cast<unsigned>(left) : kSegment;
  // below 2^15, so the low halves of its terms do
  return (row * static_cast<unsigned>(plan.cols) + (in_row - batch.in_row) * kSegment) | width << kWidthShift;
}

// Writes an entry: signs, the first of its buckets, and where its columns lie.
template <int kSamples>
__device__ inline void store_entry(const Stage& stage, unsigned index, uint64_t signs, unsigned bucket,
                                   unsigned place) {
  const unsigned address = stage.buckets + bucket * kSamples * static_cast<unsigned>(sizeof(float));
  store_shared(stage.entries + index * kEntryBytes,
               {static_cast<unsigned>(signs), static_cast<unsigned>(signs >> 32), address, 0u});
  store_shared(stage.places + index * kPlaceBytes, {place});
}

// Hashes a segment for each thread, and lists those that begin in the span for their owners.
template <int kSamples, bool kRagged>
__device__ inline List list_batch(const Batch& batch, const Plan& plan, const SketchSpec& spec, uint64_t mixed_seed,
                                  int64_t q, const Span& span, const Stage& stage) {
  const uint64_t key = segment_key(mixed_seed, spec.first_segment + batch.first + threadIdx.x);
  const unsigned at = segment_offset(key, q, spec.k) - span.begin;
  const bool owned = static_cast<int>(threadIdx.x) < batch.count && at < span.size;
  const unsigned owner = static_cast<unsigned>(static_cast<uint64_t>(at) * plan.range_inverse >> 32);
  List own;
  const unsigned index = sort_entries<kLoads / kSamples>(owned, owner, stage.counts, own);
  if (owned) {
    store_entry<kSamples>(stage, index, segment_signs(key, q), owner * 2 * kSegment + at,
                          place_of<kRagged>(batch, plan, threadIdx.x));
  }
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  if (lane < own.end - own.used) {
    // the first columns of the batch, or none of them, are added to buckets that nobody reads
    store_entry<kSamples>(stage, own.used + lane, 0, (warp + 1) * reach(plan) - kSegment, 0);
  }
  __syncthreads();
  return own;
}

// Adds +-x to the sums of one or two samples; - where the highest of the bits is set.
template <typename T, int kSamples>
__device__ inline void add_signed(float (&sums)[kSamples], const T (&x)[kSamples][2], int column, unsigned bits) {
  const unsigned sign = bits & 0x80000000u;
#pragma unroll
  for (int r = 0; r < kSamples; ++r) {
    const float value = to_float(x[r][column]);
    unsigned word;
    memcpy(&word, &value, sizeof word);
    word ^= sign;
    float signed_value;
    memcpy(&signed_value, &word, sizeof signed_value);
    sums[r] += signed_value;
  }
}

// Adds as many entries of a list as are loaded at a time. The samples of x begin at this lane's first column of the
// batch.
template <typename T, int kSamples, bool kRagged>
__device__ inline void add_entries(const T* const (&x)[kSamples], const Stage& stage, unsigned at) {
  constexpr int kAtOnce = kLoads / kSamples, kFour = 4;
  const unsigned lane = threadIdx.x % kWarp;
  T values[kAtOnce][kSamples][2];
#pragma unroll
  for (int u = 0; u < kAtOnce; u += kFour) {
    unsigned places[kFour];
    load_shared(stage.places + (at + u) * kPlaceBytes, places);
#pragma unroll
    for (int v = 0; v < kFour; ++v) {
      const unsigned place = kRagged ? places[v] % (1u << kWidthShift) : places[v], width = places[v] >> kWidthShift;
#pragma unroll
      for (int r = 0; r < kSamples; ++r) {
        const T* from = element_at(x[r], place);
        values[u + v][r][0] = !kRagged || lane < width ? from[0] : T{};
        values[u + v][r][1] = !kRagged || lane + kWarp < width ? from[kWarp] : T{};
      }
    }
  }
#pragma unroll
  for (int u = 0; u < kAtOnce; ++u) {
    unsigned entry[4];
    load_shared(stage.entries + (at + u) * kEntryBytes, entry);
    const unsigned first = entry[2] + lane * kSamples * 4, second = first + kWarp * kSamples * 4;
    float sums[2][kSamples];
    load_shared(first, sums[0]);
    load_shared(second, sums[1]);
    add_signed(sums[0], values[u], 0, entry[0] << (kWarp - 1 - lane));
    add_signed(sums[1], values[u], 1, entry[1] << (kWarp - 1 - lane));
    store_shared(first, sums[0]);
    store_shared(second, sums[1]);
    __syncwarp();  // the next segment may meet these buckets in other lanes
  }
}

// Adds segments [begin, end) of the block's samples to the buckets of a span.
template <typename T, int kSamples, bool kRagged>
__device__ inline void add_slice(const T* const (&x)[kSamples], const Plan& plan, const SketchSpec& spec, int64_t begin,
                                 int64_t end, const Span& span, const Stage& stage) {
  constexpr unsigned kAtOnce = kLoads / kSamples;
  const uint64_t mixed_seed = mix64(spec.seed);
  const int64_t per_row = (plan.cols + kSegment - 1) / kSegment;
  for (int64_t first = begin; first < end; first += kThreads) {
    const int64_t row = kRagged ? first / per_row : 0;
    const Batch batch = {first, static_cast<int>(end - first < kThreads ? end - first : kThreads),
                         static_cast<unsigned>(first - row * per_row)};
    const int64_t start = kRagged ? row * plan.cols + (first - row * per_row) * kSegment : first * kSegment;
    const T* from[kSamples];
#pragma unroll
    for (int r = 0; r < kSamples; ++r) from[r] = x[r] + start + threadIdx.x % kWarp;
    for (int64_t q = 0; q < spec.nnz; ++q) {
      const List own = list_batch<kSamples, kRagged>(batch, plan, spec, mixed_seed, q, span, stage);
#pragma unroll 1
      for (unsigned at = own.begin; at < own.end; at += kAtOnce) {
        add_entries<T, kSamples, kRagged>(from, stage, at);
      }
    }
  }
}

// What the warps have added to a bucket of the span, or to one of the 63 behind it.
template <int kSamples>
__device__ inline float sum_of_ranges(const float* buckets, const Plan& plan, int bucket, int sample) {
  int owner = bucket / plan.range;
  if (owner >= kWarps) owner = kWarps - 1;
  float sum = 0.0f;
  for (int at = bucket - owner * plan.range; at < plan.range + kSegment && owner >= 0; at += plan.range, --owner) {
    sum += buckets[(owner * reach(plan) + at) * kSamples + sample];
  }
  return sum;
}

// Block (samples, slice) writes the sums of its slice to sums[i, slice, :] of each of its samples i.
template <typename T, int kSamples, bool kRagged>
__global__ void __launch_bounds__(kThreads, kBlocks<T>) sketch_slices(const T* x,   // [n, rows, cols]
                                                                      float* sums,  // [n, slices, k]
                                                                      Plan plan, SketchSpec spec, float factor) {
  const unsigned slices = static_cast<unsigned>(plan.slices), group = blockIdx.x / slices;
  const unsigned slice = blockIdx.x - group * slices;
  const int64_t begin = slice * plan.slice_segments, left = plan.segments - begin;
  const int64_t end = begin + (left < plan.slice_segments ? left : plan.slice_segments);
  float* buckets = reinterpret_cast<float*>(shared_memory);
  const int floats = kWarps * reach(plan) * kSamples;
  Stage stage;
  stage.counts = reinterpret_cast<unsigned char*>(buckets + floats);
  stage.buckets = shared_address(buckets);
  stage.entries = shared_address(stage.counts + kWarps * kWarps);
  stage.places = stage.entries + kEntries * kEntryBytes;
  const T* samples[kSamples];
  float* results[kSamples];
#pragma unroll
  for (int r = 0; r < kSamples; ++r) {
    // the last block may have a sample less, and then computes and writes its first one twice
    const int64_t i = static_cast<int64_t>(group) * kSamples + r, last = plan.n - 1, sample = i < last ? i : last;
    samples[r] = x + sample * plan.rows * plan.cols;
    results[r] = sums + (sample * plan.slices + slice) * spec.k;
  }
  const int thread = threadIdx.x;
  float head[kSamples] = {}, carry[kSamples] = {};  // of the first 64 threads: of a bucket that a span begins with
  for (int64_t at = 0; at < spec.k;) {
    const int64_t more = spec.k - at;
    const Span span = {static_cast<unsigned>(at), static_cast<unsigned>(more < kSpan + kSegment ? more : kSpan)};
    const int size = static_cast<int>(span.size);
    for (int b = thread; b < floats; b += kThreads) buckets[b] = 0.0f;
    add_slice<T, kSamples, kRagged>(samples, plan, spec, begin, end, span, stage);
    __syncthreads();
#pragma unroll
    for (int r = 0; r < kSamples; ++r) {
      for (int b = thread; b < size; b += kThreads) {
        const float sum = sum_of_ranges<kSamples>(buckets, plan, b, r) + (b < kSegment ? carry[r] : 0.0f);
        if (at == 0 && b < kSegment) {
          head[r] = sum;
        } else {
          results[r][at + b] = sum * factor;
        }
      }
      if (thread < kSegment) carry[r] = sum_of_ranges<kSamples>(buckets, plan, size + thread, r);
    }
    at += size;
    __syncthreads();  // the last readers of a span are done
  }
#pragma unroll
  for (int r = 0; r < kSamples; ++r) {
    if (thread < kSegment) results[r][thread] = (head[r] + carry[r]) * factor;
  }
}

template <typename T, int kSamples>
void launch_slices(const T* x, float* sums, const Plan& plan, const SketchSpec& spec, float factor, void* stream) {
  const auto kernel = plan.cols % kSegment == 0 ? sketch_slices<T, kSamples, false> : sketch_slices<T, kSamples, true>;
  const int64_t blocks = (plan.n + kSamples - 1) / kSamples * plan.slices;
  launch({blocks, kThreads, shared_bytes(plan), stream}, kernel, x, sums, plan, spec, factor);
}

template <typename T>
void sketch_typed(const View& x, float* workspace, const View& out, const SketchSpec& spec, void* stream) {
  Plan plan = make_plan(x.shape[0], x.shape[1], x.shape[2], spec.k);
  plan.samples = samples_of_a_block(plan, spec.k);
  const float factor = repeat_factor(spec);
  const bool direct = plan.slices == 1;
  float *result = static_cast<float*>(out.data), *sums = direct ? result : workspace;
  (plan.samples == 1 ? launch_slices<T, 1> : launch_slices<T, 2>)(static_cast<const T*>(x.data), sums, plan, spec,
                                                                  direct ? factor : 1.0f, stream);
  if (direct) return;
  launch_add_in_order(workspace, result, plan.n, plan.slices, spec.k, factor, stream);
}

}  // namespace

void sketch(const View& x, const View& workspace, const View& out, const SketchSpec& spec, const Execution& execution) {
  const DeviceGuard guard(x.device_index);
  float* sums = static_cast<float*>(workspace.data);
  if (x.size() == 0) {
    check(cudaMemsetAsync(out.data, 0, out.size() * sizeof(float), static_cast<cudaStream_t>(execution.stream)));
    return;
  }
  switch (x.dtype) {
    case Dtype::f32:
      return sketch_typed<float>(x, sums, out, spec, execution.stream);
    case Dtype::f64:
      return sketch_typed<double>(x, sums, out, spec, execution.stream);
    case Dtype::bf16:
      return sketch_typed<__nv_bfloat16>(x, sums, out, spec, execution.stream);
    case Dtype::f16:
      return sketch_typed<__half>(x, sums, out, spec, execution.stream);
  }
}

int64_t sketch_workspace(int64_t n, int64_t rows, int64_t cols, int64_t k) {
  const Plan plan = make_plan(n, rows, cols, k);
  return plan.slices > 1 ? n * plan.slices * k : 0;
}

const char* architectures() { return GK_CUDA_ARCHITECTURES; }

}  // namespace gradkern::cuda
