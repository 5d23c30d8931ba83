// fold_scores behind a C interface for ctypes.
#include "../../csrc/cuda/fold_scores.cu"

#include "bindings.h"

using namespace gradkern;

extern "C" {

// arrays: B, D, E, F, S, U, W, product, square
const char* emulated_fold_scores(void* const* arrays, int dtype, int64_t a, int64_t r, int64_t b, uint64_t schedule) {
  return guarded(schedule, [&] {
    const int wide = static_cast<int>(Dtype::f64);
    cuda::fold_scores(
        view_of(arrays[0], dtype, {r, b}), view_of(arrays[1], dtype, {r, b}), view_of(arrays[2], wide, {r, b}),
        view_of(arrays[3], dtype, {r, b}), view_of(arrays[4], wide, {a, r}), view_of(arrays[5], wide, {a, r}),
        view_of(arrays[6], wide, {a, r}), view_of(arrays[7], wide, {a, b}), view_of(arrays[8], wide, {a, b}), {});
  });
}

}  // extern "C"
