// Every check of every op, once; then the device switch. Devices' own files trust what they are given.
#include "ops.h"

#include "cpu/sketch.h"
#include "cuda/sketch.h"

namespace gradkern {
namespace {

const char* name(Device device) { return device == Device::cpu ? "cpu" : "cuda"; }

void check_layout(const char* op, const char* argument, const View& view, int ndim) {
  GK_CHECK(view.ndim == ndim, op << ": " << argument << " must have " << ndim << " dimensions, got shape "
                                 << describe(view.shape, view.ndim));
  GK_CHECK(is_contiguous(view), op << ": " << argument << " must be contiguous, got shape "
                                   << describe(view.shape, view.ndim) << " with strides "
                                   << describe(view.strides, view.ndim) << "; call .contiguous() on it");
}

void check_same_device(const char* op, const char* argument, const View& view, const View& x) {
  GK_CHECK(view.device == x.device && view.device_index == x.device_index,
           op << ": " << argument << " must be on the device of x, got " << name(view.device) << ":"
              << view.device_index << " beside " << name(x.device) << ":" << x.device_index);
}

}  // namespace

void check_sketch(const SketchSpec& spec) {
  GK_CHECK(spec.k >= kSegment, "sketch: k must be at least 64, got " << spec.k);
  GK_CHECK(spec.k < (int64_t{1} << 31), "sketch: k must be below 2^31, got " << spec.k);
  GK_CHECK(spec.nnz >= 1 && spec.nnz <= spec.k, "sketch: nnz must be in 1..k, got " << spec.nnz);
  GK_CHECK(spec.seed >= 0, "sketch: seed must not be negative, got " << spec.seed);
  GK_CHECK(spec.first_segment >= 0, "sketch: first_segment must not be negative, got " << spec.first_segment);
}

void sketch(const View& x, const View& workspace, const View& out, const SketchSpec& spec, const Execution& execution) {
  check_sketch(spec);
  check_layout("sketch", "x", x, 3);
  check_layout("sketch", "workspace", workspace, 1);
  check_layout("sketch", "out", out, 2);
  GK_CHECK(out.dtype == Dtype::f32 && workspace.dtype == Dtype::f32, "sketch: out and workspace must be float32");
  GK_CHECK(out.shape[0] == x.shape[0] && out.shape[1] == spec.k,
           "sketch: out must have shape [" << x.shape[0] << ", " << spec.k << "], got " << describe(out.shape, 2));
  check_same_device("sketch", "out", out, x);
  check_same_device("sketch", "workspace", workspace, x);
  const int64_t needed = sketch_workspace(x.device, x.shape[0], x.shape[1], x.shape[2], spec.k);
  GK_CHECK(workspace.shape[0] >= needed,
           "sketch: workspace must hold " << needed << " floats, got " << workspace.shape[0]);
  GK_CHECK(execution.threads >= 1, "sketch: threads must be at least 1, got " << execution.threads);
  if (x.device == Device::cpu) {
    cpu::sketch(x, out, spec, execution.threads);
  } else {
    cuda::sketch(x, static_cast<float*>(workspace.data), out, spec, execution.stream);
  }
}

int64_t sketch_workspace(Device device, int64_t n, int64_t rows, int64_t cols, int64_t k) {
  return device == Device::cpu ? 0 : cuda::sketch_workspace(n, rows, cols, k);
}

}  // namespace gradkern
