// The CUDA symbols of a build without nvcc: each is a clear error.
#include "sketch.h"

namespace gradkern::cuda {

void sketch(const View&, float*, const View&, const SketchSpec&, void*) {
  throw std::runtime_error(
      "sketch: x is on a CUDA device, but this build of gradkern has no CUDA code (no nvcc was found when it "
      "was built); reinstall with nvcc on the PATH, or call x.cpu()");
}

int64_t sketch_workspace(int64_t, int64_t, int64_t, int64_t) { return 0; }

const char* architectures() { return ""; }

}  // namespace gradkern::cuda
