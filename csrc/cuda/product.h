// The sketch of a weight gradient that is a product over positions: what sketch_outer and sketch_conv share.
#pragma once
#include "../ops.h"
#include "mainloop.h"
#include "tile_schedule.h"

namespace gradkern::cuda {

// The gradient of one sample: `groups` matrices [rows, cols], one below the other, with one more column for a bias.
struct Gradient {
  int64_t groups, rows, cols, positions;
  bool bias;

  GK_HOST_DEVICE int64_t row_segments() const { return (cols + bias + kSegment - 1) / kSegment; }
  GK_HOST_DEVICE int64_t row_tiles() const { return (rows + kTileRows - 1) / kTileRows; }
  // A piece is one segment of each of 128 rows.
  GK_HOST_DEVICE int64_t pieces() const { return groups * row_tiles() * row_segments(); }
  GK_HOST_DEVICE int64_t segments() const { return groups * rows * row_segments(); }

  // Columns of a segment of a row, with the bias.
  GK_HOST_DEVICE int width(int64_t segment) const {
    const int64_t left = cols + bias - segment * kSegment;
    return static_cast<int>(left < kSegment ? left : kSegment);
  }
};

struct Place {
  int64_t group, row, segment;  // the row is of the matrix of the group, the segment of the row

  __device__ int64_t col() const { return segment * kSegment; }
};

__device__ inline Place place_of(const Gradient& gradient, int64_t piece) {
  const int64_t rows = piece / gradient.row_segments();
  const int64_t group = rows / gradient.row_tiles();
  return {group, (rows - group * gradient.row_tiles()) * kTileRows, piece - rows * gradient.row_segments()};
}

// A source makes the loaders of the operands of a tile, left(i, place, part) and right(i, place, part), and stages the
// bias of 128 rows; each over a part of the positions.
template <int kPasses, typename Source>
__device__ inline void add_piece(const Source& source, const Gradient& gradient, int64_t i, const Place& place,
                                 const Positions& part, const Stage& stage, const SketchSpec& spec,
                                 const Buckets& own) {
  if (place.col() < gradient.cols) {
    Sums sums;
    auto left = source.left(i, place, part);
    auto right = source.right(i, place, part);
    tile_product<typename Source::Element, Source::kByPosition, kPasses>(left, right, part.count, sums);
    stage_sums(sums, stage.values);
  }
  if (gradient.bias && gradient.cols / kSegment == place.segment) {
    __syncthreads();  // the bias overwrites a column of the tile that the matrix does not have
    source.stage_bias(i, place, part, stage.values, static_cast<int>(gradient.cols % kSegment));
  }
  const int64_t row = place.row + threadIdx.x;
  const int64_t number = (place.group * gradient.rows + row) * gradient.row_segments() + place.segment;
  add_segments(stage, spec, number, row < gradient.rows ? gradient.width(place.segment) : 0, own);
}

// blockIdx.x, read again wherever it is asked for: what follows from it takes no registers in between.
__device__ inline unsigned block_index() {
#if defined(__CUDACC__)
  unsigned index;
  asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(index));
  return index;
#else
  return blockIdx.x;
#endif
}

// The row that a block writes: sums[i, slice, :] of [n, slices, k].
__device__ inline float* slice_row(float* sums, int64_t k) { return sums + static_cast<int64_t>(block_index()) * k; }

// Shared memory holds the values and segments of the stage, then the buckets if they fit.
__device__ inline Stage stage_in_shared() {
  return {reinterpret_cast<float*>(shared_memory), reinterpret_cast<Segment*>(shared_memory + kStageBytes)};
}

// Buckets that do not fit are the slice's row of the result, in the L1 and L2 caches.
__device__ inline Buckets buckets_in(const Stage& stage, float* result, const Slices& cut, int64_t k) {
  return zero_buckets(cut.shared ? reinterpret_cast<float*>(stage.segments + kStaged) : result, k);
}

inline size_t shared_bytes(bool with_buckets, int64_t k) {
  return kStageBytes + kStaged * sizeof(Segment) + (with_buckets ? k * sizeof(float) : 0);
}

// Whether a multiprocessor of the current device has room for two blocks with their buckets in shared memory.
inline bool buckets_fit(int64_t k) {
  constexpr int64_t kReserved = 1024;  // of each block, for the system
  int device, bytes;
  check(cudaGetDevice(&device));
  check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerMultiprocessor, device));
  return 2 * (static_cast<int64_t>(shared_bytes(true, k)) + kReserved) <= bytes;
}

template <int kPasses, typename Source>
__device__ inline void sketch_slice(const Source& source, const Gradient& gradient, const Slices& cut,
                                    const SketchSpec& spec, float* sums, float factor) {
  const Stage stage = stage_in_shared();
  const Buckets own = buckets_in(stage, slice_row(sums, spec.k), cut, spec.k);
  for (int done = 0; done < cut.slice_pieces; ++done) {
    const unsigned block = block_index(), slices = static_cast<unsigned>(cut.slices), slice = block % slices;
    const int64_t piece = cut.first_piece(slice) + done;
    if (piece >= cut.pieces) break;
    add_piece<kPasses>(source, gradient, block / slices, place_of(gradient, piece), cut.part(slice), stage, spec, own);
  }
  write_buckets(own, slice_row(sums, spec.k), factor);
}

// Where slices are written, and the factor they are multiplied by there: a single slice is written to the result.
struct Target {
  float* sums;
  float factor;
};

inline Target target_of(const Slices& cut, float* workspace, const View& out, const SketchSpec& spec) {
  if (cut.slices == 1) return {static_cast<float*>(out.data), repeat_factor(spec)};
  return {workspace, 1.0f};
}

inline void finish_slices(const Slices& cut, const float* workspace, const View& out, const SketchSpec& spec,
                          void* stream) {
  if (cut.slices == 1) return;
  launch_add_in_order(workspace, static_cast<float*>(out.data), cut.n, cut.slices, spec.k, repeat_factor(spec), stream);
}

}  // namespace gradkern::cuda
