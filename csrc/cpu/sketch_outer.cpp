// sketch_outer on the CPU: both factors lie position by position.
#include "sketch_outer.h"

#include "product.h"

namespace gradkern::cpu {
namespace {

// A block of [n, t, width].
Interleaved block_of(const View& view, const Block& block) {
  const int64_t width = view.shape[2];
  const int64_t at = (block.sample * view.shape[1] + block.positions.x) * width + block.first;
  const char* data = static_cast<const char*>(view.data) + at * element_size(view.dtype);
  return {data, static_cast<Element>(view.dtype), width, block.positions.width, block.count};
}

}  // namespace

void sketch_outer(const View& a, const View& g, const View& out, const SketchSpec& spec, bool bias, int threads) {
  Product product;
  product.element = static_cast<Element>(a.dtype);
  product.n = a.shape[0];
  product.groups = 1;
  product.height = 1;
  product.width = a.shape[1];
  product.rows = g.shape[2];
  product.cols = a.shape[2];
  product.bias = bias;
  product.pack_g = [&g](const Isa& isa, const Block& block, float* packed) {
    isa.pack_interleaved(block_of(g, block), Side::rows, packed);
    return PackedRows{packed, 0};
  };
  product.pack_a = [&a](const Isa& isa, const Block& block, float* packed) {
    isa.pack_interleaved(block_of(a, block), Side::columns, packed);
  };
  sketch_product(product, spec, static_cast<float*>(out.data), threads);
}

}  // namespace gradkern::cpu
