// Runs the ops of csrc/ops.def for another process, which may be of another processor: __init__.py starts this program,
// compiled for it, under an emulator, and sends every call through a pipe.
//
// A request is a frame of bytes: the op's name, the instruction set, and its arguments in order. An answer is a frame:
// an int64, 0 or the kind of error, then an int64 and all arrays of the call, or the error's text.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "../../csrc/cpu/dispatch.h"
#include "../../csrc/ops.h"

using namespace gradkern;

namespace {

enum Status : int64_t { done = 0, invalid_argument = 1, failed = 2 };

// The bytes of an array, from the first element to the last; the op may write to them.
struct Memory {
  explicit Memory(int64_t size) : size(size), data(std::aligned_alloc(64, (size + 127) / 64 * 64)) {}
  ~Memory() { std::free(data); }
  Memory(const Memory&) = delete;
  int64_t size;
  void* data;
};

class Request {
 public:
  explicit Request(std::string bytes) : bytes_(std::move(bytes)) {}

  int64_t integer() {
    int64_t value;
    std::memcpy(&value, take(sizeof value), sizeof value);
    return value;
  }

  std::string text() {
    const int64_t size = integer();
    return std::string(take(size), size);
  }

  View view() {
    View result;
    result.dtype = static_cast<Dtype>(integer());
    result.data = layout(&result.ndim, result.shape, result.strides);
    return result;
  }

  Labels labels() {
    Labels result;
    int64_t shape[kMaxDims] = {}, strides[kMaxDims] = {};
    if (integer() != kInt32) throw std::invalid_argument("labels must be int32");
    result.data = static_cast<const int32_t*>(layout(&result.ndim, shape, strides));
    result.count = shape[0];
    result.stride = strides[0];
    return result;
  }

  // All arrays, as they are now.
  std::string arrays() const {
    std::string result;
    for (const Memory& array : arrays_) result.append(static_cast<const char*>(array.data), array.size);
    return result;
  }

  void finish() const {
    if (at_ != bytes_.size()) throw std::runtime_error("the request has more arguments than the op");
  }

 private:
  static constexpr int64_t kInt32 = 4;  // behind the numbers of Dtype

  const char* take(int64_t size) {
    if (size < 0 || at_ + size > bytes_.size()) throw std::runtime_error("the request has fewer bytes than it says");
    at_ += size;
    return bytes_.data() + at_ - size;
  }

  void* layout(int* ndim, int64_t* shape, int64_t* strides) {
    *ndim = static_cast<int>(integer());
    if (*ndim > kMaxDims) throw std::invalid_argument("an array must have at most 4 dimensions");
    for (int i = 0; i < *ndim; ++i) shape[i] = integer();
    for (int i = 0; i < *ndim; ++i) strides[i] = integer();
    const int64_t off = integer(), size = integer();  // bytes from an aligned address, and of the array
    Memory& memory = arrays_.emplace_back(off + size);
    std::memcpy(memory.data, take(off + size), off + size);
    return static_cast<char*>(memory.data) + off;
  }

  std::string bytes_;
  size_t at_ = 0;
  std::deque<Memory> arrays_;
};

template <typename T>
T argument(Request& request) {
  if constexpr (std::is_same_v<T, View>) {
    return request.view();
  } else if constexpr (std::is_same_v<T, Labels>) {
    return request.labels();
  } else if constexpr (std::is_same_v<T, SketchSpec>) {
    int64_t v[4];
    for (int64_t& value : v) value = request.integer();
    return {v[0], v[1], v[2], v[3]};
  } else if constexpr (std::is_same_v<T, Window>) {
    int64_t v[9];
    for (int64_t& value : v) value = request.integer();
    return {{v[0], v[1]}, {v[2], v[3]}, {v[4], v[5]}, {v[6], v[7]}, v[8]};
  } else if constexpr (std::is_same_v<T, ConvShape>) {
    int64_t sizes[8];
    for (int64_t& value : sizes) value = request.integer();
    const ConvShape shape = conv_shape(sizes, sizes + 4, argument<Window>(request));
    check_conv(shape);
    return shape;
  } else if constexpr (std::is_same_v<T, Execution>) {
    Execution execution;
    execution.threads = static_cast<int>(request.integer());
    execution.allow_tf32 = request.integer() != 0;
    return execution;
  } else {
    return static_cast<T>(request.integer());
  }
}

using Function = std::function<int64_t(Request&)>;

template <typename Result, typename... Parameters>
Function function(Result (*op)(Parameters...)) {
  return [op](Request& request) -> int64_t {
    const std::tuple<std::decay_t<Parameters>...> arguments{argument<std::decay_t<Parameters>>(request)...};
    request.finish();
    if constexpr (std::is_void_v<Result>) {
      std::apply(op, arguments);
      return 0;
    } else {
      return std::apply(op, arguments);
    }
  };
}

const std::map<std::string, Function> kFunctions = {
#define GK_OP(name, parameters) {#name, function(&gradkern::name)},
#define GK_WORKSPACE(name, parameters) {#name, function(&cuda::name)},
#include "../../csrc/ops.def"
    {"check_sketch", function(&check_sketch)},
};

// The name of an instruction set, or all of them where `name` is "isas".
std::string names_of_isas(const std::string& name) {
  if (name == "current_isa") return cpu::current_isa().name;
  std::string names;
  for (const Isa* const* isa = cpu::available_isas(); *isa != nullptr; ++isa) names += std::string((*isa)->name) + " ";
  return names;
}

std::string bytes_of(int64_t value) { return std::string(reinterpret_cast<const char*>(&value), sizeof value); }

std::string answer(std::string bytes) {
  Request request(std::move(bytes));
  try {
    const std::string name = request.text(), isa = request.text();
    setenv("GRADKERN_ISA", isa.c_str(), 1);
    if (name == "isas" || name == "current_isa") return bytes_of(done) + names_of_isas(name);
    const int64_t result = kFunctions.at(name)(request);
    return bytes_of(done) + bytes_of(result) + request.arrays();
  } catch (const std::invalid_argument& error) {
    return bytes_of(invalid_argument) + error.what();
  } catch (const std::exception& error) {
    return bytes_of(failed) + error.what();
  }
}

}  // namespace

int main() {
  int64_t size;
  while (std::fread(&size, sizeof size, 1, stdin) == 1) {
    std::string bytes(size, '\0');
    if (std::fread(bytes.data(), 1, size, stdin) != static_cast<size_t>(size)) return 1;
    const std::string result = answer(std::move(bytes)), length = bytes_of(static_cast<int64_t>(result.size()));
    std::fwrite(length.data(), 1, length.size(), stdout);
    std::fwrite(result.data(), 1, result.size(), stdout);
    std::fflush(stdout);
  }
  return 0;
}
