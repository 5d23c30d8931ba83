"""Image sources, which read an image by its number when it is needed, and images that they hold twice."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern._hdf5 import check_self_contained, reading_hdf5
from gradkern._image_names import canonical
from gradkern._pixels import ENDINGS, OTHER_ENDINGS, read_pixels
from gradkern.errors import Refused, naming
from gradkern.recordings._formats.files import Folder
from gradkern.recordings._recording import Recording

_THINGS = "https://osf.io/jum2f (the password is on that page)"


class HDF5Images:
    """Images [count, h, w, 3] in a dataset of an HDF5 file, such as NSD's stimuli.

    Raises
    ------
    ValueError : the file is not HDF5, or has no such dataset of uint8
    """

    @naming("HDF5Images")
    def __init__(self, path: Any, name: str) -> None:
        with reading_hdf5(path) as file:
            check_self_contained(path, file)
            if name not in file:
                raise ValueError(f"{path} must hold {name!r}, got {sorted(map(str, file))}")
            self.shape, dtype = tuple(file[name].shape), file[name].dtype
        if len(self.shape) != 4 or self.shape[3] != 3 or dtype != np.uint8:
            raise ValueError(f"{name!r} of {path} must be uint8 [images, h, w, 3], got {dtype} {list(self.shape)}")
        self.path, self.name = path, name

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        with reading_hdf5(self.path) as file:
            image: NDArray[np.uint8] = file[self.name][range(len(self))[number]]
        return image


class FileImages:
    """Images uint8 [h, w, 3] in files, one per image, in this order; `folder_images` finds all of a folder.

    Pixels are as a viewer shows them: turned as the EXIF orientation says. `names` are those of the images, which a
    `Recording` compares with its own; by default the names of the files. `excluded` counts what a folder had besides.

    Raises
    ------
    ValueError : when an image is read: it is not an image, is damaged, has more than 8 bits per channel or colors that
        are neither gray, RGB, CMYK nor a palette, is animated, or has transparent pixels, whose color is unknown
    """

    @naming("FileImages")
    def __init__(
        self, paths: Sequence[Any], names: Sequence[str] | None = None, excluded: tuple[Excluded, ...] = ()
    ) -> None:
        self.paths = tuple(Path(path) for path in paths)
        if names is not None and len(names) != len(self.paths):
            raise ValueError(f"names must be those of {len(self.paths)} paths, got {len(names)}")
        self.names = tuple(canonical(str(name)) for name in names or [path.name for path in self.paths])
        self.excluded = excluded

    def __len__(self) -> int:
        return len(self.paths)

    @naming("FileImages")
    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        return read_pixels(self.paths[number])


@dataclass(frozen=True, eq=False)
class ChosenImages:
    """The images of a source with these numbers, in this order, each read when it is asked for."""

    images: Any
    numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, number: int) -> Any:
        return self.images[self.numbers[number]]


@naming("folder_images")
def folder_images(folder: Any) -> tuple[FileImages, tuple[str, ...]]:
    """The images of a folder and its subfolders in the order of their names: the image source, and the names.

    Names are paths inside the folder, such as "aardvark/aardvark_01b.jpg", in Unicode's composed form; their order
    gives the image ids. Pass both to a `Recording`. Linked folders are followed. What is no image is counted in the
    source's `excluded`; what begins with a dot is not looked at.

    Raises
    ------
    FileNotFoundError : there is no such folder, no image in it, or an image is a link to a file that is missing
    ValueError : an image is of a kind that is not read (.heic, .svg, ...), or two names are the same
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"folder must be a directory, got {str(folder)!r}")
    files = _files_below(root)
    images = {name: path for name, path in files.items() if name.lower().endswith(ENDINGS)}
    unread = sorted(name for name in files if name.lower().endswith(OTHER_ENDINGS))
    if unread:
        raise ValueError(f"{root} must hold images ({' '.join(ENDINGS)}), got {len(unread)} others, first {unread[0]}")
    if not images:
        raise FileNotFoundError(f"{root} must hold images ({' '.join(ENDINGS)}), got {len(files)} others")
    dangling = sorted(name for name, path in images.items() if not path.is_file())
    if dangling:
        raise FileNotFoundError(
            f"{len(dangling)} of {len(images)} images in {root} are links to files that are missing (datalad get or "
            f"git annex get fetches those of git-annex), first {dangling[0]}"
        )
    besides = len(files) - len(images)
    excluded = (Excluded("files", besides, "not images by their names"),) if besides else ()
    names = tuple(sorted(images))
    return FileImages([images[name] for name in names], names, excluded), names


def _files_below(root: Path) -> dict[str, Path]:
    """Files by their names inside a folder, those of linked folders too; links that lead nowhere are among them."""
    files: dict[str, Path] = {}
    seen = {root.resolve()}
    for home, folders, names in os.walk(root, followlinks=True):
        below = [name for name in sorted(folders) if not name.startswith(".")]
        new = {name: (Path(home) / name).resolve() for name in below}
        folders[:] = [name for name in below if new[name] not in seen and new[name] not in Path(home).resolve().parents]
        seen |= {new[name] for name in folders}
        for name in sorted(names):
            path = Path(home) / name
            key = canonical(path.relative_to(root).as_posix())
            if key in files:
                raise ValueError(f"{root} must have one file by each name, got {key!r} in two forms of Unicode")
            if not name.startswith("."):
                files[key] = path
    return files


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

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from gradkern.recordings import Recording, same_pictures
    >>> images = np.zeros((3, 4, 4, 3), np.uint8)
    >>> images[1] = 255
    >>> table, label = pd.DataFrame({"image": [0, 1, 2]}), pd.DataFrame({"label": ["v"]})
    >>> same_pictures(Recording(np.ones((3, 1)), table, label, "s", "u", images=images))
    ((0, 2),)
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
