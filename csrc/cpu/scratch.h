// Memory of one thread, kept from call to call: 64-byte aligned and as large as the largest request so far.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

namespace gradkern::cpu {

class Scratch {
 public:
  float* floats(int64_t count) {
    constexpr size_t kAlign = 64;
    const size_t needed = count + kAlign / sizeof(float);
    if (memory_.size() < needed) memory_.resize(needed);
    void* start = memory_.data();
    size_t space = memory_.size() * sizeof(float);
    return static_cast<float*>(std::align(kAlign, count * sizeof(float), start, space));
  }

 private:
  std::vector<float> memory_;
};

}  // namespace gradkern::cpu
