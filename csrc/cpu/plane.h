// Padded copies of an input channel, in which every tap of a convolution is one offset.
#pragma once
#include <cstdint>
#include <vector>

#include "../conv.h"
#include "parts.h"

namespace gradkern::cpu {

// A rectangle of output positions.
struct Rectangle {
  int64_t y, rows, x, width;
};

// One channel under a rectangle of outputs: padded with zeros and split by stride into phases, so that an output's
// neighbours are neighbours. Tap (i, j) of output (y, x) of the rectangle lies at offsets[tap] + y * pitch + x.
struct Plane {
  int64_t rows, pitch;  // of a phase
  std::vector<int64_t> offsets;
  std::vector<bool> phases;  // which of them hold a tap that is asked for

  int64_t size() const { return static_cast<int64_t>(phases.size()) * rows * pitch; }
};

// For some columns of the weight as a matrix.
Plane make_plane(const ConvShape& shape, const Rectangle& outputs, Range columns);

// Copies channel [h, w], of elements of 4 or 2 bytes, into its plane.
void fill_plane(const ConvShape& shape, const Plane& plane, const Rectangle& outputs, const void* channel,
                int64_t element_bytes, void* out);

}  // namespace gradkern::cpu
