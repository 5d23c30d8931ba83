"""Products with a block of targets: where an engine's time goes."""

import torch
from torch import Tensor

# What torch.compile calls for a linear layer: oneDNN's float32 product, of matrices in either order. torch.mm takes
# MKL's, which on AMD processors leaves AVX-512 unused and half the speed.
_onednn = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_NARROW = 64  # rows or columns of a result: for fewer, oneDNN's rearranging of `right` is not worth its while


def product(left: Tensor, right: Tensor) -> Tensor:
    """left [m, k] @ right [k, b]."""
    narrow = min(left.shape[0], *right.shape) < _NARROW
    if _onednn is None or narrow or left.dtype != torch.float32 or left.device.type != "cpu":
        return left @ right
    result: Tensor = _onednn(left, right.T, None, "none", [], "")
    return result
