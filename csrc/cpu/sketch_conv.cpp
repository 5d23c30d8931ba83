// sketch_conv on the CPU: the product of sketch_outer, but outputs lie along vectors, and the columns (the input under
// one tap of the window) are read from zero-padded copies of a few channels, where each column is one offset. There is
// no im2col.
#include <algorithm>
#include <vector>

#include "../ops.h"
#include "correlate.h"
#include "product.h"
#include "scratch.h"

namespace gradkern::cpu {
namespace {

// A group of no more outputs leaves most of a vector empty. Tap by tap is then faster: 13 times for one output (96 x 56
// x 56), 1.7 times for four outputs; for eight outputs it is 1.7 times slower.
constexpr int64_t kFewOutputs = 4;

bool is_pointwise(const ConvShape& s) {
  const Window& w = s.window;
  return w.kernel[0] * w.kernel[1] == 1 && w.stride[0] * w.stride[1] == 1 && w.padding[0] + w.padding[1] == 0;
}

// Packs the rows of g of a unit in panels of 64.
void pack_gradient(const Isa& isa, const View& g, const ConvShape& s, const Unit& unit, float* packed) {
  const Element element = static_cast<Element>(g.dtype);
  const Grid grid = unit.grid(s.out_w);
  for (int64_t first = unit.rows.begin; first < unit.rows.end; first += kSegment) {
    const int64_t row = unit.sample * s.o + unit.group * s.group_outputs() + first;
    const int64_t at = row * s.positions() + unit.positions.y * s.out_w + unit.positions.x;
    const char* data = static_cast<const char*>(g.data) + at * element_size(g.dtype);
    const int64_t count = std::min<int64_t>(unit.rows.end - first, kSegment);
    pack_lines[isa]({data, element, g.size() - at, s.positions(), count, grid}, packed);
    packed += kSegment * step_count[isa](element, grid);
  }
}

// Up to 64 columns that can be multiplied where they lie, by the first position of each.
struct Columns {
  Element element;
  int64_t row_stride;
  std::vector<const void*> begin;

  void add(const void* data, int64_t element_bytes, int64_t offset) {
    begin.push_back(static_cast<const char*>(data) + offset * element_bytes);
  }
};

// Columns that are channels, where they lie.
Columns channels_of(const View& x, const ConvShape& s, const Unit& unit, Range range) {
  const int64_t channel = unit.sample * s.c + unit.group * s.group_inputs();
  const int64_t at = channel * s.positions() + unit.positions.y * s.out_w + unit.positions.x;
  Columns columns{static_cast<Element>(x.dtype), s.out_w, {}};
  for (int64_t c = range.begin; c < range.end; ++c) columns.add(x.data, element_size(x.dtype), at + c * s.positions());
  return columns;
}

// Columns that are the input under a tap of the window, in padded copies of their channels.
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
  const bool as_stored = reads_as_stored[isa](element);
  float* wide = wide_memory.floats(as_stored ? 0 : size);
  if (!as_stored) widen[isa](raw, element, size, wide);
  Columns columns{as_stored ? element : Element::f32, plane.pitch, {}};
  for (int64_t column = range.begin; column < range.end; ++column) {
    const int64_t offset = (column / taps - first) * plane.size() + plane.offsets[column % taps];
    as_stored ? columns.add(raw, bytes, offset) : columns.add(wide, sizeof(float), offset);
  }
  return columns;
}

// Adds a column of ones, the input of a bias.
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

void sketch_conv(const View& x, const View& g, const View&, const View& out, const SketchSpec& spec,
                 const Window& window, bool bias, const Execution& execution) {
  const ConvShape shape = conv_shape(x.shape, g.shape, window);
  float* result = static_cast<float*>(out.data);
  if (shape.group_outputs() <= kFewOutputs) return correlate_sketch(x, g, result, shape, spec, bias, execution.threads);
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
    float* packed = memory.floats(blocks * kSegment * step_count[isa](product.element, unit.grid(0)));
    pack_gradient(isa, g, shape, unit, packed);
    for (int64_t p = unit.panels.begin; p < unit.panels.end; ++p) {
      const PanelPlace place = place_of(product, unit, p, spec);
      const Range range{p * kSegment, std::min(shape.cols(), p * kSegment + kSegment)};
      const bool in_place = is_pointwise(shape) && reads_as_stored[isa](product.element);
      Columns columns = in_place ? channels_of(x, shape, unit, range) : patches_of(isa, x, shape, unit, range);
      if (range.count() < place.width) add_ones(unit, columns);
      add_patches[isa]({columns.begin.data(), packed, columns.element, unit.grid(columns.row_stride), place}, spec,
                       buckets);
    }
  };
  sketch_product(product, spec, result, execution.threads);
}

}  // namespace gradkern::cpu
