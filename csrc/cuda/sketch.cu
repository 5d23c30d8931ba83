// sketch on the GPU.
//
//   out[i, (offset_s + j) mod k] += +-x[i, s, j] / sqrt(nnz)
//
// The segments of a sample are cut into slices, and a slice into one run for each warp. A block owns a slice; each of
// its warps owns k buckets in shared memory and adds its run to them segment by segment: 64 consecutive buckets, two
// for each lane, without bank conflicts or atomics. The block then adds the buckets of its warps in order, and a second
// kernel adds the slices of a sample in order. The cut depends on the shape and k alone, so the same call gives the
// same bits on every device. Where k buckets do not fit, the slice is read once for each window of buckets. Bound by
// reading x once, so a lane reads 16 bytes at a time where every segment starts at a multiple of 16 bytes. Such a load
// brings 4 neighbouring columns (of float32) of one of 2 segments; lanes then exchange halves, so that each holds 2
// columns of both. Where x allows loads of single elements only, lanes read the 2 columns that they add. The order of
// additions, and so every bit of the result, is the same.
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
constexpr int kMaxWarps = 16;
constexpr int kMaxThreads = kMaxWarps * kWarp;
constexpr int kSharedFloats = 16384;  // 64 KiB: a multiprocessor holds two blocks, as many as its registers allow
constexpr int kLaneWords = 8;         // that a lane loads before it adds the first
constexpr unsigned kAll = 0xFFFFFFFFu;

struct Plan {
  int64_t n, rows, cols;
  int64_t segments;        // of a sample
  int64_t slice_segments;  // of a block
  int64_t slices;          // of a sample
  int64_t run_segments;    // of a warp
  int warps;
  int window;  // buckets held at a time
};

Plan make_plan(int64_t n, int64_t rows, int64_t cols, int64_t k) {
  Plan plan;
  plan.n = n;
  plan.rows = rows;
  plan.cols = cols;
  plan.segments = rows * ((cols + kSegment - 1) / kSegment);
  // A slice writes k sums; at least 8 columns for each sum keep that traffic small and in the L2 cache.
  plan.slice_segments = std::max<int64_t>(512, k / 8);
  plan.slices = (plan.segments + plan.slice_segments - 1) / plan.slice_segments;
  plan.window = static_cast<int>(std::min<int64_t>(k, kSharedFloats));
  plan.warps = std::min(kMaxWarps, kSharedFloats / plan.window);
  plan.run_segments = (plan.slice_segments + plan.warps - 1) / plan.warps;
  return plan;
}

// How a warp reads segments. Wide: a lane loads 16 bytes, which are kPairs pairs of neighbouring columns, so that one
// load of the warp covers kPairs segments with kLanes lanes each. Narrow, for any address: a lane loads columns lane
// and lane + 32.
template <typename T, bool kWide>
struct Reading {
  static constexpr int kPairs = kWide ? 8 / static_cast<int>(sizeof(T)) : 1;
  static constexpr int kLanes = kWarp / kPairs;
  static constexpr int kPairWords = (2 * sizeof(T) + 3) / 4;
  static constexpr int kWords = kPairs * kPairWords;
  static constexpr int kInFlight = kLaneWords / kWords;  // loads before the first segment is added
};

template <typename T, bool kWide>
__device__ inline void load(const T* segment, int width, int lane, unsigned (&words)[Reading<T, kWide>::kWords]) {
  using R = Reading<T, kWide>;
  if constexpr (kWide) {
    constexpr int kColumns = 2 * R::kPairs;
    const int column = lane % R::kLanes * kColumns;
    // width is a multiple of kColumns, so a lane has all of its columns or none.
    const uint4 loaded = column < width ? __ldg(reinterpret_cast<const uint4*>(segment + column)) : uint4{};
    memcpy(words, &loaded, sizeof loaded);
  } else {
    T pair[2] = {};
    if (lane < width) pair[0] = segment[lane];
    if (lane + kWarp < width) pair[1] = segment[lane + kWarp];
    memcpy(words, pair, sizeof pair);
  }
}

// Transposes pairs among the lanes that loaded the same columns of kPairs segments: afterwards pair s is of segment s.
template <int kPairs, int kPairWords>
__device__ inline void exchange(int lane, unsigned (&words)[kPairs * kPairWords]) {
  constexpr int kLanes = kWarp / kPairs;
#pragma unroll
  for (int bit = 1; bit < kPairs; bit *= 2) {
    const bool upper = (lane / kLanes & bit) != 0;
#pragma unroll
    for (int at = 0; at < kPairs * kPairWords; ++at) {
      if (at / kPairWords & bit) continue;
      unsigned& low = words[at];
      unsigned& high = words[at + bit * kPairWords];
      const unsigned taken = __shfl_sync(kAll, upper ? low : high, lane ^ (bit * kLanes));
      (upper ? low : high) = taken;
    }
  }
}

