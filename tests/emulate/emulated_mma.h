// csrc/cuda/mma.h on a CPU: the lanes of a warp exchange their fragments, laid out as the PTX ISA says.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "cuda_runtime.h"

namespace gradkern::cuda {

template <bool kTransposed>
void load_matrices(uint32_t (&matrices)[4], const void* row) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) throw std::runtime_error("emulation: ldmatrix of unaligned rows");
  const emulation::Exchange<const void*> rows(emulation::Wait::matrices, row);
  const int group = rows.lane() / 4, pair = rows.lane() % 4 * 2;
  for (int matrix = 0; matrix < 4; ++matrix) {
    const auto element = [&](int r, int c) -> uint32_t {
      return static_cast<const uint16_t*>(rows.from(matrix * 8 + r))[c];
    };
    const uint32_t low = kTransposed ? element(pair, group) : element(group, pair);
    const uint32_t high = kTransposed ? element(pair + 1, group) : element(group, pair + 1);
    matrices[matrix] = low | high << 16;
  }
}

// Element `index` of a register.
template <typename T>
double element_of(uint32_t bits, int index) {
  if constexpr (std::is_same_v<T, float>) {
    bits &= ~0x1FFFu;  // TF32: the low bits are not read
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  } else {
    const uint16_t half = static_cast<uint16_t>(bits >> (16 * index));
    T value;
    std::memcpy(&value, &half, sizeof value);
    if constexpr (std::is_same_v<T, __half>) return __half2float(value);
    if constexpr (std::is_same_v<T, __nv_bfloat16>) return __bfloat162float(value);
  }
}

struct Fragments {
  uint32_t a[4], b[2];
};

// The float nearest to x among those that are no larger in magnitude: tensor cores drop the bits that an accumulator
// cannot hold (Fasi et al. 2021, Numerical behavior of NVIDIA tensor cores, PeerJ Computer Science 7:e330).
inline float toward_zero(double x) {
  const float nearest = static_cast<float>(x);
  if (!std::isfinite(x)) return nearest;
  return std::abs(static_cast<double>(nearest)) > std::abs(x) ? std::nextafter(nearest, 0.0f) : nearest;
}

// Of a fragment's registers, bit 0 of a's number is the half of the rows; the rest is the half of the positions. A lane
// has row lane / 4 of a or column lane / 4 of b, and 4 bytes of positions from lane % 4 on.
template <typename T>
void multiply_add(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  constexpr int kPerRegister = 4 / sizeof(T);
  const emulation::Exchange<Fragments> exchange(emulation::Wait::product, {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}});
  const int lane = exchange.lane();
  double sums[2][2] = {};
  for (int quarter = 0; quarter < 4; ++quarter) {
    const Fragments left = exchange.from(lane / 4 * 4 + quarter);
    const Fragments right[2] = {exchange.from(lane % 4 * 8 + quarter), exchange.from(lane % 4 * 8 + 4 + quarter)};
    for (int half = 0; half < 2; ++half) {
      for (int index = 0; index < kPerRegister; ++index) {
        for (int row = 0; row < 2; ++row) {
          const double left_element = element_of<T>(left.a[2 * half + row], index);
          for (int col = 0; col < 2; ++col) sums[row][col] += left_element * element_of<T>(right[col].b[half], index);
        }
      }
    }
  }
  for (int i = 0; i < 4; ++i) sum[i] = toward_zero(sum[i] + sums[i / 2][i % 2]);
}

inline uint32_t to_tf32(float x) {
  if (std::isnan(x)) return 0x7FFFFFFFu;
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return std::isinf(x) ? bits : (bits + 0x1000u) & ~0x1FFFu;
}

}  // namespace gradkern::cuda
