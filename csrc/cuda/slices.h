// The second kernel of every sketch: the slices of a sample are added in order, so a call always gives the same bits.
#pragma once
#include <cmath>

#include "../signs.h"
#include "launch.h"

namespace gradkern::cuda {

// What a sum is multiplied by at last.
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

inline void launch_add_in_order(const char* op, const float* sums, float* out, int64_t n, int64_t slices, int64_t k,
                                float factor, void* stream) {
  constexpr int kThreads = 256;
  launch({op, (n * k + kThreads - 1) / kThreads, kThreads, 0, stream}, add_in_order, sums, out, n, slices, k, factor);
}

}  // namespace gradkern::cuda
