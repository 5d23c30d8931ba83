// column_moments behind a C interface for ctypes.
#include "../../csrc/cuda/column_moments.cu"

#include "bindings.h"

using namespace gradkern;

extern "C" {

const char* emulated_column_moments(void* y, int dtype, int64_t n, int64_t b, int64_t stride, const int32_t* group,
                                    int64_t f, void* sum, void* spread, void* low, void* high, uint64_t schedule) {
  return guarded(schedule, [&] {
    View rows = view_of(y, dtype, {n, b});
    rows.strides[0] = stride;
    Labels labels;
    labels.data = group;
    labels.count = n;
    const int wide = static_cast<int>(Dtype::f64);
    cuda::column_moments(rows, labels, view_of(sum, wide, {f, b}), view_of(spread, wide, {f, b}),
                         view_of(low, dtype, {f, b}), view_of(high, dtype, {f, b}), {});
  });
}

}  // extern "C"
