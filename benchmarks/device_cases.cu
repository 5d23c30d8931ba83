// Calls every CUDA kernel once for each of its paths, without Python or torch, for compute-sanitizer to watch:
//   nvcc -std=c++17 --expt-relaxed-constexpr -arch=native -o device_cases benchmarks/device_cases.cu csrc/cuda/*.cu
// Sizes are ragged, so that reads and writes behind an array would show.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <vector>

#include "../csrc/ops.h"

using namespace gradkern;

namespace {

void check(cudaError_t status) {
  if (status == cudaSuccess) return;
  std::printf("CUDA error: %s\n", cudaGetErrorString(status));
  std::exit(1);
}

// Memory of the device, exactly as long as its array: every allocation has bounds of its own.
template <typename T>
T* allocate(int64_t count, T value) {
  T* data = nullptr;
  check(cudaMalloc(reinterpret_cast<void**>(&data), (count > 0 ? count : 1) * sizeof(T)));
  std::vector<T> host(count, value);
  check(cudaMemcpy(data, host.data(), count * sizeof(T), cudaMemcpyHostToDevice));
  return data;
}

View array(Dtype dtype, std::initializer_list<int64_t> shape) {
  View view;
  view.dtype = dtype;
  view.device = Device::cuda;
  for (const int64_t size : shape) view.shape[view.ndim++] = size;
  int64_t stride = 1;
  for (int i = view.ndim - 1; i >= 0; --i) {
    view.strides[i] = stride;
    stride *= view.shape[i];
  }
  switch (dtype) {
    case Dtype::f32:
      view.data = allocate<float>(view.size(), 0.5f);
      break;
    case Dtype::f64:
      view.data = allocate<double>(view.size(), 0.5);
      break;
    case Dtype::bf16:
      view.data = allocate<uint16_t>(view.size(), 0x3F00);  // 0.5
      break;
    case Dtype::f16:
      view.data = allocate<uint16_t>(view.size(), 0x3800);  // 0.5
      break;
  }
  return view;
}

View floats(int64_t count) { return array(Dtype::f32, {count}); }

void report(const char* op) {
  check(cudaDeviceSynchronize());
  std::printf("%s\n", op);
}

void sketches(Dtype dtype, const Execution& execution) {
  for (const int64_t k : {int64_t{64}, int64_t{5000}, int64_t{20011}}) {
    for (const int64_t cols : {int64_t{72}, int64_t{67}}) {  // loads of 16 bytes, and of an element
      const View x = array(dtype, {2, 300, cols}), out = array(Dtype::f32, {2, k});
      cuda::sketch(x, floats(cuda::sketch_workspace(2, 300, cols, k)), out, {k, 1, 2, 0}, execution);
    }
  }
  report("sketch");
}

void products(Dtype dtype, const Execution& execution) {
  for (const int64_t k : {int64_t{256}, int64_t{20011}}) {  // buckets in shared memory, and in the result
    const View a = array(dtype, {2, 37, 70}), g = array(dtype, {2, 37, 300}), out = array(Dtype::f32, {2, k});
    const View workspace = floats(cuda::sketch_outer_workspace(2, 37, 70, 300, k, true));
    cuda::sketch_outer(a, g, workspace, out, {k, 1, 2, 0}, true, execution);
  }
  report("sketch_outer");
}

void convolutions(Dtype dtype, const Execution& execution) {
  for (const int64_t groups : {int64_t{1}, int64_t{20}}) {
    for (const int64_t side : {int64_t{3}, int64_t{1}}) {
      const Window window{{side, side}, {1, 1}, {side / 2, side / 2}, {1, 1}, groups};
      const View x = array(dtype, {2, 20, 9, 11}), g = array(dtype, {2, 20, 9, 11}), out = array(Dtype::f32, {2, 300});
      const View workspace = floats(cuda::sketch_conv_workspace(conv_shape(x.shape, g.shape, window), 300, true));
      cuda::sketch_conv(x, g, workspace, out, {300, 1, 1, 0}, window, true, execution);
    }
  }
  report("sketch_conv");
}

void scores(Dtype dtype, const Execution& execution) {
  const int64_t a = 19, r = 70, b = 131, n = 301, f = 3;
  const View E = array(Dtype::f64, {r, b}), S = array(Dtype::f64, {a, r}), product = array(Dtype::f64, {a, b});
  const View B = array(dtype, {r, b}), D = array(dtype, {r, b}), F = array(dtype, {r, b}),
             square = array(Dtype::f64, {a, b});
  cuda::fold_scores(B, D, E, F, S, S, S, product, square, execution);
  report("fold_scores");
  const View y = array(dtype, {n, b}), low = array(dtype, {f, b}), high = array(dtype, {f, b});
  const View sum = array(Dtype::f64, {f, b}), spread = array(Dtype::f64, {f, b});
  Labels group;
  group.data = allocate<int32_t>(n, 1);
  group.device = Device::cuda;
  group.ndim = 1;
  group.count = n;
  cuda::column_moments(y, group, sum, spread, low, high, execution);
  report("column_moments");
  cuda::select_scale(B, array(Dtype::f64, {r}), array(Dtype::f64, {b}), array(dtype, {r, b}), execution);
  report("select_scale");
}

}  // namespace

int main() {
  Execution execution;
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16, Dtype::f16}) {
    sketches(dtype, execution);
    products(dtype, execution);
    convolutions(dtype, execution);
  }
  execution.allow_tf32 = true;
  products(Dtype::f32, execution);
  convolutions(Dtype::f32, execution);
  sketches(Dtype::f64, execution);
  for (const Dtype dtype : {Dtype::f32, Dtype::f64}) scores(dtype, execution);
  std::printf("done\n");
  return 0;
}
