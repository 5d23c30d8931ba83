// fold_scores on the GPU.
//
//   product = S (B * D),   square = U (B * E) + W (B * F)
//
// A block owns 16 alphas by 128 columns, a thread one column: it forms the three products of a row in registers and
// adds them to its 32 sums, by weights that the block has brought to shared memory. Sums are taken in the order of the
// rows: the same call gives the same bits. Bound by float64 multiply-adds; blocks of the same columns are neighbours,
// so that all but the first find their inputs in the cache.
#include "fold_scores.h"
#include "launch.h"

namespace gradkern::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kAlphas = 16;
constexpr int kSteps = 32;           // rows whose weights are in shared memory
constexpr int kPitch = kAlphas + 2;  // stores of one warp fall on many banks, and loads stay aligned
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

// shared[term, step, alpha]; zero behind the last alpha, and for steps that are not multiplied.
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
void scores_typed(const FoldFactors& given, const FoldWeights& by, const View& product, const View& square,
                  void* stream) {
  const int64_t a = product.shape[0], r = given.B.shape[0], b = given.B.shape[1];
  const Factors<T> factors{static_cast<const T*>(given.B.data), static_cast<const T*>(given.D.data),
                           static_cast<const T*>(given.F.data), static_cast<const double*>(given.E.data), b};
  const Weights weights{{static_cast<const double*>(by.S.data), static_cast<const double*>(by.U.data),
                         static_cast<const double*>(by.W.data)},
                        a,
                        r};
  const int64_t blocks = (a + kAlphas - 1) / kAlphas * ((b + kThreads - 1) / kThreads);
  launch({"fold_scores", blocks, kThreads, kTerms * kSteps * kPitch * sizeof(double), stream}, weigh_products<T>,
         factors, weights, static_cast<double*>(product.data), static_cast<double*>(square.data));
}

}  // namespace

void fold_scores(const FoldFactors& factors, const FoldWeights& weights, const View& product, const View& square,
                 void* stream) {
  const DeviceGuard guard(factors.B.device_index, "fold_scores");
  if (factors.B.dtype == Dtype::f32) {
    scores_typed<float>(factors, weights, product, square, stream);
  } else {
    scores_typed<double>(factors, weights, product, square, stream);
  }
}

}  // namespace gradkern::cuda
