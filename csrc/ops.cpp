// Every check of every op, once; then the device switch. Devices' own files trust what they are given.
#include "ops.h"

#include <algorithm>

#include "cpu/column_moments.h"
#include "cpu/fold_scores.h"
#include "cpu/select_scale.h"
#include "cpu/sketch.h"
#include "cpu/sketch_conv.h"
#include "cpu/sketch_outer.h"
#include "cuda/column_moments.h"
#include "cuda/fold_scores.h"
#include "cuda/select_scale.h"
#include "cuda/sketch.h"
#include "cuda/sketch_conv.h"
#include "cuda/sketch_outer.h"

namespace gradkern {
namespace {

const char* dtype_name(Dtype dtype) {
  const char* names[] = {"float32", "float64", "bfloat16", "float16"};
  return names[static_cast<int>(dtype)];
}

const char* device_name(Device device) { return device == Device::cpu ? "cpu" : "cuda"; }

// What an argument is called in an error.
struct Name {
  const char* op;
  const char* argument;
};

std::ostream& operator<<(std::ostream& text, const Name& name) { return text << name.op << ": " << name.argument; }

void check_dimensions(const Name& name, const View& view, int ndim) {
  GK_CHECK(view.ndim == ndim,
           name << " must have " << ndim << " dimensions, got shape " << describe(view.shape, view.ndim));
}

void check_address(const Name& name, const View& view) {
  GK_CHECK(view.size() == 0 || reinterpret_cast<uintptr_t>(view.data) % element_size(view.dtype) == 0,
           name << " must begin at a multiple of its element's " << element_size(view.dtype) << " bytes, got address "
                << view.data << "; call .clone() on it");
}

void check_layout(const Name& name, const View& view, int ndim) {
  check_dimensions(name, view, ndim);
  GK_CHECK(is_contiguous(view), name << " must be contiguous, got shape " << describe(view.shape, view.ndim)
                                     << " with strides " << describe(view.strides, view.ndim)
                                     << "; call .contiguous() on it");
  check_address(name, view);
}

void check_beside(const Name& name, const View& view, const View& x, const char* x_name) {
  GK_CHECK(view.device == x.device && view.device_index == x.device_index,
           name << " must be on the device of " << x_name << ", got " << device_name(view.device) << ":"
                << view.device_index << " beside " << device_name(x.device) << ":" << x.device_index);
}

void check_threads(const char* op, const Execution& execution) {
  GK_CHECK(execution.threads >= 1, op << ": threads must be at least 1, got " << execution.threads);
}

struct Results {
  const View& workspace;
  const View& out;
};

// What every sketch has beside its inputs.
void check_results(const char* op, const View& x, const char* x_name, const Results& results, int64_t needed,
                   const SketchSpec& spec, const Execution& execution) {
  check_layout({op, "workspace"}, results.workspace, 1);
  check_layout({op, "out"}, results.out, 2);
  GK_CHECK(results.out.dtype == Dtype::f32 && results.workspace.dtype == Dtype::f32,
           op << ": out and workspace must be float32");
  GK_CHECK(
      results.out.shape[0] == x.shape[0] && results.out.shape[1] == spec.k,
      op << ": out must have shape [" << x.shape[0] << ", " << spec.k << "], got " << describe(results.out.shape, 2));
  check_beside({op, "out"}, results.out, x, x_name);
  check_beside({op, "workspace"}, results.workspace, x, x_name);
  GK_CHECK(results.workspace.shape[0] >= needed,
           op << ": workspace must hold " << needed << " floats, got " << results.workspace.shape[0]);
  check_threads(op, execution);
}

// Two factors of one product.
void check_factors(const char* op, const View& x, const char* x_name, const View& g) {
  GK_CHECK(x.dtype != Dtype::f64, op << ": " << x_name << " must be float32, bfloat16 or float16, got float64");
  GK_CHECK(g.dtype == x.dtype, op << ": g must have the dtype of " << x_name << ", got " << dtype_name(g.dtype)
                                  << " beside " << dtype_name(x.dtype));
  check_beside({op, "g"}, g, x, x_name);
}

// A matrix whose rows may lie apart.
void check_rows(const Name& name, const View& view) {
  check_dimensions(name, view, 2);
  const bool beside = view.shape[1] < 2 || view.strides[1] == 1, apart = view.strides[0] >= view.shape[1];
  GK_CHECK(view.size() == 0 || (beside && (view.shape[0] < 2 || apart)),
           name << " must have contiguous rows, got shape " << describe(view.shape, 2) << " with strides "
                << describe(view.strides, 2) << "; call .contiguous() on it");
  check_address(name, view);
}

void check_float_or_double(const Name& name, const View& view) {
  GK_CHECK(view.dtype == Dtype::f32 || view.dtype == Dtype::f64,
           name << " must be float32 or float64, got " << dtype_name(view.dtype));
}

// An array of a given shape and dtype that lies beside another.
struct Expected {
  int ndim;
  int64_t shape[2];
  Dtype dtype;
};

void check_array(const Name& name, const View& view, const Expected& expected, const View& x, const char* x_name) {
  check_layout(name, view, expected.ndim);
  GK_CHECK(std::equal(expected.shape, expected.shape + expected.ndim, view.shape),
           name << " must have shape " << describe(expected.shape, expected.ndim) << ", got "
                << describe(view.shape, view.ndim));
  GK_CHECK(view.dtype == expected.dtype,
           name << " must be " << dtype_name(expected.dtype) << ", got " << dtype_name(view.dtype));
  check_beside(name, view, x, x_name);
}

// On a GPU the labels are not looked at here, as that would wait for it: the kernel makes every result NaN.
void check_labels(const Labels& group, const View& y, int64_t f) {
  const Name name{"column_moments", "group"};
  GK_CHECK(group.ndim == 1 && (group.count < 2 || group.stride == 1),
           name << " must be contiguous and have 1 dimension, got " << group.ndim << " dimensions and stride "
                << group.stride);
  GK_CHECK(group.count == y.shape[0],
           name << " must label each of the " << y.shape[0] << " rows of y, got " << group.count << " labels");
  View place;
  place.device = group.device;
  place.device_index = group.device_index;
  check_beside(name, place, y, "y");
  if (group.device != Device::cpu) return;
  for (int64_t i = 0; i < group.count; ++i) {
    GK_CHECK(group.data[i] >= -1 && group.data[i] < f, name << " must hold numbers from -1 to f - 1 = " << f - 1
                                                            << ", got " << group.data[i] << " for row " << i);
  }
}

constexpr int64_t kWide = 1 << 20;  // products of such numbers fit into 64 bits

// What torch gives: floor((in + 2 padding - dilation (kernel - 1) - 1) / stride) + 1.
int64_t conv_output(int64_t in, const Window& window, int axis) {
  const int64_t left = in + 2 * window.padding[axis] - window.dilation[axis] * (window.kernel[axis] - 1) - 1;
  return left < 0 ? 0 : left / window.stride[axis] + 1;
}

void check_conv(const ConvShape& s) {
  const Window& window = s.window;
  for (int axis = 0; axis < 2; ++axis) {
    GK_CHECK(window.kernel[axis] >= 1 && window.stride[axis] >= 1 && window.dilation[axis] >= 1,
             "sketch_conv: kernel_size, stride and dilation must be at least 1, got "
                 << describe(window.kernel, 2) << ", " << describe(window.stride, 2) << " and "
                 << describe(window.dilation, 2));
    GK_CHECK(window.padding[axis] >= 0,
             "sketch_conv: padding must not be negative, got " << describe(window.padding, 2));
    GK_CHECK(std::max({window.kernel[axis], window.stride[axis], window.dilation[axis], window.padding[axis]}) < kWide,
             "sketch_conv: kernel_size, stride, padding and dilation must be below 2^20");
  }
  GK_CHECK(window.groups >= 1 && s.c % window.groups == 0 && s.o % window.groups == 0,
           "sketch_conv: groups must divide the channels of x and of g, got " << window.groups << " for " << s.c
                                                                              << " and " << s.o);
  const int64_t wanted[] = {conv_output(s.h, window, 0), conv_output(s.w, window, 1)};
  GK_CHECK(s.out_h == wanted[0] && s.out_w == wanted[1],
           "sketch_conv: g must be [n, o, " << wanted[0] << ", " << wanted[1] << "] for x of height and width [" << s.h
                                            << ", " << s.w << "], got height and width [" << s.out_h << ", " << s.out_w
                                            << "]");
}

ConvShape conv_shape(const View& x, const View& g, const Window& window) {
  return {x.shape[0], x.shape[1], x.shape[2], x.shape[3], g.shape[1], g.shape[2], g.shape[3], window};
}

}  // namespace

void check_sketch(const SketchSpec& spec, const char* op) {
  GK_CHECK(spec.k >= kSegment, op << ": k must be at least 64, got " << spec.k);
  GK_CHECK(spec.k < (int64_t{1} << 31), op << ": k must be below 2^31, got " << spec.k);
  GK_CHECK(spec.nnz >= 1 && spec.nnz <= spec.k, op << ": nnz must be in 1..k, got " << spec.nnz);
  GK_CHECK(spec.seed >= 0, op << ": seed must not be negative, got " << spec.seed);
  GK_CHECK(spec.first_segment >= 0, op << ": first_segment must not be negative, got " << spec.first_segment);
}

void sketch(const View& x, const View& workspace, const View& out, const SketchSpec& spec, const Execution& execution) {
  check_sketch(spec, "sketch");
  check_layout({"sketch", "x"}, x, 3);
  const int64_t needed = sketch_workspace(x.device, x.shape[0], x.shape[1], x.shape[2], spec.k);
  check_results("sketch", x, "x", {workspace, out}, needed, spec, execution);
  if (x.device == Device::cpu) {
    cpu::sketch(x, out, spec, execution.threads);
  } else {
    cuda::sketch(x, static_cast<float*>(workspace.data), out, spec, execution.stream);
  }
}

void sketch_outer(const View& a, const View& g, const View& workspace, const View& out, const SketchSpec& spec,
                  bool bias, const Execution& execution) {
  check_sketch(spec, "sketch_outer");
  check_layout({"sketch_outer", "a"}, a, 3);
  check_layout({"sketch_outer", "g"}, g, 3);
  check_factors("sketch_outer", a, "a", g);
  GK_CHECK(g.shape[0] == a.shape[0] && g.shape[1] == a.shape[1],
           "sketch_outer: g must be [n, t, o] beside a [n, t, p], got shape " << describe(g.shape, 3) << " beside "
                                                                              << describe(a.shape, 3));
  const int64_t needed = sketch_outer_workspace(a.device, a.shape[0], a.shape[1], a.shape[2], g.shape[2], spec.k, bias);
  check_results("sketch_outer", a, "a", {workspace, out}, needed, spec, execution);
  if (a.device == Device::cpu) {
    cpu::sketch_outer(a, g, out, spec, bias, execution.threads);
  } else {
    cuda::sketch_outer(a, g, static_cast<float*>(workspace.data), out, spec, bias, execution);
  }
}

void sketch_conv(const View& x, const View& g, const View& workspace, const View& out, const SketchSpec& spec,
                 const Window& window, bool bias, const Execution& execution) {
  check_sketch(spec, "sketch_conv");
  check_layout({"sketch_conv", "x"}, x, 4);
  check_layout({"sketch_conv", "g"}, g, 4);
  check_factors("sketch_conv", x, "x", g);
  GK_CHECK(g.shape[0] == x.shape[0],
           "sketch_conv: g must have the samples of x, got " << g.shape[0] << " beside " << x.shape[0]);
  const ConvShape shape = conv_shape(x, g, window);
  check_results("sketch_conv", x, "x", {workspace, out}, sketch_conv_workspace(x.device, shape, spec.k, bias), spec,
                execution);
  if (x.device == Device::cpu) {
    cpu::sketch_conv(x, g, out, shape, spec, bias, execution.threads);
  } else {
    cuda::sketch_conv(x, g, static_cast<float*>(workspace.data), out, shape, spec, bias, execution);
  }
}

void column_moments(const View& y, const Labels& group, const ColumnMoments& results, const Execution& execution) {
  const char* op = "column_moments";
  check_rows({op, "y"}, y);
  check_float_or_double({op, "y"}, y);
  check_dimensions({op, "sum"}, results.sum, 2);
  const int64_t f = results.sum.shape[0], b = y.shape[1];
  check_labels(group, y, f);
  check_array({op, "sum"}, results.sum, {2, {f, b}, Dtype::f64}, y, "y");
  check_array({op, "spread"}, results.spread, {2, {f, b}, Dtype::f64}, y, "y");
  check_array({op, "low"}, results.low, {2, {f, b}, y.dtype}, y, "y");
  check_array({op, "high"}, results.high, {2, {f, b}, y.dtype}, y, "y");
  check_threads(op, execution);
  if (y.device == Device::cpu) {
    cpu::column_moments(y, group, results, execution.threads);
  } else {
    cuda::column_moments(y, group, results, execution.stream);
  }
}

void fold_scores(const FoldFactors& factors, const FoldWeights& weights, const View& product, const View& square,
                 const Execution& execution) {
  const char* op = "fold_scores";
  const View& B = factors.B;
  check_layout({op, "B"}, B, 2);
  check_float_or_double({op, "B"}, B);
  check_dimensions({op, "S"}, weights.S, 2);
  const int64_t r = B.shape[0], b = B.shape[1], a = weights.S.shape[0];
  check_array({op, "D"}, factors.D, {2, {r, b}, B.dtype}, B, "B");
  check_array({op, "E"}, factors.E, {2, {r, b}, Dtype::f64}, B, "B");
  check_array({op, "F"}, factors.F, {2, {r, b}, B.dtype}, B, "B");
  check_array({op, "S"}, weights.S, {2, {a, r}, Dtype::f64}, B, "B");
  check_array({op, "U"}, weights.U, {2, {a, r}, Dtype::f64}, B, "B");
  check_array({op, "W"}, weights.W, {2, {a, r}, Dtype::f64}, B, "B");
  check_array({op, "product"}, product, {2, {a, b}, Dtype::f64}, B, "B");
  check_array({op, "square"}, square, {2, {a, b}, Dtype::f64}, B, "B");
  check_threads(op, execution);
  if (B.device == Device::cpu) {
    cpu::fold_scores(factors, weights, product, square, execution.threads);
  } else {
    cuda::fold_scores(factors, weights, product, square, execution.stream);
  }
}

void select_scale(const View& C, const View& values, const View& alpha, const View& out, const Execution& execution) {
  const char* op = "select_scale";
  check_layout({op, "C"}, C, 2);
  check_float_or_double({op, "C"}, C);
  check_array({op, "values"}, values, {1, {C.shape[0]}, Dtype::f64}, C, "C");
  check_array({op, "alpha"}, alpha, {1, {C.shape[1]}, Dtype::f64}, C, "C");
  check_array({op, "out"}, out, {2, {C.shape[0], C.shape[1]}, C.dtype}, C, "C");
  check_threads(op, execution);
  if (C.device == Device::cpu) {
    cpu::select_scale(C, values, alpha, out, execution.threads);
  } else {
    cuda::select_scale(C, values, alpha, out, execution.stream);
  }
}

int64_t sketch_workspace(Device device, int64_t n, int64_t rows, int64_t cols, int64_t k) {
  return device == Device::cpu ? 0 : cuda::sketch_workspace(n, rows, cols, k);
}

int64_t sketch_outer_workspace(Device device, int64_t n, int64_t t, int64_t p, int64_t o, int64_t k, bool bias) {
  return device == Device::cpu ? 0 : cuda::sketch_outer_workspace(n, t, p, o, k, bias);
}

int64_t sketch_conv_workspace(Device device, const ConvShape& shape, int64_t k, bool bias) {
  check_conv(shape);
  return device == Device::cpu ? 0 : cuda::sketch_conv_workspace(shape, k, bias);
}

}  // namespace gradkern
