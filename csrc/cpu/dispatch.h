// Instruction sets: how a kernel is compiled for each of them, and which of them runs.
//
// As nvcc compiles a .cu once for each architecture and once for the host, CMake compiles every file of cpu/isa/ once
// for each instruction set, whose name is then GK_ISA, and once for the host, where GK_ISA is not defined. The kernels
// are under `#if defined(GK_ISA)`, in the namespace gradkern::GK_ISA; the rest of the file cuts an op's work for them.
//
// Kernels must not include standard headers with code: an inline function compiled with them could become the copy
// that the linker keeps for everybody, and fail on an older processor.
#pragma once
#include <stdint.h>

namespace gradkern {

// Element types, in the order of Dtype.
enum class Element { f32, f64, bf16, f16 };

// An instruction set.
struct Isa {
  const char* name;
  int index;  // of the versions of a kernel
};

// GK_KERNEL(result, name, parameters) declares a kernel. The host calls it as name[isa](...).
#if defined(GK_ISA)

#define GK_KERNEL(result, name, parameters) \
  namespace GK_ISA {                        \
  result name parameters;                   \
  }

#else

template <typename Function>
struct Kernel {
  Function* versions[4];
  Function& operator[](const Isa& isa) const { return *versions[isa.index]; }
};

#if defined(GK_X86)
#define GK_KERNEL(result, name, parameters)                                                               \
  namespace portable {                                                                                    \
  result name parameters;                                                                                 \
  }                                                                                                       \
  namespace avx2 {                                                                                        \
  result name parameters;                                                                                 \
  }                                                                                                       \
  namespace avx512 {                                                                                      \
  result name parameters;                                                                                 \
  }                                                                                                       \
  namespace avx512bf16 {                                                                                  \
  result name parameters;                                                                                 \
  }                                                                                                       \
  namespace cpu {                                                                                         \
  constexpr Kernel<result parameters> name{{portable::name, avx2::name, avx512::name, avx512bf16::name}}; \
  }
#else
#define GK_KERNEL(result, name, parameters)                   \
  namespace portable {                                        \
  result name parameters;                                     \
  }                                                           \
  namespace cpu {                                             \
  constexpr Kernel<result parameters> name{{portable::name}}; \
  }
#endif

namespace cpu {

// The best instruction set of this processor, or the one that the environment variable GRADKERN_ISA names. The
// variable is read at every call; an unknown or unsupported name is an error, never a fallback.
const Isa& current_isa();

// The instruction sets that this build holds and this processor runs, best first; a null pointer ends the list.
const Isa* const* available_isas();

}  // namespace cpu

#endif

}  // namespace gradkern
