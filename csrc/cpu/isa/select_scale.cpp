// select_scale on the CPU, compiled once per instruction set: one row. The sum is rounded to the row's type before the
// division, as torch does it: the result has the same bits. Bound by memory.
#include "kernels.h"

namespace gradkern::GK_ISA {
namespace {

template <typename T>
void divide(const T* c, double value, const double* alpha, int64_t count, T* out) {
  for (int64_t t = 0; t < count; ++t) out[t] = c[t] / static_cast<T>(value + alpha[t]);
}

}  // namespace

void divide_row(const void* c, Element element, double value, const double* alpha, int64_t count, void* out) {
  if (element == Element::f32) {
    divide(static_cast<const float*>(c), value, alpha, count, static_cast<float*>(out));
  } else {
    divide(static_cast<const double*>(c), value, alpha, count, static_cast<double*>(out));
  }
}

}  // namespace gradkern::GK_ISA
