"""Products with a block of targets, where the time goes, and the precision of float32 products of the process."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from gradkern._float32 import multiplying_at
from gradkern.ridge._engine.inputs import DevicePlan, check_choice

_TORCH_NAMES = {"float32": "highest", "tf32": "high", "bfloat16": "medium"}
PRECISIONS = tuple(_TORCH_NAMES)

# What torch.compile calls for a linear layer: oneDNN's float32 product, of matrices in either order. torch.mm takes
# MKL's, which on AMD processors leaves AVX-512 unused and half the speed.
_onednn = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_NARROW = 64  # rows or columns of a result: for fewer, oneDNN's rearranging of `right` is not worth its while


def product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply left [m, k] by right [k, b]."""
    narrow = min(left.shape[0], *right.shape) < _NARROW
    if _onednn is None or narrow or left.dtype != torch.float32 or left.device.type != "cpu":
        return left @ right
    result: Tensor = _onednn(left, right.T, None, "none", [], "")
    return result


def check_precision(precision: str, plan: DevicePlan) -> None:
    """ValueError unless float32 products at that precision exist where they are to be computed."""
    if precision == "float64":
        raise ValueError(
            "precision must be one of 'float32', 'tf32', 'bfloat16', got 'float64'; all is float64 where X or Y is"
        )
    check_choice("precision", precision, PRECISIONS)
    if precision == "float32":
        return
    if plan.dtype == torch.float64:
        raise ValueError(
            f"precision={precision!r} needs X and Y in float32, got float64 or integers, which are computed in "
            "float64 throughout"
        )
    wanted, device = {"tf32": "cuda", "bfloat16": "cpu"}[precision], plan.device
    if device.type != wanted:
        raise ValueError(f"precision={precision!r} needs the device to be {wanted}, got {device}")
    if precision == "tf32" and torch.cuda.get_device_capability(device) < (8, 0):
        raise ValueError(f"precision='tf32' needs compute capability 8.0, got {device}, which has less")
    if precision == "bfloat16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise ValueError("precision='bfloat16' needs AVX512 and oneDNN, got a processor or a torch without")


@contextmanager
def multiplying(precision: str) -> Iterator[None]:
    """Multiply float32 matrices at one of `PRECISIONS`, then leave the process as it was.

    torch keeps this setting per process: other threads multiply so too, meanwhile.
    """
    with multiplying_at(_TORCH_NAMES[precision]):
        yield
