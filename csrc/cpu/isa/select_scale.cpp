// select_scale on the CPU: a few rows at a time, each by one thread. The kernel divides one row. It rounds the sum to
// the dtype of the row before the division, as torch does, so the result has the same bits. Bound by memory.
#include "../dispatch.h"

namespace gradkern {

// out[t] = c[t] / (value + alpha[t]) for float32 or float64.
GK_KERNEL(void, divide_row,
          (const void* c, Element element, double value, const double* alpha, int64_t count, void* out));

}  // namespace gradkern

#if defined(GK_ISA)

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

#else
#include <algorithm>

#include "../../ops.h"
#include "../parallel.h"

namespace gradkern::cpu {

void select_scale(const View& C, const View& values, const View& alpha, const View& out, const Execution& execution) {
  constexpr int64_t kElements = 1 << 15;  // that a thread takes at a time
  const Isa& isa = current_isa();
  const int64_t q = C.shape[0], b = C.shape[1], bytes = element_size(C.dtype);
  const int64_t rows = std::max<int64_t>(1, kElements / std::max<int64_t>(1, b));
  parallel_for((q + rows - 1) / rows, execution.threads, [&](int64_t item) {
    const int64_t begin = item * rows, end = std::min(q, begin + rows);
    for (int64_t j = begin; j < end; ++j) {
      divide_row[isa](static_cast<const char*>(C.data) + j * b * bytes, static_cast<Element>(C.dtype),
                      static_cast<const double*>(values.data)[j], static_cast<const double*>(alpha.data), b,
                      static_cast<char*>(out.data) + j * b * bytes);
    }
  });
}

}  // namespace gradkern::cpu

#endif
