// Enough of the CUDA runtime to run the unmodified csrc/cuda/*.cu on a CPU, compiled by g++.
//
// A block's threads are fibers, run one at a time in an order drawn from `emulation::schedule`: each runs until it
// waits (__syncthreads, __syncwarp, an exchange between lanes) or ends. Shared memory is poisoned with NaN before every
// block, and bytes behind it are guarded. Checked: a barrier that not every thread reaches, lanes of a warp that wait
// for different things, races in shared memory, shared memory beyond what was asked for, misaligned vectors, launches
// that a device refuses.
// Not emulated: time, races in global memory, asynchronous copies.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "fibers.h"

#define __global__
#define __device__
#define __host__
#define __shared__
#define __forceinline__ inline
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)

extern "C" {
inline int64_t emulated_only_block = -1;  // or the last, if there are fewer: for launches too large to run whole
inline int emulated_multiprocessor_bytes = 164 * 1024;  // of shared memory; sm_80
inline uint64_t emulated_most_shared_bytes = 0;         // that a launch has asked for
inline int emulated_multiprocessors = 1;
inline int emulated_device = 0;                // the current one
inline uint64_t emulated_device_switches = 0;  // calls of cudaSetDevice, each of which makes a context
inline uint64_t emulated_limit_switches = 0;   // calls of cudaFuncSetAttribute
}

constexpr size_t kEmulatedShared = 227 * 1024;  // what a block may have on sm_90
constexpr size_t kEmulatedGuard = 1024;
inline __align__(128) unsigned char shared_memory[kEmulatedShared + kEmulatedGuard];

namespace emulation {

// What the lanes of a warp give each other, all at once: shuffles, votes, and the instructions of the tensor cores.
template <typename T>
class Exchange {
 public:
  Exchange(Wait what, const T& mine) {
    static_assert(std::is_trivially_copyable<T>::value && sizeof(T) <= kMostGiven);
    Fiber& self = block->fibers[block->current];
    parity_ = self.exchanges++ % 2;
    std::memcpy(self.given[parity_], &mine, sizeof(T));
    wait_for(what);
  }

  static int lane() { return block->current % kWarpSize; }

  T from(int lane) const {
    T value;
    const int first = block->current - block->current % kWarpSize;
    std::memcpy(&value, block->fibers[first + lane % kWarpSize].given[parity_], sizeof(T));
    return value;
  }

 private:
  int parity_;
};

}  // namespace emulation

inline void __syncthreads() { emulation::wait_for(emulation::Wait::block); }
inline void __syncwarp(unsigned = 0xFFFFFFFFu) { emulation::wait_for(emulation::Wait::warp); }

template <typename T>
T __shfl_sync(unsigned, T value, int source) {
  return emulation::Exchange<T>(emulation::Wait::shuffle, value).from(source);
}

template <typename T>
T __shfl_xor_sync(unsigned, T value, int apart) {
  const emulation::Exchange<T> exchange(emulation::Wait::shuffle, value);
  return exchange.from(exchange.lane() ^ apart);
}

inline unsigned __ballot_sync(unsigned, bool vote) {
  const emulation::Exchange<bool> exchange(emulation::Wait::ballot, vote);
  unsigned votes = 0;
  for (int lane = 0; lane < emulation::kWarpSize; ++lane) votes |= static_cast<unsigned>(exchange.from(lane)) << lane;
  return votes;
}

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline unsigned __dp4a(unsigned x, unsigned y, unsigned sum) {
  for (int byte = 0; byte < 4; ++byte) sum += (x >> 8 * byte & 0xFFu) * (y >> 8 * byte & 0xFFu);
  return sum;
}
inline int __ffs(unsigned bits) { return __builtin_ffs(static_cast<int>(bits)); }

namespace emulation {

// A vector that is read and written as a whole: only from and to addresses that are a multiple of its size.
template <typename T, int kCount>
struct Vector {
  static void check(const void* address) {
    if (reinterpret_cast<uintptr_t>(address) % (sizeof(T) * kCount) != 0) {
      throw std::runtime_error("emulation: a vector is read or written at an unaligned address");
    }
  }
};

}  // namespace emulation

