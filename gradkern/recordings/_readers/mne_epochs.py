"""Epochs of mne as recordings: a target is a sensor at a time, and samples stay in the file until they are needed."""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern.recordings._formats.files import fingerprint
from gradkern.recordings._lazy import Responses, Scaled, Whole
from gradkern.recordings._out_of_core import FileRows
from gradkern.recordings._readers.making import Making
from gradkern.recordings._recording import Recording

# of the FIFF format
_EPOCHS, _MATRIX = 302, 1 << 30
_FLOATS: dict[int, np.dtype[Any]] = {4: np.dtype(">f4"), 5: np.dtype(">f8")}


def load_epochs(path: Any, image: str, *, subject: str, units: str, images: Any = None) -> Recording:
    """Epochs of a -epo.fif file and those it goes on in, read when they are needed.

    Parameters
    ----------
    path : the first file; mne knows the others by their names
    image : column of the epochs' metadata that names the image; ids are places among the names in order
    subject, units : words
    images : the image source, in the order of the names

    Returns
    -------
    Recording : [epochs, sensors x times], all times of a sensor in a row; the metadata are columns of `presentations`.
        Of a file that `save_epochs` wrote, what was done to the raw data is in `history` and `excluded`, and
        `provenance` tells "onset", where onsets come from, and "units"

    Raises
    ------
    FileNotFoundError : no such file
    ValueError : no epochs of float32 or float64 in it, cut short, or no such metadata
    """
    op, first = "load_epochs", Path(path).expanduser()
    if not first.is_file():
        raise FileNotFoundError(f"{op}: path must be a file, got {str(path)!r}")
    epochs = _open(op, first)
    names = _metadata(op, epochs, image, str(first))
    channels, times = len(epochs.ch_names), len(epochs.times)
    files = [first, *continued(first)]
    responses: Responses = FileRows([_map(op, each, channels * times) for each in files])
    if responses.shape[0] != len(epochs):
        raise ValueError(
            f"{op}: {first} must hold {len(epochs)} epochs, got {responses.shape[0]} in {len(files)} files"
        )
    cals = np.array([channel["cal"] * channel.get("scale", 1.0) for channel in epochs.info["chs"]])
    if (cals != 1).any():
        responses = Scaled(responses, np.repeat(cals, times))
    found = _recording(responses, epochs, names, subject, units, images)
    hashes = {each.name: fingerprint(each) for each in files}
    return replace(found, provenance={**found.provenance, "files": hashes})


def from_epochs(epochs: Any, image: str, *, subject: str, units: str, images: Any = None) -> Recording:
    """Epochs of mne that are in memory, or will be: see `load_epochs`."""
    op = "from_epochs"
    names = _metadata(op, epochs, image, "epochs")
    values = epochs.get_data(copy=False)
    return _recording(Whole(values.reshape(len(values), -1)), epochs, names, subject, units, images)


def _recording(
    responses: Responses, epochs: Any, names: NDArray[Any], subject: str, units: str, images: Any
) -> Recording:
    known, ids = np.unique(names, return_inverse=True)
    metadata = epochs.metadata.reset_index(drop=True)
    clash = [name for name in ("image", "repeats") if name in metadata]
    presentations = metadata.rename(columns={name: f"metadata_{name}" for name in clash}).assign(image=ids)
    sensors, times = np.array(epochs.ch_names), np.asarray(epochs.times)
    sensor, time = np.repeat(sensors, len(times)), np.tile(times, len(sensors))
    labels = [f"{name} {1000 * at:g} ms" for name, at in zip(sensor, time, strict=True)]
    made = Making.read(epochs.info["description"])
    return Recording(
        responses=responses,
        presentations=presentations,
        targets=pd.DataFrame({"label": labels, "sensor": sensor, "time": time}),
        subject=subject,
        units=units,
        space="sensors",
        images=images,
        image_names=tuple(map(str, known)),
        excluded=tuple(Excluded("presentations", *each) for each in made.excluded) if made else (),
        history=(
            *(made.history if made else ()),
            f"{len(names)} epochs, {times[0]:g} to {times[-1]:g} s at {epochs.info['sfreq']:g} Hz",
        ),
        provenance={"onset": made.onset, "units": made.units, "raw_files": made.files} if made else {},
    )


def _open(op: str, path: Path) -> Any:
    import mne

    try:
        return mne.read_epochs(path, proj=False, preload=False, verbose="error")
    except Exception as error:
        why = f"{type(error).__name__} {error}".strip()  # some of mne's say nothing
        parts = ", ".join(each.name for each in continued(path)) or "none"
        raise ValueError(
            f"{op}: {path} cannot be read as epochs: {why} (is it cut short, or one of the files it goes on in? "
            f"There: {parts})"
        ) from error


def _metadata(op: str, epochs: Any, image: str, where: str) -> NDArray[Any]:
    if epochs.metadata is None or image not in epochs.metadata:
        known = None if epochs.metadata is None else list(epochs.metadata.columns)
        raise ValueError(f"{op}: the metadata of {where} must have the column {image!r}, got {known}")
    names: NDArray[Any] = epochs.metadata[image].to_numpy()
    if pd.isna(names).any():
        raise ValueError(f"{op}: {image!r} must name an image for every epoch, got none for {pd.isna(names).sum()}")
    return names.astype(str)


def continued(first: Path) -> list[Path]:
    """x-epo-1.fif, x-epo-2.fif, ... of x-epo.fif."""
    found: list[Path] = []
    while (path := first.with_name(f"{first.stem}-{len(found) + 1}.fif")).is_file():
        found.append(path)
    return found


def _map(op: str, path: Path, width: int) -> NDArray[Any]:
    """The epochs of one file [n, width], mapped."""
    position, size = 0, path.stat().st_size
    with path.open("rb") as file:
        while position + 16 <= size:
            file.seek(position)
            kind, form, length, following = struct.unpack(">4i", file.read(16))
            if kind == _EPOCHS:
                return _mapped(op, path, position + 16, form & ~_MATRIX, length, width)
            if following < 0:
                break
            position = following or position + 16 + length
    raise ValueError(f"{op}: {path} holds no epochs")


def _mapped(op: str, path: Path, start: int, form: int, length: int, width: int) -> NDArray[Any]:
    if form not in _FLOATS:
        raise ValueError(f"{op}: {path} must hold real float32 or float64 epochs, got type {form} of FIFF")
    dtype = _FLOATS[form]
    count = (length - 16) // (dtype.itemsize * width)  # the last 16 bytes are the shape
    if count * width * dtype.itemsize + 16 != length:
        raise ValueError(f"{op}: {path} must hold epochs of {width} samples, got {length - 16} bytes")
    if path.stat().st_size < start + length:
        raise ValueError(f"{op}: {path} is cut short: {path.stat().st_size} bytes, {start + length} expected")
    return np.memmap(path, dtype, "r", start, (count, width))
