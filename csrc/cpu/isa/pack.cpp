// Packs the factors of a product: tile after tile, position after position, the rows (or columns) of a tile side by
// side.
#if defined(GK_ISA)
#include "vectors.h"

namespace gradkern::GK_ISA {
namespace {

inline float widen(float x) { return x; }
inline float widen(Bfloat16 x) { return __builtin_bit_cast(float, static_cast<uint32_t>(x.bits) << 16); }
inline float widen(Float16 x) {
  const uint16_t lanes[kLanes] = {x.bits};
  return load(reinterpret_cast<const Float16*>(lanes))[0];
}

// Two positions of bfloat16 in one float.
inline float pair(Bfloat16 first, Bfloat16 second) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(second.bits) << 16 | first.bits);
}

// A slot holds the element x[0], or the neighbours x[0] and x[next]; `has_next` is false at the last position.
template <bool pairs, typename T>
float slot(const T* x, int64_t next, bool has_next) {
  if constexpr (pairs) {
    return pair(*x, has_next ? x[next] : Bfloat16{0});
  } else {
    return widen(*x);
  }
}

// Slots of kLanes neighbouring positions.
template <bool pairs, typename T>
Floats along(const T* x) {
  if constexpr (pairs) {
    Floats slots;  // copied, because two bfloat16 may begin anywhere that is even
    __builtin_memcpy(&slots, x, sizeof slots);
    return slots;
  } else {
    return load(x);
  }
}

// Slots of kLanes neighbouring columns at one position.
template <bool pairs, typename T>
Floats across(const T* x, int64_t next, bool has_next) {
  if constexpr (pairs) {
    return (Floats)(has_next ? load_bits(x) | load_bits(x + next) << 16 : load_bits(x));
  } else {
    return load(x);
  }
}

template <int kWidth, bool pairs, typename T>
void interleaved_tiles(const Interleaved& factor, int64_t total, float* packed) {
  constexpr int kStep = pairs ? 2 : 1;
  for (int64_t first = 0; first < total; first += kWidth) {
    const int64_t width = factor.count - first < kWidth ? factor.count - first : kWidth;
    for (int64_t t = 0; t < factor.t; t += kStep, packed += kWidth) {
      const T* x = static_cast<const T*>(factor.data) + t * factor.stride + first;
      const bool has_next = t + 1 < factor.t;
      if (kWidth % kLanes == 0 && width == kWidth) {
        for (int j = 0; j < kWidth; j += kLanes) {
          *reinterpret_cast<FloatsInMemory*>(packed + j) = across<pairs>(x + j, factor.stride, has_next);
        }
      } else if (width == kWidth) {
        for (int j = 0; j < kWidth; ++j) packed[j] = slot<pairs>(x + j, factor.stride, has_next);
      } else {
        for (int j = 0; j < kWidth; ++j) packed[j] = j < width ? slot<pairs>(x + j, factor.stride, has_next) : 0.0f;
      }
    }
  }
}

// Transposes kLanes steps of `count` lines, and stores the first `steps` of them.
template <bool pairs, typename T>
inline __attribute__((always_inline)) void transpose_lines(const T* from, int64_t stride, int64_t count, int64_t steps,
                                                           float* out) {
  Floats rows[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) rows[i] = i < count ? along<pairs>(from + i * stride) : Floats{};
  transpose(rows);
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if (i < steps) *reinterpret_cast<FloatsInMemory*>(out + i * kTileCols) = rows[i];
  }
}

