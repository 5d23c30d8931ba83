// The threads of a block as fibers: each runs until it waits or ends, in an order drawn from a seed. This part of the
// emulation is compiled apart from the kernels, without the hooks that watch their loads and stores.
#pragma once
#include <ucontext.h>

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <random>
#include <vector>

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

constexpr int kWarpSize = 32;
constexpr size_t kStack = 256 * 1024;
constexpr unsigned char kPoison = 0xFF, kGuard = 0xA5;  // 0xFFFFFFFF is a NaN

inline uint64_t schedule = 0;  // seed of the order in which fibers run

enum class Wait { none, block, warp, shuffle, ballot, matrices, product };

constexpr size_t kMostGiven = 32;  // bytes that a lane gives to its warp

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStack]};
  Wait wait = Wait::none;
  bool done = false;
  alignas(16) unsigned char given[2][kMostGiven];  // of this exchange and the one before, which others may still read
  int exchanges = 0;
};

struct Block {
  std::vector<Fiber> fibers;
  ucontext_t scheduler;
  int current = 0;
  std::function<void()> body;
  std::exception_ptr error;
};

extern Block* block;

void wait_for(Wait what);
void run_block(int threads, const std::function<void()>& body, std::mt19937_64& random);
void shuffle(std::vector<unsigned>& order, std::mt19937_64& random);

}  // namespace emulation
