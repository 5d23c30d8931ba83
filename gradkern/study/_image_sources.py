"""The images that a command names: a folder, a dataset of an HDF5 file, or those of a data set in the package."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradkern.recordings._formats.hdf5 import reading_hdf5
from gradkern.recordings._readers.registry import READERS, load
from gradkern.recordings._saved import load_recording
from gradkern.recordings._stimuli import ChosenImages, HDF5Images, folder_images
from gradkern.study._image_tables import places_of

_HDF5 = (".h5", ".hdf5")


@dataclass(frozen=True, eq=False)
class NamedImages:
    """Images that are read when they are needed, their names, and what was left out, in words.

    Attributes
    ----------
    names : None where images have numbers only
    """

    images: Any
    names: tuple[str, ...] | None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)


def images_at(place: str) -> NamedImages:
    """The images of a folder, of FILE.h5 or FILE.h5:DATASET, or of a data set in the package, by its name.

    Raises
    ------
    FileNotFoundError : there is nothing
    ValueError : an HDF5 file holds no images, several datasets of images, or a saved recording
    """
    path = Path(place).expanduser()
    if path.is_dir():
        source, names = folder_images(path)
        left_out = [f"left out {entry.count} {entry.what}: {entry.reason}" for entry in source.excluded]
        return NamedImages(source, names, tuple(left_out))
    file, _, dataset = place.rpartition(":") if not path.is_file() and ":" in place else (place, "", "")
    if Path(file).expanduser().is_file():
        return _of_hdf5(Path(file).expanduser(), dataset)
    in_package = [name for name, reader in READERS.items() if not reader.takes_path]
    if place in in_package:
        recording = load(place)
        return NamedImages(recording.images, recording.image_names)
    raise FileNotFoundError(
        f"--images must be a folder, FILE.h5, FILE.h5:DATASET or {' or '.join(in_package)}, got {place!r}, which is "
        "none"
    )


def shown_in(images: NamedImages, recordings: Sequence[str]) -> NamedImages:
    """The images that any of these saved recordings shows, in the order of the source.

    Raises
    ------
    ValueError : the images or those of a recording have no names, or an image that was shown is not there
    """
    if images.names is None:
        raise ValueError(
            "--shown-in must be left out for images without names: recordings then know them by their place, so that "
            "all must be captured"
        )
    chosen: set[int] = set()
    for file in recordings:
        recording = load_recording(file)
        if recording.image_names is None:
            raise ValueError(f"--shown-in must be recordings that name their images, got {file}, which does not")
        wanted = [recording.image_names[number] for number in np.unique(recording.image_ids)]
        places = places_of(wanted, images.names)
        lost = [name for name, where in zip(wanted, places, strict=True) if where is None]
        if lost:
            raise ValueError(
                f"--images must hold all images that {file} shows, got none for {len(lost)} of {len(wanted)}, first "
                f"{lost[0]!r} (the first there is {images.names[0]!r})"
            )
        chosen |= {where for where in places if where is not None}
    order = sorted(chosen)
    note = f"{len(order)} of {len(images)} images are shown in {', '.join(recordings)}"
    names = tuple(images.names[number] for number in order)
    return NamedImages(ChosenImages(images.images, order), names, (*images.notes, note))


def _of_hdf5(path: Path, dataset: str) -> NamedImages:
    if path.suffix.lower() not in _HDF5:
        raise ValueError(f"--images must be a folder or an HDF5 file ({' '.join(_HDF5)}), got {path}")
    with reading_hdf5(path) as file:
        kind = file.attrs.get("format")
        found: list[str] = []
        file.visititems(lambda name, item: found.append(name) if _is_images(item) else None)
    if kind is not None and "recording" in str(kind):
        raise ValueError(
            f"--images must hold images, got the saved recording {path}, which holds responses; give the folder or "
            f"file of its images, and --shown-in {path} to capture those that it shows"
        )
    if not dataset and len(found) != 1:
        got = f"{', '.join(found)}; say which by {path}:DATASET" if found else "none"
        raise ValueError(f"--images must hold one dataset of images, uint8 [images, h, w, 3], got {got}")
    return NamedImages(HDF5Images(path, dataset or found[0]), None)


def _is_images(item: Any) -> bool:
    shape: tuple[int, ...] = getattr(item, "shape", ())
    dtype = getattr(item, "dtype", None)
    return len(shape) == 4 and shape[3] == 3 and dtype == np.uint8
