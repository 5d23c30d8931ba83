// Vectors of doubles of one instruction set, with as many bytes as its vectors of floats.
#pragma once
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "../dispatch.h"

namespace gradkern::GK_ISA {
namespace {

constexpr int kDoubles = GK_LANES / 2;

typedef double Doubles __attribute__((vector_size(8 * kDoubles)));
typedef double DoublesAnywhere __attribute__((vector_size(8 * kDoubles), aligned(8), may_alias));
typedef float FewFloats __attribute__((vector_size(4 * kDoubles), aligned(4), may_alias));

inline Doubles load_wide(const double* x) { return *reinterpret_cast<const DoublesAnywhere*>(x); }

// Not __builtin_convertvector: GCC 12 would convert the halves of a vector one by one and put them together.
inline Doubles load_wide(const float* x) {
#if defined(__AVX512F__)
  return (Doubles)_mm512_maskz_cvtps_pd(0xFF, _mm256_loadu_ps(x));  // GCC warns about _mm512_cvtps_pd, wrongly
#elif defined(__AVX2__)
  return (Doubles)_mm256_cvtps_pd(_mm_loadu_ps(x));
#else
  return __builtin_convertvector(*reinterpret_cast<const FewFloats*>(x), Doubles);
#endif
}

inline void store(Doubles values, double* to) { *reinterpret_cast<DoublesAnywhere*>(to) = values; }

}  // namespace
}  // namespace gradkern::GK_ISA
