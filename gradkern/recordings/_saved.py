"""A recording in one HDF5 file, target after target, so that blocks of targets are read as fast as the disk allows.

Data sets come in files with one presentation after another, but analyses read one target after another. A recording is
saved as it is: z-scored, averaged, without other regions.
"""

import json
import os
import struct
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern._files import allocate, written_whole
from gradkern._hdf5 import check_self_contained
from gradkern._progress import advanced, tracked
from gradkern.errors import naming
from gradkern.recordings._formats.files import existing_file, fingerprint
from gradkern.recordings._maps.geometry import Geometry
from gradkern.recordings._maps.known import geometry_content, geometry_of_content
from gradkern.recordings._recording import Recording
from gradkern.recordings._responses.out_of_core import FileColumns, map_dataset, row_checksums

_FORMAT, _VERSION = "gradkern recording", 2
_EARLIER = (1,)  # without a geometry
_WORDS = ("subject", "units", "space")
_CHECKSUMS = "responses_crc32"
_MAGIC = b"gradkern seal 1\0"
_SEAL = struct.Struct("<16s2Q32s")  # after the end of HDF5: magic, place and size of the responses, hash of the rest
_AS_JSON = "json"


@naming("save_recording")
def save_recording(recording: Recording, path: Any, *, overwrite: bool = False) -> None:
    """Write a recording without its images to a file that `load_recording` reads.

    Responses are read once, 1 GiB at a time, and written as a contiguous HDF5 dataset [targets, presentations]. The
    file appears under its name when it is complete.

    Raises
    ------
    FileExistsError : the file exists, and `overwrite` is False
    FileNotFoundError : its folder is missing
    OSError : the disk is full; the message has the bytes that are needed
    ValueError : a cell of a table is neither a number, nor a word, nor missing

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from gradkern.recordings import load_kay2017, load_recording, save_recording
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_recording(load_kay2017(), Path(folder) / "subject.h5")
    ...     load_recording(Path(folder) / "subject.h5").responses.shape
    (115, 2)
    """
    import h5py

    target = Path(path).expanduser()
    _check_new(target, overwrite)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"path must lie in a folder that exists, got {str(target.parent)!r}")
    n, v = recording.responses.shape
    size = n * v * recording.responses.dtype.itemsize
    with written_whole(target) as aside, h5py.File(_with_room(aside, size, target.parent), "w") as file:
        file.attrs["format"], file.attrs["version"] = _FORMAT, _VERSION
        for word in _WORDS:
            file.attrs[word] = getattr(recording, word)
        file.attrs["history"] = json.dumps(recording.history)
        file.attrs["excluded"] = json.dumps([[entry.what, entry.count, entry.reason] for entry in recording.excluded])
        file.create_dataset("provenance", data=json.dumps(recording.provenance, default=_plain))
        for name, table in (("presentations", recording.presentations), ("targets", recording.targets)):
            _write_table(file.create_group(name), table)
        if recording.image_names is not None:
            file["image_names"] = _encoded(recording.image_names)
        if recording.ncsnr is not None:
            file["ncsnr"] = recording.ncsnr
        _write_geometry(file, recording)
        stored = file.create_dataset("responses", (v, n), recording.responses.dtype, dcpl=_allocated_at_once())
        file.flush()
        with aside.open("r+b") as raw:
            place = stored.id.get_offset()
            allocate(raw.fileno(), place + size, target.parent, start=place, needed=size)
        checksums = file.create_dataset(_CHECKSUMS, (v,), np.uint32)
        with tracked("save", v, "targets"):
            for columns, block in recording.blocks():
                rows = np.ascontiguousarray(block.T, dtype=stored.dtype)
                stored[columns] = rows
                checksums[columns] = row_checksums(rows)
                advanced(len(rows), "targets")
        place = stored.id.get_offset(), size
        file.close()
        with aside.open("r+b") as raw:
            seal = _SEAL.pack(_MAGIC, *place, _digest(raw, *place))
            raw.seek(0, os.SEEK_END)
            raw.write(seal)
        _check_new(target, overwrite)  # another job may have been faster


@naming("load_recording")
def load_recording(path: Any, images: Any = None) -> Recording:
    """A recording that `save_recording` wrote; responses are read when they are needed.

    Parameters
    ----------
    path : the file
    images : the image source, which is not in the file

    Raises
    ------
    FileNotFoundError : there is no such file
    ValueError : the file is of another kind or version, is damaged or cut short, or names other images than `images`
    OSError : when responses are read: they are not those that were saved
    """
    import h5py

    target = existing_file(path)
    _check_seal(target)
    try:
        with h5py.File(target) as file:
            check_self_contained(target, file)
            content = _read(target, file)
    except ValueError as error:
        if str(error).startswith(str(target)):
            raise
        raise ValueError(f"{target} cannot be read: {error} (is it damaged?)") from error
    except Exception as error:  # h5py raises whatever HDF5 finds in a damaged file
        raise ValueError(f"{target} cannot be read as HDF5: {error} (is it cut short?)") from error
    content["provenance"] |= {"saved": {target.name: fingerprint(target)}}
    return Recording(images=images, **content)


