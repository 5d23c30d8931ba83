#pragma once
#include "../conv.h"
#include "../execution.h"
#include "../signs.h"
#include "../view.h"

namespace gradkern::cuda {

void sketch_conv(const View& x, const View& g, float* workspace, const View& out, const ConvShape& shape,
                 const SketchSpec& spec, bool bias, const Execution& execution);
int64_t sketch_conv_workspace(const ConvShape& shape, int64_t k, bool bias);

}  // namespace gradkern::cuda
