"""The images that a command names: a folder, a dataset of an HDF5 file, or those of a data set in the package."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradkern._hdf5 import reading_hdf5
from gradkern.recordings._formats.names import name_numbers
from gradkern.recordings._readers.registry import READERS, load
from gradkern.recordings._recording import Recording
from gradkern.recordings._saved import load_recording
from gradkern.recordings._stimuli import ChosenImages, HDF5Images, folder_images
from gradkern.study._image_tables import places_of

_HDF5 = (".h5", ".hdf5")


@dataclass(frozen=True, eq=False)
class NamedImages:
    """Images that are read when they are needed, and what was left out, in words.

    Attributes
    ----------
    names : None where images have only their numbers
    numbers : of the images in their source
    """

    images: Any
    names: tuple[str, ...] | None
    numbers: Sequence[int]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def captured_names(self) -> tuple[str, ...]:
        """Names by which a capture's rows are found again: those of the images, or their numbers."""
        return name_numbers(self.numbers) if self.names is None else self.names


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
        return NamedImages(source, names, range(len(source)), tuple(left_out))
    file, _, dataset = place.rpartition(":") if not path.is_file() and ":" in place else (place, "", "")
    if Path(file).expanduser().is_file():
        return _of_hdf5(Path(file).expanduser(), dataset)
    in_package = [name for name, reader in READERS.items() if not reader.takes_path]
    if place in in_package:
        recording = load(place)
        return NamedImages(recording.images, recording.image_names, range(len(recording.images)))
    raise FileNotFoundError(
        f"--images must be a folder, FILE.h5, FILE.h5:DATASET or {' or '.join(in_package)}, got {place!r}, which is "
        "none"
    )


def shown_in(images: NamedImages, recordings: Sequence[str]) -> NamedImages:
    """The images that any of these saved recordings shows, by name or else by number, in the order of the source.

    Raises
    ------
    ValueError : images have names and those of a recording do not, or the other way round; an image that was shown is
        not there
    """
    chosen: set[int] = set()
    for file in recordings:
        chosen |= _places_shown(images, load_recording(file), file)
    order = sorted(chosen)
    note = f"{len(order)} of {len(images)} images are shown in {', '.join(recordings)}"
    names = None if images.names is None else tuple(images.names[number] for number in order)
    return NamedImages(ChosenImages(images.images, order), names, order, (*images.notes, note))


def _places_shown(images: NamedImages, recording: Recording, file: str) -> set[int]:
    """Where the images that a recording shows are in the source."""
    shown = np.unique(recording.image_ids).tolist()
    if (images.names is None) != (recording.image_names is None):
        named = ("images", f"{file} has numbers") if images.names else (file, "the images have numbers")
        raise ValueError(
            f"--shown-in must name its images as --images does, got names in {named[0]}, and {named[1]} only"
        )
    wanted = shown if recording.image_names is None else [recording.image_names[number] for number in shown]
    if images.names is None:
        places = [number if number < len(images) else None for number in shown]
    else:
        places = places_of(wanted, images.names)
    lost = [what for what, place in zip(wanted, places, strict=True) if place is None]
    if lost:
        there = f"numbers below {len(images)}" if images.names is None else f"{images.names[0]!r}, ..."
        raise ValueError(
            f"--images must hold all images that {file} shows, got none for {len(lost)} of {len(wanted)}, first "
            f"{lost[0]!r} (there are {there})"
        )
    return {place for place in places if place is not None}


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
    source = HDF5Images(path, dataset or found[0])
    return NamedImages(source, None, range(len(source)))


def _is_images(item: Any) -> bool:
    shape: tuple[int, ...] = getattr(item, "shape", ())
    dtype = getattr(item, "dtype", None)
    return len(shape) == 4 and shape[3] == 3 and dtype == np.uint8
