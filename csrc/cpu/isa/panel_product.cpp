// A panel of a product G = g^T a, sketched from the registers it is computed in.
//
// A panel is one segment wide: 64 columns of G, all positions, any number of rows. A tile of kTileRows x kTileCols sums
// stays in registers for all positions: one factor lies along vectors, the other is broadcast. Where columns lie along
// vectors (add_panel), the rows of a tile go to their buckets from the registers. Where rows lie along vectors
// (add_patches), columns are read where they lie, so that a convolution stores no patches, and 64 x 64 sums are
// transposed on the way.
// G is never in memory. Bound by multiplications.
//
// compile: -ffp-contract=fast
#if defined(GK_ISA)
#include "vectors.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace gradkern::GK_ISA {
namespace {

constexpr int kRows = kTileRows;
constexpr int kCols = kTileCols;
constexpr int kWide = kCols / kLanes;
constexpr int kAhead = (kSegment + kRows - 1) / kRows * kRows;  // rows hashed together; columns of a block

#if defined(__AVX512BF16__)
inline Floats multiply_add(Floats sum, Floats x, float y, bool pairs) {
  if (!pairs) return sum + x * y;
  const __m512 both = (__m512)((Bits){} + __builtin_bit_cast(uint32_t, y));
  return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)(__m512i)x, (__m512bh)(__m512i)both);
}
#else
inline Floats multiply_add(Floats sum, Floats x, float y, bool) { return sum + x * y; }
#endif

// A slot of one column where it lies; it need not be aligned.
typedef float InMemory __attribute__((aligned(2), may_alias));

// The slot of a last position, which has no neighbour.
inline float alone(const float* x) { return *x; }
inline float alone(const Bfloat16* x) { return __builtin_bit_cast(float, static_cast<uint32_t>(x->bits)); }

template <int kCount>
using Tile = Floats[kRows][kCount];

template <int kCount>
inline void clear(Tile<kCount>& tile) {
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kCount; ++v) tile[r][v] = Floats{};
  }
}

// One step: tile[r][v] += x[v] * y(r) for the vectors x at `panel`.
template <int kCount, bool pairs, typename Broadcast>
inline __attribute__((always_inline)) void step_tile(const float* panel, const Broadcast& y, Tile<kCount>& tile) {
  Floats x[kCount];
#pragma GCC unroll 4
  for (int v = 0; v < kCount; ++v) x[v] = load(panel + v * kLanes);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const float factor = y(r);
#pragma GCC unroll 4
    for (int v = 0; v < kCount; ++v) tile[r][v] = multiply_add(tile[r][v], x[v], factor, pairs);
  }
}

// Clears what lies behind the last column of the matrix: there a padding zero may have met an infinity.
template <int kCount>
inline void cut(Floats (&values)[kCount], int width) {
  for (int v = 0; v < kCount; ++v) {
    const Bits inside = (Bits)(kIndex + v * kLanes < static_cast<uint32_t>(width));
    values[v] = (Floats)((Bits)values[v] & inside);
  }
}

// The signs and offsets of rows, for one repeat.
struct Hashes {
  uint64_t signs[kAhead];
  uint32_t offsets[kAhead];
};

inline void hash_rows(const PanelPlace& place, const SketchSpec& spec, int64_t first_row, int64_t q, Hashes& hashes) {
  const uint64_t mixed_seed = mix64(spec.seed);
  for (int r = 0; r < kAhead; ++r) {
    const uint64_t key = segment_key(mixed_seed, place.first + (first_row + r) * place.per_row);
    hashes.signs[r] = segment_signs(key, q);
    hashes.offsets[r] = segment_offset(key, q, spec.k);
  }
}

// Adds columns [col, col + kCount * kLanes) of one row to their buckets; `at` is the index of the row in the hashes of
// repeat 0.
template <int kCount>
inline void add_row(const PanelPlace& place, const SketchSpec& spec, int64_t row, int col, const Hashes& hashes,
                    int64_t at, Floats (&values)[kCount], float* buckets) {
  if (place.width - col < kCount * kLanes) cut(values, place.width - col);
  add_signed(values, hashes.signs[at] >> col, hashes.offsets[at] + col, buckets);
  for (int64_t q = 1; q < spec.nnz; ++q) {
    const uint64_t key = segment_key(mix64(spec.seed), place.first + row * place.per_row);
    add_signed(values, segment_signs(key, q) >> col, segment_offset(key, q, spec.k) + col, buckets);
  }
}

// Computes columns [col, col + kCount * kLanes) of a tile of rows, and adds them.
template <int kCount, bool pairs>
inline void add_tile(const Panel& panel, const SketchSpec& spec, int64_t row, int col, const Hashes& hashes,
                     float* buckets) {
  Tile<kCount> tile;
  clear<kCount>(tile);
  const float* a = panel.a + col * panel.steps;
  const float* g = panel.g + row * panel.steps;
  for (int64_t step = 0; step < panel.steps; ++step) {
    step_tile<kCount, pairs>(a + step * kCols, [&](int r) { return g[step * kRows + r]; }, tile);
  }
  for (int64_t r = 0; r < kRows && row + r < panel.place.rows; ++r) {
    add_row(panel.place, spec, row + r, col, hashes, row % kAhead + r, tile[r], buckets);
  }
}

