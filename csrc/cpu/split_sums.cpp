#include "split_sums.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels.h"
#include "parallel.h"
#include "scratch.h"

namespace gradkern::cpu {
namespace {

void sum_part(const SketchSpec& spec, const AddPart& add_part, int64_t sample, int64_t part, float* result, bool add) {
  const int64_t k = spec.k;
  thread_local Scratch scratch;
  float* buckets = scratch.floats(k + kOverrun);
  std::fill_n(buckets, k + kOverrun, 0.0f);
  add_part(sample, part, buckets);
  for (int64_t j = 0; j < kSegment; ++j) buckets[j] += buckets[k + j];
  if (add) {
    for (int64_t b = 0; b < k; ++b) result[b] += buckets[b];
  } else {
    std::memcpy(result, buckets, k * sizeof(float));
  }
}

void scale(float* row, const SketchSpec& spec) {
  if (spec.nnz == 1) return;
  const float factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(spec.nnz)));
  for (int64_t b = 0; b < spec.k; ++b) row[b] *= factor;
}

}  // namespace

Range piece(int64_t count, int64_t pieces, int64_t index) {
  return {count * index / pieces, count * (index + 1) / pieces};
}

int64_t part_count(int64_t units, int64_t products, int64_t k) {
  constexpr int64_t kMost = 64, kProductsPerBucket = 64;
  return std::clamp<int64_t>(products / (kProductsPerBucket * k), 1, std::min(units, kMost));
}

void sum_parts(int64_t n, int64_t parts, const SketchSpec& spec, float* out, int threads, const AddPart& add_part) {
  const int64_t k = spec.k;
  if (n >= threads || parts == 1) {
    parallel_for(n, threads, [&](int64_t i) {
      for (int64_t part = 0; part < parts; ++part) sum_part(spec, add_part, i, part, out + i * k, part > 0);
      scale(out + i * k, spec);
    });
    return;
  }
  // Fewer samples than threads: the threads share the parts of one sample.
  std::vector<float> sums(parts * k);
  for (int64_t i = 0; i < n; ++i) {
    parallel_for(parts, threads,
                 [&](int64_t part) { sum_part(spec, add_part, i, part, sums.data() + part * k, false); });
    float* row = out + i * k;
    std::memcpy(row, sums.data(), k * sizeof(float));
    for (int64_t part = 1; part < parts; ++part) {
      for (int64_t b = 0; b < k; ++b) row[b] += sums[part * k + b];
    }
    scale(row, spec);
  }
}

}  // namespace gradkern::cpu
