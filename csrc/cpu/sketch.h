#pragma once
#include "../signs.h"
#include "../view.h"

namespace gradkern::cpu {

void sketch(const View& x, const View& out, const SketchSpec& spec, int threads);

}  // namespace gradkern::cpu
