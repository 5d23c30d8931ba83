// column_moments on the GPU.
//
//   d = y - shift,   sum = sum d + count * shift,   spread = sum d^2 - (sum d)^2 / count
//
// A block owns 32 columns of one group, a lane one of them. Its warps take turns at 32 labels each and read the rows of
// the group; the shift is the first row that a warp meets, so d is of the size of the column's spread, however far from
// zero the column lies. The moments of the warps are merged in order (Chan, Golub & LeVeque 1983). Which warp adds
// which row depends on the labels alone, so the same call gives the same bits. Bound by reading y once; every block
// reads the labels from the cache.
#include <limits>

#include "../ops.h"
#include "launch.h"

namespace gradkern::cuda {
namespace {

constexpr int kLanes = 32;
constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kLanes;
constexpr unsigned kAll = 0xFFFFFFFFu;

template <typename T>
struct Rows {
  const T* y;
  const int32_t* group;
  int64_t n, b, stride;
  int f;
};

// Moments of one column over some rows; `mean` is relative to the shift.
template <typename T>
struct Moments {
  double count = 0.0, shift = 0.0, mean = 0.0, sum = 0.0, spread = 0.0;
  T low = std::numeric_limits<T>::infinity(), high = -std::numeric_limits<T>::infinity();
};

// Sums the rows of group g in one column that this warp reads. A label of no group makes the sums NaN, because the host
// would have to wait to report it.
template <typename T>
__device__ Moments<T> add_rows(const Rows<T>& rows, int g, int64_t column) {
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  Moments<T> result;
  double sum = 0.0, square = 0.0;
  bool unknown = false;
  for (int64_t first = warp * kLanes; first < rows.n; first += kThreads) {
    const int label = first + lane < rows.n ? rows.group[first + lane] : -1;
    unknown = unknown || label < -1 || label >= rows.f;
    unsigned ours = __ballot_sync(kAll, label == g);
    for (; ours != 0; ours &= ours - 1) {
      if (column >= rows.b) continue;
      const T value = rows.y[(first + __ffs(ours) - 1) * rows.stride + column];
      if (result.count == 0.0) result.shift = value;
      const double d = value - result.shift;
      result.count += 1.0;
      sum += d;
      square += d * d;
      result.low = value < result.low ? value : result.low;
      result.high = value > result.high ? value : result.high;
    }
  }
  if (__ballot_sync(kAll, unknown) != 0) sum = std::numeric_limits<double>::quiet_NaN();
  result.mean = result.count == 0.0 ? sum : sum / result.count;
  result.sum = sum + result.count * result.shift;
  result.spread = square - sum * result.mean;
  return result;
}

template <typename T>
__device__ void merge(Moments<T>& all, const Moments<T>& more) {
  const double count = all.count + more.count, share = count == 0.0 ? 0.0 : more.count / count;
  if (all.count == 0.0) all.shift = more.shift;
  const double apart = more.shift - all.shift + more.mean - all.mean;
  all.spread += more.spread + apart * apart * all.count * share;
  all.mean += apart * share;
  all.count = count;
  all.sum += more.sum;
  all.low = more.low < all.low ? more.low : all.low;
  all.high = more.high > all.high ? more.high : all.high;
}

template <typename T>
struct Results {
  double *sum, *spread;  // [f, b]
  T *low, *high;
};

// Block (g, columns) writes the moments of group g in 32 columns.
template <typename T>
__global__ void __launch_bounds__(kThreads) moments_of_group(Rows<T> rows, Results<T> results) {
  Moments<T>* warps = reinterpret_cast<Moments<T>*>(shared_memory);  // [warps, lanes]
  const int64_t across = (rows.b + kLanes - 1) / kLanes;
  const int64_t g = blockIdx.x / across, column = blockIdx.x % across * kLanes + threadIdx.x % kLanes;
  warps[threadIdx.x] = add_rows(rows, static_cast<int>(g), column);
  __syncthreads();
  if (threadIdx.x >= kLanes || column >= rows.b) return;
  Moments<T> all = warps[threadIdx.x];
  for (int w = 1; w < kWarps; ++w) merge(all, warps[w * kLanes + threadIdx.x]);
  const int64_t at = g * rows.b + column;
  results.sum[at] = all.sum;
  results.spread[at] = all.spread < 0.0 ? 0.0 : all.spread;  // negative by rounding
  results.low[at] = all.low;
  results.high[at] = all.high;
}

template <typename T>
void moments_typed(const View& y, const Labels& group, const View& sum, const View& spread, const View& low,
                   const View& high, void* stream) {
  const int64_t f = sum.shape[0], b = y.shape[1];
  const Rows<T> rows{static_cast<const T*>(y.data), group.data, y.shape[0], b, y.strides[0], static_cast<int>(f)};
  const Results<T> out{static_cast<double*>(sum.data), static_cast<double*>(spread.data), static_cast<T*>(low.data),
                       static_cast<T*>(high.data)};
  launch({f * ((b + kLanes - 1) / kLanes), kThreads, kThreads * sizeof(Moments<T>), stream}, moments_of_group<T>, rows,
         out);
}

}  // namespace

void column_moments(const View& y, const Labels& group, const View& sum, const View& spread, const View& low,
                    const View& high, const Execution& execution) {
  const DeviceGuard guard(y.device_index);
  if (y.dtype == Dtype::f32) {
    moments_typed<float>(y, group, sum, spread, low, high, execution.stream);
  } else {
    moments_typed<double>(y, group, sum, spread, low, high, execution.stream);
  }
}

}  // namespace gradkern::cuda
