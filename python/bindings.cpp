// gradkern._native: one m.def an op. gradkern/ops.py is its only importer; docstrings live there.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

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

void check_sketch_spec(int64_t k, int64_t seed, int64_t nnz, int64_t first_segment) {
  check_sketch({k, seed, nnz, first_segment});
}

int64_t sketch_workspace_floats(bool is_cuda, int64_t n, int64_t rows, int64_t cols, int64_t k) {
  return sketch_workspace(is_cuda ? Device::cuda : Device::cpu, n, rows, cols, k);
}

std::vector<std::string> isas() {
  std::vector<std::string> names;
  for (const cpu::Isa* isa = cpu::available_isas(); isa->name != nullptr; ++isa) names.push_back(isa->name);
  return names;
}

}  // namespace

PYBIND11_MODULE(_native, m) {
  m.def("sketch", &sketch_arrays, py::arg("x"), py::arg("workspace"), py::arg("out"), py::arg("k"), py::arg("seed"),
        py::arg("nnz"), py::arg("first_segment"), py::arg("threads"), py::arg("stream"));
  m.def("check_sketch", &check_sketch_spec, py::arg("k"), py::arg("seed"), py::arg("nnz"), py::arg("first_segment"));
  m.def("sketch_workspace", &sketch_workspace_floats, py::arg("is_cuda"), py::arg("n"), py::arg("rows"),
        py::arg("cols"), py::arg("k"));
  m.def("isas", &isas);
  m.def("current_isa", [] { return std::string(cpu::current_isa().name); });
  m.def("cuda_architectures", [] { return std::string(cuda::architectures()); });
}
