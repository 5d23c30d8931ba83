"""How each function of torch uses its weights: what is kept of a call, and how a gradient reaches the weights.

A rule takes the arguments of a call and returns its `Use`. `docs/capture.md` lists the rules.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # as everybody writes it

from gradkern.features._engine.layout import sum_dtype
from gradkern.kernels.reference import Window


class Target(Protocol):
    """Where the gradients of a weight go: to a parameter, or to a tensor computed from parameters."""

    def add(self, gradient: Tensor) -> None: ...
    def add_image(self, i: int, gradient: Tensor) -> None: ...
    def add_outer(self, a: Tensor, g: Tensor) -> None: ...
    def add_conv(self, x: Tensor, g: Tensor, window: Window) -> None: ...


@dataclass(frozen=True)
class Samples:
    """Which rows of a tensor belong to which image: an axis of n, or n times as long as for one image.

    Of the rows of a longer axis, which is the first one, those of an image stand together; or, where they are `inner`,
    the images stand side by side, position after position, as in `nn.MultiheadAttention`.
    """

    n: int
    axis: int = 0
    inner: bool = False

    def rows(self, x: Tensor, width: int) -> Tensor:
        """x as [n, t, width], where its last axes make up the width."""
        if x.shape[self.axis] == self.n:
            return x.movedim(self.axis, 0).reshape(self.n, -1, width)
        return x.reshape(self.n, -1, width)

    def outer(self, x: Tensor) -> Tensor:
        """x with the rows of each image together."""
        if not self.inner or x.shape[self.axis] == self.n:
            return x
        return x.reshape(-1, self.n, *x.shape[1:]).transpose(0, 1).flatten(0, 1)

    def part(self, x: Tensor, i: int) -> Tensor:
        """The part of x that image i has, as for one image alone."""
        if self.inner:
            return x[i :: self.n]
        size = x.shape[self.axis] // self.n
        return x.narrow(self.axis, i * size, size)


@dataclass(frozen=True)
class WeightUse:
    """A weight of a call; `add(target, x, g, samples)` takes the gradient g at the call's output to the weight."""

    weight: Any
    add: Callable[[Target, Tensor, Tensor, Samples], None]


@dataclass(frozen=True)
class Use:
    """The input of a call, which is kept until the gradient at its output comes, and its weights."""

    input: Tensor
    weights: Sequence[WeightUse]


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Use:
    def outer(target: Target, x: Tensor, g: Tensor, samples: Samples) -> None:
        target.add_outer(samples.rows(x, x.shape[-1]), samples.rows(g, g.shape[-1]))

    return Use(input, (WeightUse(weight, outer), WeightUse(bias, _sum_rows)))


def _matmul(input: Tensor, other: Tensor) -> Use | None:
    if other.dim() != 2 or input.dim() < 2:
        return None

    def outer(target: Target, x: Tensor, g: Tensor, samples: Samples) -> None:
        target.add_outer(samples.rows(g, g.shape[-1]), samples.rows(x, x.shape[-1]))

    return Use(input, (WeightUse(other, outer),))


def _addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Use | None:
    use = _matmul(mat1, mat2) if input.dim() == 1 and alpha == beta == 1 else None
    return Use(mat1, (*use.weights, WeightUse(input, _sum_rows))) if use else None


def _sum_rows(target: Target, x: Tensor, g: Tensor, samples: Samples) -> None:
    target.add(samples.rows(g, g.shape[-1]).sum(1, dtype=sum_dtype(g)))


