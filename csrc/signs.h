// The definition of the random signs and offsets of the sketch, for the host and the device.
//
// A matrix [rows, cols] is cut row by row into segments of 64 columns, numbered
//   s = first_segment + row * ceil(cols / 64) + (col / 64).
// Segment s and repeat q get 64 signs and one offset in [0, k); column j of the segment is added to bucket
// (offset + j) mod k, negated if bit j of the signs is set. gradkern.kernels.reference says the same in torch.
//
// Freestanding: the files of cpu/isa/ include it, and they must not include standard headers with code (dispatch.h).
#pragma once
#include <stdint.h>

#if defined(__CUDACC__)
#define GK_HOST_DEVICE __host__ __device__
#else
#define GK_HOST_DEVICE
#endif

namespace gradkern {

constexpr int kSegment = 64;

struct SketchSpec {
  int64_t k;  // buckets, 64 <= k < 2^31
  int64_t seed;
  int64_t nnz;            // number of buckets that each column is added to
  int64_t first_segment;  // number of the matrix's first segment
};

// The splitmix64 finaliser.
static GK_HOST_DEVICE inline uint64_t mix64(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

static GK_HOST_DEVICE inline uint64_t segment_key(uint64_t mixed_seed, uint64_t segment) {
  return mix64(mixed_seed + (segment + 1) * 0x9E3779B97F4A7C15ull);
}

static GK_HOST_DEVICE inline uint64_t segment_signs(uint64_t key, uint64_t q) { return mix64(key + 2 * q); }

// high64(hash * k), in halves because k < 2^32 and vector units have no 128-bit product.
static GK_HOST_DEVICE inline uint32_t segment_offset(uint64_t key, uint64_t q, uint64_t k) {
  const uint64_t hash = mix64(key + 2 * q + 1);
  return static_cast<uint32_t>(((hash >> 32) * k + (((hash & 0xFFFFFFFFull) * k) >> 32)) >> 32);
}

}  // namespace gradkern
