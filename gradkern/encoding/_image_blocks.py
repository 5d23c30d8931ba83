"""Images whose pairs are looked at together, and how alike each confound is in them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.encoding._confounds import Confounds
from gradkern.encoding._kernels import centered, kernels_of
from gradkern.encoding._variance_components import KernelSet
from gradkern.errors import Refused

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

COMMON_NOISE = "noise of dependent images"
_LEAST_IMAGES = 20


@dataclass(frozen=True, eq=False)
class ImageBlock:
    """Images `rows` [m] of the confounds, and kernels of these.

    `dependent` [images of the confounds]: labels of images whose noise may be alike.
    """

    rows: Rows
    kernels: KernelSet
    dependent: Rows

    @property
    def apart(self) -> NDArray[np.bool_]:
        labels = self.dependent[self.rows]
        different: NDArray[np.bool_] = labels[:, None] != labels
        return different


def image_blocks(
    confounds: Confounds, images: Rows, dependent: Any = None, images_at_once: int = 1000, seed: int = 0
) -> list[ImageBlock]:
    """Divide images [n] into blocks, with the kernels of each."""
    if len(images) < _LEAST_IMAGES:
        raise Refused(f"images must be at least {_LEAST_IMAGES}, got {len(images)}")
    if images_at_once < 2 * _LEAST_IMAGES:
        raise ValueError(f"images_at_once must be at least {2 * _LEAST_IMAGES}, got {images_at_once}")
    labels = np.arange(len(confounds)) if dependent is None else np.unique(dependent, return_inverse=True)[1]
    if labels.shape != (len(confounds),):
        raise ValueError(f"dependent must be [{len(confounds)}], a label of each image, got {list(labels.shape)}")
    divided = [images[block] for block in _divided(labels[images], images_at_once, seed)]
    blocks = []
    for rows in divided:
        kernels = kernels_of(confounds, rows)
        together = labels[rows][:, None] == labels[rows]
        common = centered(together.astype(np.float64)) if together.sum() > len(rows) else None
        if common is not None:
            kernels[COMMON_NOISE] = common
        # of several blocks, spectra would take too much memory
        blocks.append(ImageBlock(rows, KernelSet.of(kernels, keeps_spectra=len(divided) == 1), labels))
    return blocks


def _divided(labels: Rows, most: int, seed: int) -> list[Rows]:
    """Divide images at random into blocks of about equal size; images of one label stay together where they fit."""
    count = -(-len(labels) // most)
    if count == 1:
        return [np.arange(len(labels))]
    order = np.random.default_rng(seed).permutation(int(labels.max()) + 1)
    return [np.sort(block) for block in np.array_split(np.argsort(order[labels], kind="stable"), count)]
