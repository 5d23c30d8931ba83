// Every native op: the table of contents. Shapes are in comments; results and workspaces are allocated by the caller.
//
// Letters: n samples, t positions, p inputs, o outputs, k sketch dimension; f groups of samples, b targets, r
// components, a alphas.
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

// The four sums of every column over every group of rows; group[i] is the group of row i, or -1 for none.
struct ColumnMoments {
  const View& sum;     // [f, b] float64
  const View& spread;  // [f, b] float64, sum of squares about the group's own mean
  const View& low;     // [f, b], the dtype of y; +inf where a group is empty
  const View& high;    // -inf
};
void column_moments(const View& y,        // [n, b] float32 or float64; rows may lie apart, columns side by side
                    const Labels& group,  // [n]
                    const ColumnMoments& results, const Execution& execution);

// product = S (B * D), square = U (B * E) + W (B * F), sums in float64.
struct FoldFactors {
  const View& B;  // [r, b] float32 or float64, contiguous as all here
  const View& D;  // [r, b], the dtype of B
  const View& E;  // [r, b] float64
  const View& F;  // [r, b], the dtype of B
};
struct FoldWeights {
  const View& S;  // [a, r] float64
  const View& U;
  const View& W;
};
void fold_scores(const FoldFactors& factors, const FoldWeights& weights,
                 const View& product,  // [a, b] float64
                 const View& square, const Execution& execution);

// out[j, t] = C[j, t] / (values[j] + alpha[t]); the sum is float64, the quotient of the dtype of C.
void select_scale(const View& C,       // [q, b] float32 or float64, contiguous
                  const View& values,  // [q] float64
                  const View& alpha,   // [b] float64
                  const View& out,     // [q, b], the dtype of C
                  const Execution& execution);

// Throws for a sketch that cannot be.
void check_sketch(const SketchSpec& spec, const char* op);

// Floats that an op needs beside its result, a function of the shapes alone.
int64_t sketch_workspace(Device device, int64_t n, int64_t rows, int64_t cols, int64_t k);
int64_t sketch_outer_workspace(Device device, int64_t n, int64_t t, int64_t p, int64_t o, int64_t k, bool bias);
int64_t sketch_conv_workspace(Device device, const ConvShape& shape, int64_t k, bool bias);

}  // namespace gradkern
