// sketch on the CPU: how the work is cut. The cut depends on the shape and k alone, and parts are added in
// order, so the bits of the result depend neither on the batch nor on the number of threads.
#include "sketch.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "isa.h"
#include "parallel.h"

namespace gradkern::cpu {
namespace {

static_assert(static_cast<int>(Element::f16) == static_cast<int>(Dtype::f16));

int64_t element_size(Dtype dtype) { return dtype == Dtype::f64 ? 8 : dtype == Dtype::f32 ? 4 : 2; }

// Segments summed from zero before they meet the rest of their sample: enough that zeroing and adding up k
// buckets stays small beside their additions.
int64_t part_segments(int64_t k) { return std::max<int64_t>(4096, k); }

// Threads cost tens of microseconds to start.
constexpr int64_t kSmall = 1 << 16;

struct Plan {
  SketchSegments segments_kernel;
  SketchSpec spec;
  Element element;
  int64_t cols, segments, part, parts;
};

// 64-byte aligned zeros, kept by the thread from part to part.
float* zeros(int64_t count) {
  thread_local std::vector<float> memory;
  constexpr size_t kAlign = 64;
  memory.assign(count + kAlign / sizeof(float), 0.0f);
  void* start = memory.data();
  size_t space = memory.size() * sizeof(float);
  return static_cast<float*>(std::align(kAlign, count * sizeof(float), start, space));
}

void sum_part(const Plan& plan, const void* sample, int64_t part, float* result, bool add) {
  const int64_t k = plan.spec.k;
  float* scratch = zeros(k + kOverrun);
  plan.segments_kernel(sample, plan.element, plan.cols, part * plan.part,
                       std::min(plan.segments, (part + 1) * plan.part), plan.spec, scratch);
  for (int64_t j = 0; j < kSegment; ++j) scratch[j] += scratch[k + j];
  if (add) {
    for (int64_t b = 0; b < k; ++b) result[b] += scratch[b];
  } else {
    std::memcpy(result, scratch, k * sizeof(float));
  }
}

void scale(float* row, const SketchSpec& spec) {
  if (spec.nnz == 1) return;
  const float factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(spec.nnz)));
  for (int64_t b = 0; b < spec.k; ++b) row[b] *= factor;
}

void by_sample(const Plan& plan, const View& x, float* out, int threads) {
  const int64_t bytes = x.shape[1] * x.shape[2] * element_size(x.dtype);
  parallel_for(x.shape[0], threads, [&](int64_t i) {
    float* row = out + i * plan.spec.k;
    for (int64_t part = 0; part < plan.parts; ++part) {
      sum_part(plan, static_cast<const char*>(x.data) + i * bytes, part, row, part > 0);
    }
    scale(row, plan.spec);
  });
}

// Fewer samples than threads: the parts of one sample side by side. Their sums take at most a 64th of the
// sample's elements.
void by_part(const Plan& plan, const View& x, float* out, int threads) {
  const int64_t bytes = x.shape[1] * x.shape[2] * element_size(x.dtype), k = plan.spec.k;
  std::vector<float> sums(plan.parts * k);
  for (int64_t i = 0; i < x.shape[0]; ++i) {
    parallel_for(plan.parts, threads, [&](int64_t part) {
      sum_part(plan, static_cast<const char*>(x.data) + i * bytes, part, sums.data() + part * k, false);
    });
    float* row = out + i * k;
    std::memcpy(row, sums.data(), k * sizeof(float));
    for (int64_t part = 1; part < plan.parts; ++part) {
      for (int64_t b = 0; b < k; ++b) row[b] += sums[part * k + b];
    }
    scale(row, plan.spec);
  }
}

}  // namespace

void sketch(const View& x, const View& out, const SketchSpec& spec, int threads) {
  float* result = static_cast<float*>(out.data);
  const SketchSegments kernel = current_isa().sketch_segments;
  if (x.size() == 0) {
    std::fill_n(result, out.size(), 0.0f);
    return;
  }
  const int64_t segments = x.shape[1] * ((x.shape[2] + kSegment - 1) / kSegment);
  const int64_t part = part_segments(spec.k);
  const Plan plan{kernel,   spec, static_cast<Element>(x.dtype), x.shape[2],
                  segments, part, (segments + part - 1) / part};
  if (x.size() < kSmall) threads = 1;
  if (x.shape[0] >= threads || plan.parts == 1) {
    by_sample(plan, x, result, threads);
  } else {
    by_part(plan, x, result, threads);
  }
}

}  // namespace gradkern::cpu
