// Vectors of doubles of one instruction set: as many bytes as its vectors of floats.
#pragma once
#include "kernels.h"

namespace gradkern::GK_ISA {
namespace {

constexpr int kDoubles = GK_LANES / 2;

typedef double Doubles __attribute__((vector_size(8 * kDoubles)));
typedef double DoublesAnywhere __attribute__((vector_size(8 * kDoubles), aligned(8), may_alias));
typedef float FewFloats __attribute__((vector_size(4 * kDoubles), aligned(4), may_alias));

inline Doubles load_wide(const double* x) { return *reinterpret_cast<const DoublesAnywhere*>(x); }

inline Doubles load_wide(const float* x) {
  return __builtin_convertvector(*reinterpret_cast<const FewFloats*>(x), Doubles);
}

inline void store(Doubles values, double* to) { *reinterpret_cast<DoublesAnywhere*>(to) = values; }

}  // namespace
}  // namespace gradkern::GK_ISA
