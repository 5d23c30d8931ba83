// sketch on the CPU, compiled once per instruction set (GK_ISA, GK_LANES).
//
// buckets[offset_s + j] += +-x_sj. One hash gives a segment's 64 signs, and its columns go to consecutive
// buckets, so the inner loop is whole vectors: load x, flip signs, add. Bound by reading x once.
// Every instruction set does the same float additions in the same order: the result has the same bits.
#include "../isa.h"

namespace gradkern::GK_ISA {
namespace {

constexpr int kLanes = GK_LANES;
constexpr int kVectors = kSegment / kLanes;
constexpr int kAhead = 64;  // segments hashed together: in vectors, and stored well before they are loaded
constexpr int kPrefetchBytes = 12288;
constexpr int64_t kMaxRepeats = 8;  // repeats hashed together; more go round again

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef float FloatsAligned __attribute__((vector_size(4 * kLanes), may_alias));
typedef uint32_t Bits __attribute__((vector_size(4 * kLanes)));
typedef float FloatsInMemory __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef double DoublesInMemory __attribute__((vector_size(8 * kLanes), aligned(8), may_alias));
typedef uint16_t HalvesInMemory __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));

struct Bfloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

inline Floats load(const float* x) { return *reinterpret_cast<const FloatsInMemory*>(x); }

inline Floats load(const double* x) {
  return __builtin_convertvector(*reinterpret_cast<const DoublesInMemory*>(x), Floats);
}

inline Bits load_bits(const void* x) {
  return __builtin_convertvector(*reinterpret_cast<const HalvesInMemory*>(x), Bits);
}

inline Floats load(const Bfloat16* x) { return (Floats)(load_bits(x) << 16); }

// Exact for every value, and with no denormal operand, so that a flush-to-zero mode changes nothing.
inline Floats load(const Float16* x) {
  const Bits half = load_bits(x);
  const Bits magnitude = half & 0x7FFFu;
  const Bits rebias = (Bits)(magnitude >= 0x7C00u) & (112u << 23);
  const Bits normal = (magnitude << 13) + (112u << 23) + rebias;
  const Floats tiny = __builtin_convertvector(magnitude, Floats) * 0x1p-24f;
  const Bits is_tiny = (Bits)(magnitude < 0x400u);
  return (Floats)(((half & 0x8000u) << 16) | (is_tiny & (Bits)tiny) | (~is_tiny & normal));
}

// x with the sign of lane j flipped where bit j is set.
inline Floats flip(Floats x, uint32_t bits) {
  Bits lane;
#if defined(__AVX2__)
  for (int j = 0; j < kLanes; ++j) lane[j] = 31 - j;
  const Bits moved = (lane * 0 + bits) << lane;
#else  // no shift by a variable number of bits
  for (int j = 0; j < kLanes; ++j) lane[j] = 1u << j;
  const Bits moved = (Bits)((lane & bits) != 0u);
#endif
  return (Floats)((Bits)x ^ (moved & 0x80000000u));
}

// buckets[offset + j] += values[j], in vectors that start where the memory's do: a store that the next segment
// loads again is then forwarded whole. The lanes before and behind the segment add zero.
inline void add_aligned(const Floats* values, uint32_t offset, float* buckets) {
  const uint32_t shift = offset % kLanes;
  FloatsAligned* target = reinterpret_cast<FloatsAligned*>(buckets + (offset - shift));
  Bits lane;
  for (int j = 0; j < kLanes; ++j) lane[j] = kLanes + j;
  const Bits from = lane - shift;
  const Floats zero = {};
  target[0] += __builtin_shuffle(zero, values[0], from);
  for (int v = 1; v < kVectors; ++v) target[v] += __builtin_shuffle(values[v - 1], values[v], from);
  target[kVectors] += __builtin_shuffle(values[kVectors - 1], zero, from);
}

// The same where vectors cannot be shifted by a variable number of lanes (plain SSE2 and the like).
inline void add_unaligned(const Floats* values, uint32_t offset, float* buckets) {
  FloatsInMemory* target = reinterpret_cast<FloatsInMemory*>(buckets + offset);
  for (int v = 0; v < kVectors; ++v) target[v] += values[v];
}

template <typename T>
inline void add_segment(const T* x, const uint64_t* signs, const uint32_t* offsets, int64_t repeats, float* buckets) {
  for (int64_t q = 0; q < repeats; ++q) {
    const uint64_t sign = signs[q * kAhead];
    Floats values[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      values[v] = flip(load(x + v * kLanes), static_cast<uint32_t>(sign >> (v * kLanes)));
    }
    if (kLanes == 16) {
      add_aligned(values, offsets[q * kAhead], buckets);
    } else {
      add_unaligned(values, offsets[q * kAhead], buckets);
    }
  }
}

// The hardware's own prefetcher keeps too little of main memory in flight. Past the end it does no harm.
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
