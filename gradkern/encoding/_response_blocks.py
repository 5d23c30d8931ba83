"""Responses to the images of a block, whitened, and what is left of features beside confounds there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.encoding._confounds import Confounds
from gradkern.encoding._image_blocks import COMMON_NOISE, ImageBlock
from gradkern.encoding._kernels import linear
from gradkern.encoding._orthogonal_kernels import ExcludedKernels, Floats32
from gradkern.encoding._variance_components import Components, KernelSet

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Cell = tuple[int, int]  # of a shape and a share: targets of one covariance


@dataclass(frozen=True, eq=False)
class Remainder:
    """What is left of a kernel of features, brought to norm 1: kernel [m, m], its norm, and the norm it had before."""

    kernel: Floats32
    norm: float
    whole: float


@dataclass(frozen=True, eq=False)
class ResponseBlock:
    """Images `rows` [m] of the confounds, standardized responses to them [m, v], and their components.

    `images` have the kernels of the confounds, and of more, by name. With `keeps`, what is left of feature spaces is
    kept for the next responses: their arrays must not change then.
    """

    images: ImageBlock
    Y: Floats
    components: Components
    keeps: bool = False
    _kept: dict[tuple[Cell, tuple[str, ...], int], tuple[Any, Remainder]] = field(default_factory=dict, repr=False)

    @property
    def rows(self) -> Rows:
        return self.images.rows

    def whitened(self, cell: Cell, Y: Floats, targets: Rows) -> Floats32:
        """Responses Y [m, v] of some targets of a cell, whitened, of mean square 1."""
        responses: Floats32 = (self.components.whitening(cell) @ Y[:, targets]).astype(np.float32)
        size = np.sqrt(np.square(responses).mean(0))
        responses /= np.where(size > 0, size, 1)
        return responses

    def remainders(
        self, cell: Cell, kernels: KernelSet, subsets: Sequence[Sequence[str]], spaces: Sequence[Any]
    ) -> Iterator[list[Remainder]]:
        """For each feature space [images of the confounds, d], what each subset of named kernels leaves of its kernel.

        What the largest subset leaves may be kept.
        """
        asked = {name for subset in subsets for name in subset}
        every = tuple(name for name in kernels.matrices if name in asked)
        order = {name: number for number, name in enumerate(every)}
        beside: ExcludedKernels | None = None
        for X in spaces:
            key = (cell, every, id(X))
            if key in self._kept and all(tuple(subset) == every for subset in subsets):
                yield [self._kept[key][1]] * len(subsets)
                continue
            if beside is None:
                matrices = [kernels.matrices[name] for name in every]
                beside = ExcludedKernels.of(matrices, self.components.whitening(cell), self.images.apart)
            whole = beside.kernel(linear(np.asarray(X)[self.rows].astype(np.float64)))
            numbers = [np.array([order[name] for name in subset], dtype=np.int64) for subset in subsets]
            left = [_remainder(rest, whole) for rest in beside.orthogonal(whole, numbers)]
            if self.keeps:
                for subset, remainder in zip(subsets, left, strict=True):
                    if tuple(subset) == every:
                        self._kept[key] = X, remainder
            yield left


def _remainder(rest: Floats32, whole: Floats32) -> Remainder:
    norm = float(np.linalg.norm(rest))
    return Remainder(rest / np.float32(norm or 1), norm, float(np.linalg.norm(whole)))


def kernel_names(kernels: KernelSet, confounds: Confounds) -> list[str]:
    """Names of the kernels of the parts of confounds, and of noise that images share."""
    parts = (*(f"{part}: " for part in confounds.parts), COMMON_NOISE)
    return [name for name in kernels.matrices if name.startswith(parts)]
