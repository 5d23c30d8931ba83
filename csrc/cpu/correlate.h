#pragma once
#include "../conv.h"
#include "../signs.h"
#include "../view.h"

namespace gradkern::cpu {

// sketch_conv for groups of few outputs: row by row of the gradient, which is small, then sketched as it lies.
void correlate_sketch(const View& x, const View& g, float* out, const ConvShape& shape, const SketchSpec& spec,
                      bool bias, int threads);

}  // namespace gradkern::cpu
