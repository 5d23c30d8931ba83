#include "correlate.h"

#include <algorithm>
#include <vector>

#include "isa.h"
#include "parts.h"
#include "scratch.h"

namespace gradkern::cpu {
namespace {

constexpr int64_t kRowsAtOnce = 64;  // of the gradient, in memory before they are sketched
constexpr int64_t kMaxParts = 64;
constexpr int64_t kProductsPerBucket = 64;
constexpr int64_t kSmall = 1 << 17;  // elements of x and g
constexpr int64_t kSlack = 16;       // floats that a vector may read behind a row

// One input channel, padded, and split by stride into phases: an output's neighbours are then neighbours. Tap (i, j)
// of output (y, x) lies at offsets[tap] + y * pitch + x.
struct Plane {
  int64_t rows, pitch;  // of a phase
  std::vector<int64_t> offsets;
};

Plane make_plane(const ConvShape& s) {
  const Window& w = s.window;
  Plane plane;
  plane.rows = s.out_h + (w.kernel[0] - 1) * w.dilation[0] / w.stride[0];
  plane.pitch = s.out_w + (w.kernel[1] - 1) * w.dilation[1] / w.stride[1];
  for (int64_t i = 0; i < w.kernel[0]; ++i) {
    for (int64_t j = 0; j < w.kernel[1]; ++j) {
      const int64_t y = i * w.dilation[0], x = j * w.dilation[1];
      const int64_t phase = y % w.stride[0] * w.stride[1] + x % w.stride[1];
      plane.offsets.push_back((phase * plane.rows + y / w.stride[0]) * plane.pitch + x / w.stride[1]);
    }
  }
  return plane;
}

// Copies channel [h, w] into its plane, zeros around it.
void fill_plane(const ConvShape& s, const Plane& plane, const float* channel, float* out) {
  const Window& w = s.window;
  for (int64_t phase = 0; phase < w.stride[0] * w.stride[1]; ++phase) {
    const int64_t first_y = phase / w.stride[1] - w.padding[0], first_x = phase % w.stride[1] - w.padding[1];
    const int64_t step = w.stride[1];
    const int64_t begin = std::min(plane.pitch, std::max<int64_t>(0, (-first_x + step - 1) / step));
    const int64_t end = std::clamp((s.w - first_x + step - 1) / step, begin, plane.pitch);
    for (int64_t r = 0; r < plane.rows; ++r, out += plane.pitch) {
      const int64_t y = r * w.stride[0] + first_y;
      const bool inside = y >= 0 && y < s.h;
      const int64_t from = inside ? begin : plane.pitch, to = inside ? end : plane.pitch;
      std::fill(out, out + from, 0.0f);
      const float* input = channel + y * s.w + first_x;
      if (step == 1) {
        std::copy(input + from, input + to, out + from);
      } else {
        for (int64_t x = from; x < to; ++x) out[x] = input[x * step];
      }
      std::fill(out + to, out + plane.pitch, 0.0f);
    }
  }
}

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
  const int64_t taps = job.plane.offsets.size(), area = s.h * s.w, stride = s.window.stride[0] * s.window.stride[1];
  float* plane = plane_memory.floats(stride * job.plane.rows * job.plane.pitch + kSlack);
  float* ones = ones_memory.floats(s.out_w + kSlack);
  std::fill_n(ones, s.out_w + kSlack, 1.0f);
  const int64_t no_offset = 0;
  for (int64_t row = first; row < first + count; ++row, rows += job.cols()) {
    const float* g = widened(job.isa, job.g, (sample * s.o + row) * s.positions(), s.positions(), g_memory);
    const int64_t channel = sample * s.c + row / s.group_outputs() * s.group_inputs();
    for (int64_t i = 0; i < s.group_inputs(); ++i) {
      fill_plane(s, job.plane, widened(job.isa, job.x, (channel + i) * area, area, x_memory), plane);
      job.isa.correlate({g, plane, s.out_h, s.out_w, job.plane.pitch, job.plane.offsets.data(), taps},
                        rows + i * taps);
    }
    if (job.bias) job.isa.correlate({g, ones, s.out_h, s.out_w, 0, &no_offset, 1}, rows + s.cols());
  }
}

}  // namespace

void correlate_sketch(const View& x, const View& g, float* out, const ConvShape& shape, const SketchSpec& spec,
                      bool bias, int threads) {
  const Plane plane = make_plane(shape);
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
