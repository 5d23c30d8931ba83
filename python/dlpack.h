// DLPack capsule -> View. The capsule is borrowed for the call: it is not consumed, and frees itself.
#pragma once
#include <pybind11/pybind11.h>

#include "../csrc/view.h"

namespace gradkern {

// The layout of DLPack 0.x, which a capsule named "dltensor" points to (dmlc/dlpack, dlpack.h).
struct DLTensor {
  void* data;
  int32_t device_type;
  int32_t device_id;
  int32_t ndim;
  uint8_t dtype_code;
  uint8_t dtype_bits;
  uint16_t dtype_lanes;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};

inline Dtype dtype_of(const DLTensor& tensor, const char* argument) {
  constexpr int kFloat = 2, kBfloat = 4;
  if (tensor.dtype_code == kFloat && tensor.dtype_bits == 32) return Dtype::f32;
  if (tensor.dtype_code == kFloat && tensor.dtype_bits == 64) return Dtype::f64;
  if (tensor.dtype_code == kFloat && tensor.dtype_bits == 16) return Dtype::f16;
  if (tensor.dtype_code == kBfloat && tensor.dtype_bits == 16) return Dtype::bf16;
  GK_CHECK(false, argument << " must be float32, float64, bfloat16 or float16, got DLPack type "
                           << int{tensor.dtype_code} << " of " << int{tensor.dtype_bits} << " bits");
  return Dtype::f32;
}

inline const DLTensor* tensor_of(const pybind11::capsule& capsule) {
  const auto* tensor = static_cast<const DLTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
  if (tensor == nullptr) throw pybind11::error_already_set();
  return tensor;
}

inline Device device_of(const DLTensor& tensor, const char* argument) {
  constexpr int kCpu = 1, kCuda = 2, kCudaHost = 3;
  GK_CHECK(tensor.device_type == kCpu || tensor.device_type == kCuda || tensor.device_type == kCudaHost,
           argument << " must be on the CPU or a CUDA device, got DLPack device " << tensor.device_type);
  return tensor.device_type == kCuda ? Device::cuda : Device::cpu;
}

inline View view(const pybind11::capsule& capsule, const char* argument) {
  const DLTensor* tensor = tensor_of(capsule);
  GK_CHECK(tensor->ndim <= kMaxDims,
           argument << " must have at most " << kMaxDims << " dimensions, got " << tensor->ndim);
  View result;
  result.data = static_cast<char*>(tensor->data) + tensor->byte_offset;
  result.dtype = dtype_of(*tensor, argument);
  result.device = device_of(*tensor, argument);
  result.device_index = tensor->device_id;
  result.ndim = tensor->ndim;
  int64_t stride = 1;
  for (int i = tensor->ndim - 1; i >= 0; --i) {
    result.shape[i] = tensor->shape[i];
    result.strides[i] = tensor->strides != nullptr ? tensor->strides[i] : stride;
    stride *= tensor->shape[i];
  }
  return result;
}

inline Labels labels(const pybind11::capsule& capsule, const char* argument) {
  constexpr int kInteger = 0;
  const DLTensor* tensor = tensor_of(capsule);
  GK_CHECK(tensor->dtype_code == kInteger && tensor->dtype_bits == 32, argument << " must be int32, got DLPack type "
                                                                                << int{tensor->dtype_code} << " of "
                                                                                << int{tensor->dtype_bits} << " bits");
  Labels result;
  result.data = reinterpret_cast<const int32_t*>(static_cast<const char*>(tensor->data) + tensor->byte_offset);
  result.device = device_of(*tensor, argument);
  result.device_index = tensor->device_id;
  result.ndim = tensor->ndim;
  if (tensor->ndim > 0) {
    result.count = tensor->shape[0];
    if (tensor->strides != nullptr) result.stride = tensor->strides[0];
  }
  return result;
}

}  // namespace gradkern
