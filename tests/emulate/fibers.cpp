#include "fibers.h"

#include <algorithm>
#include <stdexcept>

#include "races.h"

namespace emulation {

Block* block = nullptr;

void wait_for(Wait what) {
  Fiber& self = block->fibers[block->current];
  self.wait = what;
  swapcontext(&self.context, &block->scheduler);
}

void run_body() {
  try {
    block->body();
  } catch (...) {
    block->error = std::current_exception();
  }
  Fiber& self = block->fibers[block->current];
  self.done = true;
  swapcontext(&self.context, &block->scheduler);
}

void resume(int thread) {
  block->current = thread;
  threadIdx = dim3(thread);
  races::thread = thread;
  swapcontext(&block->scheduler, &block->fibers[thread].context);
  races::thread = -1;
}

// Lets a warp go on if all its lanes wait for the same thing. Full masks only: so does every kernel here.
void release_warp(int first) {
  std::vector<Fiber>& fibers = block->fibers;
  const Wait what = fibers[first].wait;
  if (what == Wait::none || what == Wait::block) return;
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const Fiber& fiber = fibers[first + lane];
    if (fiber.done) throw std::runtime_error("emulation: a lane left its warp before __syncwarp or an exchange");
    if (fiber.wait != what) return;
  }
  if (what == Wait::warp) races::pass_warp_barrier(first / kWarpSize);
  for (int lane = 0; lane < kWarpSize; ++lane) fibers[first + lane].wait = Wait::none;
}

void release_block() {
  int waiting = 0, done = 0;
  for (const Fiber& fiber : block->fibers) {
    waiting += !fiber.done && fiber.wait == Wait::block;
    done += fiber.done;
  }
  if (waiting == 0 || waiting + done < static_cast<int>(block->fibers.size())) return;
  if (done > 0) throw std::runtime_error("emulation: a thread left its block before __syncthreads");
  races::pass_block_barrier();
  for (Fiber& fiber : block->fibers) fiber.wait = Wait::none;
}

void run_block(int threads, const std::function<void()>& body, std::mt19937_64& random) {
  Block state;
  state.fibers = std::vector<Fiber>(threads);
  state.body = body;
  block = &state;
  races::begin_block();
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
  if (races::found()) throw std::runtime_error("emulation: a race in shared memory");
}

void shuffle(std::vector<unsigned>& order, std::mt19937_64& random) {
  std::shuffle(order.begin(), order.end(), random);
}

}  // namespace emulation
