// sketch on the GPU.
//
//   out[i, (offset_s + j) mod k] += +-x[i, s, j] / sqrt(nnz)
//
// A sample's segments are cut into slices, a slice into one run per warp. A block owns a slice; each of its warps
// owns k buckets in shared memory and adds its run to them segment by segment: 64 consecutive buckets, two a lane,
// no bank conflict and no atomic. The block then adds its warps' buckets in order, and a second kernel adds the
// slices of a sample in order. The cut depends on the shape and k alone, so the same call gives the same bits on
// every device. Where k buckets do not fit, the slice is read once for each window of them.
// Bound by reading x once.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>

#include "launch.h"
#include "sketch.h"

namespace gradkern::cuda {
namespace {

constexpr int kWarp = 32;
constexpr int kMaxWarps = 16;
constexpr int kSharedFloats = 16384;  // 64 KiB: three blocks a multiprocessor on sm_90, two on sm_80
constexpr int kInFlight = 8;          // segments loaded before the first of them is added
constexpr unsigned kAll = 0xFFFFFFFFu;

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(double x) { return static_cast<float>(x); }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float to_float(__half x) { return __half2float(x); }

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
  // A slice writes k sums: at least 8 columns for each keeps that traffic small, and in the L2 cache.
  plan.slice_segments = std::max<int64_t>(512, k / 8);
  plan.slices = (plan.segments + plan.slice_segments - 1) / plan.slice_segments;
  plan.window = static_cast<int>(std::min<int64_t>(k, kSharedFloats));
  plan.warps = std::max(1, std::min(kMaxWarps, kSharedFloats / plan.window));
  plan.run_segments = (plan.slice_segments + plan.warps - 1) / plan.warps;
  return plan;
}

// Segments [begin, end) of one sample, added to the warp's buckets of [window_begin, window_begin + window).
template <typename T>
__device__ void add_run(const T* x, const Plan& plan, const SketchSpec& spec, int64_t begin, int64_t end,
                        int64_t window_begin, int window, float* buckets) {
  const int lane = threadIdx.x % kWarp;
  const int64_t per_row = (plan.cols + kSegment - 1) / kSegment;
  const uint64_t mixed_seed = mix64(spec.seed);
  const unsigned k = static_cast<unsigned>(spec.k);
  for (int64_t base = begin; base < end; base += kWarp) {
    // Each lane places and hashes one of the next 32 segments; the others get it by shuffle.
    const int64_t mine = base + lane;
    const int64_t row = mine / per_row;
    const int64_t col = (mine - row * per_row) * kSegment;
    const int64_t start = row * plan.cols + col;
    const int64_t left = plan.cols - col;
    const int width = mine < end ? static_cast<int>(left < kSegment ? left : kSegment) : 0;
    const uint64_t key = segment_key(mixed_seed, spec.first_segment + mine);
    for (int64_t q = 0; q < spec.nnz; ++q) {
      const unsigned long long signs = segment_signs(key, q);
      const unsigned offset = segment_offset(key, q, spec.k);
      for (int group = 0; group < kWarp; group += kInFlight) {
        float low[kInFlight], high[kInFlight];
        unsigned target[kInFlight];
#pragma unroll
        for (int u = 0; u < kInFlight; ++u) {
          const T* segment = x + __shfl_sync(kAll, static_cast<long long>(start), group + u);
          const int segment_width = __shfl_sync(kAll, width, group + u);
          low[u] = lane < segment_width ? to_float(segment[lane]) : 0.0f;
          high[u] = lane + kWarp < segment_width ? to_float(segment[lane + kWarp]) : 0.0f;
        }
#pragma unroll
        for (int u = 0; u < kInFlight; ++u) {
          const unsigned long long sign = __shfl_sync(kAll, signs, group + u) >> lane;
          low[u] = sign & 1u ? -low[u] : low[u];
          high[u] = (sign >> kWarp) & 1u ? -high[u] : high[u];
          target[u] = __shfl_sync(kAll, offset, group + u) + lane;
        }
#pragma unroll
        for (int u = 0; u < kInFlight; ++u) {
          const unsigned a = target[u] < k ? target[u] : target[u] - k;
          const unsigned b = target[u] + kWarp < k ? target[u] + kWarp : target[u] + kWarp - k;
          const int64_t in_low = static_cast<int64_t>(a) - window_begin;
          const int64_t in_high = static_cast<int64_t>(b) - window_begin;
          if (in_low >= 0 && in_low < window) buckets[in_low] += low[u];
          if (in_high >= 0 && in_high < window) buckets[in_high] += high[u];
          __syncwarp();  // the next segment may meet these buckets in other lanes
        }
      }
    }
  }
}

// Block (i, slice) writes its slice's sums to sums[i, slice, :].
template <typename T>
__global__ void sketch_slices(const T* x,   // [n, rows, cols]
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
    add_run(x + i * plan.rows * plan.cols, plan, spec, begin, end, window_begin, window, all + warp * plan.window);
    __syncthreads();
    for (int b = threadIdx.x; b < window; b += blockDim.x) {
      float sum = 0.0f;
      for (int w = 0; w < plan.warps; ++w) sum += all[w * plan.window + b];
      result[window_begin + b] = sum * factor;
    }
    __syncthreads();
  }
}

