"""The native ops, each written once: schema, fake kernel, reference as the default, native kernels and gradient.

No other module imports `gradkern._native`. Torch sees the ops as `torch.ops.gradkern.*`, so `torch.compile` passes
through them; the functions here add the gradient.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gradkern import _native
from gradkern._float32 import products_use_tf32
from gradkern.errors import naming
from gradkern.kernels import formed, reference
from gradkern.kernels._tangents import bilinear_dual, has_tangents, linear_dual
from gradkern.kernels.reference import Window

Spec = tuple[int, int, int, int]  # k, seed, nnz, first_segment

isas = _native.isas
current_isa = _native.current_isa
cuda_architectures = _native.cuda_architectures

_NO_MEMORY = torch.empty(0)
_SPEC = "int k, int seed, int nnz, int first_segment"
_WINDOW = "int[] kernel_size, int[] stride, int[] padding, int[] dilation, int groups"


def check_sketch(k: int, seed: int, nnz: int, first_segment: int) -> None:
    """Raise ValueError unless these numbers define a sketch."""
    _native.check_sketch((k, seed, nnz, first_segment))


def _define(
    name: str,
    schema: str,
    default: Callable[..., Any],
    fake: Callable[..., Any],
    native: Callable[..., Any] | None = None,
) -> Any:
    """Register an op, whose name then stands before every error of its kernels."""
    torch.library.define(f"gradkern::{name}", schema, tags=torch.Tag.pt2_compliant_tag)
    torch.library.impl(f"gradkern::{name}", "default", naming(name)(default))
    torch.library.register_fake(f"gradkern::{name}", naming(name)(fake))
    if native is not None:
        # a build without nvcc leaves CUDA arrays to the default, which is slower but runs wherever torch does
        devices = ("cpu", "cuda") if cuda_architectures() else ("cpu",)
        torch.library.impl(f"gradkern::{name}", devices, naming(name)(native))
    return getattr(torch.ops.gradkern, name).default


def _run(kernel: Callable[..., None], *arguments: Any, allow_tf32: bool = False) -> None:
    """Call a native kernel on inputs and results, on the device and the current stream of the first."""
    kernel(*arguments, (torch.get_num_threads(), allow_tf32))


def _allow_tf32(x: Tensor) -> bool:
    """Whether the sketch of a weight gradient may use TF32: where torch's own products on that GPU do."""
    return x.is_cuda and products_use_tf32()


def _empty_sketch(x: Tensor, k: int) -> Tensor:
    return x.new_empty(x.shape[0], k, dtype=torch.float32)


def _workspace(x: Tensor, floats: Callable[..., int], *sizes: Any) -> Tensor:
    """Memory that a kernel needs beside its result, on a GPU alone."""
    return x.new_empty(floats(*sizes), dtype=torch.float32) if x.is_cuda else _NO_MEMORY


def _check_dims(argument: str, x: Tensor, letters: str) -> None:
    if x.dim() != letters.count(",") + 1:
        raise ValueError(f"{argument} must be [{letters}], got shape {list(x.shape)}")


def _sketch_default(x: Tensor, k: int, seed: int, nnz: int, first_segment: int) -> Tensor:
    check_sketch(k, seed, nnz, first_segment)
    return reference.sketch(x, k, seed, nnz, first_segment).float()


def _sketch_native(x: Tensor, k: int, seed: int, nnz: int, first_segment: int) -> Tensor:
    check_sketch(k, seed, nnz, first_segment)
    out = _sketch_fake(x, k)
    workspace = _workspace(x, _native.sketch_workspace, *x.shape, k)
    _run(_native.sketch, x, workspace, out, (k, seed, nnz, first_segment))
    return out


def _sketch_fake(x: Tensor, k: int, *rest: int) -> Tensor:
    _check_dims("x", x, "n, rows, cols")
    return _empty_sketch(x, k)


