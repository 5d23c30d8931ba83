// fold_scores on the CPU: the weights are packed once, then some columns at a time, each by one thread. A column's sums
// do not depend on how columns are cut, so their bits do not depend on the number of threads.
#include "fold_scores.h"

#include <algorithm>

#include "isa.h"
#include "parallel.h"
#include "parts.h"
#include "scratch.h"

namespace gradkern::cpu {
namespace {

constexpr int64_t kPieceStrips = 8;  // sums and products of a hundred alphas then stay in a thread's own cache
constexpr int64_t kSmall = 1 << 16;

double* doubles(Scratch& scratch, int64_t count) { return reinterpret_cast<double*>(scratch.floats(2 * count)); }

}  // namespace

void fold_scores(const FoldFactors& factors, const FoldWeights& weights, const View& product, const View& square,
                 int threads) {
  const Isa& isa = current_isa();
  const int64_t a = product.shape[0], r = factors.B.shape[0], b = factors.B.shape[1];
  const int team = a * r * b < kSmall ? 1 : threads;
  thread_local Scratch packed_memory;
  double* packed = doubles(packed_memory, 3 * a * r);
  const View* given[] = {&weights.S, &weights.U, &weights.W};
  parallel_for(3, team, [&](int64_t i) {
    isa.pack_weights(static_cast<const double*>(given[i]->data), a, r, packed + i * a * r);
  });
  const WeighedProducts all{factors.B.data,
                            factors.D.data,
                            factors.F.data,
                            static_cast<const double*>(factors.E.data),
                            static_cast<Element>(factors.B.dtype),
                            r,
                            b,
                            a,
                            packed,
                            packed + a * r,
                            packed + 2 * a * r,
                            static_cast<double*>(product.data),
                            static_cast<double*>(square.data)};
  const int64_t strips = (b + kStripColumns - 1) / kStripColumns;
  // as many pieces for each thread, so that none waits
  const int64_t pieces = std::min(strips, (strips + kPieceStrips * team - 1) / (kPieceStrips * team) * team);
  parallel_for(pieces, team, [&](int64_t item) {
    thread_local Scratch memory;
    const Range own = piece(strips, pieces, item);
    const int64_t begin = own.begin * kStripColumns, end = std::min(b, own.end * kStripColumns);
    isa.weigh_products(all, begin, end, doubles(memory, (kWeighedSteps + 2 * a) * own.count() * kStripColumns));
  });
}

}  // namespace gradkern::cpu
