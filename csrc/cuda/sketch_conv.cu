// sketch_conv on the GPU.
//
//   G_i[o, (c, y, x)] = sum over positions t = (v, u) of g[i, o, t] x[i, c, v stride + y dilation - padding, ...],
//   out[i, (offset_s + j) mod k] += +-G_i[s, j] / sqrt(nnz)
//
// The work is cut as in sketch_outer.cu, with the channels of g as rows and the taps (c, y, x) as columns of the
// product over positions. The matrix of taps is never in global memory: each 16 bytes of it are gathered from x on the
// way to shared memory. A 1 x 1 window reads x as it is. Groups of few outputs (depthwise) would waste the tile: a warp
// computes nine values of a row at a time instead, with its lanes at different positions, and stages and adds them in
// the same way. Bound by gathering from the L1 cache where the window has more than one tap.
#include "product.h"

namespace gradkern::cuda {
namespace {

constexpr int64_t kFewOutputs = 16;  // groups of fewer outputs are not computed by tiles; not measured
constexpr int kPiece = 64;           // segments that groups of few outputs stage at a time
constexpr int kTaps = 9;             // values that a warp computes together: a 3 x 3 window

// The ConvShape in 32 bits, for the arithmetic of coordinates; offsets into arrays take 64 bits.
struct Geometry {
  int h, w, out_w;
  int kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;
  int64_t channels, group_inputs;
};

// A column of the gradient's matrix: where its channel begins in the group, and where the tap lies for output (0, 0).
struct Tap {
  int64_t channel;
  int y, x;
};

__device__ inline Tap tap_of(const Geometry& shape, int64_t col) {
  const int64_t taps = static_cast<int64_t>(shape.kernel_h) * shape.kernel_w;
  const int64_t channel = col / taps;
  const int64_t tap = col - channel * taps;
  const int row = static_cast<int>(tap / shape.kernel_w), column = static_cast<int>(tap % shape.kernel_w);
  return {channel * shape.h * shape.w, row * shape.dilation_h - shape.padding_h,
          column * shape.dilation_w - shape.padding_w};
}

// The element of channel `plane` under the tap at the output position (y, x); zero in the padding.
template <typename T>
__device__ inline Raw<T> gather(const Geometry& shape, const T* plane, const Tap& tap, int y, int x) {
  const int in_y = y * shape.stride_h + tap.y, in_x = x * shape.stride_w + tap.x;
  if (in_y < 0 || in_y >= shape.h || in_x < 0 || in_x >= shape.w) return 0;
  return reinterpret_cast<const Raw<T>*>(plane)[static_cast<int64_t>(in_y) * shape.w + in_x];
}

// Loads columns [first, first + 64) of the matrix of taps [cols, positions]. A thread has one chunk of one column,
// whose positions only move forward, so it never divides.
template <typename T>
struct Taps {
  using Op = Operand<T, false, kTileCols>;
  const Geometry& shape;
  int64_t positions, ahead;  // position of the chunk's first element
  const T* plane;            // null if there is no such column
  Tap tap;
  int y, x;  // of `ahead`
  Chunk<T> held[Op::kChunks];

  __device__ Taps(const Geometry& shape_, const T* group, int64_t cols, const Positions& part, int64_t first)
      : shape(shape_), positions(part.begin + part.count), ahead(part.begin + Op::chunk_position(0)) {
    static_assert(Op::kChunks == 1);
    const int64_t col = first + Op::chunk_row(0);
    tap = tap_of(shape, col);
    plane = col < cols ? group + tap.channel : nullptr;
    y = static_cast<int>(ahead / shape.out_w);
    x = static_cast<int>(ahead % shape.out_w);
  }

