// Padded copies of an input channel, in which every tap of a convolution is one offset.
#pragma once
#include <cstdint>
#include <vector>

#include "../conv.h"

namespace gradkern::cpu {

// A rectangle of output positions.
struct Rectangle {
  int64_t y, rows, x, width;
};

// One channel under a rectangle of outputs: padded with zeros and split by stride into phases, so that an output's
// neighbours are neighbours. Tap (i, j) of output (y, x) of the rectangle lies at offsets[tap] + y * pitch + x.
struct Plane {
  int64_t rows, pitch;  // of a phase
  int64_t phases;
  std::vector<int64_t> offsets;

  int64_t size() const { return phases * rows * pitch; }
};

Plane make_plane(const ConvShape& shape, int64_t rows, int64_t width);

// Copies channel [h, w], of elements of 4 or 2 bytes, into its plane.
void fill_plane(const ConvShape& shape, const Plane& plane, const Rectangle& outputs, const void* channel,
                int64_t element_bytes, void* out);

}  // namespace gradkern::cpu
