// Packing of a product's factors: tile after tile, position after position, the rows (columns) of a tile side by side.
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

// What one slot holds: element x[0], or the neighbours x[0] and x[next]; `has_next` is false behind the last position.
template <bool pairs, typename T>
float slot(const T* x, int64_t next, bool has_next) {
  if constexpr (pairs) {
    return pair(*x, has_next ? x[next] : Bfloat16{0});
  } else {
    return widen(*x);
  }
}

// kLanes slots of neighbouring positions.
template <bool pairs, typename T>
Floats along(const T* x) {
  if constexpr (pairs) {
    return *reinterpret_cast<const FloatsInMemory*>(x);
  } else {
    return load(x);
  }
}

// kLanes slots of one position each, of neighbouring columns.
template <bool pairs, typename T>
Floats across(const T* x, int64_t next, bool has_next) {
  if constexpr (pairs) {
    return (Floats)(has_next ? load_bits(x) | load_bits(x + next) << 16 : load_bits(x));
  } else {
    return load(x);
  }
}

// Turns kLanes vectors into their transpose: in round `s` the halves of blocks of 2 s change places.
inline void transpose(Floats (&rows)[kLanes]) {
#pragma GCC unroll 4
  for (int s = 1; s < kLanes; s *= 2) {
    Bits upper, lower;
    for (int j = 0; j < kLanes; ++j) {
      upper[j] = j & s ? kLanes + j - s : j;
      lower[j] = j & s ? kLanes + j : j + s;
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      if (i & s) continue;
      const Floats first = rows[i], second = rows[i + s];
      rows[i] = __builtin_shuffle(first, second, upper);
      rows[i + s] = __builtin_shuffle(first, second, lower);
    }
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

// kLanes columns of one row of the grid, transposed, kLanes steps at a time.
template <bool pairs, typename T>
void columns_row(const Columns& columns, int64_t first, int64_t row, float* out) {
  constexpr int kStep = pairs ? 2 : 1;
  const T* data = static_cast<const T*>(columns.data) + row * columns.grid.row_stride;
  const int64_t* offsets = columns.offsets + first;
  const int64_t count = columns.count - first < kLanes ? columns.count - first : kLanes;
  int64_t last = row * columns.grid.row_stride;  // the farthest that a column begins
  for (int64_t i = 0; i < count; ++i) {
    const int64_t begin = row * columns.grid.row_stride + offsets[i];
    last = begin > last ? begin : last;
  }
  for (int64_t x = 0; x < columns.grid.width;) {
    const int64_t left = (columns.grid.width - x + kStep - 1) / kStep;
    const bool odd = pairs && (columns.grid.width - x) % 2 != 0 && left <= kLanes;
    if (!odd && last + x + kStep * kLanes <= columns.size) {
      Floats rows[kLanes] = {};
      for (int64_t i = 0; i < count; ++i) rows[i] = along<pairs>(data + offsets[i] + x);
      transpose(rows);
      const int64_t steps = left < kLanes ? left : kLanes;
      for (int64_t i = 0; i < steps; ++i, out += kTileCols) *reinterpret_cast<FloatsInMemory*>(out) = rows[i];
      x += kStep * kLanes;
    } else {
      for (int64_t j = 0; j < kLanes; ++j) {
        out[j] = j < count ? slot<pairs>(data + offsets[j] + x, 1, x + 1 < columns.grid.width) : 0.0f;
      }
      out += kTileCols;
      x += kStep;
    }
  }
}

template <bool pairs, typename T>
void columns_typed(const Columns& columns, float* packed) {
  const int64_t row_steps = pairs ? (columns.grid.width + 1) / 2 : columns.grid.width;
  for (int64_t first = 0; first < kSegment; first += kLanes) {
    float* tile = packed + first / kTileCols * kTileCols * row_steps * columns.grid.rows + first % kTileCols;
    for (int64_t row = 0; row < columns.grid.rows; ++row) {
      columns_row<pairs, T>(columns, first, row, tile + row * row_steps * kTileCols);
    }
  }
}

template <bool pairs, typename T>
void rows_typed(const Rows& rows, float* packed) {
  constexpr int kStep = pairs ? 2 : 1;
  for (int64_t r = 0; r < rows.count; ++r) {
    for (int64_t y = 0; y < rows.grid.rows; ++y) {
      const T* line = static_cast<const T*>(rows.data) + r * rows.stride + y * rows.grid.row_stride;
      int64_t x = 0;
      for (; x + kStep * kLanes <= rows.grid.width; x += kStep * kLanes, packed += kLanes) {
        *reinterpret_cast<FloatsInMemory*>(packed) = along<pairs>(line + x);
      }
      for (; x < rows.grid.width; x += kStep) *packed++ = slot<pairs>(line + x, 1, x + 1 < rows.grid.width);
    }
  }
}

template <typename T, bool in_pairs>
struct Kind {
  using Type = T;
  static constexpr bool pairs = in_pairs;
};

// float64 was refused before: products are for what a model computes in.
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

int64_t steps(Element element, const Grid& grid) {
  return grid.rows * (kPairs && element == Element::bf16 ? (grid.width + 1) / 2 : grid.width);
}

void pack_interleaved(const Interleaved& factor, Side side, float* packed) {
  with_kind(factor.element, [&](auto kind) {
    using T = typename decltype(kind)::Type;
    if (side == Side::rows) {
      interleaved_tiles<kTileRows, kind.pairs, T>(factor, factor.count, packed);
    } else {
      interleaved_tiles<kTileCols, kind.pairs, T>(factor, kSegment, packed);
    }
  });
}

void pack_columns(const Columns& columns, float* packed) {
  with_kind(columns.element,
            [&](auto kind) { columns_typed<kind.pairs, typename decltype(kind)::Type>(columns, packed); });
}

void pack_rows(const Rows& rows, float* packed) {
  with_kind(rows.element, [&](auto kind) { rows_typed<kind.pairs, typename decltype(kind)::Type>(rows, packed); });
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

void pack_ones(Element element, const Grid& grid, int column, float* packed) {
  const bool pairs = kPairs && element == Element::bf16;
  const Bfloat16 zero = {0}, one = {0x3F80};
  float* at = packed + column / kTileCols * kTileCols * steps(element, grid) + column % kTileCols;
  for (int64_t y = 0; y < grid.rows; ++y) {
    for (int64_t x = 0; x < grid.width; x += pairs ? 2 : 1, at += kTileCols) {
      *at = !pairs ? 1.0f : pair(one, x + 1 < grid.width ? one : zero);
    }
  }
}

}  // namespace gradkern::GK_ISA
