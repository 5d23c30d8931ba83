// column_moments on the CPU, compiled once per instruction set (GK_ISA, GK_LANES): a group's rows, a run of columns.
//
//   d = y - shift,   sum = sum d + count * shift,   spread = sum d^2 - (sum d)^2 / count
//
// in float64, where the shift is the group's first row: d is of the size of the column's spread, however far from zero
// the column lies. A tile of columns stays in registers for a few rows; more, and their lines would come from too many
// pages at once. Bound by reading y once. Every instruction set does the same additions: the result has the same bits.
#include "wide.h"

namespace gradkern::GK_ISA {
namespace {

constexpr int kTile = GK_LANES == 16 ? 4 : 2;  // vectors: five sums of each fill the registers
constexpr int64_t kRows = 16;                  // and lines fetched ahead of their use: rows lie in different pages
constexpr int64_t kPadded = kMomentColumns + kTile * kDoubles;

struct Sums {
  double shift[kPadded], sum[kPadded], square[kPadded], low[kPadded], high[kPadded];
};

// Some of a group's rows, of those that are left.
struct Some {
  const int64_t* rows;
  int64_t count, left;
  int64_t ahead(int64_t i) const { return rows[i + kRows < left ? i + kRows : left - 1]; }
};

// Adds some rows to kCount vectors of columns from `column` on; of a last vector, `width` columns are copied out first.
template <typename T, int kCount, bool whole>
inline void add_rows(const T* y, int64_t stride, const Some& some, int64_t column, int64_t width, Sums& sums) {
  Doubles shift[kCount], sum[kCount], square[kCount], low[kCount], high[kCount];
#pragma GCC unroll 4
  for (int v = 0; v < kCount; ++v) {
    const int64_t at = column + v * kDoubles;
    shift[v] = load_wide(sums.shift + at);
    sum[v] = load_wide(sums.sum + at);
    square[v] = load_wide(sums.square + at);
    low[v] = load_wide(sums.low + at);
    high[v] = load_wide(sums.high + at);
  }
  for (int64_t i = 0; i < some.count; ++i) {
    const T* row = y + some.rows[i] * stride + column;
    const char* ahead = reinterpret_cast<const char*>(y + some.ahead(i) * stride + column);
    for (int byte = 0; byte < static_cast<int>(kCount * kDoubles * sizeof(T)); byte += 64) {
      __builtin_prefetch(ahead + byte, 0, 3);
    }
    T padded[kDoubles] = {};
    if (!whole) {
      for (int64_t j = 0; j < width; ++j) padded[j] = row[j];
      row = padded;
    }
#pragma GCC unroll 4
    for (int v = 0; v < kCount; ++v) {
      const Doubles value = load_wide(row + v * kDoubles), d = value - shift[v];
      sum[v] += d;
      square[v] += d * d;
      low[v] = value < low[v] ? value : low[v];
      high[v] = value > high[v] ? value : high[v];
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < kCount; ++v) {
    const int64_t at = column + v * kDoubles;
    store(sum[v], sums.sum + at);
    store(square[v], sums.square + at);
    store(low[v], sums.low + at);
    store(high[v], sums.high + at);
  }
}

template <typename T>
void add_group(const T* y, const GroupRows& group, Sums& sums) {
  for (int64_t first = 0; first < group.count; first += kRows) {
    const int64_t left = group.count - first;
    const Some some{group.rows + first, left < kRows ? left : kRows, left};
    int64_t column = 0;
    for (; column + kTile * kDoubles <= group.width; column += kTile * kDoubles) {
      add_rows<T, kTile, true>(y, group.stride, some, column, 0, sums);
    }
    for (; column + kDoubles <= group.width; column += kDoubles) {
      add_rows<T, 1, true>(y, group.stride, some, column, 0, sums);
    }
    if (column < group.width) add_rows<T, 1, false>(y, group.stride, some, column, group.width - column, sums);
  }
}

template <typename T>
void moments_of(const GroupRows& group, const Moments& results) {
  const T* y = static_cast<const T*>(group.y);
  const int64_t padded = group.width + kTile * kDoubles;
  Sums sums;
  for (int64_t j = 0; j < padded; ++j) {
    sums.shift[j] = group.count > 0 && j < group.width ? y[group.rows[0] * group.stride + j] : 0.0;
    sums.sum[j] = sums.square[j] = 0.0;
    sums.low[j] = __builtin_inf();
    sums.high[j] = -__builtin_inf();
  }
  add_group(y, group, sums);
  const double count = group.count, share = group.count > 0 ? 1.0 / count : 0.0;
  for (int64_t j = 0; j < group.width; ++j) {
    const double spread = sums.square[j] - sums.sum[j] * sums.sum[j] * share;
    results.sum[j] = sums.sum[j] + count * sums.shift[j];
    results.spread[j] = spread < 0.0 ? 0.0 : spread;  // by rounding
    static_cast<T*>(results.low)[j] = static_cast<T>(sums.low[j]);
    static_cast<T*>(results.high)[j] = static_cast<T>(sums.high[j]);
  }
}

}  // namespace

void column_moments(const GroupRows& group, const Moments& results) {
  if (group.element == Element::f32) {
    moments_of<float>(group, results);
  } else {
    moments_of<double>(group, results);
  }
}

}  // namespace gradkern::GK_ISA