// The two columns of every segment that a lane adds: all lanes add `first`, then all add `second`.
struct Columns {
  int first, second;
  int left;      // of the two
  bool swapped;  // whether first is the right column of a pair
};

template <typename T, bool kWide>
__device__ inline Columns columns_of(int lane) {
  using R = Reading<T, kWide>;
  if (!kWide) return {lane, lane + kWarp, lane, false};
  const int pair = lane % R::kLanes * R::kPairs + lane / R::kLanes;
  // Pairs 16 apart share two banks, so they use them in opposite order.
  const bool swapped = pair >= kWarp / 2;
  return {2 * pair + swapped, 2 * pair + !swapped, 2 * pair, swapped};
}

// The buckets [begin, begin + size) of a warp, out of k.
struct Window {
  unsigned address;  // of the first one's sum, in shared memory
  unsigned begin, size, k;
};

// Where the bucket of a column lies in the window: at size or beyond if the window does not hold it.
template <bool kWhole>
__device__ inline unsigned index_of(const Window& window, unsigned offset, int column) {
  const unsigned target = offset + column;
  const unsigned wrapped = target - window.k;  // huge unless target is k or more
  return (target < wrapped ? target : wrapped) - (kWhole ? 0 : window.begin);
}

// Negates x if the lowest of the bits is set.
__device__ inline float with_sign(float x, unsigned bits) {
  unsigned value;
  memcpy(&value, &x, sizeof value);
  value ^= bits << 31;
  memcpy(&x, &value, sizeof x);
  return x;
}

// Adds x to the buckets of two columns, which are different ones, where the window holds them; if kWhole, it does.
template <bool kWhole>
__device__ inline void add(const Window& window, const unsigned (&at)[2], const float (&x)[2]) {
  const unsigned first = window.address + 4 * at[0], second = window.address + 4 * at[1];
  if constexpr (kWhole) {
    const float sums[2] = {load_shared(first), load_shared(second)};
    store_shared(first, sums[0] + x[0]);
    store_shared(second, sums[1] + x[1]);
  } else {
    if (at[0] < window.size) store_shared(first, load_shared(first) + x[0]);
    if (at[1] < window.size) store_shared(second, load_shared(second) + x[1]);
  }
}

// One of the next 32 segments of a run: each lane has located and hashed one, and the others get it by shuffle.
struct Batch {
  int64_t start;  // in x
  int width;
  unsigned long long signs;
  unsigned offset;
};

// kWhole: the window holds all buckets.
template <typename T, bool kWide, bool kWhole>
__device__ void add_batch(const T* x, const Batch& mine, const Columns& columns, const Window& window) {
  using R = Reading<T, kWide>;
  const int lane = threadIdx.x % kWarp;
#pragma unroll 1
  for (int group = 0; group < kWarp; group += R::kInFlight * R::kPairs) {
    unsigned words[R::kInFlight][R::kWords];
#pragma unroll
    for (int u = 0; u < R::kInFlight; ++u) {
      const int from = group + u * R::kPairs + lane / R::kLanes;
      const T* segment = x + __shfl_sync(kAll, static_cast<long long>(mine.start), from);
      load<T, kWide>(segment, __shfl_sync(kAll, mine.width, from), lane, words[u]);
    }
#pragma unroll
    for (int u = 0; u < R::kInFlight; ++u) {
      exchange<R::kPairs, R::kPairWords>(lane, words[u]);
#pragma unroll
      for (int s = 0; s < R::kPairs; ++s) {
        const int from = group + u * R::kPairs + s;
        const unsigned long long signs = __shfl_sync(kAll, mine.signs, from);
        const unsigned offset = __shfl_sync(kAll, mine.offset, from);
        T pair[2];
        memcpy(pair, words[u] + s * R::kPairWords, sizeof pair);
        const unsigned bits = static_cast<unsigned>(signs >> columns.left);
        const unsigned right_bits = kWide ? bits >> 1 : static_cast<unsigned>(signs >> kWarp) >> columns.left;
        const float left = with_sign(to_float(pair[0]), bits), right = with_sign(to_float(pair[1]), right_bits);
        add<kWhole>(window,
                    {index_of<kWhole>(window, offset, columns.first), index_of<kWhole>(window, offset, columns.second)},
                    {columns.swapped ? right : left, columns.swapped ? left : right});
        __syncwarp();  // the next segment may meet these buckets in other lanes
      }
    }
  }
}

