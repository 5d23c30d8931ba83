// The main loop of a product: a tile [128, positions] times [positions, 64] on the tensor cores, by a block of 8 warps.
//
// Operands go from global memory through registers to shared memory, a stage of 64 bytes of positions at a time, while
// the previous stage is multiplied. An operand has the same layout in shared as in global memory: [positions, rows]
// where kByPosition, as activations [t, p] have it, else [rows, positions], as channels [c, h * w] have it. Each warp
// owns 32 x 32 sums: twice as many would save a third of the reads from the L2 cache, but leave too few registers for
// the epilogue. float32 is split into two TF32 numbers and multiplied in three passes, or rounded to TF32 and
// multiplied in one pass.
#pragma once
#include <cstring>

#include "element.h"
#include "epilogue.h"
#include "mma.h"

namespace gradkern::cuda {

constexpr int kTileRows = kStaged, kTileCols = kSegment;
constexpr int kWarpSums = 32;  // [32, 32] of the tile
constexpr int kRowFragments = kWarpSums / 16, kColFragments = kWarpSums / 8;

using Sums = float[kRowFragments][kColFragments][4];

// The stage of an operand in shared memory, for kRows rows or columns of the tile. Its pitch lets fragments be read
// without bank conflicts.
template <typename T, bool kByPosition, int kRows>
struct Operand {
  static constexpr int kPositions = 64 / sizeof(T);
  static constexpr int kChunk = 16 / sizeof(T);
  static constexpr int kPitch = kByPosition ? kRows + 8 : kPositions + kChunk;
  static constexpr int kBytes = (kByPosition ? kPositions : kRows) * kPitch * sizeof(T);
  static constexpr int kChunks = kRows * 64 / 16 / kThreads;  // 16-byte chunks of a thread

  __device__ static int at(int row, int position) {
    return kByPosition ? position * kPitch + row : row * kPitch + position;
  }

  // The first element of this thread's chunk number `chunk`.
  __device__ static int chunk_row(int chunk) {
    const int index = threadIdx.x + chunk * kThreads;
    return kByPosition ? index % (kRows / kChunk) * kChunk : index / (kPositions / kChunk);
  }
  __device__ static int chunk_position(int chunk) {
    const int index = threadIdx.x + chunk * kThreads;
    return kByPosition ? index / (kRows / kChunk) : index % (kPositions / kChunk) * kChunk;
  }
};

// 16 bytes of one operand; elements outside the operand are zero.
template <typename T>
struct Chunk {
  static constexpr int kElements = 16 / sizeof(T);
  uint32_t words[4];

  __device__ void zero() { words[0] = words[1] = words[2] = words[3] = 0; }

  __device__ void put(int element, Raw<T> bits) {
    constexpr int kPerWord = 4 / sizeof(T);
    words[element / kPerWord] |= static_cast<uint32_t>(bits) << (element % kPerWord * 16);
  }

  // Loads `count` elements from `from`; where `aligned`, count is at least kElements or at most 0.
  __device__ void load(const T* from, int64_t count, bool aligned) {
    zero();
    if (aligned) {
      if (count > 0) {
        const uint4 all = *reinterpret_cast<const uint4*>(from);
        words[0] = all.x, words[1] = all.y, words[2] = all.z, words[3] = all.w;
      }
      return;
    }
    const Raw<T>* bits = reinterpret_cast<const Raw<T>*>(from);
#pragma unroll
    for (int e = 0; e < kElements; ++e) {
      if (e < count) put(e, bits[e]);
    }
  }

  __device__ void store(T* to) const {
    *reinterpret_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
  }
};

// Stores the chunks of a loader.
template <typename Op, typename T>
__device__ inline void store_chunks(const Chunk<T> (&held)[Op::kChunks], T* stage) {
#pragma unroll
  for (int c = 0; c < Op::kChunks; ++c) held[c].store(stage + Op::at(Op::chunk_row(c), Op::chunk_position(c)));
}

// The loader of an operand with the same layout in global and in shared memory: rows (or columns) [first, first +
// kRows) of the matrix of one sample.
template <typename T, bool kByPosition, int kRows>
struct Matrix {
  using Op = Operand<T, kByPosition, kRows>;
  const T* data;
  int64_t rows, positions, pitch, first;  // pitch: from a row, or position, to the next
  bool aligned;
  Chunk<T> held[Op::kChunks];

