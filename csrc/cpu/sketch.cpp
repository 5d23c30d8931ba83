// sketch on the CPU: how the work is cut.
#include "sketch.h"

#include <algorithm>

#include "isa.h"
#include "parts.h"

namespace gradkern::cpu {
namespace {

static_assert(static_cast<int>(Element::f16) == static_cast<int>(Dtype::f16));

// Segments of a part: enough that zeroing and adding up k buckets stays small beside their additions; the parts'
// sums take at most a 64th of the sample's elements.
int64_t part_segments(int64_t k) { return std::max<int64_t>(4096, k); }

constexpr int64_t kSmall = 1 << 16;

}  // namespace

void sketch(const View& x, const View& out, const SketchSpec& spec, int threads) {
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
  sum_parts(x.shape[0], (segments + part - 1) / part, spec, result, x.size() < kSmall ? 1 : threads,
            [&](int64_t i, int64_t p, float* buckets) {
              isa.sketch_segments(static_cast<const char*>(x.data) + i * bytes, element, cols, p * part,
                                  std::min(segments, (p + 1) * part), spec, buckets);
            });
}

}  // namespace gradkern::cpu
