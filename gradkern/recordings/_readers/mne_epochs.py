"""Epochs of mne as recordings: a target is a sensor at a time, and samples stay in the file until they are needed."""

import json
import re
import struct
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern.errors import naming
from gradkern.recordings._formats.files import existing_file, fingerprint
from gradkern.recordings._formats.names import is_missing, numbered_images
from gradkern.recordings._formats.packed import check_packed, is_packed
from gradkern.recordings._maps.sensors import Sensors
from gradkern.recordings._recording import Recording
from gradkern.recordings._responses.lazy import Responses, Scaled, Whole
from gradkern.recordings._responses.out_of_core import FileRows
from gradkern.recordings._targets import sensor_targets

# numbers of the FIFF format
_EPOCHS, _MATRIX = 302, 1 << 30
_FLOATS: dict[int, np.dtype[Any]] = {4: np.dtype(">f4"), 5: np.dtype(">f8")}
_OPENS = '{"gradkern epochs": '
_SPLIT, _PART = (
    re.compile(r"_split-(\d+)_"),
    re.compile(r"([-_]epo)-(\d+)\.fif(\.gz)?$"),
)  # files that mne splits, both namings
_STORED_IN = {"T": 112, "V": 107, "T/m": 201}  # FIFF's units, in which mne keeps samples
_PREFIXED = {"fT": "T", "pT": "T", "nT": "T", "uV": "V", "µV": "V", "mV": "V", "fT/cm": "T/m", "pT/m": "T/m"}


@dataclass(frozen=True)
class EpochProvenance:
    """How epochs were made from raw data, written as JSON into `info["description"]` of mne's epochs.

    Parameters
    ----------
    onset : what onsets were measured by
    units : of the samples
    history : steps of the preprocessing, in words
    excluded : how many presentations have no epoch, and why
    files : fingerprints of the raw files, by their paths in the data set
    """

    onset: str
    units: str
    history: tuple[str, ...]
    excluded: tuple[tuple[int, str], ...] = ()
    files: dict[str, str] = field(default_factory=dict)

    def to_description(self) -> str:
        return f"{_OPENS}{json.dumps(asdict(self))}}}"

    @classmethod
    def from_description(cls, description: Any) -> Self | None:
        """None if the description was written by other software."""
        if not isinstance(description, str) or not description.startswith(_OPENS):
            return None
        content = json.loads(description)["gradkern epochs"]
        excluded = tuple((count, reason) for count, reason in content["excluded"])
        return cls(content["onset"], content["units"], tuple(content["history"]), excluded, content["files"])


@naming("load_epochs")
def load_epochs(path: Any, image: str, *, subject: str, units: str, images: Any = None) -> Recording:
    """Epochs of a -epo.fif file and of the further files it was split into, read when they are needed.

    A packed file (-epo.fif.gz) cannot be read in parts, so it is held in memory.

    Parameters
    ----------
    path : the first file; the others are found by their names, x-epo-1.fif or x_split-02_epo.fif
    image : column of the epochs' metadata that names the image; ids number the names in their order. Whole numbers are
        ids themselves
    subject : a word
    units : in words; mne keeps samples in T, V or T/m, so that fT or uV are an error
    images : the image source, in the order of the names

    Returns
    -------
    Recording : [epochs, sensors x times], all times of a sensor in a row; metadata are columns of `presentations`. If
        `save_epochs` wrote the file, the preprocessing is in `history` and `excluded`, and `provenance` has "onset"
        (what onsets were measured by) and "units"

    Raises
    ------
    FileNotFoundError : there is no such file
    ValueError : the file holds no epochs of float32 or float64, is damaged, is not the first of several, or its
        metadata lack the column or have two images at one onset
    """
    first = _first(existing_file(path))
    epochs = _open(first)
    names = _metadata(epochs, image, str(first))
    channels, times = len(epochs.ch_names), len(epochs.times)
    files = [first, *continued(first)]
    if is_packed(first):
        held = from_epochs(_loaded(epochs), image, subject=subject, units=units, images=images)
        return replace(held, provenance={**held.provenance, "files": {file.name: fingerprint(file) for file in files}})
    responses: Responses = FileRows([_map(file, channels * times) for file in files])
    if responses.shape[0] != len(epochs):
        raise ValueError(f"{first} must hold {len(epochs)} epochs, got {responses.shape[0]} in {len(files)} files")
    cals = np.array([channel["cal"] * channel.get("scale", 1.0) for channel in epochs.info["chs"]])
    if (cals != 1).any():
        responses = Scaled(responses, np.repeat(cals, times))
    recording = _recording(responses, epochs, names, subject, units, images)
    hashes = {file.name: fingerprint(file) for file in files}
    return replace(recording, provenance={**recording.provenance, "files": hashes})


