"""Features of a network that takes no time, for simulated studies: with every kind of gradient that a capture has."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from gradkern.features._capture import capture
from gradkern.features._engine.gradient_controls import CONTROLS
from gradkern.features._features import Features
from gradkern.models._untrained import UNTRAINED
from gradkern.objectives._logits import CrossEntropy


def toy_features(images: int, *, layers: int = 6, width: int = 24, classes: int = 10, seed: int = 0) -> Features:
    """Capture a residual stack of random weights: activations, and gradients of the cross-entropy with the class that
    it thinks most likely itself, with all their controls; "untrained" are those of other random weights.

    The gradients are nonlinear functions of the activations, and nearly alike in neighbouring layers, as in a real
    network. Layer l adds W_l tanh(V_l x) to x.

    Parameters
    ----------
    images, layers, width, classes : sizes
    seed : of weights, images and controls

    Returns
    -------
    Features [images, width] of "blocks.0" and so on

    Raises
    ------
    ValueError : fewer than 3 layers, 2 classes or images

    Examples
    --------
    >>> toy_features(50)["gradient", "blocks.0"].shape
    torch.Size([50, 24])
    """
    if layers < 3 or classes < 2 or images < 2:
        raise ValueError(
            "toy_features: layers must be at least 3, classes and images at least 2, got "
            f"{layers}, {classes} and {images}"
        )
    generator = torch.Generator().manual_seed(seed)
    x = _draw(generator, images, width) * torch.arange(1, width + 1) ** -0.25
    toy, other = (_Toy.drawn(generator, layers, width, classes) for _ in range(2))
    pictures = x[:, None, None].expand(-1, 3, 1, -1)

    def captured(model: nn.Module, *kinds: str) -> Features:
        return capture(
            model, pictures, CrossEntropy(), layers=[f"blocks.{number}" for number in range(layers)], kinds=kinds,
            tokens="mean", sketch="raw", batch_size=images, progress=False, control_seed=seed,
        )  # fmt: skip

    features = captured(toy, "activation", "gradient", *CONTROLS)
    untrained = {(UNTRAINED, layer): values for (_, layer), values in captured(other, "gradient").items()}
    return replace(features, arrays={**features.arrays, **untrained})


def _draw(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@dataclass
class _Output:
    logits: Tensor


def _linear(weight: Tensor) -> nn.Linear:
    """x -> x @ weight."""
    width, columns = weight.shape
    made = nn.Linear(width, columns, bias=False, dtype=weight.dtype)
    made.weight = nn.Parameter(weight.T.contiguous())
    return made


class _Block(nn.Module):
    def __init__(self, inside: Tensor, outside: Tensor) -> None:
        super().__init__()
        self.inside, self.outside = _linear(inside), _linear(outside)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.outside(torch.tanh(self.inside(x)))
        return x + added


class _Toy(nn.Module):
    """Of an image the first channel's first row, as one token."""

    def __init__(self, blocks: list[_Block], head: Tensor) -> None:
        super().__init__()
        self.blocks, self.head = nn.ModuleList(blocks), _linear(head)

    @classmethod
    def drawn(cls, generator: torch.Generator, layers: int, width: int, classes: int) -> "_Toy":
        blocks = []
        for _ in range(layers):
            inside = _draw(generator, width, 2 * width) * (4 / width) ** 0.5
            blocks.append(_Block(inside, _draw(generator, 2 * width, width) * (1 / width) ** 0.5))
        return cls(blocks, _draw(generator, width, classes) * (4 / width / layers) ** 0.5)

    def forward(self, images: Tensor) -> _Output:
        x = images[:, :1, 0]
        for block in self.blocks:
            x = block(x)
        return _Output(self.head(x[:, 0]))