def _adjoint_default(y: Tensor, rows: int, cols: int, seed: int, nnz: int, first_segment: int) -> Tensor:
    check_sketch(y.shape[1], seed, nnz, first_segment)
    return reference.sketch_adjoint(y, rows, cols, seed, nnz, first_segment).to(y.dtype)


def _adjoint_fake(y: Tensor, rows: int, cols: int, seed: int, nnz: int, first_segment: int) -> Tensor:
    return y.new_empty(y.shape[0], rows, cols)


_SKETCH = _define("sketch", f"(Tensor x, {_SPEC}) -> Tensor", _sketch_default, _sketch_fake, _sketch_native)
_ADJOINT = _define(
    "sketch_adjoint",
    "(Tensor y, int rows, int cols, int seed, int nnz, int first_segment) -> Tensor",
    _adjoint_default,
    _adjoint_fake,
)


def _outer_default(
    a: Tensor, g: Tensor, k: int, seed: int, nnz: int, first_segment: int, bias: bool, allow_tf32: bool
) -> Tensor:
    check_sketch(k, seed, nnz, first_segment)
    return reference.sketch_outer(a, g, k, seed, nnz, first_segment, bias).float()


def _outer_native(
    a: Tensor, g: Tensor, k: int, seed: int, nnz: int, first_segment: int, bias: bool, allow_tf32: bool
) -> Tensor:
    check_sketch(k, seed, nnz, first_segment)
    if a.is_cuda and formed.suits_outer(a, g, bias, allow_tf32, cache := formed.cache_of(a)):
        return formed.sketch_outer(
            a.detach(), g.detach(), bias, lambda x: _SKETCH(x, k, seed, nnz, first_segment), cache
        )
    out = _outer_fake(a, g, k)
    workspace = _workspace(a, _native.sketch_outer_workspace, *a.shape, g.shape[2], k, bias)
    _run(_native.sketch_outer, a, g, workspace, out, (k, seed, nnz, first_segment), bias, allow_tf32=allow_tf32)
    return out


def _outer_fake(a: Tensor, g: Tensor, k: int, *rest: Any) -> Tensor:
    _check_dims("a", a, "n, t, p")
    _check_dims("g", g, "n, t, o")
    return _empty_sketch(a, k)


def _conv_default(x: Tensor, g: Tensor, k: int, seed: int, nnz: int, first_segment: int, *rest: Any) -> Tensor:
    *window, bias, _ = rest
    check_sketch(k, seed, nnz, first_segment)
    return reference.sketch_conv(x, g, Window(*window), (k, seed, nnz, first_segment), bias).float()


def _conv_native(x: Tensor, g: Tensor, k: int, seed: int, nnz: int, first_segment: int, *rest: Any) -> Tensor:
    *window, bias, allow_tf32 = rest
    check_sketch(k, seed, nnz, first_segment)
    spec, geometry = (k, seed, nnz, first_segment), Window(*window)
    if x.is_cuda and formed.suits_conv(x, g, geometry, bias, allow_tf32, cache := formed.cache_of(x)):
        return formed.sketch_conv(x.detach(), g.detach(), geometry, bias, lambda x: _SKETCH(x, *spec), cache)
    out = _conv_fake(x, g, k)
    workspace = _workspace(x, _native.sketch_conv_workspace, (x.shape, g.shape, window), k, bias)
    _run(_native.sketch_conv, x, g, workspace, out, spec, window, bias, allow_tf32=allow_tf32)
    return out


def _conv_fake(x: Tensor, g: Tensor, k: int, *rest: Any) -> Tensor:
    _check_dims("x", x, "n, c, h, w")
    _check_dims("g", g, "n, o, out_h, out_w")
    return _empty_sketch(x, k)


