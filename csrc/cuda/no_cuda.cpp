// The CUDA side of a build without nvcc: every op of ops.def is an error that says what to do.
#include <stdexcept>

#include "../ops.h"

// The stubs name the parameters of ops.def and use none of them.
#pragma GCC diagnostic ignored "-Wunused-parameter"

namespace gradkern::cuda {
namespace {

[[noreturn]] void refuse() {
  throw std::runtime_error(
      "the arrays are on a CUDA device, but this build of gradkern has no CUDA code (no nvcc was found when it was "
      "built); reinstall with nvcc on the PATH, or call .cpu() on them");
}

}  // namespace

#define GK_OP(name, parameters) \
  void name parameters { refuse(); }
#define GK_WORKSPACE(name, parameters) \
  int64_t name parameters { return 0; }
#include "../ops.def"

const char* architectures() { return ""; }

}  // namespace gradkern::cuda
