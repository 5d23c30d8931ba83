// A panel of a product G = g^T a, sketched from the registers it is computed in. Compiled once per instruction set.
//
// The panel is one segment wide: 64 columns of G, all positions t, any number of rows. A tile of kRows rows and kCols
// columns stays in registers for all t and then goes, signed, to its rows' buckets: G is never in memory. Both
// factors are packed so that every load is the next one in memory. Bound by multiplications.
#include "vectors.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace gradkern::GK_ISA {
namespace {

constexpr int kRows = kTileRows;
constexpr int kCols = kTileCols;
constexpr int kWide = kCols / kLanes;
constexpr int kAhead = 10 * kRows;  // rows hashed together

#if defined(__AVX512BF16__)
inline Floats multiply_add(Floats sum, Floats x, float y, bool pairs) {
  if (!pairs) return sum + x * y;
  const __m512 both = (__m512)((Bits){} + __builtin_bit_cast(uint32_t, y));
  return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)(__m512i)x, (__m512bh)(__m512i)both);
}
#else
inline Floats multiply_add(Floats sum, Floats x, float y, bool) { return sum + x * y; }
#endif

// tile[r][v] = sum over steps of g[r, step] * a[step][v]. Rows of g are lines, or lie side by side in a tile.
template <int kCount, bool pairs, bool lines>
inline void multiply(const float* const (&g)[kRows], const float* a, int64_t steps, Floats (&tile)[kRows][kCount]) {
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kCount; ++v) tile[r][v] = Floats{};
  }
  for (int64_t step = 0; step < steps; ++step) {
    Floats x[kCount];
#pragma GCC unroll 4
    for (int v = 0; v < kCount; ++v) x[v] = load(a + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const float y = lines ? g[r][step] : g[0][step * kRows + r];
#pragma GCC unroll 4
      for (int v = 0; v < kCount; ++v) tile[r][v] = multiply_add(tile[r][v], x[v], y, pairs);
    }
    a += kCols;
  }
}

// Zeros behind the matrix's last column: there a padding zero may have met an infinity.
template <int kCount>
inline void cut(Floats (&values)[kCount], int width) {
  for (int v = 0; v < kCount; ++v) {
    Bits lane;
    for (int j = 0; j < kLanes; ++j) lane[j] = v * kLanes + j;
    values[v] = (Floats)((Bits)values[v] & (Bits)(lane < static_cast<uint32_t>(width)));
  }
}

struct Hashes {
  uint64_t signs[kAhead];
  uint32_t offsets[kAhead];
};

inline void hash_rows(const Panel& panel, const SketchSpec& spec, int64_t first_row, int64_t q, Hashes& hashes) {
  const uint64_t mixed_seed = mix64(spec.seed);
  for (int r = 0; r < kAhead; ++r) {
    const uint64_t key = segment_key(mixed_seed, panel.first + (first_row + r) * panel.per_row);
    hashes.signs[r] = segment_signs(key, q);
    hashes.offsets[r] = segment_offset(key, q, spec.k);
  }
}

// Columns [col, col + kCount * kLanes) of one tile of rows, to their buckets.
template <int kCount, bool pairs>
inline void add_tile(const Panel& panel, const SketchSpec& spec, int64_t row, int col, const Hashes& hashes,
                     float* buckets) {
  Floats tile[kRows][kCount];
  const int64_t steps = panel.steps;
  const float* a = panel.a + col * steps;
  const int64_t rows = panel.rows - row < kRows ? panel.rows - row : kRows;
  const float* g[kRows];
  if (panel.g_stride == 0) {
    for (int r = 0; r < kRows; ++r) g[r] = panel.g + row * steps + r;
    multiply<kCount, pairs, false>(g, a, steps, tile);
  } else {
    // a tile that is not full reads its last row again
    for (int r = 0; r < kRows; ++r) g[r] = panel.g + (row + (r < rows ? r : rows - 1)) * panel.g_stride;
    multiply<kCount, pairs, true>(g, a, steps, tile);
  }
  const int left = panel.width - col;
  for (int64_t r = 0; r < rows; ++r) {
    if (left < kCount * kLanes) cut(tile[r], left);
    for (int64_t q = 0; q < spec.nnz; ++q) {
      const int64_t at = row % kAhead + r;
      uint64_t signs = hashes.signs[at];
      uint32_t offset = hashes.offsets[at];
      if (q > 0) {
        const uint64_t key = segment_key(mix64(spec.seed), panel.first + (row + r) * panel.per_row);
        signs = segment_signs(key, q);
        offset = segment_offset(key, q, spec.k);
      }
      add_signed(tile[r], signs >> col, offset + col, buckets);
    }
  }
}

template <bool pairs>
void add_rows(const Panel& panel, const SketchSpec& spec, float* buckets) {
  Hashes hashes;
  for (int64_t row = 0; row < panel.rows; row += kRows) {
    if (row % kAhead == 0) hash_rows(panel, spec, row, 0, hashes);
    for (int col = 0; col < panel.width; col += kCols) {
      const int vectors = (panel.width - col + kLanes - 1) / kLanes;
      if (vectors == 1) {
        add_tile<1, pairs>(panel, spec, row, col, hashes, buckets);
      } else if (vectors == 2 && kWide > 2) {
        add_tile<2, pairs>(panel, spec, row, col, hashes, buckets);
      } else {
        add_tile<kWide, pairs>(panel, spec, row, col, hashes, buckets);
      }
    }
  }
}

}  // namespace

void add_panel(const Panel& panel, const SketchSpec& spec, float* buckets) {
  if (kPairs && panel.element == Element::bf16) return add_rows<kPairs>(panel, spec, buckets);
  add_rows<false>(panel, spec, buckets);
}

}  // namespace gradkern::GK_ISA
