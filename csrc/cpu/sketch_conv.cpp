// sketch_conv on the CPU: the product of sketch_outer, whose a is packed from padded channels. Im2col exists for 64 of
// its columns and a few hundred positions at a time.
#include "sketch_conv.h"

#include <vector>

#include "correlate.h"
#include "product.h"
#include "scratch.h"

namespace gradkern::cpu {
namespace {

// A group with fewer outputs leaves most of a product's tile empty.
constexpr int64_t kFewOutputs = 2;
constexpr int64_t kSlack = 64;  // elements that a vector may read behind the last plane

bool is_pointwise(const ConvShape& s) {
  const Window& w = s.window;
  return w.kernel[0] * w.kernel[1] == 1 && w.stride[0] * w.stride[1] == 1 && w.padding[0] + w.padding[1] == 0;
}

// Columns of a pointwise convolution are channels, as they lie.
void pack_channels(const Isa& isa, const View& x, const ConvShape& s, const Block& block, float* packed) {
  const int64_t channel = block.sample * s.c + block.group * s.group_inputs() + block.first;
  const int64_t at = channel * s.positions() + block.positions.y * s.out_w + block.positions.x;
  std::vector<int64_t> offsets(block.count);
  for (int64_t j = 0; j < block.count; ++j) offsets[j] = j * s.positions();
  const char* data = static_cast<const char*>(x.data) + at * element_size(x.dtype);
  isa.pack_columns(
      {data, static_cast<Element>(x.dtype), x.size() - at, offsets.data(), block.count, block.grid(s.out_w)}, packed);
}

void pack_patches(const Isa& isa, const View& x, const ConvShape& s, const Block& block, float* packed) {
  thread_local Scratch memory;
  const Plane plane = make_plane(s, block.positions.rows, block.positions.width);
  const int64_t taps = plane.offsets.size(), bytes = element_size(x.dtype);
  const int64_t first = block.first / taps, end = (block.first + block.count + taps - 1) / taps;
  char* planes = reinterpret_cast<char*>(memory.floats((end - first) * plane.size() + kSlack));
  const int64_t channel = block.sample * s.c + block.group * s.group_inputs();
  for (int64_t c = first; c < end; ++c) {
    const char* input = static_cast<const char*>(x.data) + (channel + c) * s.h * s.w * bytes;
    fill_plane(s, plane, block.positions, input, bytes, planes + (c - first) * plane.size() * bytes);
  }
  std::vector<int64_t> offsets(block.count);
  for (int64_t j = 0; j < block.count; ++j) {
    const int64_t column = block.first + j;
    offsets[j] = (column / taps - first) * plane.size() + plane.offsets[column % taps];
  }
  isa.pack_columns({planes, static_cast<Element>(x.dtype), (end - first) * plane.size() + kSlack, offsets.data(),
                    block.count, block.grid(plane.pitch)},
                   packed);
}

// float32 rows need no packing.
PackedRows pack_gradient(const Isa& isa, const View& g, const ConvShape& s, const Block& block, float* packed) {
  const int64_t row = block.sample * s.o + block.group * s.group_outputs() + block.first;
  const int64_t at = row * s.positions() + block.positions.y * s.out_w + block.positions.x;
  const char* data = static_cast<const char*>(g.data) + at * element_size(g.dtype);
  if (g.dtype == Dtype::f32) return {reinterpret_cast<const float*>(data), s.positions()};
  const Element element = static_cast<Element>(g.dtype);
  const Grid grid = block.grid(s.out_w);
  isa.pack_rows({data, element, s.positions(), block.count, grid}, packed);
  return {packed, isa.steps(element, grid)};
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
  product.cols = shape.cols();
  product.bias = bias;
  product.pack_g = [&](const Isa& isa, const Block& block, float* packed) {
    return pack_gradient(isa, g, shape, block, packed);
  };
  const auto pack_a = is_pointwise(shape) ? pack_channels : pack_patches;
  product.pack_a = [&, pack_a](const Isa& isa, const Block& block, float* packed) {
    pack_a(isa, x, shape, block, packed);
  };
  sketch_product(product, spec, result, threads);
}

}  // namespace gradkern::cpu
