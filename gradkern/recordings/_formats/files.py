"""Files of data sets: looked up, read or refused, and identified by a hash."""

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
    """A data set's folder, which remembers the files that were used; `source` says where to get them."""

    def __init__(self, root: Any, source: str) -> None:
        self.root, self.source = Path(root).expanduser(), source
        self.used: list[Path] = []
        if not self.root.is_dir():
            raise FileNotFoundError(f"folder must be a directory, got {str(root)!r}")

    def file(self, *names: str) -> Path:
        """The first of these paths inside the folder that is a file.

        Raises
        ------
        FileNotFoundError : none of them is; the message names them and says where to get them
        """
        for name in names:
            path = self.root / name
            if path.is_file():
                self.used.append(path)
                return path
        raise FileNotFoundError(f"{' or '.join(names)} is missing in {self.root}; get it from {self.source}")

    def has(self, name: str) -> bool:
        return (self.root / name).is_file()

    def hashes(self) -> dict[str, str]:
        """The `fingerprint` of every file that was used, by its path inside the folder."""
        paths = list(dict.fromkeys(self.used))
        with ThreadPoolExecutor() as pool:
            hashes = list(pool.map(fingerprint, paths))
        return {str(path.relative_to(self.root)): digest for path, digest in zip(paths, hashes, strict=True)}


def existing_file(path: Any) -> Path:
    """The path, if it is a file.

    Raises
    ------
    FileNotFoundError : there is no such file
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"path must be a file, got {str(path)!r}")
    return file


def fingerprint(path: Path) -> str:
    """SHA-256 of a file's size, first MiB and last MiB, which takes no time for a file of many GB either."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_MIB))
        file.seek(max(_MIB, size - _MIB) if size > _MIB else size)
        digest.update(file.read(_MIB))
    return digest.hexdigest()


def read_mat(path: Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Arrays of a MATLAB file, version 7.3 (HDF5) included, with axes in MATLAB's order.

    Raises
    ------
    ValueError : not a MATLAB file, or one of `names` is not in it
    """
    import h5py
    from scipy.io import loadmat

    names = list(names)
    content: dict[str, Any]
    try:
        content = loadmat(path, variable_names=names)
    except NotImplementedError:  # version 7.3
        try:
            with h5py.File(path) as file:
                content = {name: np.asarray(file[name]).T for name in names if name in file}
        except OSError as error:
            raise ValueError(f"{path} cannot be read as HDF5: {error} (is it cut short?)") from error
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a MATLAB file: {error}") from error
    for name in names:
        if name not in content:
            raise ValueError(f"{path} must hold {name!r}, got {sorted(key for key in content if key[0] != '_')}")
    return {name: np.asarray(content[name]) for name in names}


def read_pickle(path: Path, names: tuple[str, ...] = (), *, allow_pickle: bool) -> dict[str, Any]:
    """The dictionary in a .npy file or a bare pickle, with these keys at least.

    Raises
    ------
    ValueError : `allow_pickle` is False, the file is cut short, or it holds something else
    """
    if not allow_pickle:
        raise ValueError(
            f"{path} is a pickle, which can run any code when it is read; pass allow_pickle=True if you trust its "
            "source"
        )
    try:
        content = np.load(path, allow_pickle=True)
    except Exception as error:
        raise ValueError(f"{path} cannot be read: {error} (is it cut short?)") from error
    if getattr(content, "shape", None) == ():
        content = content.item()
    if not isinstance(content, dict) or any(name not in content for name in names):
        got = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path} must hold a dict of {names}, got {got}")
    return content


def read_table(path: Path, columns: Iterable[str], separator: str = ",") -> pd.DataFrame:
    """A table in a text file, with these columns at least.

    Raises
    ------
    ValueError : no such table, or a column is missing
    """
    try:
        table = pd.read_csv(path, sep=separator)
    except ValueError as error:  # pandas' errors are subclasses
        raise ValueError(f"{path} cannot be read as a table: {error}") from error
    for name in columns:
        if name not in table:
            raise ValueError(f"{path} must have the column {name!r}, got {list(table.columns)}")
    return table


def map_mgh(path: Path) -> NDArray[Any]:
    """A .mgh file as a memory map [frames, vertices].

    Raises
    ------
    ValueError : another format, or fewer bytes than its header promises
    """
    import nibabel

    try:
        header: Any = nibabel.load(path).header
        shape, dtype, start = header.get_data_shape(), header.get_data_dtype(), header.get_data_offset()
    except Exception as error:
        raise ValueError(f"{path} cannot be read as an MGH file: {error}") from error
    shape = tuple(map(int, shape))
    vertices, frames = int(np.prod(shape[:3])), int(np.prod(shape[3:]))
    expected, size = start + vertices * frames * dtype.itemsize, path.stat().st_size
    if size < expected:
        raise ValueError(f"{path} is cut short: {size} bytes, {expected} expected of shape {list(shape)}")
    return np.memmap(path, dtype.newbyteorder(">"), "r", start, (frames, vertices))


def read_volume(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Values of a NIfTI or MGH file, scaled if its header says so, and the affine [4, 4].

    Raises
    ------
    ValueError : another format, or cut short
    """
    import nibabel

    try:
        image: Any = nibabel.load(path)
        return np.asanyarray(image.dataobj), np.asarray(image.affine)
    except Exception as error:
        raise ValueError(f"{path} cannot be read: {error} (is it cut short?)") from error


def read_ctab(path: Path) -> dict[int, str]:
    """Names of the labels in a FreeSurfer color table, by number.

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
            raise ValueError(f"line {number} of {path} must be a number and a name, got {line!r}")
        names[int(words[0])] = words[1]
    return names
