"""What the tests of controls share: images, models, and how near is equal."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gradkern import Sketch
from tests.toy_models import ConvNet, Transformer

N = 6
SKETCH = Sketch(256, seed=3)
LABELS = torch.tensor([3, 1, 4, 1, 5, 9])
LAYERS = {ConvNet: ("stem", "block", "overwrites_input", "head"), Transformer: ("blocks.0", "blocks.1", "blocks.2.mlp")}


def pictures(n: int = N, size: int = 16) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def build(make: Callable[[], nn.Module], dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(1)
    return make().to(dtype).eval()


def close(a: Tensor, b: Tensor, factor: float = 2e-5) -> None:
    assert a.shape == b.shape
    assert b.abs().max() > 0
    assert (a.double() - b).abs().max() <= factor * b.abs().max()
