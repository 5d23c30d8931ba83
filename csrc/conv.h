// The geometry of a 2-d convolution; a 1-d convolution has height 1. Freestanding, as signs.h is.
#pragma once
#include <stdint.h>

namespace gradkern {

// The arguments of torch.nn.Conv2d; pairs are [height, width].
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
  // Columns of the weight as a matrix [o, cols], in the order (input channel of the group, kernel row, kernel column).
  int64_t cols() const { return group_inputs() * window.kernel[0] * window.kernel[1]; }
};

// For input x [n, c, h, w] and output g [n, o, out_h, out_w].
inline ConvShape conv_shape(const int64_t* x, const int64_t* g, const Window& window) {
  return {x[0], x[1], x[2], x[3], g[1], g[2], g[3], window};
}

}  // namespace gradkern
