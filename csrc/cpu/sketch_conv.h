#pragma once
#include "../conv.h"
#include "../signs.h"
#include "../view.h"

namespace gradkern::cpu {

void sketch_conv(const View& x, const View& g, const View& out, const ConvShape& shape, const SketchSpec& spec,
                 bool bias, int threads);

}  // namespace gradkern::cpu
