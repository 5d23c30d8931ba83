// Which block computes which tiles of a product, and the second kernel of every sketch, which adds what the blocks of a
// sample have summed. It adds in order, so a call always gives the same bits.
#pragma once
#include <cmath>

#include "../signs.h"
#include "launch.h"

namespace gradkern::cuda {

// Positions [begin, begin + count) of a sample.
struct Positions {
  int64_t begin, count;
};

// The pieces of a sample, cut into runs of pieces and parts of the positions: the sketch is linear, so parts of a
// gradient need not be added up. Each run and part is a slice, one block's work, and the cut is a function of the shape
// and k alone.
struct Slices {
  int64_t n, pieces, slice_pieces, runs;
  int64_t positions, part_positions, slices;
  bool shared;  // whether buckets lie in shared memory, which changes no addition

  GK_HOST_DEVICE int64_t first_piece(uint32_t slice) const {
    return slice % static_cast<uint32_t>(runs) * slice_pieces;
  }

  GK_HOST_DEVICE Positions part(uint32_t slice) const {
    const int64_t begin = slice / static_cast<uint32_t>(runs) * part_positions, left = positions - begin;
    return {begin, left < part_positions ? left : part_positions};
  }
};

// `values` is the size of the gradient. None of the numbers here was measured.
inline Slices cut_slices(int64_t n, int64_t pieces, int64_t positions, int64_t values, int64_t k) {
  constexpr int64_t kEnough = 17;      // slices of a sample: two blocks for each of 132 multiprocessors from 16 samples
  constexpr int64_t kWorkForSum = 16;  // multiply-adds for each sum that a slice writes
  constexpr int64_t kFewest = 64;      // positions of a part, which is a multiple of them, so that it stays aligned
  Slices cut;
  cut.n = n;
  cut.pieces = pieces;
  cut.positions = positions;
  cut.shared = false;
  const int64_t worth = values * positions / (kWorkForSum * k), wanted = worth < kEnough ? worth : kEnough;
  // A slice writes k sums; 8 values or more for each sum keep that traffic small.
  const int64_t most = k / 1024 > 8 ? k / 1024 : 8, even = wanted > 1 ? pieces / wanted : most;
  cut.slice_pieces = even < 1 ? 1 : even < most ? even : most;
  cut.runs = (pieces + cut.slice_pieces - 1) / cut.slice_pieces;
  const int64_t parts = cut.runs > 0 && wanted > cut.runs ? (wanted + cut.runs - 1) / cut.runs : 1;
  const int64_t chunks = (positions + kFewest - 1) / kFewest;
  cut.part_positions = (chunks + parts - 1) / parts * kFewest;
  cut.slices = cut.runs * (chunks == 0 ? 1 : (positions + cut.part_positions - 1) / cut.part_positions);
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
