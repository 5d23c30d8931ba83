#pragma once
#include "../ops.h"

namespace gradkern::cpu {

void select_scale(const View& C, const View& values, const View& alpha, const View& out, int threads);

}  // namespace gradkern::cpu
