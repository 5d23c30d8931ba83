"""Tolerances of float32 sums of products, and values whose sums change with the order of additions."""

import torch
from torch import Tensor

from tests.cases import OuterCase, WeightCase

EPS = torch.finfo(torch.float32).eps
EPS_TF32 = 2.0**-10


def entries(case: WeightCase) -> int:
    """Number of entries of one sample's gradient."""
    if isinstance(case, OuterCase):
        return case.sizes[3] * (case.sizes[2] + case.bias)
    return case.o * (case.x[1] // case.groups * case.kernel[0] * case.kernel[1] + case.bias)


def bound(case: WeightCase, x: Tensor, g: Tensor, *, tf32: bool = False) -> float:
    """The tolerance c * eps * (rounding of sums of t products, then of the entries of a bucket) * scale."""
    if g.numel() == 0 or (x.numel() == 0 and not case.bias):
        return 0.0
    t, additions = case.positions, 1 + entries(case) * case.nnz / case.k
    size = float(x.double().square().mean().sqrt()) if x.numel() else 0.0
    scale = float(g.double().square().mean().sqrt()) * (max(1.0, size) if case.bias else size)
    rounding = 8 * EPS * (t * additions**0.5 + t**0.5 * additions + 4)
    return scale * (rounding + (4 * EPS_TF32 * (t * additions) ** 0.5 if tf32 else 0.0))


def uneven(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, decades: int = 4) -> Tensor:
    """Values of very different sizes, so that another order of additions gives other bits."""
    generator = torch.Generator().manual_seed(2)
    exponents = decades * (torch.rand(shape, generator=generator) - 0.5)
    return (torch.randn(shape, generator=generator) * 10**exponents).to(dtype)
