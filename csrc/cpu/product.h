// A product G = sum_t g_t a_t^T [rows, cols] for each sample, sketched block by block and never stored: how the work is
// cut. What differs between ops is how a block of g and of a is packed.
#pragma once
#include <cstdint>
#include <functional>

#include "../ops.h"
#include "isa.h"

namespace gradkern::cpu {

// Rows or columns [first, first + count) at positions [t_first, t_first + t) of one sample and group.
struct Block {
  int64_t sample, group;
  int64_t t_first, t;
  int64_t first, count;
};

struct Product {
  Element element;
  int64_t n, groups;      // groups' matrices lie one below the other
  int64_t t, rows, cols;  // of a group's matrix, without the bias
  bool bias;              // one column more, as if a were 1 there
  std::function<void(const Isa&, const Block&, float* packed)> pack_g, pack_a;  // a: at most 64 columns
};

void sketch_product(const Product& product, const SketchSpec& spec, float* out, int threads);

}  // namespace gradkern::cpu
