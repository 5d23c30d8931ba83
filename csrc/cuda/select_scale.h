#pragma once
#include "../ops.h"

namespace gradkern::cuda {

void select_scale(const View& C, const View& values, const View& alpha, const View& out, void* stream);

}  // namespace gradkern::cuda
