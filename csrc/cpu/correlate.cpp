#include "correlate.h"

#include <algorithm>

#include "isa.h"
#include "parts.h"
#include "plane.h"
#include "scratch.h"

namespace gradkern::cpu {
namespace {

constexpr int64_t kRowsAtOnce = 64;  // of the gradient, in memory before they are sketched
constexpr int64_t kMaxParts = 64;
constexpr int64_t kProductsPerBucket = 64;
constexpr int64_t kSmall = 1 << 17;  // elements of x and g
constexpr int64_t kSlack = 16;       // floats that a vector may read behind a row

struct Job {
  const Isa& isa;
  const View &x, &g;
  const ConvShape& shape;
  const Plane& plane;
  bool bias;
  int64_t cols() const { return shape.cols() + bias; }
};

// `count` elements from `at` as floats: themselves, or a widened copy.
const float* widened(const Isa& isa, const View& view, int64_t at, int64_t count, Scratch& memory) {
  if (view.dtype == Dtype::f32) return static_cast<const float*>(view.data) + at;
  float* copy = memory.floats(count + kSlack);
  const char* data = static_cast<const char*>(view.data) + at * element_size(view.dtype);
  isa.widen(data, static_cast<Element>(view.dtype), count, copy);
  return copy;
}

// Rows [first, first + count) of one sample's gradient.
void fill_rows(const Job& job, int64_t sample, int64_t first, int64_t count, float* rows) {
  thread_local Scratch x_memory, g_memory, plane_memory, ones_memory;
  const ConvShape& s = job.shape;
  const Rectangle everywhere{0, s.out_h, 0, s.out_w};
  const int64_t taps = job.plane.offsets.size(), area = s.h * s.w;
  float* plane = plane_memory.floats(job.plane.size() + kSlack);
  float* ones = ones_memory.floats(s.out_w + kSlack);
  std::fill_n(ones, s.out_w + kSlack, 1.0f);
  const int64_t no_offset = 0;
  for (int64_t row = first; row < first + count; ++row, rows += job.cols()) {
    const float* g = widened(job.isa, job.g, (sample * s.o + row) * s.positions(), s.positions(), g_memory);
    const int64_t channel = sample * s.c + row / s.group_outputs() * s.group_inputs();
    for (int64_t i = 0; i < s.group_inputs(); ++i) {
      const float* input = widened(job.isa, job.x, (channel + i) * area, area, x_memory);
      fill_plane(s, job.plane, everywhere, input, sizeof(float), plane);
      job.isa.correlate({g, plane, s.out_h, s.out_w, job.plane.pitch, job.plane.offsets.data(), taps}, rows + i * taps);
    }
    if (job.bias) job.isa.correlate({g, ones, s.out_h, s.out_w, 0, &no_offset, 1}, rows + s.cols());
  }
}

}  // namespace

void correlate_sketch(const View& x, const View& g, float* out, const ConvShape& shape, const SketchSpec& spec,
                      bool bias, int threads) {
  const Plane plane = make_plane(shape, shape.out_h, shape.out_w);
  const Job job{current_isa(), x, g, shape, plane, bias};
  const int64_t per_row = (job.cols() + kSegment - 1) / kSegment, products = shape.o * shape.cols() * shape.positions();
  if (shape.n == 0 || products == 0) {
    std::fill_n(out, shape.n * spec.k, 0.0f);
    return;
  }
  const int64_t units = (shape.o + kRowsAtOnce - 1) / kRowsAtOnce;
  const int64_t parts = std::clamp<int64_t>(products / (kProductsPerBucket * spec.k), 1, std::min(units, kMaxParts));
  sum_parts(shape.n, parts, spec, out, x.size() + g.size() < kSmall ? 1 : threads,
            [&](int64_t sample, int64_t part, float* buckets) {
              thread_local Scratch memory;
              float* rows = memory.floats(kRowsAtOnce * job.cols());
              for (int64_t unit = units * part / parts; unit < units * (part + 1) / parts; ++unit) {
                const int64_t first = unit * kRowsAtOnce, count = std::min(kRowsAtOnce, shape.o - first);
                fill_rows(job, sample, first, count, rows);
                SketchSpec here = spec;
                here.first_segment += first * per_row;
                job.isa.sketch_segments(rows, Element::f32, job.cols(), 0, count * per_row, here, buckets);
              }
            });
}

}  // namespace gradkern::cpu
