#pragma once
#include "../ops.h"

namespace gradkern::cuda {

void column_moments(const View& y, const Labels& group, const ColumnMoments& results, void* stream);

}  // namespace gradkern::cuda
