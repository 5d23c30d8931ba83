// Padded copies of an input channel, in which each tap of a convolution is one offset.
#pragma once
#include <cstdint>
#include <vector>

#include "../conv.h"
#include "split_sums.h"

namespace gradkern::cpu {

// A rectangle of output positions.
struct Rectangle {
  int64_t y, rows, x, width;
};

// One channel under a rectangle of outputs: padded with zeros and split by stride into phases, so that the inputs of
// neighbouring outputs are neighbours. Tap (i, j) of output (y, x) lies at offsets[tap] + y * pitch + x.
struct Plane {
  int64_t rows, pitch;  // of a phase
  std::vector<int64_t> offsets;
  std::vector<bool> phases;  // whether a phase holds a tap of the columns

  int64_t size() const { return static_cast<int64_t>(phases.size()) * rows * pitch; }
};

// The plane for some columns of the weight as a matrix.
Plane make_plane(const ConvShape& shape, const Rectangle& outputs, Range columns);

// Copies channel [h, w], of elements of 4 or 2 bytes, into its plane.
void fill_plane(const ConvShape& shape, const Plane& plane, const Rectangle& outputs, const void* channel,
                int64_t element_bytes, void* out);

}  // namespace gradkern::cpu
