"""The images that a capture is given: a tensor, or a sequence of tensors of one size, of which each is loaded once."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradkern.features._engine.fingerprint import StreamHash, fingerprint_of_image
from gradkern.features._engine.reader import Reader
from gradkern.kernels._arrays import is_dlpack_array, to_torch
from gradkern.models._spec import planes

_RECENT = 160  # images that are kept: the largest batch and the first images, which are run alone as well


class ImageSource:
    """Images by their index, checked when they are loaded, with the hash of each.

    What is a tensor, a list or a tuple is checked at once. Other sequences load an image when asked for it; they are
    asked for each image once (controls with the target of another image ask again), in one thread at a time: that of
    `read_ahead`, or the caller's, which waits for it. Errors of a sequence are raised in the caller's thread, at their
    image.

    Attributes
    ----------
    reader : the thread of `read_ahead`
    hashes : 32 hexadecimal digits for each image that was loaded, of its pixels where the sequence has `pixel_hash`

    Raises
    ------
    ValueError : no image, an image that is not [3, h, w], mixed sizes, or images that are not floating point
    """

    def __init__(self, images: Tensor | Sequence[Any]):
        if is_dlpack_array(images) and not hasattr(images, "pixel_hash"):
            images = to_torch(images, "images")[0]
        if not hasattr(images, "__len__") or not hasattr(images, "__getitem__"):
            raise ValueError(
                f"images must be [N, 3, h, w] or a sequence of [3, h, w], got {type(images).__name__}; "
                "stack its batches, or give a sequence that loads image i when asked for [i]"
            )
        if len(images) == 0:
            raise ValueError("images must hold at least one image, got none")
        self._images, self._count = images, len(images)
        self._recent: OrderedDict[int, Tensor] = OrderedDict()
        self.reader, self._kept, self._latest = Reader(), _RECENT, 0
        self._errors: dict[int, BaseException] = {}
        self._ahead: tuple[tuple[int, int], Tensor] | None = None
        self._stream: StreamHash | None = None
        self.hashes: dict[int, str] = {}
        self._hash_pixels: Callable[[int], str] | None = getattr(images, "pixel_hash", None)
        if isinstance(images, Tensor):
            if images.dim() != 4:
                raise ValueError(f"images must be [N, 3, h, w], got shape {list(images.shape)}")
            _check_floating(images)
        self._size: torch.Size | None = None
        self.load(0)
        if isinstance(images, list | tuple):
            for i in range(1, self._count):
                self._check_size(_tensor(images[i], i), i)

    def __len__(self) -> int:
        return self._count

    @property
    def hashes_are_of(self) -> str:
        """What the hashes are of: "pixels" that were read, or "prepared" images as the model is given them."""
        return "prepared" if self._hash_pixels is None else "pixels"

    def load(self, i: int) -> Tensor:
        """Image i, [3, h, w]."""
        self.reader.wait()
        return self._load(i)

    def _load(self, i: int) -> Tensor:
        if i in self._errors:
            raise self._errors.pop(i)
        self._latest = i
        image = self._loaded(i)
        if i not in self.hashes:
            self.hashes[i] = self._hash_pixels(i) if self._hash_pixels else fingerprint_of_image(image)
        if self._stream is not None:
            self._stream.add(i, image)
        return image

    def batch(self, start: int, stop: int) -> Tensor:
        """Images [start, stop) as one tensor."""
        self.reader.wait()
        ahead, self._ahead = self._ahead, None
        return ahead[1] if ahead is not None and ahead[0] == (start, stop) else self._batch(start, stop)

    def _batch(self, start: int, stop: int) -> Tensor:
        images = [self._load(i) for i in range(start, min(stop, self._count))]
        return self._images[start:stop] if isinstance(self._images, Tensor) else torch.stack(images)

    def read_ahead(self, start: int, stop: int, *, pinned: bool) -> None:
        """Begin to load the batch [start, stop) in another thread, into pinned memory for a copy to a GPU."""
        self.reader.wait()
        self._kept = _RECENT + stop - start

        def read() -> None:
            try:
                batch = self._batch(start, stop)
                self._ahead = (start, stop), batch.pin_memory() if pinned and not batch.is_cuda else batch
            except BaseException as error:  # raised when its image is asked for
                self._errors[self._latest] = error

        self.reader.start(read)

    def at(self, indices: Iterable[int]) -> Tensor:
        """Images with these indices as one tensor."""
        self.reader.wait()
        return torch.stack([self._load(i) for i in indices])

    def hash_stream(self) -> None:
        """From now on, put the images into one hash as well, in their order."""
        self._stream = StreamHash()
        self.load(0)

    def sha256(self) -> str:
        """The hash of all images, after `hash_stream`; what has not been loaded is loaded."""
        if self._stream is None:
            raise RuntimeError("hash_stream must come before the hash of all images")
        for i in range(self._stream.count, self._count):
            self.load(i)
        return self._stream.hexdigest()

    def _loaded(self, i: int) -> Tensor:
        if isinstance(self._images, Tensor):
            return self._images[i]
        if i in self._recent:
            self._recent.move_to_end(i)
            return self._recent[i]
        image = self._recent[i] = _tensor(self._images[i], i)
        self._check_size(image, i)
        if len(self._recent) > self._kept:
            self._recent.popitem(last=False)
        return image

    def _check_size(self, image: Tensor, i: int) -> None:
        self._size = self._size or image.shape
        if image.shape != self._size:
            raise ValueError(
                f"images must have one size, got {list(self._size)} for image 0 and {list(image.shape)} "
                f"for image {i}; resize them first (load_model(...).spec.preprocess does)"
            )


def rgb_image(images: Tensor | Sequence[Any], index: int) -> Tensor:
    """Image `index` as float64 [3, h, w]: floating-point images as `capture` takes them, uint8 pixels divided by 255.

    Raises
    ------
    ValueError : neither floating point [3, h, w] nor uint8 [h, w] or [h, w, 3]
    """
    image = images[index]
    is_pixels = getattr(image, "dtype", None) in (np.uint8, torch.uint8)
    return planes(image, index).double() / 255 if is_pixels else _tensor(image, index).double()


def _tensor(image: Any, index: int) -> Tensor:
    if is_dlpack_array(image):
        image = to_torch(image, f"image {index}")[0]
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
