"""Emulation of float32 products on units for narrower numbers: rounded operands, exact products, float32 sums."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

MANTISSAS = {"tf32": 10, "bfloat16": 7}  # bits after the leading one
_OPERANDS = {
    "_linear_pointwise": 0,
    "mm": 0,
    "bmm": 0,
    "mv": 0,
    "addmm": 1,
    "addmm_": 1,
    "addmv": 1,
    "addmv_": 1,
    "baddbmm": 1,
}


def rounded(x: Tensor, bits: int, nearest: bool = True) -> Tensor:
    """Round float32 to `bits` bits of mantissa, to the nearest (ties to even) or towards zero."""
    unit = 1 << (23 - bits)
    code = x.contiguous().view(torch.int32)
    if nearest:
        code = code + (unit // 2 - 1) + (code // unit % 2)
    return (code & -unit).view(torch.float32)


class Narrow(TorchDispatchMode):
    """Narrow every product of float32 matrices in the context; `count` is their number."""

    def __init__(self, precision: str, nearest: bool = True) -> None:
        super().__init__()
        self.bits, self.nearest, self.count = MANTISSAS[precision], nearest, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        first = _OPERANDS.get(function.overloadpacket.__name__)
        if first is not None and args[first].dtype == torch.float32:
            self.count += 1
            pair = [rounded(operand, self.bits, self.nearest) for operand in args[first : first + 2]]
            args = (*args[:first], *pair, *args[first + 2 :])
        return function(*args, **(kwargs or {}))
