// sketch_outer, and the instructions of the tensor cores by themselves, behind a C interface for ctypes.
#include "../../csrc/cuda/sketch_outer.cu"

#include "bindings.h"

using namespace gradkern;

namespace {

// One warp, one instruction: every lane's registers as they are.
template <typename T>
void multiply_registers(const uint32_t* a, const uint32_t* b, float* sums) {
  const uint32_t* mine = a + 4 * threadIdx.x;
  float sum[4];
  std::memcpy(sum, sums + 4 * threadIdx.x, sizeof sum);
  cuda::multiply_add<T>(sum, {mine[0], mine[1], mine[2], mine[3]}, {b[2 * threadIdx.x], b[2 * threadIdx.x + 1]});
  std::memcpy(sums + 4 * threadIdx.x, sum, sizeof sum);
}

template <bool kTransposed>
void load_registers(const uint16_t* rows, uint32_t* registers) {
  uint16_t* shared = reinterpret_cast<uint16_t*>(shared_memory);
  for (int i = 0; i < 8; ++i) shared[8 * threadIdx.x + i] = rows[8 * threadIdx.x + i];
  __syncwarp();
  uint32_t matrices[4];
  cuda::load_matrices<kTransposed>(matrices, shared + 8 * threadIdx.x);
  std::memcpy(registers + 4 * threadIdx.x, matrices, sizeof matrices);
}

template <typename... Params, typename... Args>
void launch_warp(void (*kernel)(Params...), Args... args) {
  cuda::launch({1, 32, 32 * 16, nullptr}, kernel, args...);
}

}  // namespace

extern "C" {

const char* emulated_sketch_outer(void* a, void* g, int dtype, int64_t n, int64_t t, int64_t p, int64_t o,
                                  float* workspace, float* out, int64_t k, int64_t seed, int64_t nnz,
                                  int64_t first_segment, bool bias, bool allow_tf32, uint64_t schedule) {
  Execution execution;
  execution.allow_tf32 = allow_tf32;
  return guarded(schedule, [&] {
    cuda::sketch_outer(view_of(a, dtype, {n, t, p}), view_of(g, dtype, {n, t, o}), floats_of(workspace),
                       view_of(out, 0, {n, k}), {k, seed, nnz, first_segment}, bias, execution);
  });
}

int64_t emulated_sketch_outer_workspace(int64_t n, int64_t t, int64_t p, int64_t o, int64_t k, bool bias) {
  return cuda::sketch_outer_workspace(n, t, p, o, k, bias);
}

const char* emulated_multiply_add(int dtype, const uint32_t* a, const uint32_t* b, float* sums, uint64_t schedule) {
  return guarded(schedule, [&] {
    switch (static_cast<Dtype>(dtype)) {
      case Dtype::bf16:
        return launch_warp(multiply_registers<__nv_bfloat16>, a, b, sums);
      case Dtype::f16:
        return launch_warp(multiply_registers<__half>, a, b, sums);
      default:
        return launch_warp(multiply_registers<float>, a, b, sums);
    }
  });
}

const char* emulated_load_matrices(bool transposed, const uint16_t* rows, uint32_t* registers, uint64_t schedule) {
  return guarded(schedule,
                 [&] { launch_warp(transposed ? load_registers<true> : load_registers<false>, rows, registers); });
}

uint32_t emulated_to_tf32(float x) { return cuda::to_tf32(x); }

}  // extern "C"
