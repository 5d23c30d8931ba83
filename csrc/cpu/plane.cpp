#include "plane.h"

#include <algorithm>

namespace gradkern::cpu {
namespace {

// The smallest i >= 0 with first + i * step >= bound.
int64_t reach(int64_t first, int64_t step, int64_t bound) {
  return std::max<int64_t>(0, (bound - first + step - 1) / step);
}

// Fills one phase, whose first element is the input at (first_y, first_x).
template <typename Bits>
void fill_phase(const ConvShape& s, const Plane& plane, int64_t first_y, int64_t first_x, const Bits* channel,
                Bits* out) {
  const int64_t step_y = s.window.stride[0], step = s.window.stride[1];
  const int64_t begin = std::min(plane.pitch, reach(first_x, step, 0));
  const int64_t end = std::clamp(reach(first_x, step, s.w), begin, plane.pitch);
  for (int64_t r = 0; r < plane.rows; ++r, out += plane.pitch) {
    const int64_t y = first_y + r * step_y;
    const bool inside = y >= 0 && y < s.h;
    const int64_t from = inside ? begin : plane.pitch, to = inside ? end : plane.pitch;
    std::fill(out, out + from, Bits{0});
    const Bits* input = channel + y * s.w + first_x;
    if (step == 1) {
      std::copy(input + from, input + to, out + from);
    } else {
      for (int64_t x = from; x < to; ++x) out[x] = input[x * step];
    }
    std::fill(out + to, out + plane.pitch, Bits{0});
  }
}

template <typename Bits>
void fill(const ConvShape& s, const Plane& plane, const Rectangle& outputs, const Bits* channel, Bits* out) {
  const Window& w = s.window;
  for (size_t phase = 0; phase < plane.phases.size(); ++phase, out += plane.rows * plane.pitch) {
    if (!plane.phases[phase]) continue;
    const int64_t first_y = outputs.y * w.stride[0] + static_cast<int64_t>(phase) / w.stride[1] - w.padding[0];
    const int64_t first_x = outputs.x * w.stride[1] + static_cast<int64_t>(phase) % w.stride[1] - w.padding[1];
    fill_phase(s, plane, first_y, first_x, channel, out);
  }
}

}  // namespace

Plane make_plane(const ConvShape& shape, const Rectangle& outputs, Range columns) {
  const Window& w = shape.window;
  const int64_t taps = w.kernel[0] * w.kernel[1];
  Plane plane;
  plane.rows = outputs.rows + (w.kernel[0] - 1) * w.dilation[0] / w.stride[0];
  plane.pitch = outputs.width + (w.kernel[1] - 1) * w.dilation[1] / w.stride[1];
  plane.offsets.resize(taps);
  for (int64_t tap = 0; tap < taps; ++tap) {
    const int64_t y = tap / w.kernel[1] * w.dilation[0], x = tap % w.kernel[1] * w.dilation[1];
    const size_t phase = y % w.stride[0] * w.stride[1] + x % w.stride[1];
    if (phase >= plane.phases.size()) plane.phases.resize(phase + 1);
    if ((tap - columns.begin % taps + taps) % taps < columns.count()) plane.phases[phase] = true;
    plane.offsets[tap] = (static_cast<int64_t>(phase) * plane.rows + y / w.stride[0]) * plane.pitch + x / w.stride[1];
  }
  return plane;
}

void fill_plane(const ConvShape& shape, const Plane& plane, const Rectangle& outputs, const void* channel,
                int64_t element_bytes, void* out) {
  if (element_bytes == 4) {
    fill(shape, plane, outputs, static_cast<const uint32_t*>(channel), static_cast<uint32_t*>(out));
  } else {
    fill(shape, plane, outputs, static_cast<const uint16_t*>(channel), static_cast<uint16_t*>(out));
  }
}

}  // namespace gradkern::cpu
