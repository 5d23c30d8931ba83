// Every native op: the table of contents. Shapes are in comments; results and workspaces are allocated by the caller.
//
// Letters: n samples, t positions, p inputs, o outputs, k sketch dimension.
#pragma once
#include "signs.h"
#include "view.h"

namespace gradkern {

// Where and how an op runs.
struct Execution {
  int threads = 1;         // CPU
  void* stream = nullptr;  // CUDA
};

// out[i] = S vec(x[i]) with the map S of signs.h.
void sketch(const View& x,          // [n, rows, cols] float32, float64, bfloat16 or float16, contiguous
            const View& workspace,  // [sketch_workspace(...)] float32
            const View& out,        // [n, k] float32
            const SketchSpec& spec, const Execution& execution);

// Throws for a sketch that cannot be.
void check_sketch(const SketchSpec& spec);

// Floats that `sketch` needs beside its result, a function of the shapes alone.
int64_t sketch_workspace(Device device, int64_t n, int64_t rows, int64_t cols, int64_t k);

}  // namespace gradkern
