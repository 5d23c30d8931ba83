// Sums that are split into parts. The parts of a sample are a function of the shape and k alone, each is summed from
// zero, and they are added in order: the bits of a result depend neither on the batch nor on the number of threads.
#pragma once
#include <cstdint>
#include <functional>

#include "../signs.h"

namespace gradkern::cpu {

// Adds one part of one sample to buckets[k + kOverrun], 64-byte aligned.
using AddPart = std::function<void(int64_t sample, int64_t part, float* buckets)>;

struct Range {
  int64_t begin, end;
  int64_t count() const { return end - begin; }
};

// Range `index` of the `pieces` nearly equal ranges that [0, count) is cut into.
Range piece(int64_t count, int64_t pieces, int64_t index);

// How many parts to split `units` units of work into, which hold `products` products in all. A part with few products
// for each of its k buckets spends its time zeroing and adding them up, and takes k floats where threads share a
// sample.
int64_t part_count(int64_t units, int64_t products, int64_t k);

// out[i] = the sum of the parts of sample i, scaled by 1 / sqrt(nnz). Callers pass threads = 1 for work of less than a
// few tens of microseconds, which is what starting threads costs.
void sum_parts(int64_t n, int64_t parts, const SketchSpec& spec, float* out, int threads, const AddPart& add_part);

}  // namespace gradkern::cpu
