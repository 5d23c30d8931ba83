"""Each native op once: schema, fake kernel, reference as the default, native kernels, gradient.

The only importer of `gradkern._native`. Ops are seen by torch as `torch.ops.gradkern.*`, so `torch.compile` passes
through them; the functions here add the gradient.
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


torch.library.impl("gradkern::sketch", "default", _sketch_default)
torch.library.impl("gradkern::sketch", ("cpu", "cuda"), _sketch_native)
torch.library.impl("gradkern::sketch_adjoint", "default", _adjoint_default)

_SKETCH: Any = torch.ops.gradkern.sketch.default
_ADJOINT: Any = torch.ops.gradkern.sketch_adjoint.default


def sketch(x: Tensor, k: int, seed: int, nnz: int, first_segment: int) -> Tensor:
    """The op `gradkern::sketch` of x [n, rows, cols], with its gradient where one is wanted.

    The gradient is not registered with the op: the wrapper that torch then puts around every call costs 50 us where
    the caches are cold, a tenth of what a large sketch takes.
    """
    run: Any = _Sketch.apply if x.requires_grad else _SKETCH
    result: Tensor = run(x, k, seed, nnz, first_segment)
    return result


def sketch_adjoint(y: Tensor, rows: int, cols: int, seed: int, nnz: int, first_segment: int) -> Tensor:
    """The op `gradkern::sketch_adjoint` of y [n, k], with its gradient where one is wanted."""
    run: Any = _Adjoint.apply if y.requires_grad else _ADJOINT
    result: Tensor = run(y, rows, cols, seed, nnz, first_segment)
    return result


class _Sketch(torch.autograd.Function):
    """The sketch is linear: its gradient is the adjoint."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *spec: int) -> Tensor:
        ctx.shape, ctx.spec, ctx.dtype = x.shape[1:], spec[1:], x.dtype
        result: Tensor = _SKETCH(x, *spec)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return sketch_adjoint(grad, *ctx.shape, *ctx.spec).to(ctx.dtype), None, None, None, None


class _Adjoint(torch.autograd.Function):
    """And the adjoint's gradient is the sketch."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, *spec: int) -> Tensor:
        ctx.k, ctx.spec, ctx.dtype = y.shape[1], spec[2:], y.dtype
        result: Tensor = _ADJOINT(y, *spec)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return sketch(grad.contiguous(), ctx.k, *ctx.spec).to(ctx.dtype), None, None, None, None, None
