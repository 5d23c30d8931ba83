// Launches kernels on the caller's stream and device; a failed call is an exception. It uses cudaLaunchKernelEx and
// never <<<>>>, which plain C++ cannot parse: so tests/emulate runs every kernel without a GPU.
#pragma once
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

// The shared memory of every kernel. Its size is given at launch; the emulation poisons it.
extern __shared__ __align__(16) unsigned char shared_memory[];

namespace gradkern::cuda {

inline void check(cudaError_t status) {
  if (status != cudaSuccess) {
    throw std::runtime_error(std::string("CUDA error: ") + cudaGetErrorString(status));
  }
}

class DeviceGuard {
 public:
  explicit DeviceGuard(int device) {
    check(cudaGetDevice(&previous_));
    if (device != previous_) check(cudaSetDevice(device));
  }
  ~DeviceGuard() { cudaSetDevice(previous_); }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int previous_ = 0;
};

struct Launch {
  int64_t blocks;
  int threads;
  size_t shared_bytes;
  void* stream;
};

template <typename... Params, typename... Args>
void launch(const Launch& shape, void (*kernel)(Params...), Args... args) {
  if (shape.blocks == 0) return;
  if (shape.blocks > 0x7FFFFFFF) {
    throw std::invalid_argument("more than 2^31 blocks; give fewer samples at a time");
  }
  if (shape.shared_bytes > 48 * 1024) {
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shape.shared_bytes)));
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(shape.blocks));
  config.blockDim = dim3(shape.threads);
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = static_cast<cudaStream_t>(shape.stream);
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...));
}

}  // namespace gradkern::cuda