template <bool pairs>
void add_rows(const Panel& panel, const SketchSpec& spec, float* buckets) {
  Hashes hashes;
  for (int64_t row = 0; row < panel.place.rows; row += kRows) {
    if (row % kAhead == 0) hash_rows(panel.place, spec, row, 0, hashes);
    for (int col = 0; col < panel.place.width; col += kCols) {
      const int vectors = (panel.place.width - col + kLanes - 1) / kLanes;
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

// 64 x 64 sums, [column][row], and room for a last tile of columns that runs over.
using Block = float[kAhead][kSegment];

// Offsets of the steps of a grid from the first position of a column: `whole` pairs (or positions), then the positions
// that have no neighbour in their row.
struct Steps {
  int64_t offsets[kMaxSteps];
  int64_t whole = 0, count = 0;
};

template <int kStep>
void find_steps(const Grid& grid, Steps& steps) {
  for (int64_t y = 0; y < grid.rows; ++y) {
    for (int64_t x = 0; x + kStep <= grid.width; x += kStep) {
      steps.offsets[steps.whole++] = y * grid.row_stride + x;
    }
  }
  steps.count = steps.whole;
  if (grid.width % kStep == 0) return;
  for (int64_t y = 0; y < grid.rows; ++y) {
    steps.offsets[steps.count++] = y * grid.row_stride + grid.width - 1;
  }
}

// Computes columns [col, col + kRows) and rows [row, row + kCount * kLanes) of a block from its 64 packed rows. Not
// inlined: the constants of what follows would take registers from the sums.
template <int kCount, bool pairs, typename T>
__attribute__((noinline)) void make_tile(const Patches& patches, const Steps& steps, const float* g, int col,
                                         Block& block, int row) {
  const T* columns[kRows];
  for (int c = 0; c < kRows; ++c) {  // a tile that is not full reads its last column again
    const int last = patches.place.width - 1;
    columns[c] = static_cast<const T*>(patches.columns[col + c < last ? col + c : last]);
  }
  Tile<kCount> tile;
  clear<kCount>(tile);
  for (int64_t step = 0; step < steps.whole; ++step) {
    const int64_t at = steps.offsets[step];
    step_tile<kCount, pairs>(
        g + step * kCols, [&](int c) { return *reinterpret_cast<const InMemory*>(columns[c] + at); }, tile);
  }
  for (int64_t step = steps.whole; step < steps.count; ++step) {
    const int64_t at = steps.offsets[step];
    step_tile<kCount, pairs>(g + step * kCols, [&](int c) { return alone(columns[c] + at); }, tile);
  }
  for (int c = 0; c < kRows; ++c) {
    for (int v = 0; v < kCount; ++v) *reinterpret_cast<FloatsInMemory*>(&block[col + c][row + v * kLanes]) = tile[c][v];
  }
}

// Computes and adds rows [first, first + 64) of a panel.
template <bool pairs, typename T>
void add_block(const Patches& patches, const Steps& steps, const SketchSpec& spec, int64_t first, float* buckets) {
  const PanelPlace& place = patches.place;
  const int rows = place.rows - first < kSegment ? static_cast<int>(place.rows - first) : kSegment;
  alignas(64) Block block;
  for (int row = 0; row < rows; row += kCols) {
    const float* g = patches.g + (first + row) * steps.count;
    const int vectors = (rows - row + kLanes - 1) / kLanes;
    for (int col = 0; col < place.width; col += kRows) {
      if (vectors == 1) {
        make_tile<1, pairs, T>(patches, steps, g, col, block, row);
      } else if (vectors == 2 && kWide > 2) {
        make_tile<2, pairs, T>(patches, steps, g, col, block, row);
      } else {
        make_tile<kWide, pairs, T>(patches, steps, g, col, block, row);
      }
    }
  }
  Hashes hashes;
  hash_rows(place, spec, first, 0, hashes);
  for (int row = 0; row < rows; row += kLanes) {
    Floats values[kLanes][kVectors];
    for (int v = 0; v < kVectors; ++v) {
      Floats columns[kLanes];
      for (int j = 0; j < kLanes; ++j) columns[j] = load(&block[v * kLanes + j][row]);
      transpose(columns);
      for (int j = 0; j < kLanes; ++j) values[j][v] = columns[j];
    }
    for (int r = 0; r < kLanes && row + r < rows; ++r) {
      add_row(place, spec, first + row + r, 0, hashes, row + r, values[r], buckets);
    }
  }
}

template <bool pairs, typename T>
void add_blocks(const Patches& patches, const SketchSpec& spec, float* buckets) {
  Steps steps;
  find_steps<pairs ? 2 : 1>(patches.grid, steps);
  for (int64_t first = 0; first < patches.place.rows; first += kSegment) {
    add_block<pairs, T>(patches, steps, spec, first, buckets);
  }
}

}  // namespace

void add_panel(const Panel& panel, const SketchSpec& spec, float* buckets) {
  if (kPairs && panel.element == Element::bf16) return add_rows<kPairs>(panel, spec, buckets);
  add_rows<false>(panel, spec, buckets);
}

bool reads_as_stored(Element element) { return element == Element::f32 || (kPairs && element == Element::bf16); }

void add_patches(const Patches& patches, const SketchSpec& spec, float* buckets) {
  if (kPairs && patches.element == Element::bf16) return add_blocks<kPairs, Bfloat16>(patches, spec, buckets);
  add_blocks<false, float>(patches, spec, buckets);
}

}  // namespace gradkern::GK_ISA

#endif
