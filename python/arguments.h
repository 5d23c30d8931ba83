// Python arguments -> the arguments of an op. An array becomes a View that borrows its memory for the call: a torch
// tensor by the C functions that its type has for that (DLPack's exchange API), so that nothing is made for it; any
// other array as a DLPack capsule, which is not consumed and frees itself.
#pragma once
#include <pybind11/pybind11.h>

#include <array>
#include <cstdint>
#include <string>
#include <tuple>
#include <type_traits>

#include "../csrc/ops.h"

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

// The functions that a type of arrays has for other languages, as DLPack 1 lays them out. Functions that are not called
// here have no types.
struct ExchangeApi {
  uint32_t major, minor;
  ExchangeApi* previous;
  void (*allocate)();
  void (*to_managed)();
  void (*from_managed)();
  int (*tensor_from_object)(void* object, DLTensor* out);  // borrowed for as long as the object lives
  int (*current_stream)(int32_t device_type, int32_t device_id, void** out);
};

// The functions of an object's type; null where it has none. Types live as long as the process, so that the latest is
// kept: asking a type takes longer than all else.
inline const ExchangeApi* exchange_api(PyObject* object) {
  static PyTypeObject* type = nullptr;  // both are guarded by the GIL
  static const ExchangeApi* api = nullptr;
  if (Py_TYPE(object) == type) return api;
  PyObject* asked = reinterpret_cast<PyObject*>(Py_TYPE(object));
  const pybind11::object capsule = pybind11::getattr(asked, "__dlpack_c_exchange_api__", pybind11::none());
  const ExchangeApi* found = nullptr;
  if (PyCapsule_CheckExact(capsule.ptr())) {
    found = static_cast<const ExchangeApi*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
    if (found == nullptr) throw pybind11::error_already_set();
    while (found != nullptr && found->major != 1) found = found->previous;
    if (found != nullptr && found->tensor_from_object == nullptr) found = nullptr;
  }
  Py_INCREF(asked);  // kept for good: another type at its address would be taken for it
  type = Py_TYPE(object);
  return api = found;
}

inline DLTensor tensor_of(const pybind11::object& array, const char* argument) {
  if (PyCapsule_CheckExact(array.ptr())) {
    const auto* tensor = static_cast<const DLTensor*>(PyCapsule_GetPointer(array.ptr(), "dltensor"));
    if (tensor == nullptr) throw pybind11::error_already_set();
    return *tensor;
  }
  const ExchangeApi* api = exchange_api(array.ptr());
  if (api == nullptr) {
    throw pybind11::type_error(std::string(argument) + " must be a torch tensor or a DLPack capsule, got " +
                               Py_TYPE(array.ptr())->tp_name);
  }
  DLTensor tensor;
  if (api->tensor_from_object(array.ptr(), &tensor) != 0) throw pybind11::error_already_set();
  return tensor;
}

// The stream on which the library of this array works at the moment; null on a CPU, and for a capsule.
inline void* stream_of(const pybind11::object& array, const View& view) {
  constexpr int kCuda = 2;
  if (view.device == Device::cpu || PyCapsule_CheckExact(array.ptr())) return nullptr;
  void* stream = nullptr;
  const ExchangeApi* api = exchange_api(array.ptr());
  if (api->current_stream(kCuda, view.device_index, &stream) != 0) throw pybind11::error_already_set();
  return stream;
}

inline Device device_of(const DLTensor& tensor, const char* argument) {
  constexpr int kCpu = 1, kCuda = 2, kCudaHost = 3;
  GK_CHECK(tensor.device_type == kCpu || tensor.device_type == kCuda || tensor.device_type == kCudaHost,
           argument << " must be on the CPU or a CUDA device, got DLPack device " << tensor.device_type);
  return tensor.device_type == kCuda ? Device::cuda : Device::cpu;
}

inline View view(const pybind11::object& array, const char* argument) {
  const DLTensor borrowed = tensor_of(array, argument), *tensor = &borrowed;
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

inline Labels labels(const pybind11::object& array, const char* argument) {
  constexpr int kInteger = 0;
  const DLTensor borrowed = tensor_of(array, argument), *tensor = &borrowed;
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

// Argument<T> makes a T of the Python value `Python` that was given for the parameter `name`.
template <typename T>
struct Argument {
  using Python = T;
  static T from(T value, const char*) { return value; }
};

template <>
struct Argument<View> {
  using Python = pybind11::object;
  static View from(const Python& array, const char* name) { return view(array, name); }
};

template <>
struct Argument<Labels> {
  using Python = pybind11::object;
  static Labels from(const Python& array, const char* name) { return labels(array, name); }
};

template <>
struct Argument<SketchSpec> {
  using Python = std::tuple<int64_t, int64_t, int64_t, int64_t>;  // k, seed, nnz, first_segment
  static SketchSpec from(const Python& spec, const char*) {
    return {std::get<0>(spec), std::get<1>(spec), std::get<2>(spec), std::get<3>(spec)};
  }
};

template <>
struct Argument<Execution> {
  using Python = std::tuple<int, bool>;  // threads, allow_tf32; the stream is that of the first array
  static Execution from(const Python& execution, const char*) {
    return {std::get<0>(execution), nullptr, std::get<1>(execution)};
  }
};

template <>
struct Argument<Window> {
  using Pair = std::array<int64_t, 2>;
  using Python = std::tuple<Pair, Pair, Pair, Pair, int64_t>;  // kernel_size, stride, padding, dilation, groups
  static Window from(const Python& window, const char*) {
    const auto& [kernel, stride, padding, dilation, groups] = window;
    return {
        {kernel[0], kernel[1]}, {stride[0], stride[1]}, {padding[0], padding[1]}, {dilation[0], dilation[1]}, groups};
  }
};

template <>
struct Argument<ConvShape> {
  using Sizes = std::array<int64_t, 4>;
  using Python = std::tuple<Sizes, Sizes, Argument<Window>::Python>;  // of x and of g, and the window
  static ConvShape from(const Python& shape, const char* name) {
    const auto& [x, g, window] = shape;
    const ConvShape result = conv_shape(x.data(), g.data(), Argument<Window>::from(window, name));
    check_conv(result);
    return result;
  }
};

template <typename Parameter>
using PythonOf = typename Argument<std::decay_t<Parameter>>::Python;

}  // namespace gradkern
