// gradkern._native: one m.def an op. gradkern/ops.py is its only importer; docstrings live there.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <string>
#include <vector>

#include "../csrc/cpu/isa.h"
#include "../csrc/cuda/sketch.h"
#include "../csrc/ops.h"
#include "dlpack.h"

namespace py = pybind11;
using namespace gradkern;

namespace {

void sketch_arrays(const py::capsule& x, const py::capsule& workspace, const py::capsule& out, int64_t k, int64_t seed,
                   int64_t nnz, int64_t first_segment, int threads, uintptr_t stream) {
  const View x_view = view(x, "sketch: x"), workspace_view = view(workspace, "sketch: workspace"),
             out_view = view(out, "sketch: out");
  py::gil_scoped_release unlocked;
  sketch(x_view, workspace_view, out_view, {k, seed, nnz, first_segment}, {threads, reinterpret_cast<void*>(stream)});
}

using Pair = std::array<int64_t, 2>;

Window window(const Pair& kernel, const Pair& stride, const Pair& padding, const Pair& dilation, int64_t groups) {
  return {{kernel[0], kernel[1]}, {stride[0], stride[1]}, {padding[0], padding[1]}, {dilation[0], dilation[1]}, groups};
}

void sketch_outer_arrays(const py::capsule& a, const py::capsule& g, const py::capsule& workspace,
                         const py::capsule& out, int64_t k, int64_t seed, int64_t nnz, int64_t first_segment, bool bias,
                         int threads, uintptr_t stream, bool allow_tf32) {
  const View a_view = view(a, "sketch_outer: a"), g_view = view(g, "sketch_outer: g"),
             workspace_view = view(workspace, "sketch_outer: workspace"), out_view = view(out, "sketch_outer: out");
  py::gil_scoped_release unlocked;
  sketch_outer(a_view, g_view, workspace_view, out_view, {k, seed, nnz, first_segment}, bias,
               {threads, reinterpret_cast<void*>(stream), allow_tf32});
}

void sketch_conv_arrays(const py::capsule& x, const py::capsule& g, const py::capsule& workspace,
                        const py::capsule& out, int64_t k, int64_t seed, int64_t nnz, int64_t first_segment,
                        const Pair& kernel, const Pair& stride, const Pair& padding, const Pair& dilation,
                        int64_t groups, bool bias, int threads, uintptr_t stream, bool allow_tf32) {
  const View x_view = view(x, "sketch_conv: x"), g_view = view(g, "sketch_conv: g"),
             workspace_view = view(workspace, "sketch_conv: workspace"), out_view = view(out, "sketch_conv: out");
  py::gil_scoped_release unlocked;
  sketch_conv(x_view, g_view, workspace_view, out_view, {k, seed, nnz, first_segment},
              window(kernel, stride, padding, dilation, groups), bias,
              {threads, reinterpret_cast<void*>(stream), allow_tf32});
}

void column_moments_arrays(const py::capsule& y, const py::capsule& group, const py::capsule& sum,
                           const py::capsule& spread, const py::capsule& low, const py::capsule& high, int threads,
                           uintptr_t stream) {
  const View y_view = view(y, "column_moments: y"), sum_view = view(sum, "column_moments: sum"),
             spread_view = view(spread, "column_moments: spread"), low_view = view(low, "column_moments: low"),
             high_view = view(high, "column_moments: high");
  const Labels group_labels = labels(group, "column_moments: group");
  py::gil_scoped_release unlocked;
  column_moments(y_view, group_labels, {sum_view, spread_view, low_view, high_view},
                 {threads, reinterpret_cast<void*>(stream)});
}

void fold_scores_arrays(const py::capsule& B, const py::capsule& D, const py::capsule& E, const py::capsule& F,
                        const py::capsule& S, const py::capsule& U, const py::capsule& W, const py::capsule& product,
                        const py::capsule& square, int threads, uintptr_t stream) {
  const View B_view = view(B, "fold_scores: B"), D_view = view(D, "fold_scores: D"), E_view = view(E, "fold_scores: E"),
             F_view = view(F, "fold_scores: F"), S_view = view(S, "fold_scores: S"), U_view = view(U, "fold_scores: U"),
             W_view = view(W, "fold_scores: W"), product_view = view(product, "fold_scores: product"),
             square_view = view(square, "fold_scores: square");
  py::gil_scoped_release unlocked;
  fold_scores({B_view, D_view, E_view, F_view}, {S_view, U_view, W_view}, product_view, square_view,
              {threads, reinterpret_cast<void*>(stream)});
}

void select_scale_arrays(const py::capsule& C, const py::capsule& values, const py::capsule& alpha,
                         const py::capsule& out, int threads, uintptr_t stream) {
  const View C_view = view(C, "select_scale: C"), values_view = view(values, "select_scale: values"),
             alpha_view = view(alpha, "select_scale: alpha"), out_view = view(out, "select_scale: out");
  py::gil_scoped_release unlocked;
  select_scale(C_view, values_view, alpha_view, out_view, {threads, reinterpret_cast<void*>(stream)});
}

void check_sketch_spec(const std::string& op, int64_t k, int64_t seed, int64_t nnz, int64_t first_segment) {
  check_sketch({k, seed, nnz, first_segment}, op.c_str());
}

int64_t sketch_workspace_floats(bool is_cuda, int64_t n, int64_t rows, int64_t cols, int64_t k) {
  return sketch_workspace(is_cuda ? Device::cuda : Device::cpu, n, rows, cols, k);
}

int64_t sketch_outer_workspace_floats(bool is_cuda, int64_t n, int64_t t, int64_t p, int64_t o, int64_t k, bool bias) {
  return sketch_outer_workspace(is_cuda ? Device::cuda : Device::cpu, n, t, p, o, k, bias);
}

int64_t sketch_conv_workspace_floats(bool is_cuda, const std::array<int64_t, 4>& x, const std::array<int64_t, 4>& g,
                                     const Pair& kernel, const Pair& stride, const Pair& padding, const Pair& dilation,
                                     int64_t groups, int64_t k, bool bias) {
  const ConvShape shape{x[0], x[1], x[2], x[3], g[1], g[2], g[3], window(kernel, stride, padding, dilation, groups)};
  return sketch_conv_workspace(is_cuda ? Device::cuda : Device::cpu, shape, k, bias);
}

std::vector<std::string> isas() {
  std::vector<std::string> names;
  for (const Isa* const* isa = cpu::available_isas(); *isa != nullptr; ++isa) names.push_back((*isa)->name);
  return names;
}

}  // namespace

