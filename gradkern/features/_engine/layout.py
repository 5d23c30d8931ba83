"""How tensors are laid out as the matrices that are sketched. This is part of what a feature is: do not change it."""

from typing import Any

import torch
from torch import Tensor, nn

from gradkern.kernels.reference import SEGMENT


def as_matrices(x: Tensor) -> Tensor:
    """[n, t, d] as it is; any other [n, ...] flattened to one row for each sample, [n, 1, d]."""
    x = x.contiguous()
    return x if x.dim() == 3 else x.reshape(len(x), 1, -1)


def parameter_matrix(parameter: Tensor) -> tuple[int, int]:
    """Rows and columns of a parameter: [shape[0], the rest], or one row for a vector or a scalar."""
    if parameter.dim() < 2:
        return 1, parameter.numel()
    return parameter.shape[0], parameter.numel() // parameter.shape[0]


def segments(rows: int, cols: int) -> int:
    """How many segments a matrix takes; the next parameter begins behind them."""
    return rows * -(-cols // SEGMENT)


def channels_last(layer: nn.Module, output: Tensor, default: bool) -> bool:
    """Whether a feature map that this layer returned is [n, h, w, d] rather than [n, d, h, w]."""
    if isinstance(layer, nn.Linear):
        return True
    width: tuple[int, ...] = getattr(layer, "normalized_shape", ())
    if len(width) == 1 and output.dim() == 4 and output.shape[1] != output.shape[3]:
        return bool(output.shape[3] == width[0])
    return default


def first_tensor(output: Any) -> Tensor | None:
    """The tensor of a layer's output: itself, or the first element of a tuple, list or Hugging Face output."""
    if isinstance(output, dict):
        output = tuple(output.values())
    if isinstance(output, tuple | list) and len(output) > 0:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def sum_dtype(x: Tensor) -> torch.dtype:
    """The type that sums over x are taken in."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32
