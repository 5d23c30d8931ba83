// Launches kernels on the caller's stream and device; a failed call is an exception. It uses cudaLaunchKernelEx and
// never <<<>>>, which plain C++ cannot parse: so tests/emulate runs every kernel without a GPU.
#pragma once
#include <cuda_runtime.h>

#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

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
  explicit DeviceGuard(int device) : device_(device) {
    check(cudaGetDevice(&previous_));
    if (device_ != previous_) check(cudaSetDevice(device_));
  }
  // cudaSetDevice makes a context on its device, so a process that computes on another one never calls it.
  ~DeviceGuard() {
    if (device_ != previous_) cudaSetDevice(previous_);
  }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int device_, previous_ = 0;
};

struct Launch {
  int64_t blocks;
  int threads;
  size_t shared_bytes;
  void* stream;
};

inline std::mutex allowed_mutex;
inline std::set<std::pair<const void*, int>> allowed;  // kernels, and devices on which they have all shared memory

// Allows a kernel as much shared memory as a block may have on the current device. The limit belongs to the kernel and
// the device: a limit of this launch's bytes could be lowered by another thread before the launch.
inline void allow_shared_memory(const void* kernel) {
  int device, bytes;
  check(cudaGetDevice(&device));
  const std::lock_guard<std::mutex> lock(allowed_mutex);
  if (allowed.count({kernel, device}) != 0) return;
  check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  allowed.insert({kernel, device});
}

template <typename... Params, typename... Args>
void launch(const Launch& shape, void (*kernel)(Params...), Args... args) {
  if (shape.blocks == 0) return;
  if (shape.blocks > 0x7FFFFFFF) {
    throw std::invalid_argument("more than 2^31 blocks; give fewer samples at a time");
  }
  if (shape.shared_bytes > 48 * 1024) {
    allow_shared_memory(reinterpret_cast<const void*>(kernel));
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(shape.blocks));
  config.blockDim = dim3(shape.threads);
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = static_cast<cudaStream_t>(shape.stream);
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...));
}

}  // namespace gradkern::cuda
