"""Files of data sets: found or named, read whole or refused, known again by their hash."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_MIB = 2**20


class Folder:
    """A data set's folder; `source` is where its files come from."""

    def __init__(self, op: str, root: Any, source: str) -> None:
        self.op, self.root, self.source = op, Path(root).expanduser(), source
        self.used: list[Path] = []
        if not self.root.is_dir():
            raise FileNotFoundError(f"{op}: folder must be a directory, got {str(root)!r}")

    def file(self, *names: str) -> Path:
        """The first of these that is there, as paths inside the folder.

        Raises
        ------
        FileNotFoundError : none is; it is named, and where to get it
        """
        for name in names:
            path = self.root / name
            if path.is_file():
                self.used.append(path)
                return path
        wanted = " or ".join(names)
        raise FileNotFoundError(f"{self.op}: {wanted} is missing in {self.root}; get it from {self.source}")

    def has(self, name: str) -> bool:
        return (self.root / name).is_file()

    def hashes(self) -> dict[str, str]:
        """Of every file that was asked for, see `fingerprint`."""
        paths = list(dict.fromkeys(self.used))
        with ThreadPoolExecutor() as pool:
            found = list(pool.map(fingerprint, paths))
        return {str(path.relative_to(self.root)): each for path, each in zip(paths, found, strict=True)}


def fingerprint(path: Path) -> str:
    """SHA-256 of a file's size, its first and its last MiB: files of many GB are known by it in no time."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_MIB))
        file.seek(max(_MIB, size - _MIB) if size > _MIB else size)
        digest.update(file.read(_MIB))
    return digest.hexdigest()


def read_mat(op: str, path: Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Arrays of a MATLAB file, of version 7.3 (HDF5) too, with MATLAB's order of axes.

    Raises
    ------
    ValueError : not a MATLAB file, or one of `names` is not in it
    """
    import h5py
    from scipy.io import loadmat

    wanted = list(names)
    found: dict[str, Any]
    try:
        found = loadmat(path, variable_names=wanted)
    except NotImplementedError:  # version 7.3
        try:
            with h5py.File(path) as file:
                found = {name: np.asarray(file[name]).T for name in wanted if name in file}
        except OSError as error:
            raise ValueError(f"{op}: {path} cannot be read as HDF5: {error} (is it cut short?)") from error
    except Exception as error:
        raise ValueError(f"{op}: {path} cannot be read as a MATLAB file: {error}") from error
    for name in wanted:
        if name not in found:
            raise ValueError(f"{op}: {path} must hold {name!r}, got {sorted(k for k in found if k[0] != '_')}")
    return {name: np.asarray(found[name]) for name in wanted}


def read_table(op: str, path: Path, columns: Iterable[str], separator: str = ",") -> pd.DataFrame:
    """A table of text that has these columns.

    Raises
    ------
    ValueError : no such table, or a column is missing
    """
    try:
        table = pd.read_csv(path, sep=separator)
    except ValueError as error:  # pandas' own are such too
        raise ValueError(f"{op}: {path} cannot be read as a table: {error}") from error
    for name in columns:
        if name not in table:
            raise ValueError(f"{op}: {path} must have the column {name!r}, got {list(table.columns)}")
    return table


def map_mgh(op: str, path: Path) -> NDArray[Any]:
    """A .mgh file as [frames, vertices], mapped: no value is read.

    Raises
    ------
    ValueError : another format, or fewer bytes than its header promises
    """
    import nibabel

    try:
        header: Any = nibabel.load(path).header
        shape, dtype, start = header.get_data_shape(), header.get_data_dtype(), header.get_data_offset()
    except Exception as error:
        raise ValueError(f"{op}: {path} cannot be read as an MGH file: {error}") from error
    shape = tuple(map(int, shape))
    vertices, frames = int(np.prod(shape[:3])), int(np.prod(shape[3:]))
    wanted, found = start + vertices * frames * dtype.itemsize, path.stat().st_size
    if found < wanted:
        raise ValueError(f"{op}: {path} is cut short: {found} bytes, {wanted} expected of shape {list(shape)}")
    return np.memmap(path, dtype.newbyteorder(">"), "r", start, (frames, vertices))


def read_volume(op: str, path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Values of a NIfTI or MGH file as stored, or scaled where its header says so, and the affine [4, 4].

    Raises
    ------
    ValueError : another format, or cut short
    """
    import nibabel

    try:
        image: Any = nibabel.load(path)
        return np.asanyarray(image.dataobj), np.asarray(image.affine)
    except Exception as error:
        raise ValueError(f"{op}: {path} cannot be read: {error} (is it cut short?)") from error


def read_ctab(op: str, path: Path) -> dict[int, str]:
    """Names of a FreeSurfer colour table by number.

    Raises
    ------
    ValueError : a line that does not begin with a number and a name
    """
    names = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 2 or not words[0].lstrip("-").isdigit():
            raise ValueError(f"{op}: line {number} of {path} must be a number and a name, got {line!r}")
        names[int(words[0])] = words[1]
    return names
