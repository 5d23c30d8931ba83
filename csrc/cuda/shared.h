// Floats in shared memory by their address there, a number of 32 bits. A pointer would do the same, but the compiler
// then makes the address of shared memory again for every access, which takes four instructions on sm_90.
#pragma once
#include "launch.h"

namespace gradkern::cuda {

#if defined(__CUDACC__)

__device__ __forceinline__ unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ float load_shared(unsigned address) {
  float value;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(address) : "memory");
  return value;
}

__device__ __forceinline__ void store_shared(unsigned address, float value) {
  asm volatile("st.shared.f32 [%0], %1;" : : "r"(address), "f"(value) : "memory");
}

#else  // the emulation's shared memory begins at address 0

inline unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(static_cast<const unsigned char*>(pointer) - shared_memory);
}

inline float load_shared(unsigned address) { return *reinterpret_cast<const float*>(shared_memory + address); }

inline void store_shared(unsigned address, float value) { *reinterpret_cast<float*>(shared_memory + address) = value; }

#endif

}  // namespace gradkern::cuda
