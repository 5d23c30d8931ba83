// The CUDA symbols of a build without nvcc: each is a clear error.
#include "sketch.h"
#include "sketch_conv.h"
#include "sketch_outer.h"

namespace gradkern::cuda {
namespace {

[[noreturn]] void absent(const std::string& op, const std::string& argument) {
  throw std::runtime_error(op + ": " + argument +
                           " is on a CUDA device, but this build of gradkern has no CUDA code (no nvcc was found when "
                           "it was built); reinstall with nvcc on the PATH, or call " +
                           argument + ".cpu()");
}

}  // namespace

void sketch(const View&, float*, const View&, const SketchSpec&, void*) { absent("sketch", "x"); }

void sketch_outer(const View&, const View&, float*, const View&, const SketchSpec&, bool, const Execution&) {
  absent("sketch_outer", "a");
}

void sketch_conv(const View&, const View&, float*, const View&, const ConvShape&, const SketchSpec&, bool,
                 const Execution&) {
  absent("sketch_conv", "x");
}

int64_t sketch_workspace(int64_t, int64_t, int64_t, int64_t) { return 0; }
int64_t sketch_outer_workspace(int64_t, int64_t, int64_t, int64_t, int64_t, bool) { return 0; }
int64_t sketch_conv_workspace(const ConvShape&, int64_t, bool) { return 0; }

const char* architectures() { return ""; }

}  // namespace gradkern::cuda
