// A product G = sum_t g_t a_t^T [rows, cols] for each sample, sketched block by block and never stored: how the work is
// cut. What differs between ops is how a block of g and of a is packed.
#pragma once
#include <cstdint>
#include <functional>

#include "../signs.h"
#include "isa.h"
#include "plane.h"

namespace gradkern::cpu {

// Rows or columns [first, first + count) at some positions of one sample and group.
struct Block {
  int64_t sample, group;
  Rectangle positions;
  int64_t first, count;

  Grid grid(int64_t row_stride) const { return {positions.rows, positions.width, row_stride}; }
};

// Packed rows of g, in the memory given or where they lay: Panel's g and g_stride.
struct PackedRows {
  const float* g;
  int64_t stride;
};

struct Product {
  Element element;
  int64_t n, groups;      // groups' matrices lie one below the other
  int64_t height, width;  // of the positions; a sequence has height 1
  int64_t rows, cols;     // of a group's matrix, without the bias
  bool bias;              // one column more, as if a were 1 there
  std::function<PackedRows(const Isa&, const Block&, float* packed)> pack_g;
  std::function<void(const Isa&, const Block&, float* packed)> pack_a;  // at most 64 columns
};

void sketch_product(const Product& product, const SketchSpec& spec, float* out, int threads);

}  // namespace gradkern::cpu
