// The CUDA symbols of a build without nvcc: each is a clear error.
#include <stdexcept>
#include <string>

#include "column_moments.h"
#include "fold_scores.h"
#include "select_scale.h"
#include "sketch.h"
#include "sketch_conv.h"
#include "sketch_outer.h"

namespace gradkern::cuda {
namespace {

[[noreturn]] void refuse(const std::string& op) {
  throw std::runtime_error(
      op +
      ": the arrays are on a CUDA device, but this build of gradkern has no CUDA code (no nvcc was "
      "found when it was built); reinstall with nvcc on the PATH, or call .cpu() on them");
}

}  // namespace

void sketch(const View&, float*, const View&, const SketchSpec&, void*) { refuse("sketch"); }

void sketch_outer(const View&, const View&, float*, const View&, const SketchSpec&, bool, const Execution&) {
  refuse("sketch_outer");
}

void sketch_conv(const View&, const View&, float*, const View&, const ConvShape&, const SketchSpec&, bool,
                 const Execution&) {
  refuse("sketch_conv");
}

void column_moments(const View&, const Labels&, const ColumnMoments&, void*) { refuse("column_moments"); }

void fold_scores(const FoldFactors&, const FoldWeights&, const View&, const View&, void*) { refuse("fold_scores"); }

void select_scale(const View&, const View&, const View&, const View&, void*) { refuse("select_scale"); }

int64_t sketch_workspace(int64_t, int64_t, int64_t, int64_t) { return 0; }
int64_t sketch_outer_workspace(int64_t, int64_t, int64_t, int64_t, int64_t, bool) { return 0; }
int64_t sketch_conv_workspace(const ConvShape&, int64_t, bool) { return 0; }

const char* architectures() { return ""; }

}  // namespace gradkern::cuda
