// A product G = sum_t g_t a_t^T [rows, cols] for each sample, sketched block by block and never stored. This file cuts
// the work into units; every op packs and multiplies a unit in its own way.
#pragma once
#include <cstdint>
#include <functional>

#include "../signs.h"
#include "kernels.h"
#include "plane.h"
#include "split_sums.h"

namespace gradkern::cpu {

// A range of rows and of panels (64 columns each) of the matrix of one sample and group, at a rectangle of positions.
struct Unit {
  int64_t sample, group;
  Rectangle positions;
  Range rows, panels;

  Grid grid(int64_t row_stride) const { return {positions.rows, positions.width, row_stride}; }
};

struct Product {
  Element element;
  int64_t n, groups;      // the matrices of the groups lie one below the other
  int64_t height, width;  // of the positions; a sequence has height 1
  int64_t rows, cols;     // of the matrix of a group, with the column of a bias
  std::function<void(const Isa&, const Unit&, float* buckets)> add_unit;
};

// Where a panel of a unit goes.
PanelPlace place_of(const Product& product, const Unit& unit, int64_t panel, const SketchSpec& spec);

void sketch_product(const Product& product, const SketchSpec& spec, float* out, int threads);

}  // namespace gradkern::cpu
