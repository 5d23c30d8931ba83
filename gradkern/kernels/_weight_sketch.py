"""Sketches of per-sample weight gradients that are never formed: of a Linear layer's weight and of a convolution's.

Both are `sketch` of the gradient seen as a matrix, computed from what a layer's hooks see: its input and the gradient
at its output. docs/sketch.md has the kernels and how they were measured.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gradkern.kernels import baselines, ops
from gradkern.kernels._arrays import to_torch
from gradkern.kernels.reference import Window


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

    Equal to `sketch` of that gradient, which no memory ever holds: it goes to its buckets from the registers it is
    computed in. `gradkern.kernels.reference.sketch_outer` is the formula.

    Parameters
    ----------
    a : [n, t, p], the layer's input; float32, bfloat16 or float16, contiguous
        A torch, NumPy or CuPy array.
    g : [n, t, o], the gradient at the layer's output; the dtype and device of a
    k, seed, nnz, first_segment : as in `sketch`
    bias : the gradient of weight and bias together, [o, p + 1]: as if a had a last column of ones
    factor : (k_o, k_i) with k_o * k_i = k takes another map, to compare with: `gradkern.kernels.baselines.factored`
        (LoGra). It is noisier, above all for gradients of low rank, and has no nnz and no first_segment.

    Returns
    -------
    [n, k] float32, the kind of array that a is, on its device. Products and sums are float32 (on a GPU as
    `torch.set_float32_matmul_precision` says) and ordered: on one device the same call gives the same bits.

    Raises
    ------
    ValueError : shapes, dtypes or devices that disagree; not contiguous; k, seed or nnz that no sketch has

    Examples
    --------
    >>> import torch, gradkern
    >>> gradkern.sketch_outer(torch.randn(16, 197, 384), torch.randn(16, 197, 1536), 1024).shape
    torch.Size([16, 1024])
    """
    a, back = to_torch(a, "sketch_outer", "a")
    g, _ = to_torch(g, "sketch_outer", "g")
    _check_dims("sketch_outer", "a", a, "[n, t, p]", 3)
    _check_dims("sketch_outer", "g", g, "[n, t, o]", 3)
    _check_same("sketch_outer", a, g, "a")
    if factor is not None:
        _check_factor(factor, k, nnz, first_segment)
        a = torch.nn.functional.pad(a, (0, 1), value=1.0) if bias else a
        return back(baselines.factored(a, g, factor, seed=seed))
    return back(ops.sketch_outer(a, g, (k, seed, nnz, first_segment), bias))


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

    Equal to `sketch` of that gradient, which is never formed; nor are the input's patches.
    `gradkern.kernels.reference.sketch_conv` is the formula.

    Parameters
    ----------
    x : [n, c, h, w], or [n, c, w] of a 1-d convolution; float32, bfloat16 or float16, contiguous
        A torch, NumPy or CuPy array.
    g : [n, o, out_h, out_w], or [n, o, out_w], the gradient at the output; the dtype and device of x
    kernel_size, stride, padding, dilation, groups : of `torch.nn.Conv2d` or `Conv1d`, in numbers; zeros are padded
    k, seed, nnz, first_segment : as in `sketch`
    bias : the gradient of weight and bias together: one more column, the sums of g over positions

    Returns
    -------
    [n, k] float32, the kind of array that x is, on its device; see `sketch_outer`

    Raises
    ------
    ValueError : shapes, dtypes or devices that disagree; not contiguous; k, seed or nnz that no sketch has

    Examples
    --------
    >>> import torch, gradkern
    >>> x, g = torch.randn(4, 32, 56, 56), torch.randn(4, 64, 28, 28)
    >>> gradkern.sketch_conv(x, g, 1024, kernel_size=3, stride=2, padding=1).shape
    torch.Size([4, 1024])
    """
    x, back = to_torch(x, "sketch_conv", "x")
    g, _ = to_torch(g, "sketch_conv", "g")
    if x.dim() not in (3, 4):
        raise ValueError(f"sketch_conv: x must be [n, c, h, w] or [n, c, w], got shape {list(x.shape)}")
    axes = x.dim() - 2
    _check_dims("sketch_conv", "g", g, "[n, o, out_h, out_w]" if axes == 2 else "[n, o, out_w]", x.dim())
    _check_same("sketch_conv", x, g, "x")
    window = Window(
        _per_axis("kernel_size", kernel_size, axes, 1),
        _per_axis("stride", stride, axes, 1),
        _per_axis("padding", padding, axes, 0),
        _per_axis("dilation", dilation, axes, 1),
        groups,
    )
    if axes == 1:
        x, g = x[:, :, None], g[:, :, None]
    return back(ops.sketch_conv(x, g, (k, seed, nnz, first_segment), window, bias))


def _check_dims(op: str, argument: str, tensor: Tensor, wanted: str, dims: int) -> None:
    if tensor.dim() != dims:
        raise ValueError(f"{op}: {argument} must be {wanted}, got shape {list(tensor.shape)}")


def _check_same(op: str, x: Tensor, g: Tensor, x_name: str) -> None:
    if g.device != x.device:
        raise ValueError(f"{op}: g must be on the device of {x_name}, got {g.device} beside {x.device}")
    if len(g) != len(x):
        raise ValueError(f"{op}: g must have the samples of {x_name}, got {len(g)} beside {len(x)}")


def _check_factor(factor: tuple[int, int], k: int, nnz: int, first_segment: int) -> None:
    if len(factor) != 2 or factor[0] * factor[1] != k:
        raise ValueError(f"sketch_outer: factor must be (k_o, k_i) with k_o * k_i = k = {k}, got {factor}")
    if nnz != 1 or first_segment != 0:
        raise ValueError(f"sketch_outer: factor has no nnz and no first_segment, got {nnz} and {first_segment}")


def _per_axis(name: str, value: Any, axes: int, missing: int) -> tuple[int, int]:
    """[height, width] of a number for all axes or of one for each; a 1-d convolution has height 1."""
    values = (value,) * axes if isinstance(value, int) else tuple(value) if not isinstance(value, str) else ()
    if len(values) != axes or not all(isinstance(v, int) for v in values):
        raise ValueError(f"sketch_conv: {name} must be an integer or {axes} of them, got {value!r}")
    return (missing, *values) if axes == 1 else values  # type: ignore[return-value]  # its length was checked