@naming("from_epochs")
def from_epochs(epochs: Any, image: str, *, subject: str, units: str, images: Any = None) -> Recording:
    """Epochs of mne, which are held in memory: see `load_epochs`."""
    names = _metadata(epochs, image, "epochs")
    values = epochs.get_data(copy=False)
    return _recording(Whole(values.reshape(len(values), -1)), epochs, names, subject, units, images)


def _recording(
    responses: Responses, epochs: Any, names: NDArray[Any], subject: str, units: str, images: Any
) -> Recording:
    ids, image_names = numbered_images(names)
    metadata = epochs.metadata.reset_index(drop=True)
    _check_units(epochs, units)
    _check_onsets(metadata)
    clash = [name for name in ("image", "repeats") if name in metadata]
    presentations = metadata.rename(columns={name: f"metadata_{name}" for name in clash}).assign(image=ids)
    times = np.asarray(epochs.times)
    origin = EpochProvenance.from_description(epochs.info["description"])
    return Recording(
        responses=responses,
        presentations=presentations,
        targets=sensor_targets(epochs.ch_names, times),
        subject=subject,
        units=units,
        space="sensors",
        images=images,
        image_names=image_names,
        excluded=tuple(Excluded("presentations", *entry) for entry in origin.excluded) if origin else (),
        history=(
            *(origin.history if origin else ()),
            f"{len(names)} epochs, {times[0]:g} to {times[-1]:g} s at {epochs.info['sfreq']:g} Hz",
        ),
        provenance={"onset": origin.onset, "units": origin.units, "raw_files": origin.files} if origin else {},
        geometry=Sensors.of_info(epochs.info, times),
    )


def _first(path: Path) -> Path:
    """The path, unless it is a later one of several files."""
    split, part = _SPLIT.search(path.name), _PART.search(path.name)
    if split is not None and int(split.group(1)) > 1:
        first = path.name.replace(split.group(0), f"_split-{1:0{len(split.group(1))}d}_")
    elif part is not None:
        first = path.name.replace(part.group(0), f"{part.group(1)}.fif{part.group(3) or ''}")
    else:
        return path
    raise ValueError(f"path must be the first of several files, {first}, got {path.name}")


def _check_units(epochs: Any, units: str) -> None:
    """Raise a ValueError if units are not those that the channels state."""
    stated = {int(channel["unit"]) for channel in epochs.info["chs"]}
    names = [name for name, number in _STORED_IN.items() if number in stated]
    wanted = _PREFIXED.get(units, units)
    if units in _PREFIXED or (units in _STORED_IN and names and wanted not in names):
        raise ValueError(
            f"units must be those that the channels state, {' or '.join(names) or 'none'}, in which mne keeps samples, "
            f"got {units!r}"
        )


def _check_onsets(metadata: pd.DataFrame) -> None:
    """Raise a ValueError if one run shows something at one onset twice."""
    known = [name for name in ("session", "session_nr", "ses", "run", "run_nr", "block") if name in metadata]
    for when in ("sample", "onset"):
        if when in metadata and known:
            timed = pd.to_numeric(metadata[when], errors="coerce") >= 0  # negative and missing ones are no times
            where = metadata.loc[timed, [*known, when]]
            twice = np.flatnonzero(where.duplicated())
            if len(twice):
                row = where.iloc[twice[0]].to_dict()
                raise ValueError(f"metadata must have one epoch at an onset, got {len(twice)} twice, first at {row}")