  __device__ void fetch(int64_t from) {
#pragma unroll
    for (int c = 0; c < Op::kChunks; ++c) {
      const int64_t row = first + Op::chunk_row(c);
      const int64_t t = from + Op::chunk_position(c);
      if constexpr (kByPosition) {
        held[c].load(data + t * pitch + row, t < positions ? rows - row : 0, aligned);
      } else {
        held[c].load(data + row * pitch + t, row < rows ? positions - t : 0, aligned);
      }
    }
  }

  __device__ void store(T* stage) const { store_chunks<Op>(held, stage); }
};

// The first row and column of this warp's sums.
__device__ inline int warp_row() { return static_cast<int>(threadIdx.x) / kLanes / 2 * kWarpSums; }
__device__ inline int warp_col() { return static_cast<int>(threadIdx.x) / kLanes % 2 * kWarpSums; }

// The address that this lane gives to ldmatrix, for 8 rows from `row` on and 8 positions from `position` on.
template <typename Op, bool kByPosition, typename T>
__device__ inline const T* matrix_row(const T* operand, int row, int position) {
  const int in_matrix = threadIdx.x % 8;
  return operand + (kByPosition ? Op::at(row, position + in_matrix) : Op::at(row + in_matrix, position));
}

// 16-bit elements: ldmatrix loads the fragments, transposed where positions are not the last dimension.
template <typename T, bool kByPosition>
__device__ inline void multiply_stage_16(const T* left, const T* right, Sums& sums) {
  using Left = Operand<T, kByPosition, kTileRows>;
  using Right = Operand<T, kByPosition, kTileCols>;
  const int lane = threadIdx.x % kLanes;
  const int first = lane / 8 % 2 * 8, second = lane / 16 * 8;
#pragma unroll
  for (int t = 0; t < Left::kPositions; t += 16) {
    uint32_t a[kRowFragments][4], b[kColFragments / 2][4];
#pragma unroll
    for (int u = 0; u < kRowFragments; ++u) {
      load_matrices<kByPosition>(a[u], matrix_row<Left, kByPosition>(left, warp_row() + 16 * u + first, t + second));
    }
#pragma unroll
    for (int j = 0; j < kColFragments / 2; ++j) {
      load_matrices<kByPosition>(b[j], matrix_row<Right, kByPosition>(right, warp_col() + 16 * j + second, t + first));
    }
#pragma unroll
    for (int i = 0; i < kRowFragments; ++i) {
#pragma unroll
      for (int j = 0; j < kColFragments; ++j) {
        const uint32_t b_fragment[2] = {b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]};
        multiply_add<T>(sums[i][j], a[i], b_fragment);
      }
    }
  }
}

// x = high + low, of which a product reads 11 significant bits each: high is the nearest TF32 number, and the bits of
// low behind those are not read, which leaves out at most 2^-21 x, of either sign. NaN may become something else in
// high, but not in low. The product low * low is left out: it is below the rounding of float32.
__device__ inline void split(float x, uint32_t& high, uint32_t& low) {
  memcpy(&high, &x, sizeof high);
  high = (high + 0x1000u) & ~0x1FFFu;
  float rounded;
  memcpy(&rounded, &high, sizeof rounded);
  const float rest = x - rounded;
  memcpy(&low, &rest, sizeof low);
}

// The numbers that three passes multiply, or the one that a single pass does.
template <int kPasses>
__device__ inline void round_or_split(float x, uint32_t& high, uint32_t& low) {
  if constexpr (kPasses == 3) {
    split(x, high, low);
  } else {
    high = to_tf32(x);
  }
}

