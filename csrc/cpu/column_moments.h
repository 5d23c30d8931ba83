#pragma once
#include "../ops.h"

namespace gradkern::cpu {

void column_moments(const View& y, const Labels& group, const ColumnMoments& results, int threads);

}  // namespace gradkern::cpu
