// fold_scores on the CPU: the weights are packed once, then each thread takes some columns at a time. The sums of a
// column do not depend on how columns are cut, so their bits do not depend on the number of threads. The kernel
// computes
//
//   product = S (B * D),   square = U (B * E) + W (B * F)
//
// for a range of columns. For a block of rows at a time, the products of one term are formed in float64 in strips as
// wide as a tile, and each tile of alphas by columns adds them up in registers. So inputs are read once, and the
// products never leave the cache. Bound by fused multiply-adds where there are many alphas, by reading the inputs where
// there are few.
//
// compile: -ffp-contract=fast
#include "../dispatch.h"

namespace gradkern {

// The three terms [r, b] and their packed weights [a, r].
constexpr int64_t kStripColumns = 24;  // a multiple of the width of a strip in every instruction set
constexpr int64_t kBlockRows = 128;    // rows whose products are formed at a time
struct ScoreTerms {
  const void *B, *D, *F;
  const double* E;
  Element element;  // of B, D and F: float32 or float64
  int64_t r, b, a;
  const double *S, *U, *W;
  double *product, *square;  // [a, b]
};

GK_KERNEL(void, pack_weights, (const double* weights, int64_t a, int64_t r, double* packed));

// Computes columns [begin, end), begin a multiple of kStripColumns. scratch holds kBlockRows + 2 a doubles for each
// column, their number rounded up to such a multiple.
GK_KERNEL(void, sum_products, (const ScoreTerms& terms, int64_t begin, int64_t end, double* scratch));

}  // namespace gradkern

#if defined(GK_ISA)
#include "wide.h"

namespace gradkern::GK_ISA {
namespace {

constexpr int kVectors = 3;
constexpr int kTileAlphas = GK_LANES == 16 ? 8 : 4;  // a tile's sums take three quarters of the registers
constexpr int64_t kAhead = 8;                        // rows that are fetched ahead, as they lie in different pages
constexpr int kStrip = kVectors * kDoubles;
static_assert(kStripColumns % kStrip == 0);

// Alphas in nearly equal tiles, so that no tile has rows of zeros.
struct Tiles {
  int64_t a, count;
  explicit Tiles(int64_t alphas) : a(alphas), count((alphas + kTileAlphas - 1) / kTileAlphas) {}
  int64_t first(int64_t tile) const { return tile * a / count; }
};

// panel[strip, j, column] = b[j, .] * x[j, .], zero behind `width`.
template <typename T, typename X>
void form_panel(const T* b, const X* x, int64_t stride, int64_t steps, int64_t width, double* panel) {
  for (int64_t j = 0; j < steps; ++j) {
    const T* left = b + j * stride;
    const X* right = x + j * stride;
    double* out = panel + j * kStrip;
    const int64_t ahead = (j + kAhead < steps ? kAhead : steps - 1 - j) * stride;
    for (int64_t at = 0; at < width; at += 64 / static_cast<int64_t>(sizeof(X))) {
      __builtin_prefetch(left + ahead + at, 0, 3);
      __builtin_prefetch(right + ahead + at, 0, 3);
    }
    int64_t column = 0;
    for (; column + kStrip <= width; column += kStrip, out += steps * kStrip) {
      for (int v = 0; v < kVectors; ++v) {
        const int64_t at = column + v * kDoubles;
        store(load_wide(left + at) * load_wide(right + at), out + v * kDoubles);
      }
    }
    if (column == width) continue;
    for (int64_t i = 0; i < kStrip; ++i) {
      const int64_t at = column + i;
      out[i] = at < width ? static_cast<double>(left[at]) * right[at] : 0.0;
    }
  }
}

// sums[alpha, column] += sum over steps of weights[j, alpha] * panel[j, column].
template <int kAlphas>
void add_tile(const double* weights, const double* panel, int64_t steps, double* sums) {
  Doubles tile[kAlphas][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kAlphas; ++i) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) tile[i][v] = load_wide(sums + i * kStrip + v * kDoubles);
  }
  for (int64_t j = 0; j < steps; ++j) {
    Doubles products[kVectors];
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) products[v] = load_wide(panel + j * kStrip + v * kDoubles);
#pragma GCC unroll 8
    for (int i = 0; i < kAlphas; ++i) {
      const Doubles weight = Doubles{} + weights[j * kAlphas + i];
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) tile[i][v] += weight * products[v];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kAlphas; ++i) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) store(tile[i][v], sums + i * kStrip + v * kDoubles);
  }
}

template <int kAlphas>
void add_tile_of(int64_t alphas, const double* weights, const double* panel, int64_t steps, double* sums) {
  if (alphas == kAlphas) return add_tile<kAlphas>(weights, panel, steps, sums);
  if constexpr (kAlphas > 1) add_tile_of<kAlphas - 1>(alphas, weights, panel, steps, sums);
}

// A range of columns, and where its products lie.
struct Piece {
  int64_t begin, width, strips;
  double* panel;
};

