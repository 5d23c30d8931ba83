#include "product.h"

#include <algorithm>

namespace gradkern::cpu {
namespace {

// A unit of work packs g once and each 64 columns of a once, and both stay in the second-level cache.
constexpr int64_t kUnitRows = 128 * kTileRows;
constexpr int64_t kUnitPanels = 8;

constexpr int64_t kSmall = 1 << 18;  // fewer products are not worth several threads

struct Plan {
  int64_t panels;                 // of the matrix of a group, 64 columns wide
  int64_t row_cuts, column_cuts;  // of the matrix of a group
  int64_t y_cuts, x_cuts;         // of the positions, into whole rows or pieces of a row
  int64_t units, parts;           // of a sample
};

int64_t cuts(int64_t count, int64_t size) { return (count + size - 1) / size; }

Plan make_plan(const Product& product, int64_t k) {
  Plan plan;
  plan.panels = cuts(product.cols, kSegment);
  plan.row_cuts = cuts(product.rows, kUnitRows);
  plan.column_cuts = cuts(plan.panels, kUnitPanels);
  plan.x_cuts = cuts(product.width, kMaxSteps);
  plan.y_cuts = plan.x_cuts == 1 ? cuts(product.height, kMaxSteps / product.width) : product.height;
  const int64_t of_group = plan.row_cuts * plan.column_cuts * plan.y_cuts * plan.x_cuts;
  plan.units = product.groups * of_group;
  const int64_t products = product.groups * product.rows * plan.panels * kSegment * product.height * product.width;
  plan.parts = part_count(plan.units, products, k);
  return plan;
}

// Takes the lowest digit, of base `count`, off the mixed-radix number `unit`.
int64_t take(int64_t& unit, int64_t count) {
  const int64_t choice = unit % count;
  unit /= count;
  return choice;
}

Unit unit_of(const Product& product, const Plan& plan, int64_t sample, int64_t unit) {
  const Range x = piece(product.width, plan.x_cuts, take(unit, plan.x_cuts));
  const Range y = piece(product.height, plan.y_cuts, take(unit, plan.y_cuts));
  const Range panels = piece(plan.panels, plan.column_cuts, take(unit, plan.column_cuts));
  const Range rows = piece(product.rows, plan.row_cuts, take(unit, plan.row_cuts));
  return {sample, unit, {y.begin, y.count(), x.begin, x.count()}, rows, panels};
}

}  // namespace

PanelPlace place_of(const Product& product, const Unit& unit, int64_t panel, const SketchSpec& spec) {
  const int64_t panels = cuts(product.cols, kSegment), row = unit.group * product.rows + unit.rows.begin;
  const int width = static_cast<int>(std::min<int64_t>(product.cols - panel * kSegment, kSegment));
  return {unit.rows.count(), width, spec.first_segment + row * panels + panel, panels};
}

void sketch_product(const Product& product, const SketchSpec& spec, float* out, int threads) {
  const int64_t positions = product.height * product.width;
  if (product.n * positions * product.rows * product.cols == 0) {
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
                product.add_unit(isa, unit_of(product, plan, sample, unit), buckets);
              }
            });
}

}  // namespace gradkern::cpu
