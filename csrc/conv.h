// The geometry of a 2-d convolution; a 1-d one has height 1. Freestanding, as signs.h is.
#pragma once
#include <stdint.h>

namespace gradkern {

// What torch.nn.Conv2d is given, [height, width].
struct Window {
  int64_t kernel[2];
  int64_t stride[2];
  int64_t padding[2];
  int64_t dilation[2];
  int64_t groups;
};

struct ConvShape {
  int64_t n, c, h, w;  // input
  int64_t o, out_h, out_w;
  Window window;

  int64_t positions() const { return out_h * out_w; }
  int64_t group_inputs() const { return c / window.groups; }
  int64_t group_outputs() const { return o / window.groups; }
  // Columns of the weight seen as a matrix: (input channel of the group, kernel row, kernel column).
  int64_t cols() const { return group_inputs() * window.kernel[0] * window.kernel[1]; }
};

}  // namespace gradkern
