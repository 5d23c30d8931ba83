// Enough of the CUDA runtime to run the unmodified csrc/cuda/*.cu on a CPU, compiled by g++.
//
// A block's threads are fibers, run one at a time in an order drawn from `emulation::schedule`: each runs until it
// waits (__syncthreads, __syncwarp, a shuffle) or ends. Shared memory is poisoned with NaN before every block, and
// bytes behind it are guarded. Checked: a barrier that not every thread reaches, lanes of a warp that wait for
// different things, shared memory beyond what was asked for, misaligned wide loads, launches that a device refuses.
// Not emulated: time, the memory model between fibers, tensor cores, asynchronous copies.
#pragma once
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__
#define __forceinline__ inline
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

extern "C" {
inline unsigned emulated_first_block = 0;  // those before it are left out: a test looks at the last of many
inline uint64_t emulated_wide_loads = 0;
}

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

constexpr size_t kEmulatedShared = 227 * 1024;  // what a block may have on sm_90
constexpr size_t kEmulatedGuard = 1024;
inline __align__(128) unsigned char shared_memory[kEmulatedShared + kEmulatedGuard];

namespace emulation {

constexpr int kWarpSize = 32;
constexpr size_t kStack = 256 * 1024;
constexpr unsigned char kPoison = 0xFF, kGuard = 0xA5;  // 0xFFFFFFFF is a NaN

inline uint64_t schedule = 0;  // seed of the order in which fibers run

enum class Wait { none, block, warp, shuffle };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStack]};
  Wait wait = Wait::none;
  bool done = false;
  uint64_t given = 0, taken = 0;
  int source = 0;
};

struct Block {
  std::vector<Fiber> fibers;
  ucontext_t scheduler;
  int current = 0;
  std::function<void()> body;
  std::exception_ptr error;
};

inline Block* block = nullptr;

inline void wait_for(Wait what) {
  Fiber& self = block->fibers[block->current];
  self.wait = what;
  swapcontext(&self.context, &block->scheduler);
}

inline void run_body() {
  try {
    block->body();
  } catch (...) {
    block->error = std::current_exception();
  }
  Fiber& self = block->fibers[block->current];
  self.done = true;
  swapcontext(&self.context, &block->scheduler);
}

inline void resume(int thread) {
  block->current = thread;
  threadIdx = dim3(thread);
  swapcontext(&block->scheduler, &block->fibers[thread].context);
}

// Lets a warp go on if all its lanes wait for the same thing. Full masks only: so does every kernel here.
inline void release_warp(int first) {
  std::vector<Fiber>& fibers = block->fibers;
  const Wait what = fibers[first].wait;
  if (what != Wait::warp && what != Wait::shuffle) return;
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const Fiber& fiber = fibers[first + lane];
    if (fiber.done) throw std::runtime_error("emulation: a lane left its warp before __syncwarp or a shuffle");
    if (fiber.wait != what) return;
  }
  for (int lane = 0; lane < kWarpSize; ++lane) {
    Fiber& fiber = fibers[first + lane];
    fiber.taken = fibers[first + (fiber.source % kWarpSize)].given;
  }
  for (int lane = 0; lane < kWarpSize; ++lane) fibers[first + lane].wait = Wait::none;
}

inline void release_block() {
  int waiting = 0, done = 0;
  for (const Fiber& fiber : block->fibers) {
    waiting += !fiber.done && fiber.wait == Wait::block;
    done += fiber.done;
  }
  if (waiting == 0 || waiting + done < static_cast<int>(block->fibers.size())) return;
  if (done > 0) throw std::runtime_error("emulation: a thread left its block before __syncthreads");
  for (Fiber& fiber : block->fibers) fiber.wait = Wait::none;
}

inline void run_block(int threads, const std::function<void()>& body, std::mt19937_64& random) {
  Block state;
  state.fibers = std::vector<Fiber>(threads);
  state.body = body;
  block = &state;
  for (Fiber& fiber : state.fibers) {
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, run_body, 0);
  }
  std::vector<int> order(threads);
  for (int i = 0; i < threads; ++i) order[i] = i;
  std::vector<unsigned> pace(threads / kWarpSize);  // a warp moves in one pass of `pace`: some run far ahead
  for (unsigned& every : pace) every = 1u << (2 * (random() % 3));
  for (;;) {
    std::shuffle(order.begin(), order.end(), random);
    std::vector<bool> moves(pace.size());
    for (size_t warp = 0; warp < pace.size(); ++warp) moves[warp] = random() % pace[warp] == 0;
    for (int thread : order) {
      const Fiber& fiber = state.fibers[thread];
      if (moves[thread / kWarpSize] && !fiber.done && fiber.wait == Wait::none) resume(thread);
      if (state.error) std::rethrow_exception(state.error);
    }
    for (int first = 0; first < threads; first += kWarpSize) release_warp(first);
    release_block();
    bool all_done = true, can_move = false;
    for (const Fiber& fiber : state.fibers) {
      all_done &= fiber.done;
      can_move |= !fiber.done && fiber.wait == Wait::none;
    }
    if (all_done) break;
    if (!can_move) throw std::runtime_error("emulation: threads of one block wait for different barriers");
  }
  block = nullptr;
}

}  // namespace emulation

inline void __syncthreads() { emulation::wait_for(emulation::Wait::block); }
inline void __syncwarp(unsigned = 0xFFFFFFFFu) { emulation::wait_for(emulation::Wait::warp); }

template <typename T>
T __shfl_sync(unsigned, T value, int source) {
  static_assert(std::is_trivially_copyable<T>::value && sizeof(T) <= 8);
  emulation::Fiber& self = emulation::block->fibers[emulation::block->current];
  self.given = 0;
  std::memcpy(&self.given, &value, sizeof(T));
  self.source = source;
  emulation::wait_for(emulation::Wait::shuffle);
  T result;
  std::memcpy(&result, &emulation::block->fibers[emulation::block->current].taken, sizeof(T));
  return result;
}

inline uint4 __ldg(const uint4* at) {
  if (reinterpret_cast<uintptr_t>(at) % sizeof(uint4) != 0) throw std::runtime_error("emulation: misaligned wide load");
  ++emulated_wide_loads;
  return *at;
}

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
using cudaStream_t = void*;

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
};

inline const char* cudaGetErrorString(cudaError_t) { return "invalid value"; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t) {
  return std::memset(at, value, bytes), cudaSuccess;
}

inline size_t emulated_dynamic_limit = 48 * 1024;

inline cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int bytes) {
  if (static_cast<size_t>(bytes) > kEmulatedShared) return cudaErrorInvalidValue;
  emulated_dynamic_limit = bytes;
  return cudaSuccess;
}

template <typename... Params, typename... Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Params...), Args&&... args) {
  const unsigned threads = config->blockDim.x;
  const size_t shared = config->dynamicSmemBytes;
  if (threads == 0 || threads > 1024 || threads % emulation::kWarpSize != 0 || config->gridDim.x == 0 ||
      shared > emulated_dynamic_limit) {
    return cudaErrorInvalidValue;
  }
  emulated_dynamic_limit = 48 * 1024;
  gridDim = config->gridDim;
  blockDim = config->blockDim;
  std::mt19937_64 random(emulation::schedule);
  std::vector<unsigned> order(gridDim.x - std::min(gridDim.x, emulated_first_block));
  std::iota(order.begin(), order.end(), emulated_first_block);
  std::shuffle(order.begin(), order.end(), random);
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
