"""What a capture must give: a loop of autograd over images, in float64, with a fresh copy of the model for each."""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import gradkern
from gradkern import Sketch

SKETCH = Sketch(128, seed=3)


def squares(output: Any, batch: object) -> Tensor:
    """A loss that is not linear, of any output."""
    tensor = output if isinstance(output, Tensor) else next(iter(output.values()))
    flat = tensor.flatten(1)
    return flat.square().sum(1) + flat @ torch.linspace(-1, 1, flat.shape[1], dtype=flat.dtype, device=flat.device)


def weight_gradients(
    model: nn.Module, layer: str, images: Tensor, fresh: Callable[[nn.Module], nn.Module] = copy.deepcopy
) -> Tensor:
    """[n, k]; `fresh` makes a copy that has computed nothing yet."""
    rows = []
    for image in images:
        alone = fresh(model).double().eval().requires_grad_(True)
        squares(alone(image[None].double()), None).sum().backward()
        row, first = torch.zeros(1, SKETCH.k), 0
        for parameter in alone.get_submodule(layer).parameters():
            shape = (parameter.shape[0], parameter[0].numel()) if parameter.dim() > 1 else (1, parameter.numel())
            if parameter.grad is not None:
                row += SKETCH(parameter.grad.reshape(1, *shape).contiguous(), first_segment=first)
            first += shape[0] * math.ceil(shape[1] / 64)
        rows.append(row)
    return torch.cat(rows)


def captured(model: nn.Module, layer: str, images: Tensor, **ask: Any) -> Tensor:
    """The weight gradients that a capture gives."""
    ask = {"kinds": ["weight_gradient"], "sketch": SKETCH, "progress": False} | ask
    return gradkern.capture(model, images, squares, layers=[layer], **ask)["weight_gradient", layer]


def error(found: Tensor, expected: Tensor) -> float:
    """The largest relative error of an image."""
    return float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max())
