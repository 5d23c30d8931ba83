// sketch, unmodified, compiled by g++ against this folder's cuda_runtime.h, behind a C interface for ctypes.
#define GK_CUDA_ARCHITECTURES "emulated"
#include "../../csrc/cuda/sketch.cu"

#include "bindings.h"

using namespace gradkern;

extern "C" {

const char* emulated_sketch(void* x, int dtype, int64_t n, int64_t rows, int64_t cols, float* workspace, float* out,
                            int64_t k, int64_t seed, int64_t nnz, int64_t first_segment, uint64_t schedule) {
  return guarded(schedule, [&] {
    cuda::sketch(view_of(x, dtype, {n, rows, cols}), floats_of(workspace), view_of(out, 0, {n, k}),
                 {k, seed, nnz, first_segment}, {});
  });
}

int64_t emulated_sketch_workspace(int64_t n, int64_t rows, int64_t cols, int64_t k) {
  return cuda::sketch_workspace(n, rows, cols, k);
}

}  // extern "C"
