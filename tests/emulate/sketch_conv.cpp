// sketch_conv behind a C interface for ctypes.
#include "../../csrc/cuda/sketch_conv.cu"

#include "bindings.h"

using namespace gradkern;

extern "C" {

const char* emulated_sketch_conv(void* x, void* g, int dtype, const ConvShape* shape, float* workspace, float* out,
                                 int64_t k, int64_t seed, int64_t nnz, int64_t first_segment, bool bias,
                                 bool allow_tf32, uint64_t schedule) {
  Execution execution;
  execution.allow_tf32 = allow_tf32;
  return guarded(schedule, [&] {
    cuda::sketch_conv(view_of(x, dtype, {shape->n, shape->c, shape->h, shape->w}),
                      view_of(g, dtype, {shape->n, shape->o, shape->out_h, shape->out_w}), floats_of(workspace),
                      view_of(out, 0, {shape->n, k}), {k, seed, nnz, first_segment}, shape->window, bias, execution);
  });
}

int64_t emulated_sketch_conv_workspace(const ConvShape* shape, int64_t k, bool bias) {
  return cuda::sketch_conv_workspace(*shape, k, bias);
}

}  // extern "C"
