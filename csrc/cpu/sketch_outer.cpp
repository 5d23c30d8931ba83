// sketch_outer on the CPU: both factors lie position by position.
#include "sketch_outer.h"

#include <algorithm>

#include "product.h"
#include "scratch.h"

namespace gradkern::cpu {
namespace {

// Rows or columns [first, first + count) of [n, t, width] at a unit's positions.
Interleaved block_of(const View& view, const Unit& unit, int64_t first, int64_t count) {
  const int64_t width = view.shape[2];
  const int64_t at = (unit.sample * view.shape[1] + unit.positions.x) * width + first;
  const char* data = static_cast<const char*>(view.data) + at * element_size(view.dtype);
  return {data, static_cast<Element>(view.dtype), width, unit.positions.width, count};
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
  product.cols = a.shape[2] + bias;
  product.add_unit = [&](const Isa& isa, const Unit& unit, float* buckets) {
    thread_local Scratch g_memory, a_memory;
    const int64_t steps = isa.steps(product.element, unit.grid(0));
    float* g_packed = g_memory.floats(steps * (unit.rows.count() + kTileRows));
    float* a_packed = a_memory.floats(steps * kSegment);
    isa.pack_interleaved(block_of(g, unit, unit.rows.begin, unit.rows.count()), Side::broadcast, g_packed);
    for (int64_t p = unit.panels.begin; p < unit.panels.end; ++p) {
      const PanelPlace place = place_of(product, unit, p, spec);
      const int64_t first = p * kSegment, stored = std::min<int64_t>(a.shape[2] - first, kSegment);
      isa.pack_interleaved(block_of(a, unit, first, stored), Side::panel, a_packed);
      if (stored < place.width) {
        isa.pack_ones(product.element, unit.positions.width, static_cast<int>(stored), a_packed);
      }
      isa.add_panel({a_packed, g_packed, product.element, steps, place}, spec, buckets);
    }
  };
  sketch_product(product, spec, static_cast<float*>(out.data), threads);
}

}  // namespace gradkern::cpu
