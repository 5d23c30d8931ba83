#include "correlate.h"

#include <algorithm>

#include "isa.h"
#include "parts.h"
#include "plane.h"
#include "scratch.h"

namespace gradkern::cpu {
namespace {

constexpr int64_t kRowsAtOnce = 64;      // of the gradient, in memory before they are sketched
constexpr int64_t kSmall = 1 << 17;      // elements of x and g
constexpr int64_t kSlack = 16;           // floats that a vector may read behind a row
constexpr int64_t kPositions = 1 << 14;  // that lie in the nearest caches with what is around them

struct Job {
  const Isa& isa;
  const View &x, &g;
  const ConvShape& shape;
  bool bias;
  int64_t cols() const { return shape.cols() + bias; }
};

// `count` elements as floats: themselves, or a widened copy.
const float* widened(const Isa& isa, Dtype dtype, const void* data, int64_t count, float* memory) {
  if (dtype == Dtype::f32) return static_cast<const float*>(data);
  isa.widen(data, static_cast<Element>(dtype), count, memory);
  return memory;
}

// Adds what one rectangle of positions gives to rows [begin, end) of one group.
void add_rows(const Job& job, const Plane& plane, const Rectangle& outputs, int64_t sample, Range range, float* sums) {
  thread_local Scratch g_memory, raw_memory, plane_memory, ones_memory, taps_memory;
  const ConvShape& s = job.shape;
  const int64_t taps = plane.offsets.size(), bytes = element_size(job.x.dtype), count = outputs.rows * outputs.width;
  float* raw = raw_memory.floats(plane.size() + kSlack);
  float* wide = plane_memory.floats(plane.size() + kSlack);
  float* ones = ones_memory.floats(outputs.width + kSlack);
  float* found = taps_memory.floats(taps);
  float* g_wide = g_memory.floats(range.count() * count);
  std::fill_n(ones, outputs.width + kSlack, 1.0f);

  const auto g_of = [&](int64_t row) {
    const int64_t at = (sample * s.o + row) * s.positions() + outputs.y * s.out_w + outputs.x;
    const char* data = static_cast<const char*>(job.g.data) + at * bytes;
    return widened(job.isa, job.g.dtype, data, count, g_wide + (row - range.begin) * count);
  };
  const auto add = [&](int64_t row, const float* input, int64_t pitch, const int64_t* offsets, int64_t width,
                       int64_t col) {
    job.isa.correlate({g_of(row), input, outputs.rows, outputs.width, pitch, offsets, width}, found);
    float* to = sums + (row - range.begin) * job.cols() + col;
    for (int64_t tap = 0; tap < width; ++tap) to[tap] += found[tap];
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

// Rows [first, first + count) of one sample's gradient, a block of positions at a time.
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
                SketchSpec here = spec;
                here.first_segment += first * per_row;
                job.isa.sketch_segments(rows, Element::f32, job.cols(), 0, count * per_row, here, buckets);
              }
            });
}

}  // namespace gradkern::cpu
