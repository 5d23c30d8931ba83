// Threads. Torch's OpenMP workers spin for about a millisecond after each loop of torch, so a second pool of threads
// would fight them for the cores: sketching right after x.sum() took twice as long on two cores. Where the process has
// loaded an OpenMP runtime for everybody, as torch does, its workers do this work too; elsewhere plain threads do.
#include "parallel.h"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace gradkern::cpu {
namespace {

struct Loop {
  int64_t count;
  const std::function<void(int64_t)>& work;
  std::atomic<int64_t> next{0};
};

void take_turns(void* loop) {
  Loop& l = *static_cast<Loop*>(loop);
  for (int64_t i = l.next.fetch_add(1); i < l.count; i = l.next.fetch_add(1)) l.work(i);
}

// libgomp's entry point for a parallel region (LLVM's and Intel's runtimes export it as well).
using OpenMpParallel = void (*)(void (*)(void*), void*, unsigned threads, unsigned flags);

OpenMpParallel openmp() {
  static const auto parallel = reinterpret_cast<OpenMpParallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  return parallel;
}

}  // namespace

void parallel_for(int64_t count, int threads, const std::function<void(int64_t)>& work) {
  Loop loop{count, work};
  const int team = static_cast<int>(std::min<int64_t>(threads, count));
  if (team <= 1) return take_turns(&loop);
  if (openmp() != nullptr) return openmp()(take_turns, &loop, static_cast<unsigned>(team), 0);
  std::vector<std::thread> helpers;
  for (int i = 1; i < team; ++i) helpers.emplace_back(take_turns, &loop);
  take_turns(&loop);
  for (std::thread& helper : helpers) helper.join();
}

}  // namespace gradkern::cpu
