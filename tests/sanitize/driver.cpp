// Runs calls of the CPU's ops without Python and torch, so that the sanitizers of a compiler can watch every access.
//
//   driver CALLS RESULTS    CALLS is written and RESULTS read by tests/sanitize/__init__.py
//
// A call is: op, number of parameters, parameters, number of arrays, arrays; all numbers are int64. An array is: dtype
// (4 for int32), dimensions, shape, strides, elements that it lies off an aligned address, elements in memory, memory.
// Each array lies in an allocation of its own, without a byte more, so that reading or writing beside it is found.
// The results of a call are the contents of its last arrays, which the op has written.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

#include "../../csrc/ops.h"

using namespace gradkern;

namespace {

constexpr int64_t kInt32 = 4;

void read(std::FILE* file, void* to, size_t bytes) {
  if (bytes != 0 && std::fread(to, 1, bytes, file) != bytes) throw std::runtime_error("a call is cut off");
}

int64_t number(std::FILE* file) {
  int64_t value;
  read(file, &value, sizeof value);
  return value;
}

struct Array {
  std::unique_ptr<char, decltype(&std::free)> memory{nullptr, &std::free};
  View view;
  Labels labels;
  int64_t bytes = 0;
};

Array array(std::FILE* file) {
  Array result;
  const int64_t dtype = number(file);
  View& view = result.view;
  view.dtype = dtype == kInt32 ? Dtype::f32 : static_cast<Dtype>(dtype);
  view.ndim = static_cast<int>(number(file));
  for (int i = 0; i < view.ndim; ++i) view.shape[i] = number(file);
  for (int i = 0; i < view.ndim; ++i) view.strides[i] = number(file);
  const int64_t shift = number(file) * element_size(view.dtype), bytes = number(file) * element_size(view.dtype);
  result.memory.reset(static_cast<char*>(std::malloc(std::max<int64_t>(1, shift + bytes))));
  view.data = result.memory.get() + shift;
  read(file, view.data, bytes);
  result.bytes = bytes;
  result.labels.data = static_cast<const int32_t*>(view.data);
  result.labels.ndim = view.ndim;
  result.labels.count = view.shape[0];
  result.labels.stride = view.ndim > 0 ? view.strides[0] : 1;
  return result;
}

// Runs an op, and returns how many arrays it has written.
int run(int64_t op, const std::vector<int64_t>& p, const std::vector<Array>& arrays) {
  const auto at = [&](size_t i) -> const View& { return arrays.at(i).view; };
  Execution execution;
  execution.threads = static_cast<int>(p.at(0));
  const auto spec = [&] { return SketchSpec{p.at(1), p.at(2), p.at(3), p.at(4)}; };
  switch (op) {
    case 0:
      sketch(at(0), at(1), at(2), spec(), execution);
      return 1;
    case 1:
      sketch_outer(at(0), at(1), at(2), at(3), spec(), p.at(5) != 0, execution);
      return 1;
    case 2: {
      const Window window{{p.at(6), p.at(7)}, {p.at(8), p.at(9)}, {p.at(10), p.at(11)}, {p.at(12), p.at(13)}, p.at(14)};
      sketch_conv(at(0), at(1), at(2), at(3), spec(), window, p.at(5) != 0, execution);
      return 1;
    }
    case 3:
      column_moments(at(0), arrays.at(1).labels, at(2), at(3), at(4), at(5), execution);
      return 4;
    case 4:
      fold_scores(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7), at(8), execution);
      return 2;
    case 5:
      select_scale(at(0), at(1), at(2), at(3), execution);
      return 1;
    default:
      throw std::runtime_error("there is no such op");
  }
}

}  // namespace

int main(int count, char** arguments) try {
  if (count != 3) throw std::runtime_error("arguments must be CALLS and RESULTS");
  std::FILE* calls = std::fopen(arguments[1], "rb");
  std::FILE* results = std::fopen(arguments[2], "wb");
  if (calls == nullptr || results == nullptr) throw std::runtime_error("a file cannot be opened");
  for (int64_t left = number(calls); left > 0; --left) {
    const int64_t op = number(calls);
    std::vector<int64_t> parameters(number(calls));
    for (int64_t& parameter : parameters) parameter = number(calls);
    std::vector<Array> arrays(number(calls));
    for (Array& empty : arrays) empty = array(calls);
    const int written = run(op, parameters, arrays);
    for (size_t i = arrays.size() - written; i < arrays.size(); ++i) {
      std::fwrite(arrays[i].view.data, 1, arrays[i].bytes, results);
    }
  }
  std::fclose(calls);
  return std::fclose(results) == 0 ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "driver: %s\n", error.what());
  return 2;
}
