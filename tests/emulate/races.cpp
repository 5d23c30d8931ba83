// The functions that -fsanitize=thread has g++ call before every load and store of the kernels, in place of libtsan's.
#include "races.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

extern unsigned char shared_memory[];

namespace races {

int thread = -1;

namespace {

constexpr int kWarp = 32;
constexpr int16_t kNobody = -1, kSeveral = -2;
constexpr size_t kUnit = 1;  // bytes watched together: threads of the sketch write single bytes
constexpr size_t kUnits = 228 * 1024 / kUnit;

struct Access {
  int16_t thread = kNobody, warp = kNobody;
  uint32_t block_epoch = 0, warp_epoch = 0;
};

struct Unit {
  Access write, read;
};

std::vector<Unit> shadow(kUnits);
uint32_t block_epoch = 0;  // barriers passed since the program began; so no block meets the accesses of another
uint32_t warp_epoch[32];
bool race = false;

bool is_ordered(const Access& before, const Access& now) {
  return before.block_epoch < now.block_epoch || before.thread == now.thread ||
         (before.warp == now.warp && before.warp_epoch < now.warp_epoch);
}

void use(const void* address, size_t size, bool writes) {
  const size_t begin = static_cast<const unsigned char*>(address) - shared_memory;
  if (thread < 0 || begin / kUnit >= kUnits) return;
  const int16_t warp = static_cast<int16_t>(thread / kWarp);
  const Access now = {static_cast<int16_t>(thread), warp, block_epoch, warp_epoch[warp]};
  for (size_t at = begin / kUnit; at < std::min(kUnits, (begin + size + kUnit - 1) / kUnit); ++at) {
    Unit& unit = shadow[at];
    race |= !is_ordered(unit.write, now) || (writes && !is_ordered(unit.read, now));
    if (writes) {
      unit.write = now;
    } else if (is_ordered(unit.read, now)) {
      unit.read = now;
    } else {
      unit.read = {kSeveral, unit.read.warp == warp ? warp : kSeveral, block_epoch, warp_epoch[warp]};
    }
  }
}

}  // namespace

void begin_block() {
  race = false;
  ++block_epoch;
}
void pass_block_barrier() { ++block_epoch; }
void pass_warp_barrier(int warp) { ++warp_epoch[warp]; }
bool found() { return race; }

}  // namespace races

#define GK_HOOKS(size)                                                                  \
  void __tsan_read##size(void* address) { races::use(address, size, false); }           \
  void __tsan_write##size(void* address) { races::use(address, size, true); }           \
  void __tsan_unaligned_read##size(void* address) { races::use(address, size, false); } \
  void __tsan_unaligned_write##size(void* address) { races::use(address, size, true); }

extern "C" {
void __tsan_init() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_read_range(void* address, size_t size) { races::use(address, size, false); }
void __tsan_write_range(void* address, size_t size) { races::use(address, size, true); }
GK_HOOKS(1)
GK_HOOKS(2)
GK_HOOKS(4)
GK_HOOKS(8)
GK_HOOKS(16)
}