PYBIND11_MODULE(_native, m) {
  m.def("sketch", &sketch_arrays, py::arg("x"), py::arg("workspace"), py::arg("out"), py::arg("k"), py::arg("seed"),
        py::arg("nnz"), py::arg("first_segment"), py::arg("threads"), py::arg("stream"));
  m.def("sketch_outer", &sketch_outer_arrays, py::arg("a"), py::arg("g"), py::arg("workspace"), py::arg("out"),
        py::arg("k"), py::arg("seed"), py::arg("nnz"), py::arg("first_segment"), py::arg("bias"), py::arg("threads"),
        py::arg("stream"), py::arg("allow_tf32"));
  m.def("sketch_conv", &sketch_conv_arrays, py::arg("x"), py::arg("g"), py::arg("workspace"), py::arg("out"),
        py::arg("k"), py::arg("seed"), py::arg("nnz"), py::arg("first_segment"), py::arg("kernel_size"),
        py::arg("stride"), py::arg("padding"), py::arg("dilation"), py::arg("groups"), py::arg("bias"),
        py::arg("threads"), py::arg("stream"), py::arg("allow_tf32"));
  m.def("sketch_outer_workspace", &sketch_outer_workspace_floats, py::arg("is_cuda"), py::arg("n"), py::arg("t"),
        py::arg("p"), py::arg("o"), py::arg("k"), py::arg("bias"));
  m.def("sketch_conv_workspace", &sketch_conv_workspace_floats, py::arg("is_cuda"), py::arg("x"), py::arg("g"),
        py::arg("kernel_size"), py::arg("stride"), py::arg("padding"), py::arg("dilation"), py::arg("groups"),
        py::arg("k"), py::arg("bias"));
  m.def("column_moments", &column_moments_arrays, py::arg("y"), py::arg("group"), py::arg("sum"), py::arg("spread"),
        py::arg("low"), py::arg("high"), py::arg("threads"), py::arg("stream"));
  m.def("fold_scores", &fold_scores_arrays, py::arg("B"), py::arg("D"), py::arg("E"), py::arg("F"), py::arg("S"),
        py::arg("U"), py::arg("W"), py::arg("product"), py::arg("square"), py::arg("threads"), py::arg("stream"));
  m.def("select_scale", &select_scale_arrays, py::arg("C"), py::arg("values"), py::arg("alpha"), py::arg("out"),
        py::arg("threads"), py::arg("stream"));
  m.def("check_sketch", &check_sketch_spec, py::arg("op"), py::arg("k"), py::arg("seed"), py::arg("nnz"),
        py::arg("first_segment"));
  m.def("sketch_workspace", &sketch_workspace_floats, py::arg("is_cuda"), py::arg("n"), py::arg("rows"),
        py::arg("cols"), py::arg("k"));
  m.def("isas", &isas);
  m.def("current_isa", [] { return std::string(cpu::current_isa().name); });
  m.def("cuda_architectures", [] { return std::string(cuda::architectures()); });
}
