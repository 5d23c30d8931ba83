// Where and how an op runs.
#pragma once

namespace gradkern {

struct Execution {
  int threads = 1;          // on the CPU
  void* stream = nullptr;   // on a GPU
  bool allow_tf32 = false;  // on a GPU: multiply float32 in one TF32 pass of the tensor cores, not in three passes
};

}  // namespace gradkern
