// column_moments on the CPU: rows sorted by group, then a group's run of columns at a time, each by one thread. Every
// sum is taken in the order of the rows, so its bits depend on nothing else.
#include "column_moments.h"

#include <algorithm>
#include <vector>

#include "isa.h"
#include "parallel.h"

namespace gradkern::cpu {
namespace {

constexpr int64_t kSmall = 1 << 16;

// Row numbers, group after group: those of group g are rows[starts[g]] up to rows[starts[g + 1]].
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

void column_moments(const View& y, const Labels& group, const ColumnMoments& results, int threads) {
  const Isa& isa = current_isa();
  const int64_t f = results.sum.shape[0], b = y.shape[1], bytes = element_size(y.dtype);
  const Sorted sorted = sort_rows(group, f);
  const int64_t runs = (b + kMomentColumns - 1) / kMomentColumns;
  const auto at = [](const View& view, int64_t element) {
    return static_cast<char*>(view.data) + element * element_size(view.dtype);
  };
  parallel_for(f * runs, y.size() < kSmall ? 1 : threads, [&](int64_t item) {
    const int64_t g = item / runs, first = item % runs * kMomentColumns, out = g * b + first;
    const GroupRows rows{static_cast<const char*>(y.data) + first * bytes,
                         static_cast<Element>(y.dtype),
                         y.strides[0],
                         sorted.rows.data() + sorted.starts[g],
                         sorted.starts[g + 1] - sorted.starts[g],
                         std::min(kMomentColumns, b - first)};
    isa.column_moments(
        rows, {reinterpret_cast<double*>(at(results.sum, out)), reinterpret_cast<double*>(at(results.spread, out)),
               at(results.low, out), at(results.high, out)});
  });
}

}  // namespace gradkern::cpu
