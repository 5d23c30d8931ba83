"""What the tests of capture and of controls share: images, models, a loss, and how near is equal."""

from collections.abc import Callable
from typing import Any

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


def loss_of_all_outputs(output: Any, batch: object) -> Tensor:
    """A loss per image that reads every tensor that the model returns."""
    parts = [x.flatten(1) for x in output if isinstance(x, Tensor) and x.is_floating_point()]
    return sum(part.tanh().square().sum(1) + part.sin().sum(1) for part in parts)
