"""Crops and masks of images, each drawn from (seed, image index) alone, so that no draw depends on the batch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradkern.objectives._base import precise

_ASPECT_RATIOS = (3 / 4, 4 / 3)  # of a crop's width to its height
_TRIES = 10
_CROP_STREAM, _ORDER_STREAM = 1, 2


def crops(batch: Any, seed: int, view: int, scale: tuple[float, float]) -> Tensor:
    """Random resized crops of each image, flipped with probability 1/2.

    These are Inception's crops (Szegedy et al. 2015) as torchvision draws them: the area is uniform in a range, the
    aspect ratio log-uniform in 3/4..4/3, resizing is bicubic and antialiased. Colours are left alone.

    Parameters
    ----------
    batch : a `Batch`, with `images` [n, 3, h, w] and their `index`
    seed, view : a crop is drawn from (seed, image index, view) alone
    scale : smallest and largest area of a crop, as fractions of the image's

    Returns
    -------
    [n, 3, h, w], of the type of `batch.images`

    Examples
    --------
    >>> import torch
    >>> from gradkern.objectives import Batch, crops
    >>> crops(Batch(torch.zeros(2, 3, 16, 16), torch.arange(2)), 0, 1, (0.4, 1.0)).shape
    torch.Size([2, 3, 16, 16])
    """
    views = [
        _crop(image, np.random.default_rng([_CROP_STREAM, seed, int(i), view]), scale)
        for image, i in zip(batch.images, batch.index, strict=True)
    ]
    return torch.stack(views)


def _crop(image: Tensor, rng: np.random.Generator, scale: tuple[float, float]) -> Tensor:
    height, width = image.shape[1:]
    top, left, h, w = _box(height, width, rng, scale)
    piece = precise(image[None, :, top : top + h, left : left + w])
    view = torch.nn.functional.interpolate(piece, size=(height, width), mode="bicubic", antialias=True)[0]
    return (view.flip(2) if rng.random() < 0.5 else view).to(image.dtype)


def _box(height: int, width: int, rng: np.random.Generator, scale: tuple[float, float]) -> tuple[int, int, int, int]:
    """Top, left, height and width of a crop; the whole image if ten draws do not fit."""
    for _ in range(_TRIES):
        area = height * width * rng.uniform(*scale)
        ratio = np.exp(rng.uniform(*np.log(_ASPECT_RATIOS)))
        w, h = round(float(np.sqrt(area * ratio))), round(float(np.sqrt(area / ratio)))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    return 0, 0, height, width


def patch_order(batch: Any, seed: int, patches: int) -> Tensor:
    """A permutation of 0..patches-1 for every image: int64 [n, patches], on the images' device."""
    draws = [np.random.default_rng([_ORDER_STREAM, seed, int(i)]).permutation(patches) for i in batch.index]
    return torch.from_numpy(np.stack(draws)).to(batch.images.device)


def teacher_of(model: Any) -> Callable[..., Any]:
    """The model's `teacher` if it has one, else the model itself."""
    teacher: Callable[..., Any] | None = getattr(model, "teacher", None)
    return model if teacher is None else teacher


def check_scale(scale: Any) -> None:
    if not (isinstance(scale, tuple) and len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1):
        raise ValueError(f"scale must be (low, high) with 0 < low <= high <= 1, got {scale!r}")


def check_ratio(ratio: Any) -> None:
    if not (isinstance(ratio, float) and 0 < ratio < 1):
        raise ValueError(f"ratio must be a float between 0 and 1, got {ratio!r}")
