"""Where autograd's backward stops."""

from typing import Any

import torch
from torch import Tensor


class Entry:
    """Called with a tensor that needs no gradient, gives the same memory as a tensor whose gradient is computed.

    A leaf would keep its gradient until the end, and a model that works in place could not be given one.
    """

    def __init__(self) -> None:
        self.start = torch.zeros((), requires_grad=True)  # what `backward` is asked for; its own gradient is None
        self.used = False

    def __call__(self, tensor: Tensor) -> Tensor:
        self.used = True
        return _Enter.apply(self.start, tensor)  # type: ignore[no-any-return, no-untyped-call]


class _Enter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, start: Tensor, tensor: Tensor) -> Tensor:
        return tensor.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return None, None
