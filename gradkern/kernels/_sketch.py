"""The sketch: one fixed random linear map R^D -> R^k for activations, gradients and weight gradients.

docs/sketch.md has the definition, its statistics and measurements.
"""

from dataclasses import dataclass
from typing import Any

import torch

from gradkern._integers import as_integer
from gradkern.errors import naming
from gradkern.kernels import ops
from gradkern.kernels._arrays import to_operand, to_torch

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def spec_of(k: Any, seed: Any, nnz: Any, first_segment: Any) -> ops.Spec:
    """The numbers that define a sketch, of whatever type of integer a user gave.

    Raises
    ------
    TypeError : one of them is no integer
    ValueError : one of them does not fit into 64 bits
    """
    if type(k) is type(seed) is type(nnz) is type(first_segment) is int and max(k, seed, nnz, first_segment) < 1 << 63:
        return k, seed, nnz, first_segment  # as nearly always, in a tenth of the time
    named = {"k": k, "seed": seed, "nnz": nnz, "first_segment": first_segment}
    numbers = {name: as_integer(name, value) for name, value in named.items()}
    for name, number in numbers.items():
        if number >= 1 << 63:
            raise ValueError(f"{name} must be in [0, 2^63), got {number}")
    return numbers["k"], numbers["seed"], numbers["nnz"], numbers["first_segment"]


@naming("sketch")
def sketch(x: Any, k: int, *, seed: int = 0, nnz: int = 1, first_segment: int = 0) -> Any:
    """Sketch each sample: S vec(x[i]), with E<S x, S y> = <x, y>.

    The variance of <S x, S y> is about (|x|^2 |y|^2 + <x, y>^2) / k. The map is a function of (k, seed, nnz) alone: it
    is the same for every batch size, device, dtype and version. `gradkern.kernels.reference.sketch` is the formula.

    Parameters
    ----------
    x : [n, cols] or [n, rows, cols], float32, float64, bfloat16 or float16, contiguous
        A torch, NumPy or CuPy array. A matrix is cut into segments of 64 columns row by row, so [n, rows, cols] and
        its flattening have different (equally good) sketches unless cols is a multiple of 64.
    k : sketch dimension, the number of buckets; at least 64
    seed : selects the map, in [0, 2^63)
    nnz : number of buckets that each column is added to; more buckets lower the error only for vectors with a few
        dominant entries
    first_segment : number of x's first segment. If the parts of a vector are numbered one after another, the sum of
        their sketches is the sketch of the whole vector.

    Returns
    -------
    [n, k] float32, the kind of array that x is, on its device. Sums are float32 and ordered: on one device the same
    call gives the same bits.

    Raises
    ------
    TypeError : k, seed, nnz or first_segment is not an integer
    ValueError : k below 64, nnz outside 1..k, seed outside [0, 2^63), wrong shape, dtype or layout

    Notes
    -----
    A sparse Johnson-Lindenstrauss transform (Kane & Nelson, J. ACM 61, 2014) whose 64 neighbouring columns share a
    hash.

    Examples
    --------
    >>> import torch, gradkern
    >>> gradkern.sketch(torch.randn(16, 201, 768), 1024).shape
    torch.Size([16, 1024])
    """
    x, to_caller = to_operand(x, "x", _DTYPES)
    if x.dim() == 2:
        x = x[:, None, :]
    elif x.dim() != 3:
        raise ValueError(f"x must be [n, cols] or [n, rows, cols], got shape {list(x.shape)}")
    return to_caller(ops.sketch(x, *spec_of(k, seed, nnz, first_segment)))


@dataclass(frozen=True, repr=False)
class Sketch:
    """A sketch as an object: `Sketch(k, seed, nnz)(x)` is `sketch(x, k, seed=seed, nnz=nnz)`.

    Parameters
    ----------
    k, seed, nnz : as in `sketch`

    Raises
    ------
    TypeError : k, seed or nnz is not an integer
    ValueError : k below 64, nnz outside 1..k, seed outside [0, 2^63)

    Examples
    --------
    >>> import torch, gradkern
    >>> project = gradkern.Sketch(k=1024, seed=1)
    >>> project
    Sketch(k=1024, seed=1, nnz=1): R^D -> R^1024, error of a cosine about 0.031
    >>> project(torch.randn(16, 768)).shape, project.adjoint(torch.randn(16, 1024), (768,)).shape
    (torch.Size([16, 1024]), torch.Size([16, 768]))
    """

    k: int
    seed: int = 0
    nnz: int = 1

    @naming("Sketch")
    def __post_init__(self) -> None:
        spec = spec_of(self.k, self.seed, self.nnz, 0)
        for name, number in zip(("k", "seed", "nnz"), spec, strict=False):
            object.__setattr__(self, name, number)
        ops.check_sketch(*spec)

    def __repr__(self) -> str:
        parameters = f"k={self.k}, seed={self.seed}, nnz={self.nnz}"
        return f"Sketch({parameters}): R^D -> R^{self.k}, error of a cosine about {self.k**-0.5:.2g}"

    def __call__(self, x: Any, *, first_segment: int = 0) -> Any:
        """Sketch x [n, cols] or [n, rows, cols] to [n, k]; see `sketch`."""
        return sketch(x, self.k, seed=self.seed, nnz=self.nnz, first_segment=first_segment)

    @naming("Sketch")
    def adjoint(self, y: Any, shape: tuple[int, ...], *, first_segment: int = 0) -> Any:
        """Apply the adjoint map S^T to each sample: <S x, y> = <x, S^T y>.

        Parameters
        ----------
        y : [n, k]
        shape : (cols,) or (rows, cols) of one sample
        first_segment : as in `sketch`

        Returns
        -------
        [n, *shape], the kind and dtype of y

        Raises
        ------
        ValueError : y or shape is not of the sizes above
        """
        tensor, to_caller = to_torch(y, "y")
        if tensor.dim() != 2 or tensor.shape[1] != self.k:
            raise ValueError(f"y must be [n, {self.k}], got shape {list(tensor.shape)}")
        if len(shape) not in (1, 2):
            raise ValueError(f"shape must be (cols,) or (rows, cols), got {shape}")
        rows, cols = (1, *shape) if len(shape) == 1 else shape
        x = ops.sketch_adjoint(tensor, rows, cols, self.seed, self.nnz, first_segment)
        return to_caller(x.reshape(len(tensor), *shape))
