"""Image sources: images by number, read when asked for."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.recordings._formats.files import Folder

_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")
_MODES = ("1", "L", "P", "RGB", "CMYK", "YCbCr", "LA", "PA", "RGBA")  # 8 bits or fewer a channel
_OPAQUE = 255
_THINGS = "https://osf.io/jum2f (the password is on that page)"


class HDF5Images:
    """Images [count, h, w, 3] of a dataset in an HDF5 file, such as NSD's bricks; each is read when asked for.

    Raises
    ------
    ValueError : no HDF5 file, or no such dataset of uint8
    """

    def __init__(self, path: Any, name: str) -> None:
        import h5py

        try:
            with h5py.File(path) as file:
                if name not in file:
                    raise ValueError(f"HDF5Images: {path} must hold {name!r}, got {sorted(file)}")
                self.shape, dtype = tuple(file[name].shape), file[name].dtype
        except OSError as error:
            raise ValueError(f"HDF5Images: {path} cannot be read as HDF5: {error} (is it cut short?)") from error
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
    """One file an image, in this order; uint8 [h, w, 3]. `folder_images` takes all of a folder.

    Raises
    ------
    ValueError : when an image is asked for: no image, cut short, more than 8 bits a channel, or pixels one can see
        through, whose colour is not known
    """

    def __init__(self, paths: Sequence[Any]) -> None:
        self.paths = tuple(Path(path) for path in paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        from PIL import Image

        path = self.paths[number]
        try:
            with Image.open(path) as image:
                image.load()
                mode, alpha = image.mode, image.convert("RGBA").getchannel("A").getextrema()[0]
                pixels = np.asarray(image.convert("RGB"))
        except FileNotFoundError:
            raise
        except (OSError, SyntaxError) as error:  # PIL's own of broken files
            raise ValueError(f"FileImages: {path} cannot be read as an image: {error} (is it cut short?)") from error
        if mode not in _MODES:
            raise ValueError(f"FileImages: {path} must have 8 bits a channel, got PIL's mode {mode!r}")
        if alpha != _OPAQUE:
            raise ValueError(f"FileImages: {path} must be opaque, got alpha down to {alpha}; put it on its background")
        return pixels


def folder_images(folder: Any) -> tuple[FileImages, tuple[str, ...]]:
    """All images of a folder and those inside it, in the order of their names: the source, and the names.

    Names are paths inside the folder, as "aardvark/aardvark_01b.jpg"; an image's id is its place among them. Give both
    to a `Recording`. Other files, and those whose names begin with a dot, are passed over.

    Raises
    ------
    FileNotFoundError : no such folder, or no images in it
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"folder_images: folder must be a directory, got {str(folder)!r}")
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    names = sorted(
        name
        for name in found
        if name.lower().endswith(_ENDINGS) and not any(part.startswith(".") for part in name.split("/"))
    )
    if not names:
        raise FileNotFoundError(
            f"folder_images: {root} must hold images ({' '.join(_ENDINGS)}), got {len(found)} others"
        )
    return FileImages([found[name] for name in names]), tuple(names)


def things_images(op: str, folder: Any, names: Sequence[str], concepts: Sequence[str]) -> FileImages:
    """Of every name the file of that name in its concept's folder, as the THINGS images lie.

    Raises
    ------
    FileNotFoundError : one is missing; it is named, and where to get it
    """
    data = Folder(op, folder, _THINGS)
    files = [PurePosixPath(name.replace("\\", "/")).name for name in names]
    return FileImages([data.file(f"{concept}/{file}") for concept, file in zip(concepts, files, strict=True)])
