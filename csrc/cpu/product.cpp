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

constexpr int64_t kMaxParts = 64;           // of a sample; each needs k floats when threads share the sample
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
  int64_t panels;                 // 64 columns wide, of a group's matrix
  int64_t row_cuts, column_cuts;  // of a group's matrix
  int64_t y_cuts, x_cuts;         // of the positions: whole rows, or pieces of one
  int64_t units, parts;           // of a sample
};

int64_t cuts(int64_t count, int64_t size) { return (count + size - 1) / size; }

Plan make_plan(const Product& product, int64_t k) {
  Plan plan;
  plan.panels = cuts(product.cols + product.bias, kSegment);
  plan.row_cuts = cuts(product.rows, kUnitRows);
  plan.column_cuts = cuts(plan.panels, kUnitPanels);
  plan.x_cuts = cuts(product.width, kPositions);
  plan.y_cuts = plan.x_cuts == 1 ? cuts(product.height, kPositions / product.width) : product.height;
  const int64_t of_group = plan.row_cuts * plan.column_cuts * plan.y_cuts * plan.x_cuts;
  plan.units = product.groups * of_group;
  const int64_t products = product.groups * product.rows * plan.panels * kSegment * product.height * product.width;
  plan.parts = std::clamp<int64_t>(products / (kProductsPerBucket * k), 1, std::min(plan.units, kMaxParts));
  return plan;
}

// Takes one of `count` choices off the mixed-radix number `unit`.
int64_t take(int64_t& unit, int64_t count) {
  const int64_t choice = unit % count;
  unit /= count;
  return choice;
}

void add_unit(const Product& product, const Plan& plan, const Isa& isa, const SketchSpec& spec, int64_t sample,
              int64_t unit, float* buckets) {
  thread_local Scratch g_memory, a_memory;
  const Range x = piece(product.width, plan.x_cuts, take(unit, plan.x_cuts));
  const Range y = piece(product.height, plan.y_cuts, take(unit, plan.y_cuts));
  const Range panels = piece(plan.panels, plan.column_cuts, take(unit, plan.column_cuts));
  const Range rows = piece(product.rows, plan.row_cuts, take(unit, plan.row_cuts));
  const int64_t group = unit, count = rows.end - rows.begin;
  const Rectangle positions{y.begin, y.end - y.begin, x.begin, x.end - x.begin};
  const Grid grid{positions.rows, positions.width, 0};
  const int64_t steps = isa.steps(product.element, grid);

  float* g_packed = g_memory.floats(steps * (count + kTileRows));
  float* a = a_memory.floats(steps * kSegment);
  const PackedRows g = product.pack_g(isa, {sample, group, positions, rows.begin, count}, g_packed);
  for (int64_t p = panels.begin; p < panels.end; ++p) {
    const int64_t first = p * kSegment, width = std::min<int64_t>(product.cols + product.bias - first, kSegment);
    const int64_t stored = std::min<int64_t>(product.cols - first, kSegment);
    product.pack_a(isa, {sample, group, positions, first, stored}, a);
    if (stored < width) isa.pack_ones(product.element, grid, static_cast<int>(stored), a);
    const int64_t row = group * product.rows + rows.begin;
    isa.add_panel({a, g.g, g.stride, product.element, steps, count, static_cast<int>(width),
                   spec.first_segment + row * plan.panels + p, plan.panels},
                  spec, buckets);
  }
}

}  // namespace

void sketch_product(const Product& product, const SketchSpec& spec, float* out, int threads) {
  const int64_t positions = product.height * product.width;
  if (product.n * positions * product.rows * (product.cols + product.bias) == 0) {
    std::fill_n(out, product.n * spec.k, 0.0f);
    return;
  }
  const Plan plan = make_plan(product, spec.k);
  const Isa& isa = current_isa();
  const int64_t products = product.n * product.groups * product.rows * product.cols * positions;
  sum_parts(product.n, plan.parts, spec, out, products < kSmall ? 1 : threads,
            [&](int64_t sample, int64_t part, float* buckets) {
              const Range units = piece(plan.units, plan.parts, part);
              for (int64_t unit = units.begin; unit < units.end; ++unit) {
                add_unit(product, plan, isa, spec, sample, unit, buckets);
              }
            });
}

}  // namespace gradkern::cpu
