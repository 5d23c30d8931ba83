#pragma once
#include "../ops.h"

namespace gradkern::cuda {

void fold_scores(const FoldFactors& factors, const FoldWeights& weights, const View& product, const View& square,
                 void* stream);

}  // namespace gradkern::cuda
