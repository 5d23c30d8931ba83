// Which instruction set runs, and what each one offers.
//
// The files in cpu/isa/ are compiled once per instruction set into the namespaces below. They include no
// standard header with code: an inline function compiled there could become the copy that the linker keeps
// for everybody, and fail on an older processor.
#pragma once
#include <stdint.h>

#include "../signs.h"

namespace gradkern {

// Element types of the instruction-set units, in the order of Dtype.
enum class Element { f32, f64, bf16, f16 };

// Floats behind the k buckets: they take what runs over the end, so that no addition wraps, and the zeros of the
// last vector.
constexpr int kOverrun = 80;

// Adds segments [begin, end) of one sample, counted from its first, to buckets[k + kOverrun], 64-byte aligned.
using SketchSegments = void (*)(const void* x, Element element, int64_t cols, int64_t begin, int64_t end,
                                const SketchSpec& spec, float* buckets);

#define GK_DECLARE_ISA(isa)                                                                      \
  namespace isa {                                                                                \
  void sketch_segments(const void* x, Element element, int64_t cols, int64_t begin, int64_t end, \
                       const SketchSpec& spec, float* buckets);                                  \
  }
GK_DECLARE_ISA(portable)
GK_DECLARE_ISA(avx2)
GK_DECLARE_ISA(avx512)
#undef GK_DECLARE_ISA

namespace cpu {

struct Isa {
  const char* name;
  SketchSegments sketch_segments;
};

// The best instruction set of this processor, or the one that the environment variable GRADKERN_ISA names.
// Read at every call; an unknown or unsupported name is an error, never a fallback.
const Isa& current_isa();

// All that this build holds and this processor runs, best first; ends with a null name.
const Isa* available_isas();

}  // namespace cpu
}  // namespace gradkern
