"""The image sets of a study: their names, their contents, and the blocks that are captured one at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from gradkern.recordings._stimuli import FileImages, HDF5Images, folder_images
from gradkern.study._toml import located
from gradkern.study.runner._contents import Contents
from gradkern.study.runner._sections import ImageSetEntry

_ROWS = 64  # of an HDF5 dataset that are hashed at once


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images that were found.

    Attributes
    ----------
    source : of the pixels, by the number of an image
    names : None for images that have only numbers
    hashes : of the contents of each image
    chosen : numbers of the images in the whole set, if `--debug` took some
    """

    entry: ImageSetEntry
    source: Any
    names: tuple[str, ...] | None
    hashes: tuple[str, ...]
    chosen: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.hashes)

    def blocks(self, size: int) -> list[tuple[int, int]]:
        """[start, stop) of blocks of images; a last one of a single image is part of the block before it."""
        starts = list(range(0, len(self), size))
        if len(starts) > 1 and len(self) - starts[-1] < 2:
            starts.pop()
        return list(zip(starts, [*starts[1:], len(self)], strict=True))

    def some(self, numbers: Sequence[int]) -> "ImageSet":
        """Some of the images."""
        source = ChosenImages(self.source, tuple(numbers))
        names = None if self.names is None else tuple(self.names[i] for i in numbers)
        return ImageSet(self.entry, source, names, tuple(self.hashes[i] for i in numbers), tuple(numbers))


@dataclass(frozen=True)
class ChosenImages:
    """Some images of a source, in an order."""

    source: Any
    numbers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, number: int) -> Any:
        return self.source[self.numbers[number]]


def open_images(path: Path, entry: ImageSetEntry, contents: Contents) -> ImageSet:
    """The images that a study file names, and their hashes.

    Raises
    ------
    FileNotFoundError, ValueError : there are none, see `folder_images`; the file and the key are named
    """
    place = path.parent / Path(entry.place).expanduser()
    if entry.dataset:
        if not place.is_file():
            raise FileNotFoundError(f"{path}: {entry.key} must be a file, but there is no {entry.place!r}")
        with located(path, entry.key):
            stored = HDF5Images(place, entry.dataset)
        key = f"images of {contents.hash_of(place)} {entry.dataset}"
        return ImageSet(entry, stored, None, tuple(contents.facts(key, lambda: _hashes(stored))))
    with located(path, entry.key):
        source, names = folder_images(place)
    return ImageSet(entry, source, names, tuple(contents.hashes_of(source.paths)))


def _hashes(images: HDF5Images) -> list[str]:
    """A hash of the pixels of each image of a dataset."""
    from gradkern._hdf5 import reading_hdf5

    hashes: list[str] = []
    with reading_hdf5(images.path) as file:
        stored = file[images.name]
        for start in range(0, len(images), _ROWS):
            rows = np.ascontiguousarray(stored[start : start + _ROWS])
            shape = f"{rows.shape[1:]}".encode()
            hashes += [blake2b(shape + row.tobytes(), digest_size=16).hexdigest() for row in rows]
    return hashes


def folder_of(images: ImageSet) -> str:
    """The folder that the files of a set lie in, as the study file has it; "" for a dataset."""
    return images.entry.place if isinstance(images.source, FileImages) else ""
