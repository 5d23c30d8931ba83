// select_scale on the GPU.
//
//   out[j, t] = C[j, t] / (values[j] + alpha[t])
//
// A thread owns one element, a block 256 neighbours of one row. The sum is rounded to the dtype of C before the
// division, as torch does. Bound by reading C and writing the result.
#include "../ops.h"
#include "launch.h"

namespace gradkern::cuda {
namespace {

constexpr int kThreads = 256;

template <typename T>
__global__ void __launch_bounds__(kThreads)
    divide(const T* C, const double* values, const double* alpha, T* out, int64_t b) {
  const int64_t across = (b + kThreads - 1) / kThreads;
  const int64_t j = blockIdx.x / across, t = blockIdx.x % across * kThreads + threadIdx.x;
  if (t >= b) return;
  out[j * b + t] = C[j * b + t] / static_cast<T>(values[j] + alpha[t]);
}

template <typename T>
void scale_typed(const View& C, const View& values, const View& alpha, const View& out, void* stream) {
  const int64_t q = C.shape[0], b = C.shape[1];
  launch({q * ((b + kThreads - 1) / kThreads), kThreads, 0, stream}, divide<T>, static_cast<const T*>(C.data),
         static_cast<const double*>(values.data), static_cast<const double*>(alpha.data), static_cast<T*>(out.data), b);
}

}  // namespace

void select_scale(const View& C, const View& values, const View& alpha, const View& out, const Execution& execution) {
  const DeviceGuard guard(C.device_index);
  if (C.dtype == Dtype::f32) {
    scale_typed<float>(C, values, alpha, out, execution.stream);
  } else {
    scale_typed<double>(C, values, alpha, out, execution.stream);
  }
}

}  // namespace gradkern::cuda
