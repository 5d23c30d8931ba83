"""Each native op once: schema, fake kernel, reference as the default, native kernels, gradient.

The only importer of `gradkern._native`. Ops are seen by torch as `torch.ops.gradkern.*`, so `torch.compile` and
autograd pass through them.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import to_dlpack  # type: ignore[attr-defined]  # no __all__ there

from gradkern import _native, reference

check_sketch = _native.check_sketch
isas = _native.isas
current_isa = _native.current_isa
cuda_architectures = _native.cuda_architectures

torch.library.define(
    "gradkern::sketch",
    "(Tensor x, int k, int seed, int nnz, int first_segment) -> Tensor",
    tags=torch.Tag.pt2_compliant_tag,
)
torch.library.define(
    "gradkern::sketch_adjoint",
    "(Tensor y, int rows, int cols, int seed, int nnz, int first_segment) -> Tensor",
    tags=torch.Tag.pt2_compliant_tag,
)


def _sketch_default(x: Tensor, k: int, seed: int, nnz: int, first_segment: int) -> Tensor:
    _native.check_sketch(k, seed, nnz, first_segment)
    return reference.sketch(x, k, seed, nnz, first_segment).float()


def _sketch_native(x: Tensor, k: int, seed: int, nnz: int, first_segment: int) -> Tensor:
    _native.check_sketch(k, seed, nnz, first_segment)
    _check_matrices(x)
    n, rows, cols = x.shape
    out = x.new_empty(n, k, dtype=torch.float32)
    workspace = x.new_empty(_native.sketch_workspace(x.is_cuda, n, rows, cols, k), dtype=torch.float32)
    stream = torch.cuda.current_stream(x.device).cuda_stream if x.is_cuda else 0
    arrays = to_dlpack(x.detach()), to_dlpack(workspace), to_dlpack(out)
    _native.sketch(*arrays, k, seed, nnz, first_segment, torch.get_num_threads(), stream)
    return out


@torch.library.register_fake("gradkern::sketch")  # type: ignore[untyped-decorator]
def _sketch_fake(x: Tensor, k: int, seed: int, nnz: int, first_segment: int) -> Tensor:
    _check_matrices(x)
    return x.new_empty(x.shape[0], k, dtype=torch.float32)


def _check_matrices(x: Tensor) -> None:
    if x.dim() != 3:
        raise ValueError(f"gradkern::sketch: x must be [n, rows, cols], got shape {list(x.shape)}")


def _adjoint_default(y: Tensor, rows: int, cols: int, seed: int, nnz: int, first_segment: int) -> Tensor:
    _native.check_sketch(y.shape[1], seed, nnz, first_segment)
    return reference.sketch_adjoint(y, rows, cols, seed, nnz, first_segment).to(y.dtype)


@torch.library.register_fake("gradkern::sketch_adjoint")  # type: ignore[untyped-decorator]
def _adjoint_fake(y: Tensor, rows: int, cols: int, seed: int, nnz: int, first_segment: int) -> Tensor:
    return y.new_empty(y.shape[0], rows, cols)


def _sketch_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, _, *ctx.spec = inputs
    ctx.shape, ctx.dtype = x.shape[1:], x.dtype


def _sketch_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
    return torch.ops.gradkern.sketch_adjoint(grad, *ctx.shape, *ctx.spec).to(ctx.dtype), None, None, None, None


def _adjoint_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    y, _, _, *ctx.spec = inputs
    ctx.k = y.shape[1]


def _adjoint_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None, None]:
    return torch.ops.gradkern.sketch(grad.contiguous(), ctx.k, *ctx.spec), None, None, None, None, None


torch.library.impl("gradkern::sketch", "default", _sketch_default)
torch.library.impl("gradkern::sketch", ("cpu", "cuda"), _sketch_native)
torch.library.impl("gradkern::sketch_adjoint", "default", _adjoint_default)
torch.library.register_autograd("gradkern::sketch", _sketch_backward, setup_context=_sketch_context)
torch.library.register_autograd("gradkern::sketch_adjoint", _adjoint_backward, setup_context=_adjoint_context)