_FLAGS = "bool bias, bool allow_tf32"
_OUTER = _define(
    "sketch_outer", f"(Tensor a, Tensor g, {_SPEC}, {_FLAGS}) -> Tensor", _outer_default, _outer_fake, _outer_native
)
_CONV = _define(
    "sketch_conv",
    f"(Tensor x, Tensor g, {_SPEC}, {_WINDOW}, {_FLAGS}) -> Tensor",
    _conv_default,
    _conv_fake,
    _conv_native,
)


def sketch(x: Tensor, k: int, seed: int, nnz: int, first_segment: int) -> Tensor:
    """Run the op `gradkern::sketch` on x [n, rows, cols], differentiable where x requires a gradient.

    The gradient is not registered with the op: the wrapper that torch would then put around every call costs 50 us
    where the caches are cold, a tenth of what a large sketch takes.
    """
    if has_tangents(x):
        return linear_dual(lambda x: sketch(x, k, seed, nnz, first_segment), x)
    run: Any = _Sketch.apply if x.requires_grad else _SKETCH
    result: Tensor = run(x, k, seed, nnz, first_segment)
    return result


def sketch_adjoint(y: Tensor, rows: int, cols: int, seed: int, nnz: int, first_segment: int) -> Tensor:
    """Run the op `gradkern::sketch_adjoint` on y [n, k], differentiable where y requires a gradient."""
    if has_tangents(y):
        return linear_dual(lambda y: sketch_adjoint(y, rows, cols, seed, nnz, first_segment), y)
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
    """The adjoint is linear: its gradient is the sketch."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, *spec: int) -> Tensor:
        ctx.k, ctx.spec, ctx.dtype = y.shape[1], spec[2:], y.dtype
        result: Tensor = _ADJOINT(y, *spec)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return sketch(grad.contiguous(), ctx.k, *ctx.spec).to(ctx.dtype), None, None, None, None, None


def sketch_outer(a: Tensor, g: Tensor, spec: Spec, bias: bool) -> Tensor:
    """Run the op `gradkern::sketch_outer` on a [n, t, p] and g [n, t, o], differentiable where they require it."""
    if has_tangents(a, g):
        return bilinear_dual(lambda a, g: sketch_outer(a, g, spec, bias), a, g, is_affine=bias)
    run: Any = _Outer.apply if a.requires_grad or g.requires_grad else _OUTER
    result: Tensor = run(a, g, *spec, bias, _allow_tf32(a))
    return result


def sketch_conv(x: Tensor, g: Tensor, spec: Spec, window: Window, bias: bool) -> Tensor:
    """Run the op `gradkern::sketch_conv` on x [n, c, h, w] and g [n, o, h', w'], differentiable as `sketch_outer`."""
    if has_tangents(x, g):
        return bilinear_dual(lambda x, g: sketch_conv(x, g, spec, window, bias), x, g, is_affine=bias)
    run: Any = _Conv.apply if x.requires_grad or g.requires_grad else _CONV
    result: Tensor = run(x, g, *spec, *window, bias, _allow_tf32(x))
    return result


def _bilinear_gradient(ctx: Any, grad: Tensor, rows: int, cols: int, pair: Callable[..., Tensor]) -> list[Any]:
    """The gradients of <grad, S G(x, g)> = <S^T grad, G(x, g)>, which `pair` computes from each sample's S^T grad."""
    weights = _ADJOINT(grad.float(), rows, cols, *ctx.spec[1:])
    with torch.enable_grad():
        factors = [factor.detach().float().requires_grad_() for factor in ctx.saved_tensors]
        gradients = torch.autograd.grad(pair(*factors, weights), factors)
    return [gradient.to(ctx.saved_tensors[0].dtype) for gradient in gradients]


