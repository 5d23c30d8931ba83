// What every op demands of its arguments, then the switch between devices: the files of a device trust what they get.
// Errors name the argument; the Python caller puts the op's name before them (gradkern.errors.naming).
#include "ops.h"

#include <algorithm>

namespace gradkern {
namespace {

const char* dtype_name(Dtype dtype) {
  const char* names[] = {"float32", "float64", "bfloat16", "float16"};
  return names[static_cast<int>(dtype)];
}

const char* device_name(Device device) { return device == Device::cpu ? "cpu" : "cuda"; }

void check_dimensions(const char* name, const View& view, int ndim) {
  GK_CHECK(view.ndim == ndim,
           name << " must have " << ndim << " dimensions, got shape " << describe(view.shape, view.ndim));
}

void check_address(const char* name, const View& view) {
  GK_CHECK(view.size() == 0 || reinterpret_cast<uintptr_t>(view.data) % element_size(view.dtype) == 0,
           name << " must begin at a multiple of its element's " << element_size(view.dtype) << " bytes, got address "
                << view.data << "; call .clone() on it");
}

void check_layout(const char* name, const View& view, int ndim) {
  check_dimensions(name, view, ndim);
  GK_CHECK(is_contiguous(view), name << " must be contiguous, got shape " << describe(view.shape, view.ndim)
                                     << " with strides " << describe(view.strides, view.ndim)
                                     << "; call .contiguous() on it");
  check_address(name, view);
}

void check_same_device(const char* name, const View& view, const View& x, const char* x_name) {
  GK_CHECK(view.device == x.device && view.device_index == x.device_index,
           name << " must be on the device of " << x_name << ", got " << device_name(view.device) << ":"
                << view.device_index << " beside " << device_name(x.device) << ":" << x.device_index);
}

void check_execution(const Execution& execution) {
  GK_CHECK(execution.threads >= 1, "threads must be at least 1, got " << execution.threads);
}

// Arrays that a sketch writes.
struct Results {
  const View& workspace;
  const View& out;
  int64_t workspace_floats;  // needed
};

void check_results(const View& x, const char* x_name, const Results& results, const SketchSpec& spec) {
  const View &workspace = results.workspace, &out = results.out;
  check_layout("workspace", workspace, 1);
  check_layout("out", out, 2);
  GK_CHECK(out.dtype == Dtype::f32 && workspace.dtype == Dtype::f32, "out and workspace must be float32");
  GK_CHECK(out.shape[0] == x.shape[0] && out.shape[1] == spec.k,
           "out must have shape [" << x.shape[0] << ", " << spec.k << "], got " << describe(out.shape, 2));
  check_same_device("out", out, x, x_name);
  check_same_device("workspace", workspace, x, x_name);
  GK_CHECK(workspace.shape[0] >= results.workspace_floats,
           "workspace must hold " << results.workspace_floats << " floats, got " << workspace.shape[0]);
}

// The two factors of a weight gradient.
void check_factors(const View& x, const char* x_name, const View& g) {
  GK_CHECK(x.dtype != Dtype::f64, x_name << " must be float32, bfloat16 or float16, got float64");
  GK_CHECK(g.dtype == x.dtype, "g must have the dtype of " << x_name << ", got " << dtype_name(g.dtype) << " beside "
                                                           << dtype_name(x.dtype));
  check_same_device("g", g, x, x_name);
}

// A matrix whose rows may lie any distance apart.
void check_rows(const char* name, const View& view) {
  check_dimensions(name, view, 2);
  const bool contiguous = view.shape[1] < 2 || view.strides[1] == 1, apart = view.strides[0] >= view.shape[1];
  GK_CHECK(view.size() == 0 || (contiguous && (view.shape[0] < 2 || apart)),
           name << " must have contiguous rows, got shape " << describe(view.shape, 2) << " with strides "
                << describe(view.strides, 2) << "; call .contiguous() on it");
  check_address(name, view);
}

void check_float_or_double(const char* name, const View& view) {
  GK_CHECK(view.dtype == Dtype::f32 || view.dtype == Dtype::f64,
           name << " must be float32 or float64, got " << dtype_name(view.dtype));
}

// The shape and dtype that an array must have.
struct Expected {
  int ndim;
  int64_t shape[2];
  Dtype dtype;
};

void check_array(const char* name, const View& view, const Expected& expected, const View& x, const char* x_name) {
  check_layout(name, view, expected.ndim);
  GK_CHECK(std::equal(expected.shape, expected.shape + expected.ndim, view.shape),
           name << " must have shape " << describe(expected.shape, expected.ndim) << ", got "
                << describe(view.shape, view.ndim));
  GK_CHECK(view.dtype == expected.dtype,
           name << " must be " << dtype_name(expected.dtype) << ", got " << dtype_name(view.dtype));
  check_same_device(name, view, x, x_name);
}

// Labels on a GPU are not read here, because the host would have to wait for them: the kernel answers a wrong label
// with NaN in every sum.
void check_labels(const Labels& group, const View& y, int64_t f) {
  GK_CHECK(
      group.ndim == 1 && (group.count < 2 || group.stride == 1),
      "group must be contiguous and have 1 dimension, got " << group.ndim << " dimensions and stride " << group.stride);
  GK_CHECK(group.count == y.shape[0],
           "group must label each of the " << y.shape[0] << " rows of y, got " << group.count << " labels");
  View where;
  where.device = group.device;
  where.device_index = group.device_index;
  check_same_device("group", where, y, "y");
  if (group.device != Device::cpu) return;
  for (int64_t i = 0; i < group.count; ++i) {
    GK_CHECK(group.data[i] >= -1 && group.data[i] < f,
             "group must hold numbers from -1 to f - 1 = " << f - 1 << ", got " << group.data[i] << " for row " << i);
  }
}

// The output size of a convolution as torch has it:
// floor((in + 2 padding - dilation (kernel - 1) - 1) / stride) + 1.
int64_t conv_output(int64_t in, const Window& window, int axis) {
  const int64_t left = in + 2 * window.padding[axis] - window.dilation[axis] * (window.kernel[axis] - 1) - 1;
  return left < 0 ? 0 : left / window.stride[axis] + 1;
}

void check_window(const Window& window) {
  constexpr int64_t kLimit = 1 << 20;  // products of smaller numbers fit into 64 bits
  for (int axis = 0; axis < 2; ++axis) {
    GK_CHECK(window.kernel[axis] >= 1 && window.stride[axis] >= 1 && window.dilation[axis] >= 1,
             "kernel_size, stride and dilation must be at least 1, got " << describe(window.kernel, 2) << ", "
                                                                         << describe(window.stride, 2) << " and "
                                                                         << describe(window.dilation, 2));
    GK_CHECK(window.padding[axis] >= 0, "padding must not be negative, got " << describe(window.padding, 2));
    GK_CHECK(std::max({window.kernel[axis], window.stride[axis], window.dilation[axis], window.padding[axis]}) < kLimit,
             "kernel_size, stride, padding and dilation must be below 2^20");
  }
}

}  // namespace

void check_sketch(const SketchSpec& spec) {
  GK_CHECK(spec.k >= kSegment, "k must be at least 64, got " << spec.k);
  GK_CHECK(spec.k < (int64_t{1} << 31), "k must be below 2^31, got " << spec.k);
  GK_CHECK(spec.nnz >= 1 && spec.nnz <= spec.k, "nnz must be in 1..k, got " << spec.nnz);
  GK_CHECK(spec.seed >= 0, "seed must not be negative, got " << spec.seed);
  GK_CHECK(spec.first_segment >= 0, "first_segment must not be negative, got " << spec.first_segment);
}

void check_conv(const ConvShape& shape) {
  const Window& window = shape.window;
  check_window(window);
  GK_CHECK(window.groups >= 1 && shape.c % window.groups == 0 && shape.o % window.groups == 0,
           "groups must divide the channels of x and of g, got " << window.groups << " for " << shape.c << " and "
                                                                 << shape.o);
  const int64_t out_h = conv_output(shape.h, window, 0), out_w = conv_output(shape.w, window, 1);
  GK_CHECK(shape.out_h == out_h && shape.out_w == out_w,
           "g must be [n, o, " << out_h << ", " << out_w << "] for x of height and width [" << shape.h << ", "
                               << shape.w << "], got height and width [" << shape.out_h << ", " << shape.out_w << "]");
}

void sketch(const View& x, const View& workspace, const View& out, const SketchSpec& spec, const Execution& execution) {
  check_sketch(spec);
  check_layout("x", x, 3);
  const bool on_cpu = x.device == Device::cpu;
  const int64_t floats = on_cpu ? 0 : cuda::sketch_workspace(x.shape[0], x.shape[1], x.shape[2], spec.k);
  check_results(x, "x", {workspace, out, floats}, spec);
  check_execution(execution);
  (on_cpu ? cpu::sketch : cuda::sketch)(x, workspace, out, spec, execution);
}

void sketch_outer(const View& a, const View& g, const View& workspace, const View& out, const SketchSpec& spec,
                  bool bias, const Execution& execution) {
  check_sketch(spec);
  check_layout("a", a, 3);
  check_layout("g", g, 3);
  check_factors(a, "a", g);
  GK_CHECK(g.shape[0] == a.shape[0] && g.shape[1] == a.shape[1], "g must be [n, t, o] beside a [n, t, p], got shape "
                                                                     << describe(g.shape, 3) << " beside "
                                                                     << describe(a.shape, 3));
  const bool on_cpu = a.device == Device::cpu;
  const int64_t floats =
      on_cpu ? 0 : cuda::sketch_outer_workspace(a.shape[0], a.shape[1], a.shape[2], g.shape[2], spec.k, bias);
  check_results(a, "a", {workspace, out, floats}, spec);
  check_execution(execution);
  (on_cpu ? cpu::sketch_outer : cuda::sketch_outer)(a, g, workspace, out, spec, bias, execution);
}

void sketch_conv(const View& x, const View& g, const View& workspace, const View& out, const SketchSpec& spec,
                 const Window& window, bool bias, const Execution& execution) {
  check_sketch(spec);
  check_layout("x", x, 4);
  check_layout("g", g, 4);
  check_factors(x, "x", g);
  GK_CHECK(g.shape[0] == x.shape[0], "g must have the samples of x, got " << g.shape[0] << " beside " << x.shape[0]);
  const ConvShape shape = conv_shape(x.shape, g.shape, window);
  check_conv(shape);
  const bool on_cpu = x.device == Device::cpu;
  const int64_t floats = on_cpu ? 0 : cuda::sketch_conv_workspace(shape, spec.k, bias);
  check_results(x, "x", {workspace, out, floats}, spec);
  check_execution(execution);
  (on_cpu ? cpu::sketch_conv : cuda::sketch_conv)(x, g, workspace, out, spec, window, bias, execution);
}

void column_moments(const View& y, const Labels& group, const View& sum, const View& spread, const View& low,
                    const View& high, const Execution& execution) {
  check_rows("y", y);
  check_float_or_double("y", y);
  check_dimensions("sum", sum, 2);
  const int64_t f = sum.shape[0], b = y.shape[1];
  check_labels(group, y, f);
  check_array("sum", sum, {2, {f, b}, Dtype::f64}, y, "y");
  check_array("spread", spread, {2, {f, b}, Dtype::f64}, y, "y");
  check_array("low", low, {2, {f, b}, y.dtype}, y, "y");
  check_array("high", high, {2, {f, b}, y.dtype}, y, "y");
  check_execution(execution);
  const bool on_cpu = y.device == Device::cpu;
  (on_cpu ? cpu::column_moments : cuda::column_moments)(y, group, sum, spread, low, high, execution);
}

void fold_scores(const View& B, const View& D, const View& E, const View& F, const View& S, const View& U,
                 const View& W, const View& product, const View& square, const Execution& execution) {
  check_layout("B", B, 2);
  check_float_or_double("B", B);
  check_dimensions("S", S, 2);
  const int64_t r = B.shape[0], b = B.shape[1], a = S.shape[0];
  check_array("D", D, {2, {r, b}, B.dtype}, B, "B");
  check_array("E", E, {2, {r, b}, Dtype::f64}, B, "B");
  check_array("F", F, {2, {r, b}, B.dtype}, B, "B");
  check_array("S", S, {2, {a, r}, Dtype::f64}, B, "B");
  check_array("U", U, {2, {a, r}, Dtype::f64}, B, "B");
  check_array("W", W, {2, {a, r}, Dtype::f64}, B, "B");
  check_array("product", product, {2, {a, b}, Dtype::f64}, B, "B");
  check_array("square", square, {2, {a, b}, Dtype::f64}, B, "B");
  check_execution(execution);
  const bool on_cpu = B.device == Device::cpu;
  (on_cpu ? cpu::fold_scores : cuda::fold_scores)(B, D, E, F, S, U, W, product, square, execution);
}

void select_scale(const View& C, const View& values, const View& alpha, const View& out, const Execution& execution) {
  check_layout("C", C, 2);
  check_float_or_double("C", C);
  check_array("values", values, {1, {C.shape[0]}, Dtype::f64}, C, "C");
  check_array("alpha", alpha, {1, {C.shape[1]}, Dtype::f64}, C, "C");
  check_array("out", out, {2, {C.shape[0], C.shape[1]}, C.dtype}, C, "C");
  check_execution(execution);
  (C.device == Device::cpu ? cpu::select_scale : cuda::select_scale)(C, values, alpha, out, execution);
}

}  // namespace gradkern
