"""Arrays in, the same kind out: torch tensors, NumPy arrays, and whatever speaks DLPack (CuPy) on its own device."""

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

_NUMPY_DTYPES = ("float16", "float32", "float64")


def to_torch(x: Any, op: str, argument: str) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """Borrow an array as a tensor, without a copy.

    Returns
    -------
    tensor : shares the memory of x
    back : turns a result into the kind of array that x is

    Raises
    ------
    TypeError : x is no array
    ValueError : x is an array that a tensor cannot share memory with
    """
    if isinstance(x, Tensor):
        return x, lambda result: result
    if isinstance(x, np.ndarray):
        return _from_numpy(x, op, argument), lambda result: result.numpy()
    if hasattr(x, "__dlpack__"):
        # The module that made x takes the result back: cupy is used where it is already loaded, never imported.
        home = sys.modules[type(x).__module__.partition(".")[0]]
        return torch.utils.dlpack.from_dlpack(x), home.from_dlpack
    raise TypeError(f"{op}: {argument} must be a torch, NumPy or CuPy array (or speak DLPack), got {type(x).__name__}")


def _from_numpy(x: np.ndarray, op: str, argument: str) -> Tensor:
    if x.dtype.name not in _NUMPY_DTYPES:
        raise ValueError(f"{op}: {argument} must be float16, float32 or float64, got {x.dtype}")
    if not x.flags.c_contiguous:
        raise ValueError(
            f"{op}: {argument} must be contiguous, got shape {x.shape} with strides {x.strides} bytes; "
            "call numpy.ascontiguousarray on it"
        )
    with warnings.catch_warnings():
        # torch warns about read-only memory (a memory map); no op writes to its inputs
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(x)
