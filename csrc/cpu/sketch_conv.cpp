// sketch_conv on the CPU: the product of sketch_outer, but outputs lie along vectors, and the columns (the input under
// one tap of the window) are read from zero-padded copies of a few channels, where each is one offset. Im2col exists
// nowhere.
#include "sketch_conv.h"

#include <algorithm>
#include <vector>

#include "correlate.h"
#include "product.h"
#include "scratch.h"

namespace gradkern::cpu {
namespace {

// A group of no more outputs leaves most of a vector empty. Tap by tap is then faster: by 13 for one output (96 x 56 x
// 56), by 1.7 for four; for eight it is slower by as much.
constexpr int64_t kFewOutputs = 4;

bool is_pointwise(const ConvShape& s) {
  const Window& w = s.window;
  return w.kernel[0] * w.kernel[1] == 1 && w.stride[0] * w.stride[1] == 1 && w.padding[0] + w.padding[1] == 0;
}

// The unit's rows of g, in panels of 64.
void pack_gradient(const Isa& isa, const View& g, const ConvShape& s, const Unit& unit, float* packed) {
  const Element element = static_cast<Element>(g.dtype);
  const Grid grid = unit.grid(s.out_w);
  for (int64_t first = unit.rows.begin; first < unit.rows.end; first += kSegment) {
    const int64_t row = unit.sample * s.o + unit.group * s.group_outputs() + first;
    const int64_t at = row * s.positions() + unit.positions.y * s.out_w + unit.positions.x;
    const char* data = static_cast<const char*>(g.data) + at * element_size(g.dtype);
    const int64_t count = std::min<int64_t>(unit.rows.end - first, kSegment);
    isa.pack_lines({data, element, g.size() - at, s.positions(), count, grid}, packed);
    packed += kSegment * isa.steps(element, grid);
  }
}

// Up to 64 columns where they can be multiplied: the first position of each.
struct Columns {
  Element element;
  int64_t row_stride;
  std::vector<const void*> begin;

  void add(const void* data, int64_t element_bytes, int64_t offset) {
    begin.push_back(static_cast<const char*>(data) + offset * element_bytes);
  }
};

// Channels as they lie.
Columns channels_of(const View& x, const ConvShape& s, const Unit& unit, Range range) {
  const int64_t channel = unit.sample * s.c + unit.group * s.group_inputs();
  const int64_t at = channel * s.positions() + unit.positions.y * s.out_w + unit.positions.x;
  Columns columns{static_cast<Element>(x.dtype), s.out_w, {}};
  for (int64_t c = range.begin; c < range.end; ++c) columns.add(x.data, element_size(x.dtype), at + c * s.positions());
  return columns;
}

// The input under the window's taps, in padded copies of their channels.
Columns patches_of(const Isa& isa, const View& x, const ConvShape& s, const Unit& unit, Range range) {
  thread_local Scratch raw_memory, wide_memory;
  const Plane plane = make_plane(s, unit.positions, range);
  const int64_t taps = plane.offsets.size(), bytes = element_size(x.dtype);
  const int64_t first = range.begin / taps, end = (range.end + taps - 1) / taps, size = (end - first) * plane.size();
  char* raw = reinterpret_cast<char*>(raw_memory.floats(size));
  const int64_t channel = unit.sample * s.c + unit.group * s.group_inputs();
  for (int64_t c = first; c < end; ++c) {
    const char* input = static_cast<const char*>(x.data) + (channel + c) * s.h * s.w * bytes;
    fill_plane(s, plane, unit.positions, input, bytes, raw + (c - first) * plane.size() * bytes);
  }
  const Element element = static_cast<Element>(x.dtype);
  const bool reads = isa.reads(element);
  float* wide = wide_memory.floats(reads ? 0 : size);
  if (!reads) isa.widen(raw, element, size, wide);
  Columns columns{reads ? element : Element::f32, plane.pitch, {}};
  for (int64_t column = range.begin; column < range.end; ++column) {
    const int64_t offset = (column / taps - first) * plane.size() + plane.offsets[column % taps];
    reads ? columns.add(raw, bytes, offset) : columns.add(wide, sizeof(float), offset);
  }
  return columns;
}

// A column of ones, the input of a bias.
void add_ones(const Unit& unit, Columns& columns) {
  thread_local Scratch memory;
  const int64_t count = (unit.positions.rows - 1) * columns.row_stride + unit.positions.width;
  float* ones = memory.floats(count);
  if (columns.element == Element::f32) {
    std::fill_n(ones, count, 1.0f);
  } else {
    constexpr uint16_t kOne = 0x3F80;  // of bfloat16
    std::fill_n(reinterpret_cast<uint16_t*>(ones), count, kOne);
  }
  columns.begin.push_back(ones);
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
  product.height = shape.out_h;
  product.width = shape.out_w;
  product.rows = shape.group_outputs();
  product.cols = shape.cols() + bias;
  product.add_unit = [&](const Isa& isa, const Unit& unit, float* buckets) {
    thread_local Scratch memory;
    const int64_t blocks = (unit.rows.count() + kSegment - 1) / kSegment;
    float* packed = memory.floats(blocks * kSegment * isa.steps(product.element, unit.grid(0)));
    pack_gradient(isa, g, shape, unit, packed);
    for (int64_t p = unit.panels.begin; p < unit.panels.end; ++p) {
      const PanelPlace place = place_of(product, unit, p, spec);
      const Range range{p * kSegment, std::min(shape.cols(), p * kSegment + kSegment)};
      const bool as_it_lies = is_pointwise(shape) && isa.reads(product.element);
      Columns columns = as_it_lies ? channels_of(x, shape, unit, range) : patches_of(isa, x, shape, unit, range);
      if (range.count() < place.width) add_ones(unit, columns);
      isa.add_patches({columns.begin.data(), packed, columns.element, unit.grid(columns.row_stride), place}, spec,
                      buckets);
    }
  };
  sketch_product(product, spec, result, threads);
}

}  // namespace gradkern::cpu
