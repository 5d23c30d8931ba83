"""A recording in one HDF5 file, target after target: written once, streamed as fast as the disk reads.

Data sets lie in files presentation after presentation, and an analysis reads target after target. What is saved is
the recording as it is: z-scored, averaged, of some regions.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradkern._excluded import Excluded
from gradkern.recordings._formats.files import fingerprint
from gradkern.recordings._out_of_core import FileColumns, map_dataset
from gradkern.recordings._recording import Recording

_FORMAT, _VERSION = "gradkern recording", 1
_WORDS = ("subject", "units", "space")
_AS_JSON = "json"


def save_recording(recording: Recording, path: Any, *, overwrite: bool = False) -> None:
    """Write all of a recording but its images: `load_recording` reads it.

    Responses are read once, 1 GiB at a time, and written as a dataset [targets, presentations] of HDF5, contiguous.
    The file appears when it is whole.

    Raises
    ------
    FileExistsError : there is such a file, and `overwrite` is False
    FileNotFoundError : its folder is missing
    ValueError : a cell of a table that is neither a number, a word, nor missing
    """
    import h5py

    op, target = "save_recording", Path(path).expanduser()
    if target.exists() and not overwrite:
        raise FileExistsError(f"{op}: path must be a new file, got {target}, which exists (say overwrite=True?)")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{op}: path must lie in a folder that exists, got {str(target.parent)!r}")
    with _appearing(target) as aside, h5py.File(aside, "w") as file:
        file.attrs["format"], file.attrs["version"] = _FORMAT, _VERSION
        for word in _WORDS:
            file.attrs[word] = getattr(recording, word)
        file.attrs["history"] = json.dumps(recording.history)
        file.attrs["excluded"] = json.dumps([[each.what, each.count, each.reason] for each in recording.excluded])
        file.create_dataset("provenance", data=json.dumps(recording.provenance, default=_plain))
        for name, table in (("presentations", recording.presentations), ("targets", recording.targets)):
            _write_table(op, file.create_group(name), table)
        if recording.image_names is not None:
            file["image_names"] = np.char.encode(np.array(recording.image_names), "utf-8")
        if recording.ncsnr is not None:
            file["ncsnr"] = recording.ncsnr
        n, v = recording.responses.shape
        stored = file.create_dataset("responses", (v, n), recording.responses.dtype, fill_time="never")
        for columns, block in recording.blocks():
            stored[columns] = np.ascontiguousarray(block.T)


def load_recording(path: Any, images: Any = None) -> Recording:
    """A recording that `save_recording` wrote; responses are read when they are needed.

    Parameters
    ----------
    path : the file
    images : the image source, which is not in the file

    Raises
    ------
    FileNotFoundError : no such file
    ValueError : not such a file, of a newer version, or cut short
    """
    import h5py

    op, target = "load_recording", Path(path).expanduser()
    if not target.is_file():
        raise FileNotFoundError(f"{op}: path must be a file, got {str(path)!r}")
    try:
        file = h5py.File(target)
    except OSError as error:
        raise ValueError(f"{op}: {target} cannot be read as HDF5: {error} (is it cut short?)") from error
    with file:
        found = file.attrs.get("format"), file.attrs.get("version")
        if found != (_FORMAT, _VERSION):
            raise ValueError(f"{op}: {target} must be a {_FORMAT} of version {_VERSION}, got {found[0]!r}, {found[1]}")
        names = file.get("image_names")
        return Recording(
            responses=FileColumns(map_dataset(file["responses"])),
            presentations=_read_table(file["presentations"]),
            targets=_read_table(file["targets"]),
            **{word: str(file.attrs[word]) for word in _WORDS},
            images=images,
            image_names=None if names is None else tuple(np.char.decode(names[:], "utf-8").tolist()),
            ncsnr=file["ncsnr"][:] if "ncsnr" in file else None,
            excluded=tuple(Excluded(*each) for each in json.loads(file.attrs["excluded"])),
            history=tuple(json.loads(file.attrs["history"])),
            provenance=json.loads(file["provenance"].asstr()[()]) | {"saved": {target.name: fingerprint(target)}},
        )


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A new file beside the target, which takes its name only if all went well."""
    number, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    os.close(number)
    aside = Path(name)
    try:
        yield aside
        aside.chmod(0o644)
        aside.replace(target)
    finally:
        with suppress(FileNotFoundError):
            aside.unlink()


def _write_table(op: str, group: Any, table: pd.DataFrame) -> None:
    """A column as numbers, as words, or, where it has both or gaps, as words of JSON."""
    group.attrs["columns"] = json.dumps(list(map(str, table.columns)))
    for number, name in enumerate(table.columns):
        values = table[name].to_numpy()
        form = ""
        if values.dtype.kind not in "biuf":
            if not all(isinstance(each, str) for each in values):
                values, form = [_cell(op, str(name), each) for each in values], _AS_JSON
            values = np.char.encode(np.array(values, dtype=str), "utf-8")
        group.create_dataset(str(number), data=values).attrs["form"] = form


def _read_table(group: Any) -> pd.DataFrame:
    columns = {}
    for number, name in enumerate(json.loads(group.attrs["columns"])):
        stored = group[str(number)]
        values = stored[:]
        if values.dtype.kind == "S":
            values = np.char.decode(values, "utf-8").astype(object)
        if stored.attrs["form"] == _AS_JSON:
            values = pd.Series(list(map(json.loads, values)), dtype=object)
        columns[name] = values
    return pd.DataFrame(columns)


def _cell(op: str, column: str, value: Any) -> str:
    if not isinstance(value, str) and pd.api.types.is_scalar(value) and pd.isna(value):
        return json.dumps(None)
    try:
        return json.dumps(value, default=_plain)
    except TypeError as error:
        raise ValueError(f"{op}: cells of {column!r} must be numbers or words, got {type(value).__name__}") from error


def _plain(value: Any) -> Any:
    """What JSON does not know: NumPy's numbers and arrays."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
