#pragma once
#include "../ops.h"

namespace gradkern::cpu {

void fold_scores(const FoldFactors& factors, const FoldWeights& weights, const View& product, const View& square,
                 int threads);

}  // namespace gradkern::cpu