// Transposes kLanes lines of one row of the grid, kLanes steps at a time, then a position without a neighbour.
template <bool pairs, typename T>
void lines_row(const Lines& lines, int64_t first, int64_t row, float* out, float* out_alone) {
  constexpr int kStep = pairs ? 2 : 1;
  const int64_t begin = first * lines.stride + row * lines.grid.row_stride, width = lines.grid.width;
  const T* data = static_cast<const T*>(lines.data) + begin;
  const int64_t count = lines.count - first < kLanes ? lines.count - first : kLanes;
  const int64_t readable = lines.size - begin - (count - 1) * lines.stride;  // of the last line
  const int64_t whole = width / kStep;
  for (int64_t step = 0; step < whole; step += kLanes) {
    const int64_t left = whole - step;
    if (count == kLanes && whole >= kLanes) {  // constant bounds keep all in registers; the last steps are done again
      const int64_t at = left < kLanes ? whole - kLanes : step;
      transpose_lines<pairs>(data + kStep * at, lines.stride, kLanes, kLanes, out + at * kTileCols);
    } else if (kStep * (step + kLanes) <= readable) {
      transpose_lines<pairs>(data + kStep * step, lines.stride, count, left, out + step * kTileCols);
    } else {
      for (int64_t i = step; i < whole; ++i) {
        for (int64_t j = 0; j < kLanes; ++j) {
          out[i * kTileCols + j] = j < count ? slot<pairs>(data + j * lines.stride + kStep * i, 1, true) : 0.0f;
        }
      }
    }
  }
  if (width % kStep == 0) return;
  for (int64_t j = 0; j < kLanes; ++j) {
    out_alone[j] = j < count ? slot<pairs>(data + j * lines.stride + width - 1, 1, false) : 0.0f;
  }
}

template <bool pairs, typename T>
void lines_typed(Lines lines, float* packed) {
  constexpr int kStep = pairs ? 2 : 1;
  Grid& grid = lines.grid;
  if (grid.row_stride == grid.width && grid.width % kStep == 0) grid = {1, grid.rows * grid.width, 0};
  const int64_t whole = grid.width / kStep, count = step_count(lines.element, grid);
  for (int64_t first = 0; first < kSegment; first += kLanes) {
    float* tile = packed + first / kTileCols * kTileCols * count + first % kTileCols;
    for (int64_t row = 0; row < grid.rows; ++row) {
      float* alone = tile + (grid.rows * whole + row) * kTileCols;
      lines_row<pairs, T>(lines, first, row, tile + row * whole * kTileCols, alone);
    }
  }
}

template <typename T, bool in_pairs>
struct Kind {
  using Type = T;
  static constexpr bool pairs = in_pairs;
};

// ops.cpp refuses float64: products take the dtypes that models compute in.
template <typename Call>
void with_kind(Element element, const Call& call) {
  switch (element) {
    case Element::f32:
      return call(Kind<float, false>{});
    case Element::bf16:
      return call(Kind<Bfloat16, kPairs>{});
    case Element::f16:
      return call(Kind<Float16, false>{});
    case Element::f64:
      return;
  }
}

}  // namespace

int64_t step_count(Element element, const Grid& grid) {
  return grid.rows * (kPairs && element == Element::bf16 ? (grid.width + 1) / 2 : grid.width);
}

void pack_interleaved(const Interleaved& factor, Side side, float* packed) {
  with_kind(factor.element, [&](auto kind) {
    using T = typename decltype(kind)::Type;
    if (side == Side::broadcast) {
      interleaved_tiles<kTileRows, kind.pairs, T>(factor, factor.count, packed);
    } else {
      interleaved_tiles<kTileCols, kind.pairs, T>(factor, kSegment, packed);
    }
  });
}

void pack_lines(const Lines& lines, float* packed) {
  with_kind(lines.element, [&](auto kind) { lines_typed<kind.pairs, typename decltype(kind)::Type>(lines, packed); });
}

void widen(const void* x, Element element, int64_t count, float* out) {
  with_kind(element, [&](auto kind) {
    using T = typename decltype(kind)::Type;
    const T* at = static_cast<const T*>(x);
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) *reinterpret_cast<FloatsInMemory*>(out + i) = load(at + i);
    for (; i < count; ++i) out[i] = widen(at[i]);
  });
}

void pack_ones(Element element, int64_t t, int column, float* packed) {
  const bool pairs = kPairs && element == Element::bf16;
  const Bfloat16 zero = {0}, one = {0x3F80};
  const int64_t count = step_count(element, {1, t, 0});
  float* at = packed + column / kTileCols * kTileCols * count + column % kTileCols;
  for (int64_t step = 0; step < count; ++step) {
    at[step * kTileCols] = !pairs ? 1.0f : pair(one, 2 * step + 1 < t ? one : zero);
  }
}

}  // namespace gradkern::GK_ISA

#endif
