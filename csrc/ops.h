// The native ops of ops.def, declared three times: gradkern::op checks its arguments and calls cpu::op or cuda::op.
#pragma once
#include "conv.h"
#include "execution.h"
#include "signs.h"
#include "view.h"

namespace gradkern {

#define GK_OP(name, parameters) \
  void name parameters;         \
  namespace cpu {               \
  void name parameters;         \
  }                             \
  namespace cuda {              \
  void name parameters;         \
  }
#define GK_WORKSPACE(name, parameters) \
  namespace cuda {                     \
  int64_t name parameters;             \
  }
#include "ops.def"
#undef GK_OP
#undef GK_WORKSPACE

// Throws unless these numbers define a sketch.
void check_sketch(const SketchSpec& spec);

// Throws unless a convolution of this window takes this input to this output.
void check_conv(const ConvShape& shape);

namespace cuda {

// The machine code in this build: "sm_80 sm_90 compute_90", or "" without CUDA.
const char* architectures();

}  // namespace cuda
}  // namespace gradkern
