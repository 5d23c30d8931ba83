"""Image sources, which read an image by its number when it is needed, and images that they hold twice."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.errors import Refused, naming
from gradkern.recordings._formats.files import Folder
from gradkern.recordings._recording import Recording

_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")
_MODES = ("1", "L", "P", "RGB", "CMYK", "YCbCr", "LA", "PA", "RGBA")  # 8 bits or fewer a channel
_OPAQUE = 255
_THINGS = "https://osf.io/jum2f (the password is on that page)"


class HDF5Images:
    """Images [count, h, w, 3] in a dataset of an HDF5 file, such as NSD's stimuli.

    Raises
    ------
    ValueError : the file is not HDF5, or has no such dataset of uint8
    """

    @naming("HDF5Images")
    def __init__(self, path: Any, name: str) -> None:
        import h5py

        try:
            with h5py.File(path) as file:
                if name not in file:
                    raise ValueError(f"{path} must hold {name!r}, got {sorted(file)}")
                self.shape, dtype = tuple(file[name].shape), file[name].dtype
        except OSError as error:
            raise ValueError(f"{path} cannot be read as HDF5: {error} (is it cut short?)") from error
        if len(self.shape) != 4 or self.shape[3] != 3 or dtype != np.uint8:
            raise ValueError(f"{name!r} of {path} must be uint8 [images, h, w, 3], got {dtype} {list(self.shape)}")
        self.path, self.name = path, name

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        import h5py

        with h5py.File(self.path) as file:
            image: NDArray[np.uint8] = file[self.name][range(len(self))[number]]
        return image


class FileImages:
    """Images uint8 [h, w, 3] in files, one per image, in this order; `folder_images` finds all of a folder.

    Raises
    ------
    ValueError : when an image is read: it is not an image, is cut short, has more than 8 bits per channel, or has
        transparent pixels, whose color is unknown
    """

    def __init__(self, paths: Sequence[Any]) -> None:
        self.paths = tuple(Path(path) for path in paths)

    def __len__(self) -> int:
        return len(self.paths)

    @naming("FileImages")
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
        except (OSError, SyntaxError) as error:  # which PIL raises for broken files
            raise ValueError(f"{path} cannot be read as an image: {error} (is it cut short?)") from error
        if mode not in _MODES:
            raise ValueError(f"{path} must have 8 bits a channel, got PIL's mode {mode!r}")
        if alpha != _OPAQUE:
            raise ValueError(f"{path} must be opaque, got alpha down to {alpha}; put it on its background")
        return pixels


@naming("folder_images")
def folder_images(folder: Any) -> tuple[FileImages, tuple[str, ...]]:
    """The images of a folder and its subfolders in the order of their names: the image source, and the names.

    Names are paths inside the folder, such as "aardvark/aardvark_01b.jpg"; their order gives the image ids. Pass both
    to a `Recording`. Other files, and those whose names begin with a dot, are ignored.

    Raises
    ------
    FileNotFoundError : there is no such folder, or no image in it
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"folder must be a directory, got {str(folder)!r}")
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    names = sorted(
        name
        for name in files
        if name.lower().endswith(_ENDINGS) and not any(part.startswith(".") for part in name.split("/"))
    )
    if not names:
        raise FileNotFoundError(f"{root} must hold images ({' '.join(_ENDINGS)}), got {len(files)} others")
    return FileImages([files[name] for name in names]), tuple(names)


@naming("things_images")
def things_images(folder: Any, names: Sequence[str], concepts: Sequence[str]) -> FileImages:
    """THINGS images, which lie in one folder per concept, by the names of the images and their concepts.

    Raises
    ------
    FileNotFoundError : an image is missing; the message names it and says where to get it
    """
    data = Folder(folder, _THINGS)
    files = [PurePosixPath(name.replace("\\", "/")).name for name in names]
    return FileImages([data.file(f"{concept}/{file}") for concept, file in zip(concepts, files, strict=True)])


@naming("same_pictures")
def same_pictures(recording: Recording) -> tuple[tuple[int, ...], ...]:
    """Ids of the images shown that are the same picture, pixel by pixel: a tuple for every picture with several ids.

    Every image shown is read once. A picture that was encoded again, or cropped differently, counts as another.

    Raises
    ------
    Refused : the recording has no images
    """
    if recording.images is None:
        raise Refused("the recording must have images, got none")
    ids: dict[bytes, list[int]] = {}
    for number in np.unique(recording.image_ids).tolist():
        image = np.ascontiguousarray(recording.images[number])
        digest = blake2b(f"{image.dtype} {image.shape}".encode(), digest_size=16)
        digest.update(image.data)
        ids.setdefault(digest.digest(), []).append(number)
    return tuple(tuple(group) for group in ids.values() if len(group) > 1)


def merge_pictures(recording: Recording) -> Recording:
    """The recording with one id, the lowest, for the same picture, so that its presentations are repeats.

    Raises
    ------
    Refused : the recording has no images
    """
    groups = same_pictures(recording)
    lowest = {number: group[0] for group in groups for number in group[1:]}
    if not lowest:
        return recording
    ids = recording.presentations["image"].replace(lowest)
    return replace(
        recording,
        presentations=recording.presentations.assign(image=ids),
        history=(*recording.history, f"{len(lowest)} ids of images became those of the same picture"),
    )
