"""Files of data sets: looked up, read or refused, and identified by a hash."""

import hashlib
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.recordings._formats.mat5 import check_mat

_MIB = 2**20
_MGH_ENDS = (
    0,
    16,
    20,
)  # bytes after the values: nothing, 4 numbers of the scan, 5 of them; longer ones go on with words
_ANNEX_SIZE = re.compile(r"annex/.*-s(\d+)(?:-[mSC][^-/]*)*--[^/]*$")


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
                return _whole_annexed(path)
        linked = next((words for name in names if (words := _dangling(self.root / name))), "")
        raise FileNotFoundError(f"{' or '.join(names)} is missing in {self.root}{linked}; get it from {self.source}")

    def has(self, name: str) -> bool:
        """Whether an optional file is there.

        Raises
        ------
        FileNotFoundError : it is a link to a file that is missing
        """
        path = self.root / name
        if not path.is_file() and (linked := _dangling(path)):
            raise FileNotFoundError(f"{name} is missing in {self.root}{linked}; get it from {self.source}")
        return path.is_file()

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
    FileNotFoundError : there is no such file, or a link to one that is missing
    ValueError : git-annex names another number of bytes
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"path must be a file, got {str(path)!r}{_why_none(file)}")
    return _whole_annexed(file)


def _why_none(path: Path) -> str:
    """Why a path is no file, in words."""
    return ", a folder" if path.is_dir() else _dangling(path) or ", which is not there"


def _dangling(path: Path) -> str:
    """What to do about a link whose file is missing, in words."""
    if not path.is_symlink():
        return ""
    target = path.readlink()
    fetch = " (datalad get or git annex get fetches it)" if "annex" in str(target) else ""
    return f", a link to {target}, which is missing{fetch}"


def _whole_annexed(path: Path) -> Path:
    """The path, if a git-annex link names the number of bytes that are there."""
    match = _ANNEX_SIZE.search(str(path.readlink())) if path.is_symlink() else None
    if match is not None and int(match.group(1)) != path.stat().st_size:
        raise ValueError(
            f"{path} is a link to {match.group(1)} bytes by its name, got {path.stat().st_size} (was it edited or cut "
            "short? git annex fsck checks it)"
        )
    return path


def read_lines(path: Path) -> list[str]:
    """Lines of a text file in UTF-8, without empty ones and without space around them.

    Raises
    ------
    ValueError : it is no such file
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be text in UTF-8: {error}") from error
    return [line.strip() for line in lines if line.strip()]


def fingerprint(path: Path) -> str:
    """SHA-256 of a file's size, first MiB and last MiB, which takes no time for a file of many GB either."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_MIB))
        file.seek(max(_MIB, size - _MIB) if size > _MIB else size)
        digest.update(file.read(_MIB))
    return digest.hexdigest()


def read_mat(path: Path, names: Iterable[str], optional: Iterable[str] = ()) -> dict[str, NDArray[Any]]:
    """Arrays of a MATLAB file, version 7.3 (HDF5) included, with axes in MATLAB's order.

    `optional` are arrays that may be missing; "params/name" is the field of a struct.

    Raises
    ------
    ValueError : not a MATLAB file, damaged, or one of `names` is not in it
    """
    from scipy.io import loadmat

    from gradkern._hdf5 import reading_hdf5

    names, optional = list(names), list(optional)
    content: dict[str, Any]
    try:
        check_mat(path)
        content = loadmat(path, variable_names=[name.partition("/")[0] for name in (*names, *optional)])
        content |= {name: value for name in optional if (value := _field(content, name)) is not None}
    except NotImplementedError:  # version 7.3
        with reading_hdf5(path) as file:
            content = {name: np.asarray(file[name]).T for name in (*names, *optional) if name in file}
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a MATLAB file: {error} (is it damaged or cut short?)") from error
    for name in names:
        if name not in content:
            raise ValueError(f"{path} must hold {name!r}, got {sorted(key for key in content if key[0] != '_')}")
    return {name: np.asarray(content[name]) for name in (*names, *optional) if name in content}


def _field(content: dict[str, Any], name: str) -> Any:
    """An array, or the field of a struct, of a MATLAB 5 file; None if it is not there."""
    head, _, field = name.partition("/")
    if not field or head not in content:
        return content.get(head)
    fields = content[head].dtype.names or ()
    return content[head][field].flat[0] if field in fields and content[head].size else None


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


def map_mgh(path: Path) -> NDArray[Any]:
    """A .mgh file as a memory map [frames, vertices].

    Raises
    ------
    ValueError : another format, or fewer bytes than its header promises
    """
    import nibabel

    from gradkern.recordings._formats.volumes import strict_nibabel

    try:
        with strict_nibabel():
            header: Any = nibabel.load(path).header
        shape, dtype, start = header.get_data_shape(), header.get_data_dtype(), header.get_data_offset()
    except Exception as error:
        raise ValueError(f"{path} cannot be read as an MGH file: {error}") from error
    shape = tuple(map(int, shape))
    vertices, frames = int(np.prod(shape[:3])), int(np.prod(shape[3:]))
    expected, size = start + vertices * frames * dtype.itemsize, path.stat().st_size
    if size < expected:
        raise ValueError(f"{path} is cut short: {size} bytes, {expected} expected of shape {list(shape)}")
    if size - expected not in _MGH_ENDS and size - expected < max(_MGH_ENDS):
        raise ValueError(
            f"{path} must end with {' or '.join(map(str, _MGH_ENDS))} bytes of its scan after shape {list(shape)}, got "
            f"{size - expected} (are bytes missing?)"
        )
    return np.memmap(path, dtype.newbyteorder(">"), "r", start, (frames, vertices))


def read_ctab(path: Path) -> dict[int, str]:
    """Names of the labels in a FreeSurfer color table, by number.

    Raises
    ------
    ValueError : a line that does not begin with a number and a name
    """
    names = {}
    for number, line in enumerate(read_lines(path), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 2 or not words[0].lstrip("-").isdigit():
            raise ValueError(f"line {number} of {path} must be a number and a name, got {line!r}")
        names[int(words[0])] = words[1]
    return names
