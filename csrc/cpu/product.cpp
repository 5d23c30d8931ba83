#include "product.h"

#include <algorithm>

#include "parts.h"
#include "scratch.h"

namespace gradkern::cpu {
namespace {

// A unit of work packs g once and each 64 columns of a once: both then stay in the second level cache.
constexpr int64_t kPositions = 256;
constexpr int64_t kUnitRows = 128 * kTileRows;
constexpr int64_t kUnitPanels = 8;

constexpr int64_t kMaxParts = 64;          // of a sample; each needs k floats when threads share the sample
constexpr int64_t kProductsPerBucket = 64;  // a part with fewer is mostly zeroing and adding up
constexpr int64_t kSmall = 1 << 18;         // products

// [0, count) in `pieces` nearly equal ranges.
struct Range {
  int64_t begin, end;
};
Range piece(int64_t count, int64_t pieces, int64_t index) {
  return {count * index / pieces, count * (index + 1) / pieces};
}

struct Plan {
  int64_t panels;                               // 64 columns wide, of a group's matrix
  int64_t row_cuts, column_cuts, position_cuts;  // of a group's product
  int64_t units, parts;                         // of a sample
};

int64_t cuts(int64_t count, int64_t size) { return (count + size - 1) / size; }

Plan make_plan(const Product& product, int64_t k) {
  Plan plan;
  plan.panels = cuts(product.cols + product.bias, kSegment);
  plan.row_cuts = cuts(product.rows, kUnitRows);
  plan.column_cuts = cuts(plan.panels, kUnitPanels);
  plan.position_cuts = cuts(product.t, kPositions);
  plan.units = product.groups * plan.row_cuts * plan.column_cuts * plan.position_cuts;
  const int64_t products = product.groups * product.rows * plan.panels * kSegment * product.t;
  plan.parts = std::clamp<int64_t>(products / (kProductsPerBucket * k), 1, std::min(plan.units, kMaxParts));
  return plan;
}

void add_unit(const Product& product, const Plan& plan, const Isa& isa, const SketchSpec& spec, int64_t sample,
              int64_t unit, float* buckets) {
  thread_local Scratch g_memory, a_memory;
  const Range positions = piece(product.t, plan.position_cuts, unit % plan.position_cuts);
  unit /= plan.position_cuts;
  const Range panels = piece(plan.panels, plan.column_cuts, unit % plan.column_cuts);
  unit /= plan.column_cuts;
  const Range rows = piece(product.rows, plan.row_cuts, unit % plan.row_cuts);
  const int64_t group = unit / plan.row_cuts, t = positions.end - positions.begin, count = rows.end - rows.begin;

  float* g = g_memory.floats(t * (count + kTileRows));
  float* a = a_memory.floats(t * kSegment);
  product.pack_g(isa, {sample, group, positions.begin, t, rows.begin, count}, g);
  for (int64_t p = panels.begin; p < panels.end; ++p) {
    const int64_t first = p * kSegment, width = std::min<int64_t>(product.cols + product.bias - first, kSegment);
    const int64_t stored = std::min<int64_t>(product.cols - first, kSegment);
    product.pack_a(isa, {sample, group, positions.begin, t, first, stored}, a);
    if (stored < width) isa.pack_ones(product.element, t, static_cast<int>(stored), a);
    const int64_t row = group * product.rows + rows.begin;
    isa.add_panel({a, g, product.element, t, count, static_cast<int>(width),
                   spec.first_segment + row * plan.panels + p, plan.panels},
                  spec, buckets);
  }
}

}  // namespace

void sketch_product(const Product& product, const SketchSpec& spec, float* out, int threads) {
  const Plan plan = make_plan(product, spec.k);
  if (product.n == 0 || plan.units == 0) {
    std::fill_n(out, product.n * spec.k, 0.0f);
    return;
  }
  const Isa& isa = current_isa();
  const int64_t products = product.n * product.groups * product.rows * product.cols * product.t;
  sum_parts(product.n, plan.parts, spec, out, products < kSmall ? 1 : threads,
            [&](int64_t sample, int64_t part, float* buckets) {
              const Range units = piece(plan.units, plan.parts, part);
              for (int64_t unit = units.begin; unit < units.end; ++unit) {
                add_unit(product, plan, isa, spec, sample, unit, buckets);
              }
            });
}

}  // namespace gradkern::cpu
