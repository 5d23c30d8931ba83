// Element types on the device.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

#include <type_traits>

namespace gradkern::cuda {

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(double x) { return static_cast<float>(x); }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float to_float(__half x) { return __half2float(x); }

// The bits of an element, for code that only moves elements.
template <typename T>
using Raw = std::conditional_t<sizeof(T) == 2, uint16_t, uint32_t>;

// Whether rows of `length` elements can be read 16 bytes at a time.
template <typename T>
bool rows_are_aligned(const void* data, int64_t length) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && length * sizeof(T) % 16 == 0;
}

// base + index, in global memory, by two instructions where the compiler would take four.
template <typename T>
__device__ inline const T* element_at(const T* base, unsigned index) {
#if defined(__CUDACC__)
  const T* address;
  asm("mad.wide.u32 %0, %1, %2, %3;" : "=l"(address) : "r"(index), "n"(sizeof(T)), "l"(base));
  __builtin_assume(__isGlobal(address));
  return address;
#else
  return base + index;
#endif
}

}  // namespace gradkern::cuda
