// Packing of a product's factors: tile after tile, position after position, the rows (columns) of a tile side by side.
#include "vectors.h"

namespace gradkern::GK_ISA {
namespace {

inline float widen(float x) { return x; }
inline float widen(Bfloat16 x) { return __builtin_bit_cast(float, static_cast<uint32_t>(x.bits) << 16); }
inline float widen(Float16 x) {
  const uint16_t lanes[kLanes] = {x.bits};
  return load(reinterpret_cast<const Float16*>(lanes))[0];
}

// Two positions of bfloat16 in one float.
inline float pair(Bfloat16 first, Bfloat16 second) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(second.bits) << 16 | first.bits);
}

// One slot of a tile: position `step`, or positions 2 step and 2 step + 1.
template <typename T, bool pairs>
struct Slots {
  const T* data;
  int64_t t, position_stride, index_stride;

  float operator()(int64_t step, int64_t index) const {
    const T* at = data + index * index_stride;
    if constexpr (pairs) {
      const T* first = at + 2 * step * position_stride;
      return pair(*first, 2 * step + 1 < t ? first[position_stride] : Bfloat16{0});
    } else {
      return widen(at[step * position_stride]);
    }
  }

  // kLanes of them side by side, of lines of positions.
  Floats vector(int64_t step, int64_t index) const {
    if constexpr (pairs) {
      const T* first = data + 2 * step * position_stride + index;
      const Bits low = load_bits(first);
      return (Floats)(2 * step + 1 < t ? low | load_bits(first + position_stride) << 16 : low);
    } else {
      return load(data + step * position_stride + index);
    }
  }
};

template <int kWidth, typename T, bool pairs>
void pack_tiles(const Slots<T, pairs>& slots, int64_t count, int64_t total, bool of_positions, float* packed) {
  const int64_t steps = pairs ? (slots.t + 1) / 2 : slots.t;
  for (int64_t first = 0; first < total; first += kWidth) {
    const int64_t width = count - first < kWidth ? count - first : kWidth;
    for (int64_t step = 0; step < steps; ++step) {
      if (of_positions && kWidth % kLanes == 0 && width == kWidth) {
        for (int j = 0; j < kWidth; j += kLanes) {
          *reinterpret_cast<FloatsInMemory*>(packed + j) = slots.vector(step, first + j);
        }
      } else if (width == kWidth) {
        for (int j = 0; j < kWidth; ++j) packed[j] = slots(step, first + j);
      } else {
        for (int j = 0; j < kWidth; ++j) packed[j] = j < width ? slots(step, first + j) : 0.0f;
      }
      packed += kWidth;
    }
  }
}

template <typename T, bool pairs>
void pack_typed(const Lines& lines, int64_t t, int64_t count, Side side, float* packed) {
  const Slots<T, pairs> slots{static_cast<const T*>(lines.data), t, lines.of_positions ? lines.stride : 1,
                              lines.of_positions ? 1 : lines.stride};
  if (side == Side::rows) {
    pack_tiles<kTileRows>(slots, count, count, lines.of_positions, packed);
  } else {
    pack_tiles<kTileCols>(slots, count, kSegment, lines.of_positions, packed);
  }
}

template <typename T>
void widen_typed(const T* x, int64_t count, float* out) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) *reinterpret_cast<FloatsInMemory*>(out + i) = load(x + i);
  for (; i < count; ++i) out[i] = widen(x[i]);
}

}  // namespace

void pack(const Lines& lines, int64_t t, int64_t count, Side side, float* packed) {
  switch (lines.element) {
    case Element::f32:
      return pack_typed<float, false>(lines, t, count, side, packed);
    case Element::bf16:
      return pack_typed<Bfloat16, kPairs>(lines, t, count, side, packed);
    case Element::f16:
      return pack_typed<Float16, false>(lines, t, count, side, packed);
    case Element::f64:
      return;  // refused before: products are for what a model computes in
  }
}

void widen(const void* x, Element element, int64_t count, float* out) {
  switch (element) {
    case Element::f32:
      return widen_typed(static_cast<const float*>(x), count, out);
    case Element::bf16:
      return widen_typed(static_cast<const Bfloat16*>(x), count, out);
    case Element::f16:
      return widen_typed(static_cast<const Float16*>(x), count, out);
    case Element::f64:
      return;  // as in pack
  }
}

void pack_ones(Element element, int64_t t, int column, float* packed) {
  const bool pairs = kPairs && element == Element::bf16;
  const int64_t steps = pairs ? (t + 1) / 2 : t;
  const Bfloat16 zero = {0}, one = {0x3F80};
  float* at = packed + column / kTileCols * kTileCols * steps + column % kTileCols;
  for (int64_t step = 0; step < steps; ++step) {
    at[step * kTileCols] = !pairs ? 1.0f : pair(one, 2 * step + 1 < t ? one : zero);
  }
}

}  // namespace gradkern::GK_ISA
