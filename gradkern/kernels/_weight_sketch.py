"""Sketches of per-sample weight gradients of Linear layers and convolutions, without forming the gradients.

Both are the `sketch` of the gradient as a matrix, computed from what the hooks of a layer see: its input and the
gradient at its output. docs/sketch.md describes the kernels and measurements.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradkern._integers import as_integer
from gradkern.errors import naming
from gradkern.kernels import baselines, ops
from gradkern.kernels._arrays import to_operand
from gradkern.kernels._sketch import spec_of
from gradkern.kernels.reference import Window

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_TOO_FAR = 2**20  # a dilation that ops refuse


@naming("sketch_outer")
def sketch_outer(
    a: Any,
    g: Any,
    k: int,
    *,
    seed: int = 0,
    nnz: int = 1,
    first_segment: int = 0,
    bias: bool = False,
    factor: tuple[int, int] | None = None,
) -> Any:
    """Sketch each sample's gradient of a Linear layer's weight: S vec(sum_t g[i, t] a[i, t]^T), a matrix [o, p].

    The result is the `sketch` of that gradient, which is never stored: it goes to its buckets from the registers it is
    computed in. `gradkern.kernels.reference.sketch_outer` is the formula.

    Parameters
    ----------
    a : [n, t, p], the layer's input; float32, bfloat16 or float16, contiguous
        A torch, NumPy or CuPy array.
    g : [n, t, o], the gradient at the layer's output; the dtype and device of a
    k, seed, nnz, first_segment : as in `sketch`
    bias : sketch the gradient of weight and bias together, [o, p + 1], as if a had a last column of ones
    factor : (k_o, k_i) with k_o * k_i = k applies another map for comparison: `gradkern.kernels.baselines.factored`
        (LoGra). It is noisier, above all for gradients of low rank, and has neither nnz nor first_segment.

    Returns
    -------
    [n, k] float32, the kind of array that a is, on its device. Products and sums are float32 (on a GPU as
    `torch.set_float32_matmul_precision` says) and ordered: on one device the same call gives the same bits.

    Raises
    ------
    TypeError : an argument that is no array, no integer or no bool where it must be
    ValueError : shapes, dtypes or devices that disagree; arrays that are not contiguous; k, seed or nnz out of range

    Examples
    --------
    >>> import torch, gradkern
    >>> gradkern.sketch_outer(torch.randn(16, 197, 384), torch.randn(16, 197, 1536), 1024).shape
    torch.Size([16, 1024])
    """
    a, to_caller = to_operand(a, "a", _DTYPES)
    g, _ = to_operand(g, "g", _DTYPES)
    _check_dims("a", a, "[n, t, p]", 3)
    _check_dims("g", g, "[n, t, o]", 3)
    _check_same(a, g, "a")
    bias = _as_flag("bias", bias)
    if factor is not None:
        _check_factor(factor, k, nnz, first_segment)
        a = torch.nn.functional.pad(a, (0, 1), value=1.0) if bias else a
        return to_caller(baselines.factored(a, g, factor, seed=seed))
    return to_caller(ops.sketch_outer(a, g, spec_of(k, seed, nnz, first_segment), bias))


@naming("sketch_conv")
def sketch_conv(
    x: Any,
    g: Any,
    k: int,
    *,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    seed: int = 0,
    nnz: int = 1,
    first_segment: int = 0,
    bias: bool = False,
) -> Any:
    """Sketch each sample's gradient of a convolution's weight, the matrix [o, c / groups * kh * kw].

    The result is the `sketch` of that gradient. Neither the gradient nor the patches of the input are ever stored.
    `gradkern.kernels.reference.sketch_conv` is the formula.

    Parameters
    ----------
    x : [n, c, h, w], or [n, c, w] for a 1-d convolution; float32, bfloat16 or float16, contiguous
        A torch, NumPy or CuPy array.
    g : [n, o, out_h, out_w], or [n, o, out_w], the gradient at the output; the dtype and device of x
    kernel_size, stride, padding, dilation, groups : as in `torch.nn.Conv2d` or `Conv1d`, as numbers; the padding is
        zeros
    k, seed, nnz, first_segment : as in `sketch`
    bias : sketch the gradient of weight and bias together: one more column, the sums of g over positions

    Returns
    -------
    [n, k] float32, the kind of array that x is, on its device; see `sketch_outer`

    Raises
    ------
    TypeError : an argument that is no array, no integer or no bool where it must be
    ValueError : shapes, dtypes or devices that disagree; arrays that are not contiguous; k, seed or nnz out of range

    Examples
    --------
    >>> import torch, gradkern
    >>> x, g = torch.randn(4, 32, 56, 56), torch.randn(4, 64, 28, 28)
    >>> gradkern.sketch_conv(x, g, 1024, kernel_size=3, stride=2, padding=1).shape
    torch.Size([4, 1024])
    """
    x, to_caller = to_operand(x, "x", _DTYPES)
    g, _ = to_operand(g, "g", _DTYPES)
    if x.dim() not in (3, 4):
        raise ValueError(f"x must be [n, c, h, w] or [n, c, w], got shape {list(x.shape)}")
    axes = x.dim() - 2
    _check_dims("g", g, "[n, o, out_h, out_w]" if axes == 2 else "[n, o, out_w]", x.dim())
    _check_same(x, g, "x")
    bias = _as_flag("bias", bias)
    window = Window(
        _per_axis("kernel_size", kernel_size, axes, 1),
        _per_axis("stride", stride, axes, 1),
        _per_axis("padding", padding, axes, 0),
        _per_axis("dilation", dilation, axes, 1),
        as_integer("groups", groups),
    )
    _check_kernel(x.shape[2:], window)
    if axes == 1:
        x, g = x[:, :, None], g[:, :, None]
    return to_caller(ops.sketch_conv(x, g, spec_of(k, seed, nnz, first_segment), window, bias))


def _as_flag(argument: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):  # a union would be made anew by every call
        raise TypeError(f"{argument} must be True or False, got {value!r}")
    return bool(value)


def _check_dims(argument: str, tensor: Tensor, expected: str, dims: int) -> None:
    if tensor.dim() != dims:
        raise ValueError(f"{argument} must be {expected}, got shape {list(tensor.shape)}")


def _check_same(x: Tensor, g: Tensor, x_name: str) -> None:
    if g.device != x.device:
        raise ValueError(f"g must be on the device of {x_name}, got {g.device} beside {x.device}")
    if g.shape[0] != x.shape[0]:
        raise ValueError(f"g must have the samples of {x_name}, got {len(g)} beside {len(x)}")


def _check_factor(factor: tuple[int, int], k: int, nnz: int, first_segment: int) -> None:
    if len(factor) != 2 or factor[0] * factor[1] != k:
        raise ValueError(f"factor must be (k_o, k_i) with k_o * k_i = k = {k}, got {factor}")
    if nnz != 1 or first_segment != 0:
        raise ValueError(f"factor has no nnz and no first_segment, got {nnz} and {first_segment}")


def _check_kernel(sizes: Sequence[int], window: Window) -> None:
    """Raise a ValueError that names the kernel if it is larger than the padded image; the op checks the rest."""
    axes = range(2 - len(sizes), 2)
    spans = [(window.kernel_size[axis] - 1) * window.dilation[axis] + 1 for axis in axes]
    padded = [size + 2 * window.padding[axis] for size, axis in zip(sizes, axes, strict=True)]
    allowed = min(*window.kernel_size, *window.dilation) > 0 and min(window.padding) >= 0
    allowed = allowed and max(window.dilation) < _TOO_FAR
    if allowed and any(span > room for span, room in zip(spans, padded, strict=True)):
        raise ValueError(f"kernel_size must fit into the padded x, {padded}, got {spans} with dilation")


def _per_axis(name: str, value: Any, axes: int, height: int) -> tuple[int, int]:
    """Expand a number, or one number for each axis, to [height, width]; `height` is that of a 1-d convolution."""
    if axes == 2 and type(value) is int:
        return value, value
    try:
        numbers = (value,) * axes if hasattr(value, "__index__") else tuple(value)
        values = tuple(as_integer(name, number) for number in numbers)
    except TypeError:
        values = ()
    if len(values) != axes:
        raise ValueError(f"{name} must be an integer or {axes} of them, got {value!r}")
    return (height, *values) if axes == 1 else values  # type: ignore[return-value]  # its length was checked
