// Where and how an op runs.
#pragma once

namespace gradkern {

struct Execution {
  int threads = 1;          // CPU
  void* stream = nullptr;   // CUDA
  bool allow_tf32 = false;  // CUDA: float32 products in one TF32 pass of the tensor cores, not in three
};

}  // namespace gradkern