  // Called for one stage after another.
  __device__ void fetch(int64_t) {
    int at_y = y, at_x = x;
    held[0].zero();
#pragma unroll
    for (int e = 0; e < Chunk<T>::kElements; ++e) {
      if (plane != nullptr && ahead + e < positions) held[0].put(e, gather(shape, plane, tap, at_y, at_x));
      if (++at_x == shape.out_w) at_x = 0, ++at_y;
    }
    ahead += Op::kPositions;
    y += Op::kPositions / shape.out_w;
    x += Op::kPositions % shape.out_w;
    if (x >= shape.out_w) x -= shape.out_w, ++y;
  }

  __device__ void store(T* stage) const { store_chunks<Op>(held, stage); }
};

// The sum of a value over the lanes of a warp; every lane gets the same bits.
__device__ inline float warp_sum(float value) {
#pragma unroll
  for (int apart = kLanes / 2; apart > 0; apart /= 2) value += __shfl_xor_sync(kFullWarp, value, apart);
  return value;
}

template <typename T, bool kPointwise>
struct Conv {
  using Element = T;
  static constexpr bool kByPosition = false;
  const T* x;  // [n, channels, h, w]
  const T* g;  // [n, groups * rows, positions]
  Geometry shape;
  Gradient gradient;
  bool x_aligned, g_aligned;

  __device__ const T* inputs(int64_t i, int64_t group) const {
    return x + (i * shape.channels + group * shape.group_inputs) * shape.h * shape.w;
  }

  __device__ const T* outputs(int64_t i, int64_t group) const {
    return g + (i * gradient.groups + group) * gradient.rows * gradient.positions;
  }

  __device__ Matrix<T, false, kTileRows> left(int64_t i, const Place& place, const Positions& part) const {
    return {
        outputs(i, place.group) + part.begin, gradient.rows, part.count, gradient.positions, place.row, g_aligned, {}};
  }

  __device__ auto right(int64_t i, const Place& place, const Positions& part) const {
    if constexpr (kPointwise) {
      return Matrix<T, false, kTileCols>{inputs(i, place.group) + part.begin,
                                         gradient.cols,
                                         part.count,
                                         gradient.positions,
                                         place.col(),
                                         x_aligned,
                                         {}};
    } else {
      return Taps<T>(shape, inputs(i, place.group), gradient.cols, part, place.col());
    }
  }

