// What the C interfaces of the emulated ops share. Nobody checks arguments here (csrc/ops.cpp does for users).
#pragma once
#include <initializer_list>
#include <stdexcept>
#include <string>

#include "../../csrc/view.h"
#include "cuda_runtime.h"

inline gradkern::View view_of(void* data, int dtype, std::initializer_list<int64_t> shape) {
  gradkern::View view;
  view.data = data;
  view.dtype = static_cast<gradkern::Dtype>(dtype);
  for (const int64_t size : shape) view.shape[view.ndim++] = size;
  return view;
}

// A workspace, whose size the kernels do not ask for.
inline gradkern::View floats_of(float* workspace) { return view_of(workspace, 0, {0}); }

inline std::string last_error;

// The message of an exception, or null.
template <typename Call>
const char* guarded(uint64_t schedule, const Call& call) {
  emulation::schedule = schedule;
  try {
    call();
    return nullptr;
  } catch (const std::exception& error) {
    last_error = error.what();
    return last_error.c_str();
  }
}