def _read(target: Path, file: Any) -> dict[str, Any]:
    """The arguments of `Recording`, but for its images."""
    kind, version = file.attrs.get("format"), file.attrs.get("version")
    if kind != _FORMAT or version not in (_VERSION, *_EARLIER):
        versions = f"{_VERSION} or {', '.join(map(str, _EARLIER))}"
        raise ValueError(f"{target} must be a {_FORMAT} of version {versions}, got {kind!r}, {version}")
    names = file.get("image_names")
    checksums = file[_CHECKSUMS][:] if _CHECKSUMS in file else None  # files of earlier versions have none
    return {
        "responses": FileColumns(map_dataset(file["responses"]), checksums),
        "presentations": _read_table(file["presentations"]),
        "targets": _read_table(file["targets"]),
        **{word: str(file.attrs[word]) for word in _WORDS},
        "image_names": None if names is None else tuple(_decoded(names[:]).tolist()),
        "ncsnr": file["ncsnr"][:] if "ncsnr" in file else None,
        "excluded": tuple(Excluded(*entry) for entry in json.loads(file.attrs["excluded"])),
        "history": tuple(json.loads(file.attrs["history"])),
        "provenance": dict(json.loads(file["provenance"].asstr()[()])),
        "geometry": _read_geometry(file),
    }


def _write_geometry(file: Any, recording: Recording) -> None:
    if recording.geometry is None:
        return
    kind, plain, arrays = geometry_content(recording.geometry)
    group = file.create_group("geometry")
    group.attrs["kind"] = kind
    group.create_dataset("plain", data=json.dumps(plain, default=_plain))  # attributes hold 64 KB at most
    for name, values in arrays.items():
        group.create_dataset(f"arrays/{name}", data=values)


def _read_geometry(file: Any) -> Geometry | None:
    if "geometry" not in file:
        return None
    group = file["geometry"]
    arrays = {name: values[()] for name, values in group["arrays"].items()} if "arrays" in group else {}
    return geometry_of_content(str(group.attrs["kind"]), json.loads(group["plain"].asstr()[()]), arrays)


def _with_room(path: Path, size: int, folder: Path) -> Path:
    """The path of a new file, once the disk has had room for it: HDF5 cannot go on after a full disk."""
    with path.open("wb") as file:
        allocate(file.fileno(), size, folder)
    return path


def _check_new(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(f"path must be a new file, got {path}, which exists (say overwrite=True?)")


def _check_seal(path: Path) -> None:
    """Raise a ValueError if the file has a seal and is not what was sealed; files of earlier versions have none."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _SEAL.size))
        last = file.read()
        if len(last) < _SEAL.size or not last.startswith(_MAGIC):
            return
        _, start, count, digest = _SEAL.unpack(last)
        if start + count > size or _digest(file, start, count, size - _SEAL.size) != digest:
            raise ValueError(f"{path} is damaged: its tables and words are not those that were saved")


def _digest(file: Any, start: int, count: int, end: int | None = None) -> bytes:
    """A hash of a file but for its responses, which have checksums of their own: `count` bytes from `start` on."""
    digest = sha256(struct.pack("<2Q", start, count))
    for first, stop in ((0, start), (start + count, file.seek(0, os.SEEK_END) if end is None else end)):
        file.seek(first)
        digest.update(file.read(max(0, stop - first)))
    return digest.digest()


def _allocated_at_once() -> Any:
    """How HDF5 stores a contiguous dataset whose place in the file is known before anything is written."""
    import h5py

    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return creation


def _write_table(group: Any, table: pd.DataFrame) -> None:
    """Write columns as numbers or words, or as JSON if they have both, or gaps."""
    group.attrs["columns"] = json.dumps(list(map(str, table.columns)))
    for number, name in enumerate(table.columns):
        values = table[name].to_numpy()
        form = ""
        if values.dtype.kind not in "biuf":
            if not all(isinstance(value, str) for value in values):
                values, form = [_cell(str(name), value) for value in values], _AS_JSON
            values = _encoded(values)
        group.create_dataset(str(number), data=values).attrs["form"] = form


def _read_table(group: Any) -> pd.DataFrame:
    columns = {}
    for number, name in enumerate(json.loads(group.attrs["columns"])):
        stored = group[str(number)]
        values = stored[:]
        if values.dtype.kind == "S":
            values = _decoded(values)
        if stored.attrs["form"] == _AS_JSON:
            values = pd.Series(list(map(json.loads, values)), dtype=object)
        columns[name] = values
    return pd.DataFrame(columns)


def _encoded(words: Any) -> NDArray[Any]:
    """Words as UTF-8; bytes of file names that are in no Unicode, as `os.fsdecode` has them, as they are."""
    refused = "words must be Unicode without NUL, got"
    try:
        stored = [str(word).encode("utf-8", "surrogateescape") for word in words]
    except UnicodeEncodeError as error:
        raise ValueError(f"{refused} {error.object!r}") from error
    if wrong := next((word for word in stored if b"\0" in word), None):
        raise ValueError(f"{refused} {wrong!r}")
    return np.array(stored)


def _decoded(stored: NDArray[Any]) -> NDArray[Any]:
    return np.array([word.decode("utf-8", "surrogateescape") for word in stored.tolist()], dtype=object)


def _cell(column: str, value: Any) -> str:
    if not isinstance(value, str) and pd.api.types.is_scalar(value) and pd.isna(value):
        return json.dumps(None)
    try:
        return json.dumps(value, default=_plain)
    except TypeError as error:
        raise ValueError(f"cells of {column!r} must be numbers or words, got {type(value).__name__}") from error


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as JSON knows them."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
