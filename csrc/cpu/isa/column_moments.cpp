// column_moments on the CPU: rows are sorted by group, then threads take a run of columns of one group at a time. The
// kernel sums such a run over the rows of its group:
//
//   d = y - shift,   sum = sum d + count * shift,   spread = sum d^2 - (sum d)^2 / count
//
// in float64, where the shift is the first row of the group: d is of the size of the column's spread, however far from
// zero the column lies. A tile of columns stays in registers for a few rows; with more rows, their lines would come
// from too many pages at once. Bound by reading y once. Sums are taken in the order of the rows by the same additions
// for every instruction set and number of threads, so the result has the same bits.
#include "../dispatch.h"

namespace gradkern {

// Rows of one group, cut to at most kMomentColumns columns.
constexpr int64_t kMomentColumns = 256;
struct GroupRows {
  const void* y;
  Element element;  // float32 or float64
  int64_t stride;   // elements from a row to the next
  const int64_t* rows;
  int64_t count, width;
};

// Results for each of these columns; low and high have the element type of the rows.
struct Moments {
  double *sum, *spread;
  void *low, *high;
};

GK_KERNEL(void, group_moments, (const GroupRows& group, const Moments& results));

}  // namespace gradkern

#if defined(GK_ISA)
#include "wide.h"

namespace gradkern::GK_ISA {
namespace {

constexpr int kTile = GK_LANES == 16 ? 4 : 2;  // vectors whose five sums each fill the registers
constexpr int64_t kRows = 16;  // of a run; lines are fetched so far ahead, as rows lie in different pages
constexpr int64_t kPadded = kMomentColumns + kTile * kDoubles;

struct Sums {
  double shift[kPadded], sum[kPadded], square[kPadded], low[kPadded], high[kPadded];
};

// The next rows of a group, and how many are left of it.
struct RowRun {
  const int64_t* rows;
  int64_t count, left;
  int64_t ahead(int64_t i) const { return rows[i + kRows < left ? i + kRows : left - 1]; }
};

// Adds a run of rows to kCount vectors of columns from `column` on; `width` columns of a last vector are copied out
// first.
template <typename T, int kCount, bool whole>
inline void add_rows(const T* y, int64_t stride, const RowRun& run, int64_t column, int64_t width, Sums& sums) {
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
  for (int64_t i = 0; i < run.count; ++i) {
    const T* row = y + run.rows[i] * stride + column;
    const char* ahead = reinterpret_cast<const char*>(y + run.ahead(i) * stride + column);
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
    const RowRun run{group.rows + first, left < kRows ? left : kRows, left};
    int64_t column = 0;
    for (; column + kTile * kDoubles <= group.width; column += kTile * kDoubles) {
      add_rows<T, kTile, true>(y, group.stride, run, column, 0, sums);
    }
    for (; column + kDoubles <= group.width; column += kDoubles) {
      add_rows<T, 1, true>(y, group.stride, run, column, 0, sums);
    }
    if (column < group.width) add_rows<T, 1, false>(y, group.stride, run, column, group.width - column, sums);
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
    results.spread[j] = spread < 0.0 ? 0.0 : spread;  // negative by rounding
    static_cast<T*>(results.low)[j] = static_cast<T>(sums.low[j]);
    static_cast<T*>(results.high)[j] = static_cast<T>(sums.high[j]);
  }
}

}  // namespace

void group_moments(const GroupRows& group, const Moments& results) {
  if (group.element == Element::f32) {
    moments_of<float>(group, results);
  } else {
    moments_of<double>(group, results);
  }
}

}  // namespace gradkern::GK_ISA

#else
#include <algorithm>
#include <vector>

#include "../../ops.h"
#include "../parallel.h"

namespace gradkern::cpu {
namespace {

constexpr int64_t kSmall = 1 << 16;  // fewer elements of y are not worth several threads

// Row numbers, group after group: group g has rows[starts[g]] up to rows[starts[g + 1]].
struct Sorted {
  std::vector<int64_t> starts, rows;
};

Sorted sort_rows(const Labels& group, int64_t f) {
  Sorted sorted;
  sorted.starts.assign(f + 1, 0);
  for (int64_t i = 0; i < group.count; ++i) {
    if (group.data[i] >= 0) ++sorted.starts[group.data[i] + 1];
  }
  for (int64_t g = 0; g < f; ++g) sorted.starts[g + 1] += sorted.starts[g];
  sorted.rows.resize(sorted.starts[f]);
  std::vector<int64_t> next(sorted.starts.begin(), sorted.starts.end() - 1);
  for (int64_t i = 0; i < group.count; ++i) {
    if (group.data[i] >= 0) sorted.rows[next[group.data[i]]++] = i;
  }
  return sorted;
}

}  // namespace

void column_moments(const View& y, const Labels& group, const View& sum, const View& spread, const View& low,
                    const View& high, const Execution& execution) {
  const Isa& isa = current_isa();
  const int64_t f = sum.shape[0], b = y.shape[1], bytes = element_size(y.dtype);
  const Sorted sorted = sort_rows(group, f);
  const int64_t runs = (b + kMomentColumns - 1) / kMomentColumns;
  const auto at = [](const View& view, int64_t element) {
    return static_cast<char*>(view.data) + element * element_size(view.dtype);
  };
  parallel_for(f * runs, y.size() < kSmall ? 1 : execution.threads, [&](int64_t item) {
    const int64_t g = item / runs, first = item % runs * kMomentColumns, out = g * b + first;
    const GroupRows rows{static_cast<const char*>(y.data) + first * bytes,
                         static_cast<Element>(y.dtype),
                         y.strides[0],
                         sorted.rows.data() + sorted.starts[g],
                         sorted.starts[g + 1] - sorted.starts[g],
                         std::min(kMomentColumns, b - first)};
    group_moments[isa](rows, {reinterpret_cast<double*>(at(sum, out)), reinterpret_cast<double*>(at(spread, out)),
                              at(low, out), at(high, out)});
  });
}

}  // namespace gradkern::cpu

#endif