__global__ void add_slices(const float* sums,  // [n, slices, k]
                           float* out,         // [n, k]
                           int64_t n, int64_t slices, int64_t k, float factor) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= n * k) return;
  const float* slice = sums + (at / k) * slices * k + at % k;
  float sum = 0.0f;
  for (int64_t s = 0; s < slices; ++s) sum += slice[s * k];
  out[at] = sum * factor;
}

template <typename T>
void sketch_typed(const View& x, float* workspace, const View& out, const SketchSpec& spec, void* stream) {
  const Plan plan = make_plan(x.shape[0], x.shape[1], x.shape[2], spec.k);
  const float factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(spec.nnz)));
  const bool direct = plan.slices == 1;
  float* result = static_cast<float*>(out.data);
  const size_t shared = static_cast<size_t>(plan.warps) * plan.window * sizeof(float);
  launch({"sketch", plan.n * plan.slices, plan.warps * kWarp, shared, stream}, sketch_slices<T>,
         static_cast<const T*>(x.data), direct ? result : workspace, plan, spec, direct ? factor : 1.0f);
  if (direct) return;
  constexpr int kThreads = 256;
  launch({"sketch", (plan.n * spec.k + kThreads - 1) / kThreads, kThreads, 0, stream}, add_slices, workspace, result,
         plan.n, plan.slices, spec.k, factor);
}

}  // namespace

void sketch(const View& x, float* workspace, const View& out, const SketchSpec& spec, void* stream) {
  const DeviceGuard guard(x.device_index, "sketch");
  if (x.size() == 0) {
    check(cudaMemsetAsync(out.data, 0, out.size() * sizeof(float), static_cast<cudaStream_t>(stream)), "sketch");
    return;
  }
  switch (x.dtype) {
    case Dtype::f32:
      return sketch_typed<float>(x, workspace, out, spec, stream);
    case Dtype::f64:
      return sketch_typed<double>(x, workspace, out, spec, stream);
    case Dtype::bf16:
      return sketch_typed<__nv_bfloat16>(x, workspace, out, spec, stream);
    case Dtype::f16:
      return sketch_typed<__half>(x, workspace, out, spec, stream);
  }
}

int64_t sketch_workspace(int64_t n, int64_t rows, int64_t cols, int64_t k) {
  const Plan plan = make_plan(n, rows, cols, k);
  return plan.slices > 1 ? n * plan.slices * k : 0;
}

const char* architectures() { return GK_CUDA_ARCHITECTURES; }

}  // namespace gradkern::cuda
