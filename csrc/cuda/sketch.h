#pragma once
#include "../signs.h"
#include "../view.h"

namespace gradkern::cuda {

void sketch(const View& x, float* workspace, const View& out, const SketchSpec& spec, void* stream);
int64_t sketch_workspace(int64_t n, int64_t rows, int64_t cols, int64_t k);

// The code of this build: "sm_80 sm_90 compute_90", or "" without CUDA.
const char* architectures();

}  // namespace gradkern::cuda
