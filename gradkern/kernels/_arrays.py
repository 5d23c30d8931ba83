"""Arrays of any library as torch tensors in the same memory, and results as arrays of that library."""

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

_NUMPY_DTYPES = ("float16", "float32", "float64")


def to_torch(x: Any, argument: str) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """Borrow an array as a tensor, without a copy.

    Returns
    -------
    tensor : shares the memory of x
    to_caller : turns a result into the kind of array that x is

    Raises
    ------
    TypeError : x is not an array, or its library takes no results by DLPack
    ValueError : x is an array whose memory a tensor cannot share
    """
    if isinstance(x, Tensor):
        if x.layout != torch.strided:
            raise ValueError(f"{argument} must be a dense tensor, got {x.layout}; call to_dense() on it")
        return x, lambda result: result
    if isinstance(x, np.ndarray):
        return _from_numpy(x, argument), lambda result: result.numpy()
    if is_dlpack_array(x):
        return from_dlpack(x), from_dlpack_of(x, argument)
    raise TypeError(f"{argument} must be a torch, NumPy or CuPy array (or speak DLPack), got {type(x).__name__}")


def to_operand(x: Any, argument: str, dtypes: tuple[torch.dtype, ...]) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """`to_torch` for what a kernel reads, whose dtype must be one of `dtypes`.

    Raises
    ------
    TypeError, ValueError : as `to_torch`
    ValueError : another dtype
    """
    tensor, to_caller = to_torch(x, argument)
    if tensor.dtype not in dtypes:
        *others, last = (str(dtype).removeprefix("torch.") for dtype in dtypes)
        got = str(tensor.dtype).removeprefix("torch.")
        raise ValueError(f"{argument} must be {', '.join(others)} or {last}, got {got}")
    return tensor, to_caller


def is_dlpack_array(x: Any) -> bool:
    """Whether x is an array of another library (CuPy, JAX) whose memory torch can share by DLPack."""
    shares = hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__")
    return shares and not isinstance(x, np.ndarray | np.generic | Tensor)


def from_dlpack_of(x: Any, argument: str) -> Callable[[Tensor], Any]:
    """The function with which the library of x makes an array of a tensor, in the same memory.

    The library is loaded, because x is there; it is never imported.

    Raises
    ------
    TypeError : the library has no such function
    """
    library = type(x).__module__.partition(".")[0]
    space = x.__array_namespace__() if hasattr(x, "__array_namespace__") else sys.modules.get(library)
    function: Callable[[Tensor], Any] | None = getattr(space, "from_dlpack", None)
    if function is None:
        raise TypeError(
            f"{argument} must be of a library with from_dlpack, by which results go back, got {library}'s "
            f"{type(x).__name__}; give a torch tensor"
        )
    return function


def _from_numpy(x: np.ndarray, argument: str) -> Tensor:
    if isinstance(x, np.ma.MaskedArray) and np.ma.getmaskarray(x).any():
        raise ValueError(
            f"{argument} must have a number everywhere, got {np.ma.getmaskarray(x).sum()} masked; fill them in"
        )
    if not x.dtype.isnative:
        raise ValueError(f"{argument} must be in this machine's byte order, got {x.dtype.str}; call astype on it")
    if x.dtype.name not in _NUMPY_DTYPES:
        raise ValueError(f"{argument} must be float16, float32 or float64, got {x.dtype}")
    if not x.flags.c_contiguous:
        raise ValueError(
            f"{argument} must be contiguous, got shape {x.shape} with strides {x.strides} bytes; "
            "call numpy.ascontiguousarray on it"
        )
    with warnings.catch_warnings():
        # torch warns about read-only memory (a memory map), but no op writes to its inputs
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(x)
