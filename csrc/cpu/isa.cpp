#include "isa.h"

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../view.h"

namespace gradkern::cpu {
namespace {

std::vector<Isa> detect() {
  std::vector<Isa> found;
#if defined(GK_X86)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl")) {
    found.push_back({"avx512", avx512::sketch_segments});
  }
  if (__builtin_cpu_supports("avx2")) found.push_back({"avx2", avx2::sketch_segments});
#endif
  found.push_back({"portable", portable::sketch_segments});
  found.push_back({nullptr, nullptr});
  return found;
}

}  // namespace

const Isa* available_isas() {
  static const std::vector<Isa> isas = detect();
  return isas.data();
}

const Isa& current_isa() {
  const Isa* isas = available_isas();
  const char* forced = std::getenv("GRADKERN_ISA");
  if (forced == nullptr || *forced == '\0') return isas[0];
  std::string names;
  for (const Isa* isa = isas; isa->name != nullptr; ++isa) {
    if (std::strcmp(isa->name, forced) == 0) return *isa;
    names += (names.empty() ? "" : ", ") + std::string(isa->name);
  }
  GK_CHECK(false, "GRADKERN_ISA: this processor and build run " << names << ", got '" << forced << "'");
  return isas[0];
}

}  // namespace gradkern::cpu
