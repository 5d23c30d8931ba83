// gradkern._native: a Python function for every op of csrc/ops.def. gradkern/kernels/ops.py is its only importer, and
// has the docstrings.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "../csrc/cpu/dispatch.h"
#include "../csrc/ops.h"
#include "arguments.h"

namespace py = pybind11;
using namespace gradkern;

namespace {

// "(const View& x, bool bias)" -> {"x", "bias"}
std::vector<std::string> names_of(const std::string& parameters) {
  std::vector<std::string> names;
  for (size_t end = 0; (end = parameters.find_first_of(",)", end + 1)) != std::string::npos;) {
    const size_t begin = parameters.find_last_of(" &", end) + 1;
    names.push_back(parameters.substr(begin, end - begin));
  }
  return names;
}

// Defines a Python function that turns its arguments into those of `op`, whose parameters have these names.
template <typename Result, typename... Parameters, size_t... I>
void define(py::module_& m, const char* name, Result (*op)(Parameters...), const std::vector<std::string>& names,
            std::index_sequence<I...>) {
  const auto call = [op, names](PythonOf<Parameters>... values) {
    std::tuple<std::decay_t<Parameters>...> arguments{
        Argument<std::decay_t<Parameters>>::from(values, names[I].c_str())...};
    if constexpr ((std::is_same_v<std::decay_t<Parameters>, Execution> || ...)) {
      const auto& first = std::get<0>(std::tie(values...));
      std::get<Execution>(arguments).stream = stream_of(first, std::get<0>(arguments));
    }
    py::gil_scoped_release unlocked;
    return op(std::get<I>(arguments)...);
  };
  m.def(name, call, py::arg(names[I].c_str())...);
}

template <typename Result, typename... Parameters>
void define(py::module_& m, const char* name, Result (*op)(Parameters...), const char* parameters) {
  define(m, name, op, names_of(parameters), std::index_sequence_for<Parameters...>{});
}

std::vector<std::string> isas() {
  std::vector<std::string> names;
  for (const Isa* const* isa = cpu::available_isas(); *isa != nullptr; ++isa) names.push_back((*isa)->name);
  return names;
}

}  // namespace

PYBIND11_MODULE(_native, m) {
#define GK_OP(name, parameters) define(m, #name, &gradkern::name, #parameters);
#define GK_WORKSPACE(name, parameters) define(m, #name, &cuda::name, #parameters);
#include "../csrc/ops.def"
  define(m, "check_sketch", &check_sketch, "(const SketchSpec& spec)");
  m.def("isas", &isas);
  m.def("current_isa", [] { return std::string(cpu::current_isa().name); });
  m.def("cuda_architectures", [] { return std::string(cuda::architectures()); });
}
