"""Image sources: images by number, read when asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class HDF5Images:
    """Images [count, h, w, 3] of a dataset in an HDF5 file, such as NSD's bricks."""

    def __init__(self, path: Path, name: str) -> None:
        import h5py

        with h5py.File(path) as file:
            if name not in file:
                raise ValueError(f"HDF5Images: {path} must hold {name!r}, got {sorted(file)}")
            self.shape, dtype = tuple(file[name].shape), file[name].dtype
        if len(self.shape) != 4 or self.shape[3] != 3 or dtype != np.uint8:
            raise ValueError(
                f"HDF5Images: {name!r} of {path} must be uint8 [images, h, w, 3], got {dtype} {list(self.shape)}"
            )
        self.path, self.name = path, name

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        import h5py

        with h5py.File(self.path) as file:
            image: NDArray[np.uint8] = file[self.name][range(len(self))[number]]
        return image


class FileImages:
    """One file an image, in this order; uint8 [h, w, 3]."""

    def __init__(self, paths: Sequence[Any]) -> None:
        self.paths = tuple(Path(path) for path in paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        from PIL import Image

        with Image.open(self.paths[number]) as image:
            return np.asarray(image.convert("RGB"))
