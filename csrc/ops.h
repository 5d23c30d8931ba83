// Every native op: the table of contents. Shapes are in comments; results and workspaces are allocated by the caller.
//
// Letters: n samples, t positions, p inputs, o outputs, k sketch dimension.
#pragma once
#include "conv.h"
#include "execution.h"
#include "signs.h"
#include "view.h"

namespace gradkern {

// out[i] = S vec(x[i]) with the map S of signs.h.
void sketch(const View& x,          // [n, rows, cols] float32, float64, bfloat16 or float16, contiguous
            const View& workspace,  // [sketch_workspace(...)] float32
            const View& out,        // [n, k] float32
            const SketchSpec& spec, const Execution& execution);

// out[i] = S vec(G_i) for G_i = sum_t g[i, t] a[i, t]^T [o, p]: the gradient of a Linear layer's weight. With a bias,
// G_i is [o, p + 1]: a has a last column of ones.
void sketch_outer(const View& a,          // [n, t, p] float32, bfloat16 or float16, contiguous
                  const View& g,          // [n, t, o], the dtype of a
                  const View& workspace,  // [sketch_outer_workspace(...)] float32
                  const View& out,        // [n, k] float32
                  const SketchSpec& spec, bool bias, const Execution& execution);

// out[i] = S vec(G_i) for the gradient G_i [o, c / groups * kh * kw] of a convolution's weight. With a bias, it has a
// last column more: the sums of g[i] over positions.
void sketch_conv(const View& x,          // [n, c, h, w] float32, bfloat16 or float16, contiguous
                 const View& g,          // [n, o, out_h, out_w], the dtype of x
                 const View& workspace,  // [sketch_conv_workspace(...)] float32
                 const View& out,        // [n, k] float32
                 const SketchSpec& spec, const Window& window, bool bias, const Execution& execution);

// Throws for a sketch that cannot be.
void check_sketch(const SketchSpec& spec, const char* op);

// Floats that an op needs beside its result, a function of the shapes alone.
int64_t sketch_workspace(Device device, int64_t n, int64_t rows, int64_t cols, int64_t k);
int64_t sketch_outer_workspace(Device device, int64_t n, int64_t t, int64_t p, int64_t o, int64_t k, bool bias);
int64_t sketch_conv_workspace(Device device, const ConvShape& shape, int64_t k, bool bias);

}  // namespace gradkern