class _Outer(torch.autograd.Function):
    """The op is bilinear in a and g; its gradient forms the weight gradient of each sample."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, g: Tensor, *rest: Any) -> Tensor:
        ctx.save_for_backward(a, g)
        ctx.spec, ctx.bias = rest[:4], rest[4]
        result: Tensor = _OUTER(a, g, *rest)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        def pair(a: Tensor, g: Tensor, weights: Tensor) -> Tensor:
            outputs = a @ weights[:, :, : a.shape[2]].mT
            return (g * (outputs + weights[:, None, :, -1] if ctx.bias else outputs)).sum()

        a, g = ctx.saved_tensors
        gradients = _bilinear_gradient(ctx, grad, g.shape[2], a.shape[2] + ctx.bias, pair)
        return *gradients, *[None] * 6


class _Conv(torch.autograd.Function):
    """The op is bilinear in x and g, as `_Outer` is in a and g."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, g: Tensor, *rest: Any) -> Tensor:
        ctx.save_for_backward(x, g)
        ctx.spec, ctx.window, ctx.bias = rest[:4], Window(*rest[4:9]), rest[9]
        result: Tensor = _CONV(x, g, *rest)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, g = ctx.saved_tensors
        window, n, o = ctx.window, len(x), g.shape[1]
        kernel = x.shape[1] // window.groups, *window.kernel_size
        cols = kernel[0] * kernel[1] * kernel[2]

        def pair(x: Tensor, g: Tensor, weights: Tensor) -> Tensor:
            # samples become groups, because each has its own weight
            outputs = torch.nn.functional.conv2d(
                x.reshape(1, -1, *x.shape[2:]),
                weights[:, :, :cols].reshape(n * o, *kernel),
                None, window.stride, window.padding, window.dilation, n * window.groups,
            ).reshape(g.shape)  # fmt: skip
            return (g * (outputs + weights[:, :, -1, None, None] if ctx.bias else outputs)).sum()

        gradients = _bilinear_gradient(ctx, grad, o, cols + ctx.bias, pair)
        return *gradients, *[None] * 11


# The ops of ridge scores have no gradient: nobody differentiates the choice of an alpha.


def _check_groups(f: int) -> None:
    if f < 0:
        raise ValueError(f"f must not be negative, got {f}")


def _moments_default(y: Tensor, group: Tensor, f: int) -> tuple[Tensor, ...]:
    _check_groups(f)
    total, spread, low, high = reference.column_moments(y, group, f)
    return total.clone(), spread.clone(), low.to(y.dtype, copy=True), high.to(y.dtype, copy=True)


def _moments_fake(y: Tensor, group: Tensor, f: int) -> tuple[Tensor, ...]:
    _check_groups(f)
    _check_dims("y", y, "n, b")
    shape = f, y.shape[1]
    sums = [y.new_empty(shape, dtype=torch.float64) for _ in range(2)]
    return *sums, y.new_empty(shape), y.new_empty(shape)


def _moments_native(y: Tensor, group: Tensor, f: int) -> tuple[Tensor, ...]:
    results = _moments_fake(y, group, f)
    _run(_native.column_moments, y, group, *results)
    return results


