#include "dispatch.h"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace gradkern::cpu {
namespace {

// In the order of GK_KERNEL.
constexpr Isa kPortable{"portable", 0};
#if defined(GK_X86)
constexpr Isa kAvx2{"avx2", 1}, kAvx512{"avx512", 2}, kAvx512Bf16{"avx512bf16", 3};
#endif

std::vector<const Isa*> detect() {
  std::vector<const Isa*> isas;
#if defined(GK_X86)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl")) {
    if (__builtin_cpu_supports("avx512bf16")) isas.push_back(&kAvx512Bf16);
    isas.push_back(&kAvx512);
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) isas.push_back(&kAvx2);
#endif
  isas.push_back(&kPortable);
  isas.push_back(nullptr);
  return isas;
}

}  // namespace

const Isa* const* available_isas() {
  static const std::vector<const Isa*> isas = detect();
  return isas.data();
}

const Isa& current_isa() {
  const Isa* const* isas = available_isas();
  const char* forced = std::getenv("GRADKERN_ISA");
  if (forced == nullptr || *forced == '\0') return *isas[0];
  std::string names;
  for (; *isas != nullptr; ++isas) {
    if (std::strcmp((*isas)->name, forced) == 0) return **isas;
    names += (names.empty() ? "" : ", ") + std::string((*isas)->name);
  }
  throw std::invalid_argument("GRADKERN_ISA: this processor and build run " + names + ", got '" + forced + "'");
}

}  // namespace gradkern::cpu
