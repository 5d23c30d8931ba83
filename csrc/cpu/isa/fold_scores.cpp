// fold_scores on the CPU, compiled once per instruction set (GK_ISA, GK_LANES): all sums of a range of columns.
//
//   product = S (B * D),   square = U (B * E) + W (B * F)
//
// A block of rows at a time, the products of one term are formed in float64 in strips as wide as a tile, and each tile
// of alphas by columns adds them up in registers. So inputs are read once, and the products never leave the cache.
// Bound by fused multiply-adds where there are many alphas, by reading the inputs where there are few.
#include "wide.h"

namespace gradkern::GK_ISA {
namespace {

constexpr int kVectors = 3;
constexpr int kTileAlphas = GK_LANES == 16 ? 8 : 4;  // a tile's sums take three quarters of the registers
constexpr int64_t kAhead = 8;                        // rows fetched ahead of their use: they lie in different pages
constexpr int kStrip = kVectors * kDoubles;
static_assert(kStripColumns % kStrip == 0);

// Alphas in nearly equal tiles: none has rows of zeros.
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

// A range of columns: where its products and its sums [strip, a, kStrip] are.
struct Piece {
  int64_t begin, width, strips;
  double* panel;
};

template <typename T, typename X>
void add_term(const WeighedProducts& all, const Piece& piece, const X* x, const double* weights, int64_t first,
              double* sums) {
  const int64_t steps = all.r - first < kWeighedSteps ? all.r - first : kWeighedSteps;
  const int64_t at = first * all.b + piece.begin;
  form_panel(static_cast<const T*>(all.B) + at, x + at, all.b, steps, piece.width, piece.panel);
  const Tiles tiles(all.a);
  for (int64_t strip = 0; strip < piece.strips; ++strip) {
    for (int64_t tile = 0; tile < tiles.count; ++tile) {
      const int64_t alpha = tiles.first(tile), alphas = tiles.first(tile + 1) - alpha;
      add_tile_of<kTileAlphas>(alphas, weights + alpha * all.r + first * alphas, piece.panel + strip * steps * kStrip,
                               steps, sums + (strip * all.a + alpha) * kStrip);
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
void weigh(const WeighedProducts& all, int64_t begin, int64_t end, double* scratch) {
  const int64_t strips = (end - begin + kStrip - 1) / kStrip, columns = strips * kStrip;
  const Piece piece{begin, end - begin, strips, scratch};
  double* product = scratch + kWeighedSteps * columns;
  double* square = product + all.a * columns;
  for (int64_t i = 0; i < 2 * all.a * columns; ++i) product[i] = 0.0;
  for (int64_t first = 0; first < all.r; first += kWeighedSteps) {
    add_term<T>(all, piece, static_cast<const T*>(all.D), all.S, first, product);
    add_term<T>(all, piece, all.E, all.U, first, square);
    add_term<T>(all, piece, static_cast<const T*>(all.F), all.W, first, square);
  }
  write_sums(piece, product, all.a, all.b, all.product);
  write_sums(piece, square, all.a, all.b, all.square);
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

void weigh_products(const WeighedProducts& all, int64_t begin, int64_t end, double* scratch) {
  if (all.element == Element::f32) {
    weigh<float>(all, begin, end, scratch);
  } else {
    weigh<double>(all, begin, end, scratch);
  }
}

}  // namespace gradkern::GK_ISA