def _open(path: Path) -> Any:
    import mne

    for part in (path, *continued(path)):
        check_packed(part)
    try:
        return mne.read_epochs(path, proj=False, preload=False, verbose="error")
    except Exception as error:
        reason = f"{type(error).__name__} {error}".strip()  # some errors of mne have no message
        parts = ", ".join(part.name for part in continued(path)) or "none"
        raise ValueError(
            f"{path} cannot be read as epochs: {reason} (is it cut short, or is one of the files it was split into? "
            f"There: {parts})"
        ) from error


def _loaded(epochs: Any) -> Any:
    """The epochs in memory; mne would say so on the terminal."""
    import mne

    with mne.use_log_level("error"):
        return epochs.load_data()


def _metadata(epochs: Any, image: str, source: str) -> NDArray[Any]:
    """The name of every epoch's image."""
    if epochs.metadata is None or image not in epochs.metadata:
        columns = None if epochs.metadata is None else list(epochs.metadata.columns)
        raise ValueError(f"the metadata of {source} must have the column {image!r}, got {columns}")
    names: NDArray[Any] = epochs.metadata[image].to_numpy()
    missing = sum(is_missing(name) for name in names.tolist())
    if missing:
        raise ValueError(f"{image!r} must name an image for every epoch, got none for {missing}")
    return names


def continued(first: Path) -> list[Path]:
    """The files that mne split x-epo.fif into: x-epo-1.fif, ..., or x_split-02_epo.fif, ... of x_split-01_epo.fif."""
    files: list[Path] = []
    ending = ".fif.gz" if first.name.endswith(".gz") else ".fif"
    split = _SPLIT.search(first.name)
    while True:
        number = len(files) + 1
        if split is not None:
            name = first.name.replace(split.group(0), f"_split-{number + 1:0{len(split.group(1))}d}_")
        else:
            name = f"{first.name.removesuffix(ending)}-{number}{ending}"
        if not (path := first.with_name(name)).is_file():
            return files
        files.append(path)


def _map(path: Path, width: int) -> NDArray[Any]:
    """The epochs of one file as a memory map [n, width]."""
    position, size = 0, path.stat().st_size
    with path.open("rb") as file:
        while position + 16 <= size:
            file.seek(position)
            kind, form, length, following = struct.unpack(">4i", file.read(16))
            if kind == _EPOCHS:
                return _mapped(path, position + 16, form & ~_MATRIX, length, width)
            if following < 0:
                break
            position = following or position + 16 + length
    raise ValueError(f"{path} holds no epochs")


def _mapped(path: Path, start: int, form: int, length: int, width: int) -> NDArray[Any]:
    if form not in _FLOATS:
        raise ValueError(f"{path} must hold real float32 or float64 epochs, got type {form} of FIFF")
    dtype = _FLOATS[form]
    count = (length - 16) // (dtype.itemsize * width)  # the last 16 bytes are the shape
    if count * width * dtype.itemsize + 16 != length:
        raise ValueError(f"{path} must hold epochs of {width} samples, got {length - 16} bytes")
    if path.stat().st_size < start + length:
        raise ValueError(f"{path} is cut short: {path.stat().st_size} bytes, {start + length} expected")
    _check_rest(path, start + length)
    return np.memmap(path, dtype, "r", start, (count, width))


def _check_rest(path: Path, position: int) -> None:
    """Raise a ValueError unless entries follow the epochs to the end of the file, as they do if no byte is missing."""
    size = path.stat().st_size
    with path.open("rb") as file:
        while position < size:
            file.seek(position)
            content = file.read(16)
            if len(content) < 16:
                break
            _, _, length, following = struct.unpack(">4i", content)
            if length < 0:
                break
            if following < 0:
                return
            position = following if following > position else position + 16 + length
    if position != size:
        raise ValueError(f"{path} must have entries from its epochs to its end, got none at byte {position} of {size}")
