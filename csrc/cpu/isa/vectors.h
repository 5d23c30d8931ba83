// Vectors of one instruction set (GK_ISA, GK_LANES): exact loads of every element type, sign flips, and the addition of
// a segment to its buckets, in the same order in every instruction set.
#pragma once
#include "../kernels.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace gradkern::GK_ISA {
namespace {

constexpr int kLanes = GK_LANES;
constexpr int kVectors = kSegment / kLanes;

// Where the processor multiplies bfloat16 in pairs, a packed factor holds two neighbouring positions in place of a
// float.
#if defined(__AVX512BF16__)
constexpr bool kPairs = true;
#else
constexpr bool kPairs = false;
#endif

// Columns of a tile: 32 registers hold kTileRows rows of a whole segment, 16 registers hold two vectors of each row.
constexpr int kTileCols = kLanes == 16 ? kSegment : 2 * kLanes;

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef float FloatsAligned __attribute__((vector_size(4 * kLanes), may_alias));
typedef uint32_t Bits __attribute__((vector_size(4 * kLanes)));
typedef float FloatsInMemory __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef double DoublesInMemory __attribute__((vector_size(8 * kLanes), aligned(8), may_alias));
typedef uint16_t HalvesInMemory __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));

// Numbers of lanes that the compiler knows.
template <unsigned... lane>
struct Lanes {};

// The number of each lane, as a constant in memory: computed lane by lane, GCC would assemble it anew at each use.
#if GK_LANES == 16
constexpr Bits kIndex = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
using AllLanes = Lanes<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15>;
#elif GK_LANES == 8
constexpr Bits kIndex = {0, 1, 2, 3, 4, 5, 6, 7};
using AllLanes = Lanes<0, 1, 2, 3, 4, 5, 6, 7>;
#else
constexpr Bits kIndex = {0, 1, 2, 3};
using AllLanes = Lanes<0, 1, 2, 3>;
#endif

struct Bfloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

inline Floats load(const float* x) { return *reinterpret_cast<const FloatsInMemory*>(x); }

inline Floats load(const double* x) {
  return __builtin_convertvector(*reinterpret_cast<const DoublesInMemory*>(x), Floats);
}

inline Bits load_bits(const void* x) {
  return __builtin_convertvector(*reinterpret_cast<const HalvesInMemory*>(x), Bits);
}

inline Floats load(const Bfloat16* x) { return (Floats)(load_bits(x) << 16); }

// Exact for every value, and without denormal operands, so that a flush-to-zero mode changes nothing.
inline Floats load(const Float16* x) {
  const Bits half = load_bits(x);
  const Bits magnitude = half & 0x7FFFu;
  const Bits rebias = (Bits)(magnitude >= 0x7C00u) & (112u << 23);
  const Bits normal = (magnitude << 13) + (112u << 23) + rebias;
  const Floats tiny = __builtin_convertvector(magnitude, Floats) * 0x1p-24f;
  const Bits is_tiny = (Bits)(magnitude < 0x400u);
  return (Floats)(((half & 0x8000u) << 16) | (is_tiny & (Bits)tiny) | (~is_tiny & normal));
}

// x with the sign of lane j flipped where bit j is set.
inline Floats flip(Floats x, uint32_t bits) {
#if defined(__AVX2__)
  const Bits moved = (Bits{} + bits) << (31u - kIndex);
#else  // no shift by a variable number of bits
  const Bits moved = (Bits)((((Bits{} + 1u) << kIndex) & bits) != 0u);
#endif
  return (Floats)((Bits)x ^ (moved & 0x80000000u));
}

// The lower halves of the blocks of 2 s lanes of two vectors, in turns, and the upper halves. Lanes of the second
// vector are numbered from kLanes.
template <unsigned s, unsigned... i>
inline Floats lower_halves(Floats first, Floats second, Lanes<i...>) {
  return __builtin_shufflevector(first, second, (i & s ? i + kLanes - s : i)...);
}
template <unsigned s, unsigned... i>
inline Floats upper_halves(Floats first, Floats second, Lanes<i...>) {
  return __builtin_shufflevector(first, second, (i & s ? i + kLanes : i + s)...);
}

// Transposes kLanes vectors: round `s` swaps the halves of blocks of 2 s.
template <unsigned s = 1>
inline __attribute__((always_inline)) void transpose(Floats (&rows)[kLanes]) {
#pragma GCC unroll 16
  for (unsigned i = 0; i < kLanes; ++i) {
    if (i & s) continue;
    const Floats first = rows[i], second = rows[i + s];
    rows[i] = lower_halves<s>(first, second, AllLanes{});
    rows[i + s] = upper_halves<s>(first, second, AllLanes{});
  }
  if constexpr (2 * s < kLanes) transpose<2 * s>(rows);
}

#if GK_LANES == 16
// buckets[offset + j] += values[j] in aligned vectors, so that a store is forwarded whole to the next segment that
// loads it. The lanes before and behind the segment add zero.
template <int kCount>
inline void add_to_buckets(const Floats (&values)[kCount], uint32_t offset, float* buckets) {
  const uint32_t shift = offset % kLanes;
  FloatsAligned* target = reinterpret_cast<FloatsAligned*>(buckets + (offset - shift));
  const __m512i from = (__m512i)(kIndex + (kLanes - shift));
  const auto shifted = [&](Floats before, Floats x) {
    return (Floats)_mm512_permutex2var_ps((__m512)before, from, (__m512)x);
  };
  const Floats zero = {};
  target[0] += shifted(zero, values[0]);
  for (int v = 1; v < kCount; ++v) target[v] += shifted(values[v - 1], values[v]);
  target[kCount] += shifted(values[kCount - 1], zero);
}
#else
// buckets[offset + j] += values[j]: these instruction sets cannot shift a vector by a variable number of lanes.
template <int kCount>
inline void add_to_buckets(const Floats (&values)[kCount], uint32_t offset, float* buckets) {
  FloatsInMemory* target = reinterpret_cast<FloatsInMemory*>(buckets + offset);
  for (int v = 0; v < kCount; ++v) target[v] += values[v];
}
#endif

// buckets[offset + j] += +-values[j]; bit j of the signs says which.
template <int kCount>
inline void add_signed(const Floats (&values)[kCount], uint64_t signs, uint32_t offset, float* buckets) {
  Floats flipped[kCount];
  for (int v = 0; v < kCount; ++v) flipped[v] = flip(values[v], static_cast<uint32_t>(signs >> (v * kLanes)));
  add_to_buckets(flipped, offset, buckets);
}

}  // namespace
}  // namespace gradkern::GK_ISA
