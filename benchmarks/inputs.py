"""What the ridge benchmarks are given: features with the spectrum of a network's layer, and targets that need them."""

import torch
from torch import Generator, Tensor


def features(n: int, d: int, generator: Generator, size: float = 1.0) -> Tensor:
    """[n, d] with a power-law spectrum, as layers have."""
    scale = torch.arange(1, d + 1).float() ** -0.5 * size
    basis = torch.linalg.qr(torch.randn(d, d, generator=generator)).Q
    return torch.randn(n, d, generator=generator) * scale @ basis


def signal(x: Tensor, v: int, generator: Generator) -> Tensor:
    """[n, v] of unit variance, linear in x."""
    wanted = x @ torch.randn(x.shape[1], v, generator=generator)
    return wanted / wanted.std(0)


def responses(wanted: Tensor, generator: Generator) -> Tensor:
    """[n, v] from pure noise to r about 0.6 with what is wanted, target by target."""
    strength = torch.linspace(0, 0.75, wanted.shape[1])
    return wanted / wanted.std(0) * strength + torch.randn(wanted.shape, generator=generator)
