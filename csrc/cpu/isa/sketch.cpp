// sketch on the CPU. The kernel adds segments to their buckets:
//
//   buckets[offset_s + j] += +-x_sj
//
// One hash gives the 64 signs of a segment, and its columns go to consecutive buckets, so the inner loop is whole
// vectors: load x, flip signs, add. Bound by reading x once. Every instruction set does the same float additions in the
// same order, so the result has the same bits.
#include "../kernels.h"

#if defined(GK_ISA)
#include "vectors.h"

namespace gradkern::GK_ISA {
namespace {

constexpr int kAhead = 64;  // segments hashed together, in vectors and well before their hashes are used
constexpr int kPrefetchBytes = 12288;
constexpr int64_t kMaxRepeats = 8;  // repeats hashed together; more repeats take more rounds

template <typename T>
inline void add_segment(const T* x, const uint64_t* signs, const uint32_t* offsets, int64_t repeats, float* buckets) {
  for (int64_t q = 0; q < repeats; ++q) {
    Floats values[kVectors];
    for (int v = 0; v < kVectors; ++v) values[v] = load(x + v * kLanes);
    add_signed(values, signs[q * kAhead], offsets[q * kAhead], buckets);
  }
}

// The prefetcher of the hardware keeps too few lines in flight. Prefetching past the end of x does no harm.
template <typename T>
inline void prefetch(const T* segment) {
  constexpr int kBytes = kSegment * sizeof(T);
  const char* ahead = reinterpret_cast<const char*>(segment) + kPrefetchBytes;
  for (int byte = 0; byte < kBytes; byte += 64) __builtin_prefetch(ahead + byte, 0, 3);
}

template <typename T>
inline __attribute__((always_inline)) void add_run(const T* x, int64_t cols, int64_t first, int64_t count,
                                                   const uint64_t* signs, const uint32_t* offsets, int64_t repeats,
                                                   float* buckets) {
  const int64_t per_row = (cols + kSegment - 1) / kSegment;
  int64_t row = first / per_row;
  int64_t col = (first - row * per_row) * kSegment;
  for (int64_t s = 0; s < count; ++s) {
    const T* segment = x + row * cols + col;
    const int64_t width = cols - col < kSegment ? cols - col : kSegment;
    prefetch(segment);
    if (width == kSegment) {
      add_segment(segment, signs + s, offsets + s, repeats, buckets);
    } else {
      T padded[kSegment] = {};
      for (int64_t j = 0; j < width; ++j) padded[j] = segment[j];
      add_segment(padded, signs + s, offsets + s, repeats, buckets);
    }
    col += kSegment;
    if (col >= cols) {
      col = 0;
      ++row;
    }
  }
}

template <typename T>
void add_segments(const T* x, int64_t cols, int64_t begin, int64_t end, const SketchSpec& spec, float* buckets) {
  const uint64_t mixed_seed = mix64(spec.seed);
  uint64_t signs[kMaxRepeats * kAhead];
  uint32_t offsets[kMaxRepeats * kAhead];
  for (int64_t first = begin; first < end; first += kAhead) {
    const int64_t count = end - first < kAhead ? end - first : kAhead;
    for (int64_t q0 = 0; q0 < spec.nnz; q0 += kMaxRepeats) {
      const int64_t repeats = spec.nnz - q0 < kMaxRepeats ? spec.nnz - q0 : kMaxRepeats;
      for (int64_t q = 0; q < repeats; ++q) {
        for (int s = 0; s < kAhead; ++s) {
          const uint64_t key = segment_key(mixed_seed, spec.first_segment + first + s);
          signs[q * kAhead + s] = segment_signs(key, q0 + q);
          offsets[q * kAhead + s] = segment_offset(key, q0 + q, spec.k);
        }
      }
      if (repeats == 1) {  // the common case, compiled without the loop over repeats
        add_run(x, cols, first, count, signs, offsets, 1, buckets);
      } else {
        add_run(x, cols, first, count, signs, offsets, repeats, buckets);
      }
    }
  }
}

}  // namespace

void sketch_segments(const void* x, Element element, int64_t cols, int64_t begin, int64_t end, const SketchSpec& spec,
                     float* buckets) {
  switch (element) {
    case Element::f32:
      return add_segments(static_cast<const float*>(x), cols, begin, end, spec, buckets);
    case Element::f64:
      return add_segments(static_cast<const double*>(x), cols, begin, end, spec, buckets);
    case Element::bf16:
      return add_segments(static_cast<const Bfloat16*>(x), cols, begin, end, spec, buckets);
    case Element::f16:
      return add_segments(static_cast<const Float16*>(x), cols, begin, end, spec, buckets);
  }
}

}  // namespace gradkern::GK_ISA

#else
#include <algorithm>

#include "../../ops.h"
#include "../split_sums.h"

namespace gradkern::cpu {
namespace {

static_assert(static_cast<int>(Element::f16) == static_cast<int>(Dtype::f16));

// Segments of a part: so many that zeroing and adding up k buckets takes little time beside adding the segments. The
// sums of the parts take at most a 64th of the memory of the sample.
int64_t part_segments(int64_t k) { return std::max<int64_t>(4096, k); }

constexpr int64_t kSmall = 1 << 16;  // fewer elements of x are not worth several threads

}  // namespace

void sketch(const View& x, const View&, const View& out, const SketchSpec& spec, const Execution& execution) {
  const Isa& isa = current_isa();
  float* result = static_cast<float*>(out.data);
  if (x.size() == 0) {
    std::fill_n(result, out.size(), 0.0f);
    return;
  }
  const Element element = static_cast<Element>(x.dtype);
  const int64_t cols = x.shape[2], segments = x.shape[1] * ((cols + kSegment - 1) / kSegment);
  const int64_t bytes = x.shape[1] * cols * element_size(x.dtype);
  const int64_t part = part_segments(spec.k);
  sum_parts(x.shape[0], (segments + part - 1) / part, spec, result, x.size() < kSmall ? 1 : execution.threads,
            [&](int64_t i, int64_t p, float* buckets) {
              sketch_segments[isa](static_cast<const char*>(x.data) + i * bytes, element, cols, p * part,
                                   std::min(segments, (p + 1) * part), spec, buckets);
            });
}

}  // namespace gradkern::cpu

#endif
