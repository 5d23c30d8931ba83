"""Forward-mode automatic differentiation of maps that are linear, or linear in each of two arguments."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad


def has_tangents(*tensors: Tensor) -> bool:
    """Whether forward-mode automatic differentiation runs and any of these tensors has a tangent."""
    if forward_ad._current_level < 0:
        return False
    return any(_unpacked(tensor)[1] is not None for tensor in tensors)


def _unpacked(tensor: Tensor) -> tuple[Tensor, Tensor | None]:
    primal, tangent = forward_ad.unpack_dual(tensor)  # type: ignore[no-untyped-call]
    return primal, tangent


def _dual(primal: Tensor, tangent: Tensor) -> Tensor:
    result: Tensor = forward_ad.make_dual(primal, tangent)  # type: ignore[no-untyped-call]
    return result


def linear_dual(run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A linear map of x and of its tangent."""
    primal, tangent = _unpacked(x)
    out = run(primal)
    return _dual(out, torch.zeros_like(out) if tangent is None else run(tangent.contiguous()).to(out.dtype))


def bilinear_dual(run: Callable[[Tensor, Tensor], Tensor], x: Tensor, g: Tensor, *, is_affine: bool) -> Tensor:
    """A map that is linear in g, and in x linear or affine (with a column of ones), of both and of their tangents."""
    (x, dx), (g, dg) = _unpacked(x), _unpacked(g)
    out = run(x, g)
    tangent = torch.zeros_like(out)
    if dx is not None:
        tangent = tangent + run(dx.contiguous(), g)
        if is_affine:
            tangent = tangent - run(torch.zeros_like(x), g)
    if dg is not None:
        tangent = tangent + run(x, dg.contiguous())
    return _dual(out, tangent)
