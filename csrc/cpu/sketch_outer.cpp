// sketch_outer on the CPU: a product whose factors both lie position by position.
#include <algorithm>

#include "../ops.h"
#include "product.h"
#include "scratch.h"

namespace gradkern::cpu {
namespace {

// Rows or columns [first, first + count) of a factor [n, t, width] at the positions of a unit.
Interleaved block_of(const View& view, const Unit& unit, int64_t first, int64_t count) {
  const int64_t width = view.shape[2];
  const int64_t at = (unit.sample * view.shape[1] + unit.positions.x) * width + first;
  const char* data = static_cast<const char*>(view.data) + at * element_size(view.dtype);
  return {data, static_cast<Element>(view.dtype), width, unit.positions.width, count};
}

}  // namespace

void sketch_outer(const View& a, const View& g, const View&, const View& out, const SketchSpec& spec, bool bias,
                  const Execution& execution) {
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
    const int64_t steps = step_count[isa](product.element, unit.grid(0));
    float* g_packed = g_memory.floats(steps * (unit.rows.count() + kTileRows));
    float* a_packed = a_memory.floats(steps * kSegment);
    pack_interleaved[isa](block_of(g, unit, unit.rows.begin, unit.rows.count()), Side::broadcast, g_packed);
    for (int64_t p = unit.panels.begin; p < unit.panels.end; ++p) {
      const PanelPlace place = place_of(product, unit, p, spec);
      const int64_t first = p * kSegment, stored = std::min<int64_t>(a.shape[2] - first, kSegment);
      pack_interleaved[isa](block_of(a, unit, first, stored), Side::panel, a_packed);
      if (stored < place.width) {
        pack_ones[isa](product.element, unit.positions.width, static_cast<int>(stored), a_packed);
      }
      add_panel[isa]({a_packed, g_packed, product.element, steps, place}, spec, buckets);
    }
  };
  sketch_product(product, spec, static_cast<float*>(out.data), execution.threads);
}

}  // namespace gradkern::cpu