template <typename T, typename X>
void add_term(const ScoreTerms& terms, const Piece& piece, const X* x, const double* weights, int64_t first,
              double* sums) {
  const int64_t steps = terms.r - first < kBlockRows ? terms.r - first : kBlockRows;
  const int64_t at = first * terms.b + piece.begin;
  form_panel(static_cast<const T*>(terms.B) + at, x + at, terms.b, steps, piece.width, piece.panel);
  const Tiles tiles(terms.a);
  for (int64_t strip = 0; strip < piece.strips; ++strip) {
    for (int64_t tile = 0; tile < tiles.count; ++tile) {
      const int64_t alpha = tiles.first(tile), alphas = tiles.first(tile + 1) - alpha;
      add_tile_of<kTileAlphas>(alphas, weights + alpha * terms.r + first * alphas, piece.panel + strip * steps * kStrip,
                               steps, sums + (strip * terms.a + alpha) * kStrip);
    }
  }
}

void write_sums(const Piece& piece, const double* sums, int64_t a, int64_t b, double* out) {
  for (int64_t alpha = 0; alpha < a; ++alpha) {
    for (int64_t column = 0; column < piece.width; ++column) {
      out[alpha * b + piece.begin + column] = sums[(column / kStrip * a + alpha) * kStrip + column % kStrip];
    }
  }
}

template <typename T>
void weigh(const ScoreTerms& terms, int64_t begin, int64_t end, double* scratch) {
  const int64_t strips = (end - begin + kStrip - 1) / kStrip, columns = strips * kStrip;
  const Piece piece{begin, end - begin, strips, scratch};
  double* product = scratch + kBlockRows * columns;
  double* square = product + terms.a * columns;
  for (int64_t i = 0; i < 2 * terms.a * columns; ++i) product[i] = 0.0;
  for (int64_t first = 0; first < terms.r; first += kBlockRows) {
    add_term<T>(terms, piece, static_cast<const T*>(terms.D), terms.S, first, product);
    add_term<T>(terms, piece, terms.E, terms.U, first, square);
    add_term<T>(terms, piece, static_cast<const T*>(terms.F), terms.W, first, square);
  }
  write_sums(piece, product, terms.a, terms.b, terms.product);
  write_sums(piece, square, terms.a, terms.b, terms.square);
}

}  // namespace

void pack_weights(const double* weights, int64_t a, int64_t r, double* packed) {
  const Tiles tiles(a);
  for (int64_t tile = 0; tile < tiles.count; ++tile) {
    const int64_t first = tiles.first(tile), alphas = tiles.first(tile + 1) - first;
    for (int64_t i = 0; i < alphas; ++i) {
      for (int64_t j = 0; j < r; ++j) packed[first * r + j * alphas + i] = weights[(first + i) * r + j];
    }
  }
}

void sum_products(const ScoreTerms& terms, int64_t begin, int64_t end, double* scratch) {
  if (terms.element == Element::f32) {
    weigh<float>(terms, begin, end, scratch);
  } else {
    weigh<double>(terms, begin, end, scratch);
  }
}

}  // namespace gradkern::GK_ISA

#else
#include <algorithm>

#include "../../ops.h"
#include "../parallel.h"
#include "../scratch.h"
#include "../split_sums.h"

namespace gradkern::cpu {
namespace {

constexpr int64_t kPieceStrips = 8;  // the sums and products of a hundred alphas then stay in a thread's own cache
constexpr int64_t kSmall = 1 << 16;  // fewer products are not worth several threads

double* doubles(Scratch& scratch, int64_t count) { return reinterpret_cast<double*>(scratch.floats(2 * count)); }

}  // namespace

void fold_scores(const View& B, const View& D, const View& E, const View& F, const View& S, const View& U,
                 const View& W, const View& product, const View& square, const Execution& execution) {
  const Isa& isa = current_isa();
  const int64_t a = S.shape[0], r = B.shape[0], b = B.shape[1];
  const int team = a * r * b < kSmall ? 1 : execution.threads;
  thread_local Scratch packed_memory;
  double* packed = doubles(packed_memory, 3 * a * r);
  const View* weights[] = {&S, &U, &W};
  parallel_for(3, team, [&](int64_t i) {
    pack_weights[isa](static_cast<const double*>(weights[i]->data), a, r, packed + i * a * r);
  });
  const ScoreTerms terms{B.data,
                         D.data,
                         F.data,
                         static_cast<const double*>(E.data),
                         static_cast<Element>(B.dtype),
                         r,
                         b,
                         a,
                         packed,
                         packed + a * r,
                         packed + 2 * a * r,
                         static_cast<double*>(product.data),
                         static_cast<double*>(square.data)};
  const int64_t strips = (b + kStripColumns - 1) / kStripColumns;
  // every thread gets the same number of pieces, so that none waits
  const int64_t pieces = std::min(strips, (strips + kPieceStrips * team - 1) / (kPieceStrips * team) * team);
  parallel_for(pieces, team, [&](int64_t item) {
    thread_local Scratch memory;
    const Range range = piece(strips, pieces, item);
    const int64_t begin = range.begin * kStripColumns, end = std::min(b, range.end * kStripColumns);
    sum_products[isa](terms, begin, end, doubles(memory, (kBlockRows + 2 * a) * range.count() * kStripColumns));
  });
}

}  // namespace gradkern::cpu

#endif