def _conv(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Use | None:  # fmt: skip
    axes = weight.dim() - 2
    if axes not in (1, 2) or input.dim() != weight.dim():
        return None
    size, dilation = tuple(weight.shape[2:]), _per_axis(dilation, axes)
    if isinstance(padding, str):
        total = [d * (s - 1) if padding == "same" else 0 for d, s in zip(dilation, size, strict=True)]
        if any(width % 2 for width in total):
            return None  # torch pads one side more
        padding = tuple(width // 2 for width in total)
    lead = (1,) if axes == 1 else ()
    flat = (0,) if axes == 1 else ()
    strides, paddings = lead + _per_axis(stride, axes), flat + _per_axis(padding, axes)
    window = Window(lead + size, strides, paddings, lead + dilation, groups)  # type: ignore[arg-type]  # two numbers each

    def conv(target: Target, x: Tensor, g: Tensor, samples: Samples) -> None:
        target.add_conv(_plane(x), _plane(g), window)

    def bias_sum(target: Target, x: Tensor, g: Tensor, samples: Samples) -> None:
        target.add(g.reshape(samples.n, -1, g.shape[1], g[0, 0].numel()).sum((1, 3), dtype=sum_dtype(g)))

    return Use(input, (WeightUse(weight, conv), WeightUse(bias, bias_sum)))


def _per_axis(value: Any, axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value) * (axes // len(value))


def _plane(x: Tensor) -> Tensor:
    return x[:, :, None] if x.dim() == 3 else x


def _layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Use:
    shape = tuple(normalized_shape)

    def normalized(x: Tensor) -> Tensor:
        return F.layer_norm(x.to(sum_dtype(x)), shape, eps=eps)

    return _norm(input, weight, bias, normalized, len(shape))


def _rms_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Use:
    shape = tuple(normalized_shape)
    return _norm(input, weight, None, lambda x: F.rms_norm(x.to(sum_dtype(x)), shape, eps=eps), len(shape))


def _norm(input: Tensor, weight: Any, bias: Any, normalize: Callable[[Tensor], Tensor], last: int) -> Use:
    width = input.shape[-last:].numel()

    def scale(target: Target, x: Tensor, g: Tensor, samples: Samples) -> None:
        target.add((samples.rows(normalize(x), width) * samples.rows(g, width)).sum(1))

    def shift(target: Target, x: Tensor, g: Tensor, samples: Samples) -> None:
        target.add(samples.rows(g, width).sum(1, dtype=sum_dtype(g)))

    return Use(input, (WeightUse(weight, scale), WeightUse(bias, shift)))


def _group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Use:
    return _channel_norm(input, weight, bias, lambda x: F.group_norm(x, num_groups, eps=eps))


def _batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Use | None:  # fmt: skip
    if training or running_mean is None:
        return None  # the images mix
    return _channel_norm(
        input,
        weight,
        bias,
        lambda x: F.batch_norm(x, running_mean.to(x.dtype), running_var.to(x.dtype), eps=eps),  # type: ignore[union-attr]
    )


def _channel_norm(input: Tensor, weight: Any, bias: Any, normalize: Callable[[Tensor], Tensor]) -> Use:
    def channels(x: Tensor, n: int) -> Tensor:
        return x.reshape(n, -1, x.shape[1], x[0, 0].numel())

    def scale(target: Target, x: Tensor, g: Tensor, samples: Samples) -> None:
        target.add(channels(normalize(x.to(sum_dtype(x))) * g, samples.n).sum((1, 3)))

    def shift(target: Target, x: Tensor, g: Tensor, samples: Samples) -> None:
        target.add(channels(g, samples.n).sum((1, 3), dtype=sum_dtype(g)))

    return Use(input, (WeightUse(weight, scale), WeightUse(bias, shift)))


def _embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None, *args: Any, **kwargs: Any) -> Use:
    def rows(target: Target, ids: Tensor, g: Tensor, samples: Samples) -> None:
        ids, g = samples.rows(ids, 1)[:, :, 0], samples.rows(g, g.shape[-1])
        for i in range(samples.n):  # one image's gradient at a time: a row for every word is too many for a batch
            gradient = torch.zeros(weight.shape, dtype=sum_dtype(g), device=g.device)
            gradient.index_add_(0, ids[i], g[i].to(gradient.dtype))
            if padding_idx is not None:
                gradient[padding_idx] = 0
            target.add_image(i, gradient)

    return Use(input, (WeightUse(weight, rows),))


RULES: dict[Any, Callable[..., Use | None]] = {
    F.linear: _linear,
    torch.matmul: _matmul,
    Tensor.matmul: _matmul,
    Tensor.__matmul__: _matmul,
    torch.mm: _matmul,
    Tensor.mm: _matmul,
    torch.addmm: _addmm,
    Tensor.addmm: _addmm,
    F.conv1d: _conv,
    F.conv2d: _conv,
    F.layer_norm: _layer_norm,
    F.rms_norm: _rms_norm,
    torch.rms_norm: _rms_norm,
    F.group_norm: _group_norm,
    F.batch_norm: _batch_norm,
    F.embedding: _embedding,
}

_ARITHMETIC = ("add", "sub", "mul", "div")
_NAMED = (
    *_ARITHMETIC,
    "true_divide",
    "subtract",
    "multiply",
    "divide",
    "maximum",
    "minimum",
    "where",
    "addcmul",
    "lerp",
)
_OPERATORS = [f"__{prefix}{name}__" for name in (*_ARITHMETIC[:3], "truediv") for prefix in ("", "r", "i")]

# Element by element, with broadcasting: each image is given a copy of the weight, and autograd does the rest.
BROADCASTS = {
    *(getattr(torch, name) for name in _NAMED),
    *(getattr(Tensor, name) for name in (*_NAMED, *_OPERATORS)),
    *(getattr(Tensor, f"{name}_") for name in _ARITHMETIC),
}
EXPANSIONS = {Tensor.expand, Tensor.expand_as, torch.broadcast_to, Tensor.broadcast_to}
REPEATS = {Tensor.repeat, torch.tile, Tensor.tile}
