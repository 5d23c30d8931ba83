#pragma once
#include <cstdint>
#include <functional>

namespace gradkern::cpu {

// Calls work(i) once for every i in [0, count), on up to `threads` threads and in no particular order. work must not
// throw.
void parallel_for(int64_t count, int threads, const std::function<void(int64_t)>& work);

}  // namespace gradkern::cpu
