// The weight gradient of a convolution channel by channel and tap by tap, sketched row by row: for groups with too few
// outputs to fill the tile of a product (depthwise above all).
//
// In the kernel, lanes run over positions of a row; each tap has its own sum, added up over lanes at the end. Bound by
// loading the plane, which lies in the nearest cache.
//
// compile: -ffp-contract=fast
#include "../dispatch.h"

namespace gradkern {

// The gradient of one output channel beside one input channel, padded so that no tap leaves it.
struct Correlation {
  const float* g;  // [rows, cols]
  const float* plane;
  int64_t rows, cols, pitch;
  const int64_t* offsets;  // of each tap in plane
  int64_t taps;
};

// taps[i] = sum over positions of g[y, x] * plane[y * pitch + x + offsets[i]].
GK_KERNEL(void, correlate, (const Correlation& correlation, float* taps));

}  // namespace gradkern

#if defined(GK_ISA)
#include "vectors.h"

namespace gradkern::GK_ISA {
namespace {

constexpr int kTaps = kLanes == 16 ? 16 : 8;  // sums in registers

// Adds positions [x, x + width) of a row; lanes behind them add nothing, whatever the plane holds there.
template <int kCount, bool whole>
inline void add_positions(const float* g, const float* plane, const int64_t* offsets, int64_t width,
                          Floats (&sums)[kCount]) {
  Floats gradient, ahead[kCount];
  if constexpr (whole) {
    gradient = load(g);
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) ahead[i] = load(plane + offsets[i]);
  } else {
    const Bits inside = (Bits)(kIndex < static_cast<uint32_t>(width));
    float padded[kLanes] = {};
    for (int64_t j = 0; j < width; ++j) padded[j] = g[j];
    gradient = load(padded);
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) ahead[i] = (Floats)((Bits)load(plane + offsets[i]) & inside);
  }
#pragma GCC unroll 16
  for (int i = 0; i < kCount; ++i) sums[i] += gradient * ahead[i];
}

template <int kCount>
void correlate_taps(const Correlation& c, const int64_t* offsets, float* taps) {
  Floats sums[kCount] = {};
  for (int64_t y = 0; y < c.rows; ++y) {
    const float* g = c.g + y * c.cols;
    const float* plane = c.plane + y * c.pitch;
    int64_t x = 0;
    for (; x + kLanes <= c.cols; x += kLanes) add_positions<kCount, true>(g + x, plane + x, offsets, kLanes, sums);
    if (x < c.cols) add_positions<kCount, false>(g + x, plane + x, offsets, c.cols - x, sums);
  }
  for (int i = 0; i < kCount; ++i) {
    float sum = 0.0f;
    for (int j = 0; j < kLanes; ++j) sum += sums[i][j];
    taps[i] = sum;
  }
}

template <int kCount>
void correlate_up_to(const Correlation& c, int64_t count, const int64_t* offsets, float* taps) {
  if (count == kCount) return correlate_taps<kCount>(c, offsets, taps);
  if constexpr (kCount > 1) correlate_up_to<kCount - 1>(c, count, offsets, taps);
}

}  // namespace

void correlate(const Correlation& c, float* taps) {
  const int64_t rounds = (c.taps + kTaps - 1) / kTaps;
  for (int64_t round = 0; round < rounds; ++round) {  // rounds of nearly equal size
    const int64_t begin = round * c.taps / rounds, end = (round + 1) * c.taps / rounds;
    correlate_up_to<kTaps>(c, end - begin, c.offsets + begin, taps + begin);
  }
}

}  // namespace gradkern::GK_ISA

#else
#include <algorithm>

#include "../correlate.h"
#include "../kernels.h"
#include "../plane.h"
#include "../scratch.h"
#include "../split_sums.h"

