// The instructions of the tensor cores, as functions of a warp. The PTX ISA, "Warp-level matrix instructions", says
// which lane holds which element; tests/kernels/test_tile.py checks it. Without nvcc the emulation defines these
// functions.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

#include <type_traits>

#if !defined(__CUDACC__)
#include <emulated_mma.h>
#else

namespace gradkern::cuda {

// Loads four 8 x 8 matrices of 16-bit elements from shared memory. Lane l gives the address of row l % 8 of matrix l /
// 8, and gets element (l / 4, 2 (l % 4)) and the next of its row, or with kTransposed (2 (l % 4), l / 4) and the one
// below.
template <bool kTransposed>
__device__ __forceinline__ void load_matrices(uint32_t (&matrices)[4], const void* row) {
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  if constexpr (kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(address)
                 : "memory");
  }
}

// sum [16, 8] += a [16, 32 bytes] b [32 bytes, 8]: 16 positions of 16-bit elements, or 8 of float, read as TF32.
template <typename T>
__device__ __forceinline__ void multiply_add(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#define GK_MMA(shape)                                                                                       \
  asm volatile("mma.sync.aligned." shape " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
               : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])                                     \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    GK_MMA("m16n8k16.row.col.f32.bf16.bf16.f32");
  } else if constexpr (std::is_same_v<T, __half>) {
    GK_MMA("m16n8k16.row.col.f32.f16.f16.f32");
  } else {
    GK_MMA("m16n8k8.row.col.f32.tf32.tf32.f32");
  }
#undef GK_MMA
}

// The nearest TF32 number (10 bits of mantissa), ties away from zero.
__device__ __forceinline__ uint32_t to_tf32(float x) {
  uint32_t rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
  return rounded;
}

}  // namespace gradkern::cuda
#endif
