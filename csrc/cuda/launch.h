// Launching kernels. Always cudaLaunchKernelEx, never <<<>>>: plain C++ can parse it, so tests/emulate runs every
// kernel without a GPU. Always the caller's stream and device; a failed call is an exception.
#pragma once
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

// The one name of a kernel's shared memory: its size is given at launch, and the emulation poisons it.
extern __shared__ __align__(16) unsigned char shared_memory[];

namespace gradkern::cuda {

inline void check(cudaError_t status, const char* op) {
  if (status != cudaSuccess) {
    throw std::runtime_error(std::string(op) + ": CUDA error: " + cudaGetErrorString(status));
  }
}

class DeviceGuard {
 public:
  DeviceGuard(int device, const char* op) {
    check(cudaGetDevice(&previous_), op);
    if (device != previous_) check(cudaSetDevice(device), op);
  }
  ~DeviceGuard() { cudaSetDevice(previous_); }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int previous_ = 0;
};

struct Launch {
  const char* op;
  int64_t blocks;
  int threads;
  size_t shared_bytes;
  void* stream;
};

template <typename... Params, typename... Args>
void launch(const Launch& how, void (*kernel)(Params...), Args... args) {
  if (how.blocks == 0) return;
  if (how.blocks > 0x7FFFFFFF) {
    throw std::invalid_argument(std::string(how.op) + ": more than 2^31 blocks; give fewer samples at a time");
  }
  if (how.shared_bytes > 48 * 1024) {
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(how.shared_bytes)),
          how.op);
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(how.blocks));
  config.blockDim = dim3(how.threads);
  config.dynamicSmemBytes = how.shared_bytes;
  config.stream = static_cast<cudaStream_t>(how.stream);
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...), how.op);
}

}  // namespace gradkern::cuda
