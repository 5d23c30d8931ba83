// Sketches cut into parts. A sample's parts are a function of the shape and k alone, each is summed from zero, and they
// are added in order: the bits of a result depend neither on the batch nor on the number of threads.
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

// [0, count) in `pieces` nearly equal ranges.
Range piece(int64_t count, int64_t pieces, int64_t index);

// Parts for so many units of work, products in all: one with few products for each of its k buckets is mostly zeroing
// and adding up; and each takes k floats when threads share a sample.
int64_t part_count(int64_t units, int64_t products, int64_t k);

// out[i] = the sum of sample i's parts, scaled by 1 / sqrt(nnz). Work of less than a few tens of microseconds is given
// threads = 1: that is what starting them costs.
void sum_parts(int64_t n, int64_t parts, const SketchSpec& spec, float* out, int threads, const AddPart& add_part);

}  // namespace gradkern::cpu
