// A product G = sum_t g_t a_t^T [rows, cols] for each sample, sketched block by block and never stored: how the work is
// cut. How a unit of it is packed and multiplied differs between ops.
#pragma once
#include <cstdint>
#include <functional>

#include "../signs.h"
#include "isa.h"
#include "parts.h"
#include "plane.h"

namespace gradkern::cpu {

// Some rows of one sample's and group's matrix, some of its panels (each 64 columns), at some positions.
struct Unit {
  int64_t sample, group;
  Rectangle positions;
  Range rows, panels;

  Grid grid(int64_t row_stride) const { return {positions.rows, positions.width, row_stride}; }
};

struct Product {
  Element element;
  int64_t n, groups;      // groups' matrices lie one below the other
  int64_t height, width;  // of the positions; a sequence has height 1
  int64_t rows, cols;     // of a group's matrix, the column of a bias among them
  std::function<void(const Isa&, const Unit&, float* buckets)> add_unit;
};

// Where a unit's panel goes.
PanelPlace place_of(const Product& product, const Unit& unit, int64_t panel, const SketchSpec& spec);

void sketch_product(const Product& product, const SketchSpec& spec, float* out, int threads);

}  // namespace gradkern::cpu
