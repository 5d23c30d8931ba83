// Words in shared memory by their address there, a number of 32 bits. A pointer would do the same, but the compiler
// then makes the address of shared memory again for every access, which takes four instructions on sm_90.
#pragma once
#include "launch.h"

namespace gradkern::cuda {

#if defined(__CUDACC__)

__device__ __forceinline__ unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ void load_shared(unsigned address, float (&values)[1]) {
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(values[0]) : "r"(address) : "memory");
}

__device__ __forceinline__ void load_shared(unsigned address, float (&values)[2]) {
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(values[0]), "=f"(values[1]) : "r"(address) : "memory");
}

__device__ __forceinline__ void load_shared(unsigned address, unsigned (&words)[4]) {
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(address)
               : "memory");
}

__device__ __forceinline__ void store_shared(unsigned address, const float (&values)[1]) {
  asm volatile("st.shared.f32 [%0], %1;" : : "r"(address), "f"(values[0]) : "memory");
}

__device__ __forceinline__ void store_shared(unsigned address, const float (&values)[2]) {
  asm volatile("st.shared.v2.f32 [%0], {%1, %2};" : : "r"(address), "f"(values[0]), "f"(values[1]) : "memory");
}

__device__ __forceinline__ void store_shared(unsigned address, const unsigned (&words)[1]) {
  asm volatile("st.shared.u32 [%0], %1;" : : "r"(address), "r"(words[0]) : "memory");
}

__device__ __forceinline__ void store_shared(unsigned address, const unsigned (&words)[4]) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};"
               :
               : "r"(address), "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3])
               : "memory");
}

#else  // the emulation's shared memory begins at address 0

inline unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(static_cast<const unsigned char*>(pointer) - shared_memory);
}

template <typename T, int kCount>
void load_shared(unsigned address, T (&values)[kCount]) {
  emulation::Vector<T, kCount>::check(shared_memory + address);
  for (int i = 0; i < kCount; ++i) values[i] = reinterpret_cast<const T*>(shared_memory + address)[i];
}

template <typename T, int kCount>
void store_shared(unsigned address, const T (&values)[kCount]) {
  emulation::Vector<T, kCount>::check(shared_memory + address);
  for (int i = 0; i < kCount; ++i) reinterpret_cast<T*>(shared_memory + address)[i] = values[i];
}

#endif

}  // namespace gradkern::cuda
