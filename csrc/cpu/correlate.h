#pragma once
#include "../conv.h"
#include "../signs.h"
#include "../view.h"

namespace gradkern::cpu {

// sketch_conv for groups of few outputs: the gradient is small, so its rows are computed first and then sketched.
void correlate_sketch(const View& x, const View& g, float* out, const ConvShape& shape, const SketchSpec& spec,
                      bool bias, int threads);

}  // namespace gradkern::cpu
