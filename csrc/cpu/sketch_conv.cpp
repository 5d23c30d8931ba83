// sketch_conv on the CPU: the product of sketch_outer, whose a is 64 columns of im2col at a time.
#include "sketch_conv.h"

#include <algorithm>
#include <cstring>

#include "correlate.h"
#include "product.h"
#include "scratch.h"

namespace gradkern::cpu {
namespace {

// A group with fewer outputs leaves most of a product's tile empty; benchmarks/results has both ways.
constexpr int64_t kFewOutputs = 2;

// One column of im2col: input channel, kernel row and column; and the outputs of a row that stay inside the input.
struct Tap {
  int64_t channel, row, col;  // offsets into the input, before stride and padding
  int64_t begin, end;
};

Tap make_tap(const ConvShape& s, int64_t column) {
  const Window& window = s.window;
  Tap tap;
  tap.col = column % window.kernel[1] * window.dilation[1] - window.padding[1];
  tap.row = column / window.kernel[1] % window.kernel[0] * window.dilation[0] - window.padding[0];
  tap.channel = column / (window.kernel[0] * window.kernel[1]);
  const int64_t stride = window.stride[1];
  tap.begin = std::min(s.out_w, std::max<int64_t>(0, (-tap.col + stride - 1) / stride));
  tap.end = std::max(tap.begin, std::min(s.out_w, (s.w - tap.col + stride - 1) / stride));
  return tap;
}

// Outputs [begin, end) of one output row, as bits of any element type; zeros where the padding is.
template <typename Bits>
void fill_row(const ConvShape& s, const Tap& tap, const Bits* channel, int64_t y, int64_t begin, int64_t end,
              Bits* line) {
  const int64_t input_y = y * s.window.stride[0] + tap.row;
  const bool inside = input_y >= 0 && input_y < s.h;
  const int64_t from = inside ? std::clamp(tap.begin, begin, end) : end;
  const int64_t to = inside ? std::clamp(tap.end, from, end) : end;
  std::fill(line, line + (from - begin), Bits{0});
  const Bits* input = channel + input_y * s.w + tap.col;
  if (s.window.stride[1] == 1) {
    std::copy(input + from, input + to, line + (from - begin));
  } else {
    for (int64_t x = from; x < to; ++x) line[x - begin] = input[x * s.window.stride[1]];
  }
  std::fill(line + (to - begin), line + (end - begin), Bits{0});
}

// lines[column][position] of a block.
template <typename Bits>
void unfold(const ConvShape& s, const Bits* x, const Block& block, Bits* lines) {
  const int64_t first_channel = block.sample * s.c + block.group * s.group_inputs();
  for (int64_t column = 0; column < block.count; ++column) {
    const Tap tap = make_tap(s, block.first + column);
    const Bits* channel = x + (first_channel + tap.channel) * s.h * s.w;
    Bits* line = lines + column * block.t;
    for (int64_t t = 0; t < block.t;) {
      const int64_t y = (block.t_first + t) / s.out_w, begin = (block.t_first + t) % s.out_w;
      const int64_t end = std::min(s.out_w, begin + block.t - t);
      fill_row(s, tap, channel, y, begin, end, line + t);
      t += end - begin;
    }
  }
}

bool is_pointwise(const ConvShape& s) {
  const Window& w = s.window;
  return w.kernel[0] * w.kernel[1] == 1 && w.stride[0] * w.stride[1] == 1 && w.padding[0] + w.padding[1] == 0;
}

auto pack_input(const View& x, const ConvShape& s) {
  return [x, s](const Isa& isa, const Block& block, float* packed) {
    const Element element = static_cast<Element>(x.dtype);
    if (is_pointwise(s)) {
      const int64_t channel = block.sample * s.c + block.group * s.group_inputs() + block.first;
      const int64_t at = channel * s.positions() + block.t_first;
      const char* data = static_cast<const char*>(x.data) + at * element_size(x.dtype);
      return isa.pack({data, element, s.positions(), false}, block.t, block.count, Side::columns, packed);
    }
    thread_local Scratch memory;
    float* lines = memory.floats(block.count * block.t);
    if (element_size(x.dtype) == 4) {
      unfold(s, static_cast<const uint32_t*>(x.data), block, reinterpret_cast<uint32_t*>(lines));
    } else {
      unfold(s, static_cast<const uint16_t*>(x.data), block, reinterpret_cast<uint16_t*>(lines));
    }
    isa.pack({lines, element, block.t, false}, block.t, block.count, Side::columns, packed);
  };
}

auto pack_gradient(const View& g, const ConvShape& s) {
  return [g, s](const Isa& isa, const Block& block, float* packed) {
    const int64_t row = block.sample * s.o + block.group * s.group_outputs() + block.first;
    const int64_t at = row * s.positions() + block.t_first;
    const char* data = static_cast<const char*>(g.data) + at * element_size(g.dtype);
    isa.pack({data, static_cast<Element>(g.dtype), s.positions(), false}, block.t, block.count, Side::rows, packed);
  };
}

}  // namespace

void sketch_conv(const View& x, const View& g, const View& out, const ConvShape& shape, const SketchSpec& spec,
                 bool bias, int threads) {
  float* result = static_cast<float*>(out.data);
  if (shape.group_outputs() <= kFewOutputs) return correlate_sketch(x, g, result, shape, spec, bias, threads);
  Product product;
  product.element = static_cast<Element>(x.dtype);
  product.n = shape.n;
  product.groups = shape.window.groups;
  product.t = shape.positions();
  product.rows = shape.group_outputs();
  product.cols = shape.cols();
  product.bias = bias;
  product.pack_g = pack_gradient(g, shape);
  product.pack_a = pack_input(x, shape);
  sketch_product(product, spec, result, threads);
}

}  // namespace gradkern::cpu