namespace gradkern::cpu {
namespace {

constexpr int64_t kRowsAtOnce = 64;      // of the gradient, which lie in memory before they are sketched
constexpr int64_t kSmall = 1 << 17;      // fewer elements of x and g are not worth several threads
constexpr int64_t kSlack = 16;           // floats that a vector may read behind a row
constexpr int64_t kPositions = 1 << 14;  // of a block, which lies in the nearest caches with its taps

struct Job {
  const Isa& isa;
  const View &x, &g;
  const ConvShape& shape;
  bool bias;
  int64_t cols() const { return shape.cols() + bias; }
};

// `count` elements as floats: where they lie, or widened into `memory`.
const float* widened(const Isa& isa, Dtype dtype, const void* data, int64_t count, float* memory) {
  if (dtype == Dtype::f32) return static_cast<const float*>(data);
  widen[isa](data, static_cast<Element>(dtype), count, memory);
  return memory;
}

// Adds the products at one rectangle of positions to rows [begin, end) of one group.
void add_rows(const Job& job, const Plane& plane, const Rectangle& outputs, int64_t sample, Range range, float* sums) {
  thread_local Scratch g_memory, raw_memory, plane_memory, ones_memory, taps_memory;
  const ConvShape& s = job.shape;
  const int64_t taps = plane.offsets.size(), bytes = element_size(job.x.dtype), count = outputs.rows * outputs.width;
  float* raw = raw_memory.floats(plane.size() + kSlack);
  float* wide = plane_memory.floats(plane.size() + kSlack);
  float* ones = ones_memory.floats(outputs.width + kSlack);
  float* tap_sums = taps_memory.floats(taps);
  float* g_wide = g_memory.floats(range.count() * count);
  std::fill_n(ones, outputs.width + kSlack, 1.0f);

  const auto g_of = [&](int64_t row) {
    const int64_t at = (sample * s.o + row) * s.positions() + outputs.y * s.out_w + outputs.x;
    const char* data = static_cast<const char*>(job.g.data) + at * bytes;
    return widened(job.isa, job.g.dtype, data, count, g_wide + (row - range.begin) * count);
  };
  const auto add = [&](int64_t row, const float* input, int64_t pitch, const int64_t* offsets, int64_t width,
                       int64_t col) {
    correlate[job.isa]({g_of(row), input, outputs.rows, outputs.width, pitch, offsets, width}, tap_sums);
    float* to = sums + (row - range.begin) * job.cols() + col;
    for (int64_t tap = 0; tap < width; ++tap) to[tap] += tap_sums[tap];
  };
  const int64_t channel = sample * s.c + range.begin / s.group_outputs() * s.group_inputs(), no_offset = 0;
  for (int64_t i = 0; i < s.group_inputs(); ++i) {
    const char* input = static_cast<const char*>(job.x.data) + (channel + i) * s.h * s.w * bytes;
    fill_plane(s, plane, outputs, input, bytes, raw);
    const float* floats = widened(job.isa, job.x.dtype, raw, plane.size(), wide);
    for (int64_t r = range.begin; r < range.end; ++r) add(r, floats, plane.pitch, plane.offsets.data(), taps, i * taps);
  }
  if (!job.bias) return;
  for (int64_t r = range.begin; r < range.end; ++r) add(r, ones, 0, &no_offset, 1, s.cols());
}

// Computes rows [first, first + count) of one sample's gradient, a block of positions at a time.
void fill_rows(const Job& job, int64_t sample, int64_t first, int64_t count, float* rows) {
  const ConvShape& s = job.shape;
  std::fill_n(rows, count * job.cols(), 0.0f);
  const int64_t width = std::min(s.out_w, kPositions), height = std::min(s.out_h, kPositions / width);
  for (int64_t y = 0; y < s.out_h; y += height) {
    for (int64_t x = 0; x < s.out_w; x += width) {
      const Rectangle outputs{y, std::min(height, s.out_h - y), x, std::min(width, s.out_w - x)};
      const Plane plane = make_plane(s, outputs, {0, s.cols()});
      for (int64_t row = first; row < first + count;) {
        const int64_t group_end = (row / s.group_outputs() + 1) * s.group_outputs();
        const int64_t end = std::min(first + count, group_end);
        add_rows(job, plane, outputs, sample, {row, end}, rows + (row - first) * job.cols());
        row = end;
      }
    }
  }
}

}  // namespace

void correlate_sketch(const View& x, const View& g, float* out, const ConvShape& shape, const SketchSpec& spec,
                      bool bias, int threads) {
  const Job job{current_isa(), x, g, shape, bias};
  const int64_t per_row = (job.cols() + kSegment - 1) / kSegment, products = shape.o * job.cols() * shape.positions();
  if (shape.n == 0 || products == 0) {
    std::fill_n(out, shape.n * spec.k, 0.0f);
    return;
  }
  const int64_t units = (shape.o + kRowsAtOnce - 1) / kRowsAtOnce;
  const int64_t parts = part_count(units, products, spec.k);
  sum_parts(shape.n, parts, spec, out, x.size() + g.size() < kSmall ? 1 : threads,
            [&](int64_t sample, int64_t part, float* buckets) {
              thread_local Scratch memory;
              float* rows = memory.floats(std::min(kRowsAtOnce, shape.o) * job.cols());
              const Range range = piece(units, parts, part);
              for (int64_t unit = range.begin; unit < range.end; ++unit) {
                const int64_t first = unit * kRowsAtOnce, count = std::min(kRowsAtOnce, shape.o - first);
                fill_rows(job, sample, first, count, rows);
                SketchSpec unit_spec = spec;
                unit_spec.first_segment += first * per_row;
                sketch_segments[job.isa](rows, Element::f32, job.cols(), 0, count * per_row, unit_spec, buckets);
              }
            });
}

}  // namespace gradkern::cpu

#endif
