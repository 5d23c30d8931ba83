// The weight gradient of one channel against one channel, tap by tap: for convolutions whose groups have too few
// outputs to fill a product's tile (depthwise above all).
//
// Lanes run over positions of a row; each tap has its own sum, added up over lanes at the end. Bound by the loads of
// the plane, which lie in the nearest cache.
#include "vectors.h"

namespace gradkern::GK_ISA {
namespace {

constexpr int kTaps = kLanes == 16 ? 16 : 8;  // sums in registers

// Positions [x, x + width) of a row; lanes behind add nothing, whatever the plane holds there.
template <int kCount, bool whole>
inline void add_positions(const float* g, const float* plane, const int64_t* offsets, int64_t width,
                          Floats (&sums)[kCount]) {
  Floats gradient, ahead[kCount];
  if constexpr (whole) {
    gradient = load(g);
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) ahead[i] = load(plane + offsets[i]);
  } else {
    const Bits inside = (Bits)(kIndex < static_cast<uint32_t>(width));
    float padded[kLanes] = {};
    for (int64_t j = 0; j < width; ++j) padded[j] = g[j];
    gradient = load(padded);
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) ahead[i] = (Floats)((Bits)load(plane + offsets[i]) & inside);
  }
#pragma GCC unroll 16
  for (int i = 0; i < kCount; ++i) sums[i] += gradient * ahead[i];
}

template <int kCount>
void correlate_taps(const Correlation& c, const int64_t* offsets, float* taps) {
  Floats sums[kCount] = {};
  for (int64_t y = 0; y < c.rows; ++y) {
    const float* g = c.g + y * c.cols;
    const float* plane = c.plane + y * c.pitch;
    int64_t x = 0;
    for (; x + kLanes <= c.cols; x += kLanes) add_positions<kCount, true>(g + x, plane + x, offsets, kLanes, sums);
    if (x < c.cols) add_positions<kCount, false>(g + x, plane + x, offsets, c.cols - x, sums);
  }
  for (int i = 0; i < kCount; ++i) {
    float sum = 0.0f;
    for (int j = 0; j < kLanes; ++j) sum += sums[i][j];
    taps[i] = sum;
  }
}

template <int kCount>
void correlate_up_to(const Correlation& c, int64_t count, const int64_t* offsets, float* taps) {
  if (count == kCount) return correlate_taps<kCount>(c, offsets, taps);
  if constexpr (kCount > 1) correlate_up_to<kCount - 1>(c, count, offsets, taps);
}

}  // namespace

void correlate(const Correlation& c, float* taps) {
  const int64_t rounds = (c.taps + kTaps - 1) / kTaps;
  for (int64_t round = 0; round < rounds; ++round) {  // of nearly equal size
    const int64_t begin = round * c.taps / rounds, end = (round + 1) * c.taps / rounds;
    correlate_up_to<kTaps>(c, end - begin, c.offsets + begin, taps + begin);
  }
}

}  // namespace gradkern::GK_ISA
