// sketch_outer on the CPU: positions are lines of both factors.
#include "sketch_outer.h"

#include "product.h"

namespace gradkern::cpu {
namespace {

// Packs from [n, t, width] as it lies in memory.
auto packer(const View& view, Side side) {
  return [view, side](const Isa& isa, const Block& block, float* packed) {
    const int64_t width = view.shape[2];
    const int64_t at = (block.sample * view.shape[1] + block.t_first) * width + block.first;
    const char* data = static_cast<const char*>(view.data) + at * element_size(view.dtype);
    isa.pack({data, static_cast<Element>(view.dtype), width, true}, block.t, block.count, side, packed);
  };
}

}  // namespace

void sketch_outer(const View& a, const View& g, const View& out, const SketchSpec& spec, bool bias, int threads) {
  Product product;
  product.element = static_cast<Element>(a.dtype);
  product.n = a.shape[0];
  product.groups = 1;
  product.t = a.shape[1];
  product.rows = g.shape[2];
  product.cols = a.shape[2];
  product.bias = bias;
  product.pack_g = packer(g, Side::rows);
  product.pack_a = packer(a, Side::columns);
  sketch_product(product, spec, static_cast<float*>(out.data), threads);
}

}  // namespace gradkern::cpu
