// Sketches cut into parts. A sample's parts are a function of the shape and k alone, each is summed from zero, and they
// are added in order: the bits of a result depend neither on the batch nor on the number of threads.
#pragma once
#include <cstdint>
#include <functional>

#include "../signs.h"

namespace gradkern::cpu {

// Adds one part of one sample to buckets[k + kOverrun], 64-byte aligned.
using AddPart = std::function<void(int64_t sample, int64_t part, float* buckets)>;

// out[i] = the sum of sample i's parts, scaled by 1 / sqrt(nnz). Work of less than a few tens of microseconds is given
// threads = 1: that is what starting them costs.
void sum_parts(int64_t n, int64_t parts, const SketchSpec& spec, float* out, int threads, const AddPart& add_part);

}  // namespace gradkern::cpu