  // Each warp sums every eighth row.
  __device__ void stage_bias(int64_t i, const Place& place, const Positions& part, float* values, int column) const {
    const int lane = threadIdx.x % kLanes;
    for (int row = threadIdx.x / kLanes; row < kTileRows && place.row + row < gradient.rows; row += kWarps) {
      const T* from = outputs(i, place.group) + (place.row + row) * gradient.positions + part.begin;
      float sum = 0.0f;
      for (int64_t t = lane; t < part.count; t += kLanes) sum += to_float(from[t]);
      sum = warp_sum(sum);
      if (lane == 0) values[row * kStagePitch + column] = sum;
    }
  }
};

// Three passes need more registers than two blocks on a multiprocessor leave them.
template <typename T, int kPasses, bool kPointwise>
__global__ void __launch_bounds__(kThreads, kPasses == 1 ? 2 : 1)
    sketch_conv_slices(Conv<T, kPointwise> source, Slices cut, SketchSpec spec, float* sums, float factor) {
  sketch_slice<kPasses>(source, source.gradient, cut, spec, sums, factor);
}

// A warp computes `count` columns of one row from `col` on, at most kTaps; the column behind the taps is the bias.
template <typename T>
__device__ void make_values(const Conv<T, false>& source, int64_t i, const Positions& part, int64_t row, int64_t col,
                            int count, float* to) {
  const Gradient& gradient = source.gradient;
  const Geometry& shape = source.shape;
  const int lane = threadIdx.x % kLanes;
  const int64_t group = row / gradient.rows;
  const T* inputs = source.inputs(i, group);
  const T* outputs = source.outputs(i, group) + (row - group * gradient.rows) * gradient.positions;
  const Tap mine = tap_of(shape, col + lane);  // the division for a tap is done by one lane
  Tap taps[kTaps];
  float sums[kTaps];
#pragma unroll
  for (int j = 0; j < kTaps; ++j) {
    taps[j] = {__shfl_sync(kFullWarp, static_cast<long long>(mine.channel), j), __shfl_sync(kFullWarp, mine.y, j),
               __shfl_sync(kFullWarp, mine.x, j)};
    sums[j] = 0.0f;
  }
  for (int64_t t = part.begin + lane; t < part.begin + part.count; t += kLanes) {
    const int y = static_cast<int>(t / shape.out_w);
    const int x = static_cast<int>(t - static_cast<int64_t>(y) * shape.out_w);
    const float weight = to_float(outputs[t]);
#pragma unroll
    for (int j = 0; j < kTaps; ++j) {
      if (j >= count) continue;
      if (col + j == gradient.cols) {
        sums[j] += weight;
      } else {
        const Raw<T> bits = gather(shape, inputs + taps[j].channel, taps[j], y, x);
        T value;
        memcpy(&value, &bits, sizeof value);
        sums[j] += weight * to_float(value);
      }
    }
  }
#pragma unroll
  for (int j = 0; j < kTaps; ++j) {
    const float sum = warp_sum(sums[j]);
    if (lane == 0 && j < count) to[j] = sum;
  }
}

// A piece is 64 segments, which may be of different rows.
template <typename T>
__global__ void __launch_bounds__(kThreads, 2)
    sketch_few_outputs(Conv<T, false> source, Slices cut, SketchSpec spec, float* sums, float factor) {
  const Stage stage = stage_in_shared();
  const Buckets own = buckets_in(stage, slice_row(sums, spec.k), cut, spec.k);
  const Gradient& gradient = source.gradient;
  const int64_t per_row = gradient.row_segments();
  const auto width_of = [&](int64_t number) {
    return number < gradient.segments() ? gradient.width(number % per_row) : 0;
  };
  const unsigned slices = static_cast<unsigned>(cut.slices), slice = blockIdx.x % slices;
  const int64_t begin = cut.first_piece(slice);
  for (int64_t piece = begin; piece < begin + cut.slice_pieces && piece < cut.pieces; ++piece) {
    for (int s = threadIdx.x / kLanes; s < kPiece; s += kWarps) {
      const int64_t number = piece * kPiece + s;
      const int width = width_of(number);
      for (int j = 0; j < width; j += kTaps) {
        make_values(source, block_index() / slices, cut.part(block_index() % slices), number / per_row,
                    number % per_row * kSegment + j, width - j, stage.values + s * kStagePitch + j);
      }
    }
    const int64_t number = piece * kPiece + threadIdx.x;
    add_segments(stage, spec, number, threadIdx.x < kPiece ? width_of(number) : 0, own);
  }
  write_buckets(own, slice_row(sums, spec.k), factor);
}

bool has_few_outputs(const ConvShape& shape) { return shape.group_outputs() < kFewOutputs; }

bool is_pointwise(const ConvShape& shape) {
  const Window& window = shape.window;
  return shape.h == shape.out_h && shape.w == shape.out_w && window.kernel[0] * window.kernel[1] == 1 &&
         window.padding[0] == 0 && window.padding[1] == 0;
}

Gradient gradient_of(const ConvShape& shape, bool bias) {
  return {shape.window.groups, shape.group_outputs(), shape.cols(), shape.positions(), bias};
}

Slices cut_conv(const ConvShape& shape, const Gradient& gradient, int64_t k) {
  const int64_t pieces = (gradient.segments() + kPiece - 1) / kPiece;
  return cut_slices(shape.n, has_few_outputs(shape) ? pieces : gradient.pieces(), gradient.positions,
                    shape.o * gradient.cols, k);
}

Geometry geometry_of(const ConvShape& shape) {
  const Window& window = shape.window;
  constexpr int64_t kMost = int64_t{1} << 30;
  for (const int64_t size : {shape.h + 2 * window.padding[0], shape.w + 2 * window.padding[1]}) {
    GK_CHECK(size < kMost, "a side of x with its padding must be below 2^30, got " << size);
  }
  const auto narrow = [](int64_t value) { return static_cast<int>(value); };  // those of the window are below 2^20
  return {narrow(shape.h),
          narrow(shape.w),
          narrow(shape.out_w),
          narrow(window.kernel[0]),
          narrow(window.kernel[1]),
          narrow(window.stride[0]),
          narrow(window.stride[1]),
          narrow(window.padding[0]),
          narrow(window.padding[1]),
          narrow(window.dilation[0]),
          narrow(window.dilation[1]),
          shape.c,
          shape.group_inputs()};
}

struct Arrays {
  const View& x;
  const View& g;
  float* workspace;
  const View& out;
};

template <typename T, bool kPointwise, typename Kernel>
void launch_conv(Kernel kernel, const Arrays& arrays, const ConvShape& shape, const SketchSpec& spec, bool bias,
                 void* stream) {
  const Gradient gradient = gradient_of(shape, bias);
  const Conv<T, kPointwise> source{static_cast<const T*>(arrays.x.data),
                                   static_cast<const T*>(arrays.g.data),
                                   geometry_of(shape),
                                   gradient,
                                   rows_are_aligned<T>(arrays.x.data, gradient.positions),
                                   rows_are_aligned<T>(arrays.g.data, gradient.positions)};
  Slices cut = cut_conv(shape, gradient, spec.k);
  cut.shared = buckets_fit(spec.k);
  const Target target = target_of(cut, arrays.workspace, arrays.out, spec);
  launch({cut.n * cut.slices, kThreads, shared_bytes(cut.shared, spec.k), stream}, kernel, source, cut, spec,
         target.sums, target.factor);
  finish_slices(cut, arrays.workspace, arrays.out, spec, stream);
}

template <typename T, int kPasses>
void sketch_conv_typed(const Arrays& arrays, const ConvShape& shape, const SketchSpec& spec, bool bias, void* stream) {
  if (has_few_outputs(shape)) {
    launch_conv<T, false>(sketch_few_outputs<T>, arrays, shape, spec, bias, stream);
  } else if (is_pointwise(shape)) {
    launch_conv<T, true>(sketch_conv_slices<T, kPasses, true>, arrays, shape, spec, bias, stream);
  } else {
    launch_conv<T, false>(sketch_conv_slices<T, kPasses, false>, arrays, shape, spec, bias, stream);
  }
}

}  // namespace

void sketch_conv(const View& x, const View& g, const View& workspace, const View& out, const SketchSpec& spec,
                 const Window& window, bool bias, const Execution& execution) {
  const ConvShape shape = conv_shape(x.shape, g.shape, window);
  const DeviceGuard guard(x.device_index);
  void* stream = execution.stream;
  if (g.size() == 0 || (shape.cols() == 0 && !bias)) {
    check(cudaMemsetAsync(out.data, 0, out.size() * sizeof(float), static_cast<cudaStream_t>(stream)));
    return;
  }
  const Arrays arrays{x, g, static_cast<float*>(workspace.data), out};
  switch (x.dtype) {
    case Dtype::f32:
      return execution.allow_tf32 ? sketch_conv_typed<float, 1>(arrays, shape, spec, bias, stream)
                                  : sketch_conv_typed<float, 3>(arrays, shape, spec, bias, stream);
    case Dtype::bf16:
      return sketch_conv_typed<__nv_bfloat16, 1>(arrays, shape, spec, bias, stream);
    case Dtype::f16:
      return sketch_conv_typed<__half, 1>(arrays, shape, spec, bias, stream);
    case Dtype::f64:
      throw std::invalid_argument("x must be float32, bfloat16 or float16, got float64");
  }
}

int64_t sketch_conv_workspace(const ConvShape& shape, int64_t k, bool bias) {
  const Slices cut = cut_conv(shape, gradient_of(shape, bias), k);
  return cut.slices > 1 ? cut.n * cut.slices * k : 0;
}

}  // namespace gradkern::cuda
