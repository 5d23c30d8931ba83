#pragma once
#include "../execution.h"
#include "../signs.h"
#include "../view.h"

namespace gradkern::cuda {

void sketch_outer(const View& a, const View& g, float* workspace, const View& out, const SketchSpec& spec, bool bias,
                  const Execution& execution);
int64_t sketch_outer_workspace(int64_t n, int64_t t, int64_t p, int64_t o, int64_t k, bool bias);

}  // namespace gradkern::cuda
