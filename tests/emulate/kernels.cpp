// Every csrc/cuda/*.cu, compiled by g++ against this folder's cuda_runtime.h, behind a C interface for ctypes.
#define GK_CUDA_ARCHITECTURES "emulated"
#include "../../csrc/cuda/sketch.cu"

using namespace gradkern;

namespace {

std::string last_error;

template <typename Call>
const char* guarded(uint64_t schedule, const Call& call) {
  emulation::schedule = schedule;
  try {
    call();
    return nullptr;
  } catch (const std::exception& error) {
    last_error = error.what();
    return last_error.c_str();
  }
}

}  // namespace

extern "C" {

const char* emulated_sketch(void* x, int dtype, int64_t n, int64_t rows, int64_t cols, float* workspace, float* out,
                            int64_t k, int64_t seed, int64_t nnz, int64_t first_segment, uint64_t schedule) {
  View x_view;
  x_view.data = x;
  x_view.dtype = static_cast<Dtype>(dtype);
  x_view.ndim = 3;
  x_view.shape[0] = n;
  x_view.shape[1] = rows;
  x_view.shape[2] = cols;
  View out_view;
  out_view.data = out;
  out_view.ndim = 2;
  out_view.shape[0] = n;
  out_view.shape[1] = k;
  return guarded(schedule, [&] { cuda::sketch(x_view, workspace, out_view, {k, seed, nnz, first_segment}, nullptr); });
}

int64_t emulated_sketch_workspace(int64_t n, int64_t rows, int64_t cols, int64_t k) {
  return cuda::sketch_workspace(n, rows, cols, k);
}

}  // extern "C"
