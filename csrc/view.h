// A borrowed array, and the macro that reports a bad argument. Nothing here owns memory or knows Python or torch.
#pragma once
#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>

namespace gradkern {

enum class Dtype { f32, f64, bf16, f16 };
enum class Device { cpu, cuda };

inline int64_t element_size(Dtype dtype) { return dtype == Dtype::f64 ? 8 : dtype == Dtype::f32 ? 4 : 2; }

constexpr int kMaxDims = 4;

struct View {
  void* data = nullptr;
  Dtype dtype = Dtype::f32;
  Device device = Device::cpu;
  int device_index = 0;
  int ndim = 0;
  int64_t shape[kMaxDims] = {};
  int64_t strides[kMaxDims] = {};  // in elements

  int64_t size() const {
    int64_t count = 1;
    for (int i = 0; i < ndim; ++i) count *= shape[i];
    return count;
  }
};

// One int32 for each row: the only arrays that hold no floats.
struct Labels {
  const int32_t* data = nullptr;
  Device device = Device::cpu;
  int device_index = 0;
  int ndim = 0;
  int64_t count = 0, stride = 1;  // length and stride of the first dimension
};

inline bool is_contiguous(const View& view) {
  if (view.size() == 0) return true;
  int64_t expected = 1;
  for (int i = view.ndim - 1; i >= 0; --i) {
    if (view.shape[i] != 1 && view.strides[i] != expected) return false;
    expected *= view.shape[i];
  }
  return true;
}

inline std::string describe(const int64_t* values, int count) {
  std::ostringstream text;
  text << '[';
  for (int i = 0; i < count; ++i) text << (i ? ", " : "") << values[i];
  text << ']';
  return text.str();
}

}  // namespace gradkern

// Throws std::invalid_argument, which Python sees as ValueError, unless the condition holds.
#define GK_CHECK(condition, message)              \
  do {                                            \
    if (!(condition)) {                           \
      std::ostringstream gk_text;                 \
      gk_text << message;                         \
      throw std::invalid_argument(gk_text.str()); \
    }                                             \
  } while (false)
