// fold_scores on the GPU.
//
//   product = S (B * D),   square = U (B * E) + W (B * F)
//
// A block owns 16 alphas by 128 columns, and a thread owns one column: it forms the three products of a row in
// registers and adds them to its 32 sums, weighted by what the block has loaded to shared memory. Sums are taken in the
// order of the rows, so the same call gives the same bits. Bound by float64 multiply-adds; blocks of the same columns
// are neighbours, so that all but the first find their inputs in the cache.
#include "../ops.h"
#include "launch.h"

namespace gradkern::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kAlphas = 16;
constexpr int kSteps = 32;           // rows whose weights are in shared memory
constexpr int kPitch = kAlphas + 2;  // spreads the stores of a warp over many banks, and keeps loads aligned
constexpr int kTerms = 3;

struct Weights {
  const double* terms[kTerms];  // S, U, W [a, r]
  int64_t a, r;
};

template <typename T>
struct Factors {
  const T *B, *D, *F;  // [r, b]
  const double* E;
  int64_t b;
};

// Fills shared[term, step, alpha]: zero behind the last alpha, and for steps that are not multiplied.
__device__ void load_weights(const Weights& weights, int64_t first_alpha, int64_t first, double* shared) {
  for (int at = threadIdx.x; at < kSteps * kAlphas; at += kThreads) {
    const int step = at % kSteps, alpha = at / kSteps;
    const bool inside = first + step < weights.r && first_alpha + alpha < weights.a;
    for (int term = 0; term < kTerms; ++term) {
      shared[(term * kSteps + step) * kPitch + alpha] =
          inside ? weights.terms[term][(first_alpha + alpha) * weights.r + first + step] : 0.0;
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    weigh_products(Factors<T> factors, Weights weights, double* product, double* square) {
  double* shared = reinterpret_cast<double*>(shared_memory);
  const int64_t tiles = (weights.a + kAlphas - 1) / kAlphas;
  const int64_t first_alpha = blockIdx.x % tiles * kAlphas;
  const int64_t column = blockIdx.x / tiles * kThreads + threadIdx.x;
  double products[kAlphas] = {}, squares[kAlphas] = {};
  for (int64_t first = 0; first < weights.r; first += kSteps) {
    load_weights(weights, first_alpha, first, shared);
    __syncthreads();
    for (int step = 0; step < kSteps && first + step < weights.r && column < factors.b; ++step) {
      const int64_t at = (first + step) * factors.b + column;
      const double B = factors.B[at], BD = B * factors.D[at], BE = B * factors.E[at], BF = B * factors.F[at];
      const double* weight = shared + step * kPitch;
#pragma unroll
      for (int i = 0; i < kAlphas; ++i) {
        products[i] += weight[i] * BD;
        squares[i] += weight[kSteps * kPitch + i] * BE + weight[2 * kSteps * kPitch + i] * BF;
      }
    }
    __syncthreads();  // the last readers of these weights are done
  }
  if (column >= factors.b) return;
#pragma unroll
  for (int i = 0; i < kAlphas; ++i) {
    if (first_alpha + i >= weights.a) continue;
    const int64_t at = (first_alpha + i) * factors.b + column;
    product[at] = products[i];
    square[at] = squares[i];
  }
}

template <typename T>
const T* data_of(const View& view) {
  return static_cast<const T*>(view.data);
}

template <typename T>
void launch_typed(const Factors<T>& factors, const Weights& weights, const View& product, const View& square,
                  void* stream) {
  const int64_t a = weights.a, b = factors.b;
  const int64_t blocks = (a + kAlphas - 1) / kAlphas * ((b + kThreads - 1) / kThreads);
  launch({blocks, kThreads, kTerms * kSteps * kPitch * sizeof(double), stream}, weigh_products<T>, factors, weights,
         static_cast<double*>(product.data), static_cast<double*>(square.data));
}

}  // namespace

void fold_scores(const View& B, const View& D, const View& E, const View& F, const View& S, const View& U,
                 const View& W, const View& product, const View& square, const Execution& execution) {
  const DeviceGuard guard(B.device_index);
  const Weights weights{{data_of<double>(S), data_of<double>(U), data_of<double>(W)}, S.shape[0], B.shape[0]};
  const auto run = [&](auto element) {
    using T = decltype(element);
    const Factors<T> factors{data_of<T>(B), data_of<T>(D), data_of<T>(F), data_of<double>(E), B.shape[1]};
    launch_typed(factors, weights, product, square, execution.stream);
  };
  if (B.dtype == Dtype::f32) {
    run(float{});
  } else {
    run(double{});
  }
}

}  // namespace gradkern::cuda
