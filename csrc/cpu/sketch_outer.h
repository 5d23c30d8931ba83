#pragma once
#include "../signs.h"
#include "../view.h"

namespace gradkern::cpu {

void sketch_outer(const View& a, const View& g, const View& out, const SketchSpec& spec, bool bias, int threads);

}  // namespace gradkern::cpu
