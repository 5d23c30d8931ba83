"""Images whose pairs are looked at together, and how alike each confound is in them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.encoding._confounds import Confounds
from gradkern.encoding._kernels import centered, named_kernels
from gradkern.encoding._variance_components import KernelSet
from gradkern.errors import Refused

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

COMMON_NOISE = "noise of dependent images"
_LEAST_IMAGES = 20


@dataclass(frozen=True, eq=False)
class ImageBlock:
    """Images `rows` [m] of the confounds, whose pairs are looked at together.

    Attributes
    ----------
    dependent : [images of the confounds], labels of images whose noise may be alike
    keeps_kernels : whether kernels and their spectra are kept for the next responses, or computed again: those of many
        blocks would take much memory
    """

    rows: Rows
    confounds: Confounds
    dependent: Rows
    keeps_kernels: bool
    _kept: list[KernelSet] = field(default_factory=list, repr=False)

    @property
    def kernels(self) -> KernelSet:
        """Kernels of the confounds, and of noise that images of one label share."""
        if self._kept:
            return self._kept[0]
        kernels: dict[str, NDArray[Any]] = {
            name: kernel.astype(np.float32) for name, kernel in named_kernels(self.confounds, self.rows)
        }
        together = ~self.apart
        common = centered(together.astype(np.float64)) if together.sum() > len(self.rows) else None
        if common is not None:
            kernels[COMMON_NOISE] = common
        kernel_set = KernelSet.of(kernels, keeps_spectra=self.keeps_kernels)
        if self.keeps_kernels:
            self._kept.append(kernel_set)
        return kernel_set

    @property
    def apart(self) -> NDArray[np.bool_]:
        labels = self.dependent[self.rows]
        different: NDArray[np.bool_] = labels[:, None] != labels
        return different


def image_blocks(
    confounds: Confounds, images: Rows, dependent: Any = None, images_at_once: int = 1000, seed: int = 0
) -> list[ImageBlock]:
    """Divide images [n] into blocks."""
    if len(images) < _LEAST_IMAGES:
        raise Refused(f"images must be at least {_LEAST_IMAGES}, got {len(images)}")
    if images_at_once < 2 * _LEAST_IMAGES:
        raise ValueError(f"images_at_once must be at least {2 * _LEAST_IMAGES}, got {images_at_once}")
    labels = np.arange(len(confounds)) if dependent is None else np.unique(dependent, return_inverse=True)[1]
    if labels.shape != (len(confounds),):
        raise ValueError(f"dependent must be [{len(confounds)}], a label of each image, got {list(labels.shape)}")
    divided = [images[block] for block in _divided(labels[images], images_at_once, seed)]
    return [ImageBlock(rows, confounds, labels, keeps_kernels=len(divided) == 1) for rows in divided]


def _divided(labels: Rows, most: int, seed: int) -> list[Rows]:
    """Divide images at random into blocks of about equal size; images of one label stay together where they fit."""
    count = -(-len(labels) // most)
    if count == 1:
        return [np.arange(len(labels))]
    order = np.random.default_rng(seed).permutation(int(labels.max()) + 1)
    return [np.sort(block) for block in np.array_split(np.argsort(order[labels], kind="stable"), count)]
