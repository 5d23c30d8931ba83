// select_scale on the CPU: a few rows at a time, each by one thread.
#include "select_scale.h"

#include <algorithm>

#include "isa.h"
#include "parallel.h"

namespace gradkern::cpu {

void select_scale(const View& C, const View& values, const View& alpha, const View& out, int threads) {
  constexpr int64_t kElements = 1 << 15;  // that a thread takes at a time: enough work for a turn
  const Isa& isa = current_isa();
  const int64_t q = C.shape[0], b = C.shape[1], bytes = element_size(C.dtype);
  const int64_t rows = std::max<int64_t>(1, kElements / std::max<int64_t>(1, b));
  parallel_for((q + rows - 1) / rows, threads, [&](int64_t item) {
    const int64_t begin = item * rows, end = std::min(q, begin + rows);
    for (int64_t j = begin; j < end; ++j) {
      isa.divide_row(static_cast<const char*>(C.data) + j * b * bytes, static_cast<Element>(C.dtype),
                     static_cast<const double*>(values.data)[j], static_cast<const double*>(alpha.data), b,
                     static_cast<char*>(out.data) + j * b * bytes);
    }
  });
}

}  // namespace gradkern::cpu
