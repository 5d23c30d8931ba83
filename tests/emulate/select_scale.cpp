// select_scale behind a C interface for ctypes.
#include "../../csrc/cuda/select_scale.cu"

#include "bindings.h"

using namespace gradkern;

extern "C" {

const char* emulated_select_scale(void* C, int dtype, int64_t q, int64_t b, void* values, void* alpha, void* out,
                                  uint64_t schedule) {
  return guarded(schedule, [&] {
    const int wide = static_cast<int>(Dtype::f64);
    cuda::select_scale(view_of(C, dtype, {q, b}), view_of(values, wide, {q}), view_of(alpha, wide, {b}),
                       view_of(out, dtype, {q, b}), {});
  });
}

}  // extern "C"