// Adds segments [begin, end) of one sample to the buckets of the warp.
template <typename T, bool kWide, bool kWhole>
__device__ void add_run(const T* x, const Plan& plan, const SketchSpec& spec, int64_t begin, int64_t end,
                        const Window& window) {
  const int lane = threadIdx.x % kWarp;
  const Columns columns = columns_of<T, kWide>(lane);
  const int64_t per_row = (plan.cols + kSegment - 1) / kSegment;
  const uint64_t mixed_seed = mix64(spec.seed);
  for (int64_t base = begin; base < end; base += kWarp) {
    const int64_t segment = base + lane;
    const int64_t row = segment / per_row;
    const int64_t col = (segment - row * per_row) * kSegment;
    const int64_t left = plan.cols - col;
    const int width = segment < end ? static_cast<int>(left < kSegment ? left : kSegment) : 0;
    const uint64_t key = segment_key(mixed_seed, spec.first_segment + segment);
    for (int64_t q = 0; q < spec.nnz; ++q) {
      const Batch mine = {row * plan.cols + col, width, segment_signs(key, q), segment_offset(key, q, spec.k)};
      add_batch<T, kWide, kWhole>(x, mine, columns, window);
    }
  }
}

// Block (i, slice) writes the sums of its slice to sums[i, slice, :].
// One block is asked for, because for two the compiler spills, though it needs no more than the 64 registers of two.
template <typename T, bool kWide, bool kWhole>
__global__ void __launch_bounds__(kMaxThreads, 1) sketch_slices(const T* x,   // [n, rows, cols]
                                                                float* sums,  // [n, slices, k]
                                                                Plan plan, SketchSpec spec, float factor) {
  const int64_t i = blockIdx.x / plan.slices;
  const int64_t slice = blockIdx.x % plan.slices;
  const int warp = threadIdx.x / kWarp;
  float* all = reinterpret_cast<float*>(shared_memory);  // [warps, window]
  const int64_t slice_begin = slice * plan.slice_segments;
  const int64_t slice_left = plan.segments - slice_begin;
  const int64_t slice_end = slice_begin + (slice_left < plan.slice_segments ? slice_left : plan.slice_segments);
  const int64_t begin = slice_begin + warp * plan.run_segments;
  const int64_t end = begin + plan.run_segments < slice_end ? begin + plan.run_segments : slice_end;
  float* result = sums + (i * plan.slices + slice) * spec.k;
  for (int64_t window_begin = 0; window_begin < spec.k; window_begin += plan.window) {
    const int64_t window_left = spec.k - window_begin;
    const int window = static_cast<int>(window_left < plan.window ? window_left : plan.window);
    for (int b = threadIdx.x; b < plan.warps * plan.window; b += blockDim.x) all[b] = 0.0f;
    __syncthreads();
    add_run<T, kWide, kWhole>(x + i * plan.rows * plan.cols, plan, spec, begin, end,
                              {shared_address(all + warp * plan.window), static_cast<unsigned>(window_begin),
                               static_cast<unsigned>(window), static_cast<unsigned>(spec.k)});
    __syncthreads();
    for (int b = threadIdx.x; b < window; b += blockDim.x) {
      float sum = 0.0f;
      for (int w = 0; w < plan.warps; ++w) sum += all[w * plan.window + b];
      result[window_begin + b] = sum * factor;
    }
    __syncthreads();  // the last readers of a window are done
  }
}

template <typename T>
void sketch_typed(const View& x, float* workspace, const View& out, const SketchSpec& spec, void* stream) {
  const Plan plan = make_plan(x.shape[0], x.shape[1], x.shape[2], spec.k);
  const float factor = repeat_factor(spec);
  const bool direct = plan.slices == 1;
  float* result = static_cast<float*>(out.data);
  const size_t shared = static_cast<size_t>(plan.warps) * plan.window * sizeof(float);
  // With aligned rows, every segment starts at a multiple of 16 bytes and has a multiple of 16 bytes.
  const bool whole = plan.window == spec.k, wide = rows_are_aligned<T>(x.data, plan.cols);
  const auto kernel = wide ? (whole ? sketch_slices<T, true, true> : sketch_slices<T, true, false>)
                           : (whole ? sketch_slices<T, false, true> : sketch_slices<T, false, false>);
  launch({plan.n * plan.slices, plan.warps * kWarp, shared, stream}, kernel, static_cast<const T*>(x.data),
         direct ? result : workspace, plan, spec, direct ? factor : 1.0f);
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