// Tensor cores round what they add to toward zero, always to the same side. Three passes would lose float32's accuracy
// by that within a few hundred positions (Ootomo and Yokota 2022, arXiv 2203.03341), so the sums of 8 positions begin
// at zero and are added to those of the others by float32 additions, which round to nearest.
template <bool kByPosition, int kPasses>
__device__ inline void multiply_stage_32(const float* left, const float* right, Sums& sums) {
  using Left = Operand<float, kByPosition, kTileRows>;
  using Right = Operand<float, kByPosition, kTileCols>;
  const int lane = threadIdx.x % kLanes;
  const int row = warp_row() + lane / 4, col = warp_col() + lane / 4;
#pragma unroll 1  // unrolled, three passes spill registers
  for (int step = 0; step < Left::kPositions; step += 8) {
    const int t = step + lane % 4;
    uint32_t a_high[kRowFragments][4], a_low[kRowFragments][4];
#pragma unroll
    for (int i = 0; i < kRowFragments; ++i) {
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        round_or_split<kPasses>(left[Left::at(row + 16 * i + r % 2 * 8, t + r / 2 * 4)], a_high[i][r], a_low[i][r]);
      }
    }
#pragma unroll
    for (int j = 0; j < kColFragments; ++j) {
      uint32_t b_high[2], b_low[2];
#pragma unroll
      for (int r = 0; r < 2; ++r)
        round_or_split<kPasses>(right[Right::at(col + 8 * j, t + 4 * r)], b_high[r], b_low[r]);
#pragma unroll
      for (int i = 0; i < kRowFragments; ++i) {
        if constexpr (kPasses == 3) {
          float step_sums[4] = {};
          multiply_add<float>(step_sums, a_low[i], b_high);
          multiply_add<float>(step_sums, a_high[i], b_low);
          multiply_add<float>(step_sums, a_high[i], b_high);
#pragma unroll
          for (int r = 0; r < 4; ++r) sums[i][j][r] += step_sums[r];
        } else {
          multiply_add<float>(sums[i][j], a_high[i], b_high);
        }
      }
    }
  }
}

template <typename T, bool kByPosition, int kPasses>
__device__ inline void multiply_stage(const T* left, const T* right, Sums& sums) {
  if constexpr (std::is_same_v<T, float>) {
    multiply_stage_32<kByPosition, kPasses>(left, right, sums);
  } else {
    multiply_stage_16<T, kByPosition>(left, right, sums);
  }
}

// sums = left right over all positions. A loader fetches its chunks of a stage, then stores them.
template <typename T, bool kByPosition, int kPasses, typename Left, typename Right>
__device__ inline void tile_product(Left& left, Right& right, int64_t positions, Sums& sums) {
  using Op = Operand<T, kByPosition, kTileRows>;
  constexpr int kLeft = Op::kBytes / sizeof(T);
  constexpr int kBoth = kLeft + Operand<T, kByPosition, kTileCols>::kBytes / sizeof(T);
  static_assert(2 * kBoth * sizeof(T) <= kStageBytes, "the operands lie where the sums are staged afterwards");
  T* operands = reinterpret_cast<T*>(shared_memory);  // [2 stages, left and right]
#pragma unroll
  for (auto& row : sums) {
#pragma unroll
    for (auto& fragment : row) fragment[0] = fragment[1] = fragment[2] = fragment[3] = 0.0f;
  }
  left.fetch(0);
  right.fetch(0);
  left.store(operands);
  right.store(operands + kLeft);
  __syncthreads();
  for (int64_t t = 0, stage = 0; t < positions; t += Op::kPositions, stage ^= 1) {
    const bool more = t + Op::kPositions < positions;
    if (more) {
      left.fetch(t + Op::kPositions);
      right.fetch(t + Op::kPositions);
    }
    const T* now = operands + stage * kBoth;
    multiply_stage<T, kByPosition, kPasses>(now, now + kLeft, sums);
    if (more) {
      T* next = operands + (stage ^ 1) * kBoth;
      left.store(next);
      right.store(next + kLeft);
    }
    __syncthreads();
  }
}

// Writes the sums of the tile as rows of the stage.
__device__ inline void stage_sums(const Sums& sums, float* values) {
  const int lane = threadIdx.x % kLanes;
  float* at = values + (warp_row() + lane / 4) * kStagePitch + warp_col() + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < kRowFragments; ++i) {
#pragma unroll
    for (int j = 0; j < kColFragments; ++j) {
      float* to = at + 16 * i * kStagePitch + 8 * j;
      *reinterpret_cast<float2*>(to) = make_float2(sums[i][j][0], sums[i][j][1]);
      *reinterpret_cast<float2*>(to + 8 * kStagePitch) = make_float2(sums[i][j][2], sums[i][j][3]);
    }
  }
}

}  // namespace gradkern::cuda
