// sketch_outer on the GPU.
//
//   G_i = sum_t g[i, t] a[i, t]^T,   out[i, (offset_s + j) mod k] += +-G_i[s, j] / sqrt(nnz)
//
// G_i [o, p] is cut into tiles of 128 x 64, and the tiles of a sample into slices (tile_schedule.h). A block owns a
// slice: it computes each tile on the tensor cores (mainloop.h), stages it in shared memory, and adds it to its k
// buckets, each owned by one warp (epilogue.h). A second kernel adds the slices of a sample in order. The cut depends
// on the shape and k alone, so the same call gives the same bits. G_i is never in global memory. Bound by the tensor
// cores where t is large, by the additions to buckets where t is small. It uses mma.sync, which every architecture
// since sm_80 has; wgmma would be faster on sm_90, but nobody has measured by how much.
#include "product.h"

namespace gradkern::cuda {
namespace {

template <typename T>
struct Outer {
  using Element = T;
  static constexpr bool kByPosition = true;
  const T* a;  // [n, t, p]
  const T* g;  // [n, t, o]
  int64_t t, p, o;
  bool a_aligned, g_aligned;

  __device__ Matrix<T, true, kTileRows> left(int64_t i, const Place& place, const Positions& part) const {
    return {g + (i * t + part.begin) * o, o, part.count, o, place.row, g_aligned, {}};
  }

  __device__ Matrix<T, true, kTileCols> right(int64_t i, const Place& place, const Positions& part) const {
    return {a + (i * t + part.begin) * p, p, part.count, p, place.col(), a_aligned, {}};
  }

  // Each warp sums every eighth position of the 128 rows into the padding of the stage, then a thread adds the eight
  // sums of a row.
  __device__ void stage_bias(int64_t i, const Place& place, const Positions& part, float* values, int column) const {
    static_assert(kStagePitch - kSegment == kWarps);
    const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
    float sums[kTileRows / kLanes] = {};
    for (int64_t at = warp; at < part.count; at += kWarps) {
      const T* from = g + (i * t + part.begin + at) * o + place.row;
#pragma unroll
      for (int u = 0; u < kTileRows / kLanes; ++u) {
        const int row = lane + u * kLanes;
        if (place.row + row < o) sums[u] += to_float(from[row]);
      }
    }
#pragma unroll
    for (int u = 0; u < kTileRows / kLanes; ++u) values[(lane + u * kLanes) * kStagePitch + kSegment + warp] = sums[u];
    __syncthreads();
    if (threadIdx.x >= kTileRows) return;
    float* row = values + threadIdx.x * kStagePitch;
    float sum = 0.0f;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) sum += row[kSegment + w];
    row[column] = sum;
  }
};

template <typename T, int kPasses>
__global__ void __launch_bounds__(kThreads, 2)
    sketch_outer_slices(Outer<T> source, Gradient gradient, Slices cut, SketchSpec spec, float* sums, float factor) {
  sketch_slice<kPasses>(source, gradient, cut, spec, sums, factor);
}

template <typename T, int kPasses>
void sketch_outer_typed(const View& a, const View& g, float* workspace, const View& out, const SketchSpec& spec,
                        bool bias, void* stream) {
  const int64_t n = a.shape[0], t = a.shape[1], p = a.shape[2], o = g.shape[2];
  const Outer<T> source{static_cast<const T*>(a.data),  static_cast<const T*>(g.data), t, p, o,
                        rows_are_aligned<T>(a.data, p), rows_are_aligned<T>(g.data, o)};
  const Gradient gradient{1, o, p, t, bias};
  Slices cut = cut_slices(n, gradient.pieces(), t, o * p, spec.k);
  cut.shared = buckets_fit(spec.k);
  const Target target = target_of(cut, workspace, out, spec);
  launch({n * cut.slices, kThreads, shared_bytes(cut.shared, spec.k), stream}, sketch_outer_slices<T, kPasses>, source,
         gradient, cut, spec, target.sums, target.factor);
  finish_slices(cut, workspace, out, spec, stream);
}

}  // namespace

void sketch_outer(const View& a, const View& g, const View& workspace, const View& out, const SketchSpec& spec,
                  bool bias, const Execution& execution) {
  const DeviceGuard guard(a.device_index);
  void* stream = execution.stream;
  float* sums = static_cast<float*>(workspace.data);
  if (g.size() == 0 || (a.size() == 0 && !bias)) {
    check(cudaMemsetAsync(out.data, 0, out.size() * sizeof(float), static_cast<cudaStream_t>(stream)));
    return;
  }
  switch (a.dtype) {
    case Dtype::f32:
      return execution.allow_tf32 ? sketch_outer_typed<float, 1>(a, g, sums, out, spec, bias, stream)
                                  : sketch_outer_typed<float, 3>(a, g, sums, out, spec, bias, stream);
    case Dtype::bf16:
      return sketch_outer_typed<__nv_bfloat16, 1>(a, g, sums, out, spec, bias, stream);
    case Dtype::f16:
      return sketch_outer_typed<__half, 1>(a, g, sums, out, spec, bias, stream);
    case Dtype::f64:
      throw std::invalid_argument("a must be float32, bfloat16 or float16, got float64");
  }
}

int64_t sketch_outer_workspace(int64_t n, int64_t t, int64_t p, int64_t o, int64_t k, bool bias) {
  const Slices cut = cut_slices(n, Gradient{1, o, p, t, bias}.pieces(), t, o * p, k);
  return cut.slices > 1 ? n * cut.slices * k : 0;
}

}  // namespace gradkern::cuda
