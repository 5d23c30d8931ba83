// Which block computes which tiles of a product, and the second kernel of every sketch, which adds what the blocks of a
// sample have summed. It adds in order, so a call always gives the same bits.
#pragma once
#include <cmath>

#include "../signs.h"
#include "launch.h"

namespace gradkern::cuda {

// The pieces of a sample, cut into slices. Each slice is one block's work, and the cut is a function of the shape and k
// alone.
struct Slices {
  int64_t n, pieces, slice_pieces, slices;
  bool shared;  // whether buckets lie in shared memory, which changes no addition
};

inline Slices cut_slices(int64_t n, int64_t pieces, int64_t k) {
  Slices cut;
  cut.n = n;
  cut.pieces = pieces;
  cut.shared = false;
  // A slice writes k sums; 8 values or more for each sum keep that traffic small. Not measured.
  cut.slice_pieces = k / 1024 > 8 ? k / 1024 : 8;
  cut.slices = (pieces + cut.slice_pieces - 1) / cut.slice_pieces;
  return cut;
}

// The last factor of every sum.
inline float repeat_factor(const SketchSpec& spec) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(spec.nnz)));
}

static __global__ void add_in_order(const float* sums,  // [n, slices, k]
                                    float* out,         // [n, k]
                                    int64_t n, int64_t slices, int64_t k, float factor) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= n * k) return;
  const float* slice = sums + (at / k) * slices * k + at % k;
  float sum = 0.0f;
  for (int64_t s = 0; s < slices; ++s) sum += slice[s * k];
  out[at] = sum * factor;
}

inline void launch_add_in_order(const float* sums, float* out, int64_t n, int64_t slices, int64_t k, float factor,
                                void* stream) {
  constexpr int kThreads = 256;
  launch({(n * k + kThreads - 1) / kThreads, kThreads, 0, stream}, add_in_order, sums, out, n, slices, k, factor);
}

}  // namespace gradkern::cuda
