// The epilogue of a product that is sketched: pieces of 128 segments are staged in shared memory, and each warp adds,
// in order, those that meet the buckets it owns. No bucket has two writers, so there are no atomics and no copies.
#pragma once
#include "../signs.h"
#include "launch.h"

namespace gradkern::cuda {

constexpr int kLanes = 32;
constexpr int kWarps = 8;
constexpr int kThreads = kLanes * kWarps;
constexpr int kStaged = 128;               // segments of a piece
constexpr int kStagePitch = kSegment + 8;  // in floats; fragments are stored and rows are read without bank conflicts
constexpr int kStageBytes = kStaged * kStagePitch * sizeof(float);
constexpr unsigned kFullWarp = 0xFFFFFFFFu;

struct Segment {
  uint64_t signs;
  uint32_t offset;
  int32_t width;  // in columns; 0 if there is no such segment
};

struct Stage {
  float* values;      // [kStaged, kStagePitch]
  Segment* segments;  // [kStaged]
};

// The buckets of a block, of which this warp owns [begin, begin + count).
struct Buckets {
  float* sums;  // [k]
  unsigned k, begin, count;
};

__device__ inline Buckets zero_buckets(float* sums, int64_t k) {
  for (int64_t b = threadIdx.x; b < k; b += kThreads) sums[b] = 0.0f;
  const int64_t warp = threadIdx.x / kLanes;
  const int64_t begin = k * warp / kWarps, end = k * (warp + 1) / kWarps;
  return {sums, static_cast<unsigned>(k), static_cast<unsigned>(begin), static_cast<unsigned>(end - begin)};
}

// Whether the 64 buckets from `offset` on, modulo k, meet those of the warp.
__device__ inline bool meets(const Buckets& own, unsigned offset) {
  const unsigned ahead = offset >= own.begin ? offset - own.begin : offset + own.k - own.begin;
  return ahead < own.count || own.k - ahead < kSegment;
}

// The index, among the buckets of the warp, of the bucket of column j; `count` or more if another warp owns it or there
// is no such column.
__device__ inline unsigned own_index(const Buckets& own, const Segment& segment, int j) {
  const unsigned bucket = segment.offset + j;
  const unsigned index = (bucket < own.k ? bucket : bucket - own.k) - own.begin;
  return j < segment.width ? index : own.count;
}

// Adds the staged segments to the buckets of the warp; a lane adds two columns.
__device__ inline void add_staged(const Stage& stage, const Buckets& own) {
  constexpr int kInFlight = 2;  // segments that are read before the first of them is added; more spill registers
  const int lane = threadIdx.x % kLanes;
  float* sums = own.sums + own.begin;
  for (int base = 0; base < kStaged; base += kLanes) {
    const Segment mine = stage.segments[base + lane];
    unsigned hits = __ballot_sync(kFullWarp, mine.width > 0 && meets(own, mine.offset));
    while (hits != 0) {
      float low[kInFlight], high[kInFlight];
      unsigned at_low[kInFlight], at_high[kInFlight];
      bool some[kInFlight];
#pragma unroll
      for (int u = 0; u < kInFlight; ++u) {
        some[u] = hits != 0;
        if (hits == 0) continue;
        const int row = base + __ffs(hits) - 1;
        hits &= hits - 1;
        const Segment segment = stage.segments[row];
        const uint64_t signs = segment.signs >> lane;
        low[u] = stage.values[row * kStagePitch + lane];
        high[u] = stage.values[row * kStagePitch + lane + kLanes];
        low[u] = signs & 1u ? -low[u] : low[u];
        high[u] = (signs >> kLanes) & 1u ? -high[u] : high[u];
        at_low[u] = own_index(own, segment, lane);
        at_high[u] = own_index(own, segment, lane + kLanes);
      }
#pragma unroll
      for (int u = 0; u < kInFlight; ++u) {
        if (!some[u]) continue;
        if (at_low[u] < own.count) sums[at_low[u]] += low[u];
        if (at_high[u] < own.count) sums[at_high[u]] += high[u];
        __syncwarp();  // the next segment may meet these buckets in other lanes
      }
    }
  }
}

// Adds what the block has staged. Thread r < 128 gives the number of the segment in row r, and its width in columns.
// There is a barrier at the start, behind the staging, and one at the end, before the next staging.
__device__ inline void add_segments(const Stage& stage, const SketchSpec& spec, int64_t number, int width,
                                    const Buckets& own) {
  const uint64_t key = segment_key(mix64(spec.seed), spec.first_segment + number);
  for (int64_t q = 0; q < spec.nnz; ++q) {
    if (threadIdx.x < kStaged) {
      stage.segments[threadIdx.x] = {segment_signs(key, q), segment_offset(key, q, spec.k), width};
    }
    __syncthreads();
    add_staged(stage, own);
    __syncthreads();
  }
}

__device__ inline void write_buckets(const Buckets& own, float* result, float factor) {
  for (int64_t b = threadIdx.x; b < own.k; b += kThreads) result[b] = own.sums[b] * factor;
}

}  // namespace gradkern::cuda
