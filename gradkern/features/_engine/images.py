"""The images that a capture is given: one tensor, or a sequence of tensors of one size."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradkern.models._spec import planes


def check_images(images: Tensor | Sequence[Any]) -> int:
    """Check the images and count them.

    Raises
    ------
    ValueError : no image, an image that is not [3, h, w], mixed sizes, or images that are not floating point
    """
    if not hasattr(images, "__len__") or not hasattr(images, "__getitem__"):
        raise ValueError(
            f"images must be [N, 3, h, w] or a sequence of [3, h, w], got {type(images).__name__}; "
            "stack its batches, or give a sequence that loads image i when asked for [i]"
        )
    if len(images) == 0:
        raise ValueError("images must hold at least one image, got none")
    if isinstance(images, Tensor):
        if images.dim() != 4:
            raise ValueError(f"images must be [N, 3, h, w], got shape {list(images.shape)}")
        _check_floating(images)
        return len(images)
    first = _tensor(images[0], 0)
    for i in range(1, len(images)):
        image = _tensor(images[i], i)
        if image.shape != first.shape:
            raise ValueError(
                f"images must have one size, got {list(first.shape)} for image 0 and {list(image.shape)} "
                f"for image {i}; resize them first (load_model(...).spec.preprocess does)"
            )
    return len(images)


def image_batch(images: Tensor | Sequence[Any], start: int, stop: int) -> Tensor:
    """Images [start, stop) as one tensor."""
    if isinstance(images, Tensor):
        return images[start:stop]
    return images_at(images, range(start, stop))


def images_at(images: Tensor | Sequence[Any], indices: Iterable[int]) -> Tensor:
    """Images with these indices as one tensor."""
    return torch.stack([_tensor(images[i], i) for i in indices])


def rgb_image(images: Tensor | Sequence[Any], index: int) -> Tensor:
    """Image `index` as float64 [3, h, w]: floating-point images as `capture` takes them, uint8 pixels divided by 255.

    Raises
    ------
    ValueError : neither floating point [3, h, w] nor uint8 [h, w] or [h, w, 3]
    """
    image = images[index]
    is_pixels = getattr(image, "dtype", None) in (np.uint8, torch.uint8)
    return planes(np.asarray(image), index).double() / 255 if is_pixels else _tensor(image, index).double()


def _tensor(image: Any, index: int) -> Tensor:
    if not isinstance(image, Tensor | np.ndarray):
        raise ValueError(f"image {index} must be a tensor [3, h, w], got {type(image).__name__}")
    tensor = torch.as_tensor(image)
    if tensor.dim() != 3:
        raise ValueError(f"image {index} must be [3, h, w], got shape {list(tensor.shape)}")
    _check_floating(tensor)
    return tensor


def _check_floating(images: Tensor) -> None:
    if not images.is_floating_point():
        raise ValueError(
            f"images must be floating point and preprocessed, got {images.dtype} "
            "(load_model(...).spec.preprocess does it)"
        )