struct float2 : emulation::Vector<float, 2> {
  float x, y;
  float2(float x_, float y_) : x(x_), y(y_) {}
  float2(const float2& other) : Vector(), x(other.x), y(other.y) { check(&other); }
  float2& operator=(const float2& other) { return check(this), x = other.x, y = other.y, *this; }
};

struct uint4 : emulation::Vector<unsigned, 4> {
  unsigned x, y, z, w;
  uint4() : x(0), y(0), z(0), w(0) {}
  uint4(unsigned x_, unsigned y_, unsigned z_, unsigned w_) : x(x_), y(y_), z(z_), w(w_) {}
  uint4(const uint4& other) : Vector(), x(other.x), y(other.y), z(other.z), w(other.w) { check(&other); }
  uint4& operator=(const uint4& other) {
    return check(this), x = other.x, y = other.y, z = other.z, w = other.w, *this;
  }
};

inline float2 make_float2(float x, float y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
enum cudaDeviceAttr {
  cudaDevAttrMaxSharedMemoryPerMultiprocessor,
  cudaDevAttrMaxSharedMemoryPerBlockOptin,
  cudaDevAttrMultiProcessorCount
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
using cudaStream_t = void*;

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
};

inline const char* cudaGetErrorString(cudaError_t) { return "invalid value"; }
inline cudaError_t cudaGetDevice(int* device) { return *device = emulated_device, cudaSuccess; }
inline cudaError_t cudaSetDevice(int device) {
  ++emulated_device_switches;
  return emulated_device = device, cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = emulated_multiprocessor_bytes;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(kEmulatedShared);
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = emulated_multiprocessors;
      break;
  }
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t) {
  return std::memset(at, value, bytes), cudaSuccess;
}

// Dynamic shared memory that a kernel may ask for on a device.
inline std::map<std::pair<const void*, int>, size_t> emulated_dynamic_limits;

inline cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int bytes) {
  if (static_cast<size_t>(bytes) > kEmulatedShared) return cudaErrorInvalidValue;
  ++emulated_limit_switches;
  emulated_dynamic_limits[{kernel, emulated_device}] = bytes;
  return cudaSuccess;
}

inline size_t emulated_dynamic_limit(const void* kernel) {
  const auto limit = emulated_dynamic_limits.find({kernel, emulated_device});
  return limit == emulated_dynamic_limits.end() ? 48 * 1024 : limit->second;
}

template <typename... Params, typename... Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Params...), Args&&... args) {
  const unsigned threads = config->blockDim.x;
  const size_t shared = config->dynamicSmemBytes;
  if (threads == 0 || threads > 1024 || threads % emulation::kWarpSize != 0 || config->gridDim.x == 0 ||
      config->gridDim.x > 0x7FFFFFFFu || shared > emulated_dynamic_limit(reinterpret_cast<const void*>(kernel))) {
    return cudaErrorInvalidValue;
  }
  emulated_most_shared_bytes = std::max<uint64_t>(emulated_most_shared_bytes, shared);
  gridDim = config->gridDim;
  blockDim = config->blockDim;
  std::mt19937_64 random(emulation::schedule);
  std::vector<unsigned> order;
  if (emulated_only_block >= 0) {
    order = {static_cast<unsigned>(std::min<int64_t>(emulated_only_block, gridDim.x - 1))};
  } else {
    order.resize(gridDim.x);
    std::iota(order.begin(), order.end(), 0u);
  }
  emulation::shuffle(order, random);
  for (unsigned index : order) {
    blockIdx = dim3(index, 0, 0);
    std::memset(shared_memory, emulation::kPoison, shared);
    std::memset(shared_memory + shared, emulation::kGuard, sizeof shared_memory - shared);
    emulation::run_block(threads, [&] { kernel(args...); }, random);
    const auto touched = [](unsigned char byte) { return byte != emulation::kGuard; };
    if (std::any_of(shared_memory + shared, shared_memory + sizeof shared_memory, touched)) {
      throw std::runtime_error("emulation: a kernel wrote beyond its shared memory");
    }
  }
  return cudaSuccess;
}