def _scores_fake(B: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
    S = rest[3]
    _check_dims("B", B, "r, b")
    _check_dims("S", S, "a, r")
    return S.new_empty(len(S), B.shape[1]), S.new_empty(len(S), B.shape[1])


def _scores_native(*arrays: Tensor) -> tuple[Tensor, Tensor]:
    results = _scores_fake(*arrays)
    _run(_native.fold_scores, *arrays, *results)
    return results


def _scale_default(C: Tensor, values: Tensor, alpha: Tensor) -> Tensor:
    return reference.select_scale(C, values, alpha).to(C.dtype)


def _scale_fake(C: Tensor, values: Tensor, alpha: Tensor) -> Tensor:
    _check_dims("C", C, "q, b")
    return C.new_empty(C.shape)


def _scale_native(C: Tensor, values: Tensor, alpha: Tensor) -> Tensor:
    out = _scale_fake(C, values, alpha)
    _run(_native.select_scale, C, values, alpha, out)
    return out


_MOMENTS = _define(
    "column_moments",
    "(Tensor y, Tensor group, int f) -> (Tensor, Tensor, Tensor, Tensor)",
    _moments_default,
    _moments_fake,
    _moments_native,
)
_SCORES = _define(
    "fold_scores",
    "(Tensor B, Tensor D, Tensor E, Tensor F, Tensor S, Tensor U, Tensor W) -> (Tensor, Tensor)",
    reference.fold_scores,
    _scores_fake,
    _scores_native,
)
_SCALE = _define(
    "select_scale", "(Tensor C, Tensor values, Tensor alpha) -> Tensor", _scale_default, _scale_fake, _scale_native
)


def column_moments(y: Tensor, group: Tensor, f: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sum every column over every group of rows, in one pass over y.

    `gradkern.kernels.reference.column_moments` is the formula. Sums are float64 and relative to the first row of each
    group, so a column that lies far from zero and hardly varies keeps its spread. The same call gives the same bits for
    any number of threads.

    Parameters
    ----------
    y : [n, b] float32 or float64; contiguous rows, any distance apart
    group : [n] int32, the group of each row in [0, f), or -1 for none
    f : number of groups

    Returns
    -------
    sum : [f, b] float64
    spread : [f, b] float64, the sum of squares about the group's own mean, exactly 0 where the column is constant
    low, high : [f, b] in the dtype of y, the smallest and largest value; inf and -inf for an empty group. A NaN in y
        shows in sum and spread alone.

    Raises
    ------
    ValueError : wrong shape, dtype or layout, or a label outside -1..f-1. On a GPU a wrong label raises nothing,
        because the host would have to wait for it; every sum and spread is NaN instead.

    Examples
    --------
    >>> import torch
    >>> total, spread, low, high = column_moments(torch.randn(20, 3), torch.arange(20, dtype=torch.int32) % 5, 5)
    >>> total.shape, spread.dtype, low.dtype
    (torch.Size([5, 3]), torch.float64, torch.float32)
    """
    results: tuple[Tensor, Tensor, Tensor, Tensor] = _MOMENTS(y, group, f)
    return results


def fold_scores(B: Tensor, D: Tensor, E: Tensor, F: Tensor, S: Tensor, U: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
    """Compute S (B * D) and U (B * E) + W (B * F) without storing the products in parentheses.

    Parameters
    ----------
    B, D, F : [r, b] float32 or float64, all of one dtype
    E : [r, b] float64
    S, U, W : [a, r] float64; all arrays are contiguous

    Returns
    -------
    product, square : [a, b] float64, all sums in float64

    Raises
    ------
    ValueError : wrong shape, dtype or layout

    Examples
    --------
    >>> import torch
    >>> B, E, S = torch.randn(7, 3), torch.randn(7, 3).double(), torch.randn(2, 7).double()
    >>> product, square = fold_scores(B, B, E, B, S, S, S)
    >>> product.shape, square.dtype
    (torch.Size([2, 3]), torch.float64)
    """
    results: tuple[Tensor, Tensor] = _SCORES(B, D, E, F, S, U, W)
    return results


def select_scale(C: Tensor, values: Tensor, alpha: Tensor) -> Tensor:
    """Compute C[j, t] / (values[j] + alpha[t]), the sum rounded to the dtype of C.

    Parameters
    ----------
    C : [q, b] float32 or float64, contiguous
    values : [q] float64
    alpha : [b] float64

    Returns
    -------
    [q, b] in the dtype of C, with the bits of `C / (values[:, None] + alpha).to(C.dtype)`

    Raises
    ------
    ValueError : wrong shape, dtype or layout

    Examples
    --------
    >>> import torch
    >>> select_scale(torch.randn(4, 3), torch.ones(4).double(), torch.ones(3).double()).shape
    torch.Size([4, 3])
    """
    result: Tensor = _SCALE(C, values, alpha)
    return result
