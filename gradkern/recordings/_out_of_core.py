"""Responses in files that are larger than memory, read as fast as the disk gives them."""

import mmap
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.recordings._lazy import Responses, Whole

_READERS = 32  # reads under way at once: a disk is as fast as its queue is long
_BYTES = 4 * 2**20  # that a reader takes at a time

_Piece = tuple[int, int, NDArray[Any]]  # of an open file, from this byte on, into this memory


class FileRows(Responses):
    """Rows [n, v] in one or more files, one file after another: what most formats are.

    Of every row the part that is asked for is read by itself, many at a time. A memory map reads whole pages around
    it, and one after another: a tenth of the speed.

    Parameters
    ----------
    maps : [n_i, v] each, as `numpy.memmap` made them: not a part or another shape of such a map

    Raises
    ------
    OSError : at reading, a file that is no longer the one that was mapped
    """

    def __init__(self, maps: Sequence[NDArray[Any]]) -> None:
        for each in maps:
            if not is_whole_map(each):
                raise ValueError("FileRows: maps must be as numpy.memmap made them, [n, v], got a part or a copy")
        if len({(each.shape[1], each.dtype) for each in maps}) != 1:
            raise ValueError(f"FileRows: maps must be alike, got {[(m.shape, str(m.dtype)) for m in maps]}")
        self.maps = tuple(maps)
        self.known = tuple(_identity(_path(each).stat()) for each in maps)
        self.shape = (sum(len(each) for each in maps), maps[0].shape[1])
        self.dtype = maps[0].dtype.newbyteorder("=")

    def columns(self, which: slice) -> NDArray[Any]:
        width = max(which.stop - which.start, 0)
        result = np.empty((self.shape[0], width), self.dtype)
        parts = np.split(result, np.cumsum([len(each) for each in self.maps])[:-1])
        if not width or not hasattr(os, "preadv"):
            for each, part in zip(self.maps, parts, strict=True):
                part[:] = each[:, which]
            return result
        rows = max(1, _BYTES // (width * self.dtype.itemsize))
        jobs = [
            (number, first, part[first : first + rows])
            for number, part in enumerate(parts)
            for first in range(0, len(part), rows)
        ]
        with ExitStack() as stack, ThreadPoolExecutor(_READERS, "gradkern-read") as pool:
            files = [_open(stack, *each, random=True) for each in zip(self.maps, self.known, strict=True)]
            for done in [pool.submit(self._read, files, *job, which.start) for job in jobs]:
                done.result()
        return result

    def _read(self, files: list[int], number: int, first: int, into: NDArray[Any], start: int) -> None:
        """Columns from `start` on of rows from `first` on of one file, into memory [rows, width]."""
        map_ = self.maps[number]
        held = into if map_.dtype == into.dtype else np.empty(into.shape, map_.dtype)
        size, at = map_.dtype.itemsize, _offset(map_)
        if into.shape[1] == self.shape[1]:
            _fill([(files[number], at + first * self.shape[1] * size, held)], map_)
        else:
            begins = at + (np.arange(first, first + len(into)) * self.shape[1] + start) * size
            _fill(((files[number], begin, row) for begin, row in zip(begins.tolist(), held, strict=True)), map_)
        if held is not into:
            into[:] = held


class FileColumns(Responses):
    """All responses of a target, then those of the next: a map [v, n], so that any block of targets lies together."""

    def __init__(self, map_: NDArray[Any]) -> None:
        self._rows = FileRows([map_])
        self.shape, self.dtype = (map_.shape[1], map_.shape[0]), self._rows.dtype
        self.map = map_

    def columns(self, which: slice) -> NDArray[Any]:
        if not hasattr(os, "preadv"):
            return np.array(self.map[which]).T
        block = np.empty((max(which.stop - which.start, 0), self.shape[0]), self.map.dtype)
        flat = block.reshape(-1)
        step, size = max(1, _BYTES // flat.itemsize), flat.itemsize
        start = _offset(self.map) + which.start * self.shape[0] * size
        with ExitStack() as stack, ThreadPoolExecutor(_READERS // 4, "gradkern-read") as pool:
            file = _open(stack, self.map, self._rows.known[0], random=False)
            pieces = [(file, start + first * size, flat[first : first + step]) for first in range(0, len(flat), step)]
            for done in [pool.submit(_fill, [piece], self.map) for piece in pieces]:
                done.result()
        return block.astype(self.dtype, copy=False).T


def is_whole_map(values: Any) -> bool:
    """Whether values are all of a memory map, so that they lie in its file as they lie in memory."""
    return (
        isinstance(values, np.memmap)
        and values.mode != "c"  # what is written to such a map is not in the file
        and isinstance(values.base, mmap.mmap)
        and values.ndim == 2
        and bool(values.flags.c_contiguous)
    )


def as_responses(values: Any) -> Responses:
    """Responses of what is stored: by the file where it is a memory map or a contiguous dataset of HDF5."""
    if is_whole_map(values):
        return FileRows([values])
    if type(values).__module__.startswith("h5py") and values.ndim == 2 and values.file.mode == "r":
        contiguous = values.id.get_offset() is not None
        return FileRows([map_dataset(values)]) if contiguous else Whole(values)
    return Whole(values)


def map_dataset(dataset: Any) -> NDArray[Any]:
    """A contiguous dataset of HDF5, mapped."""
    return np.memmap(dataset.file.filename, dataset.dtype, "r", dataset.id.get_offset(), dataset.shape)


def _offset(map_: NDArray[Any]) -> int:
    offset: int = map_.offset  # type: ignore[attr-defined]
    return offset


def _path(map_: NDArray[Any]) -> Path:
    return Path(map_.filename)  # type: ignore[attr-defined]


def _identity(found: os.stat_result) -> tuple[int, int]:
    """The map keeps a replaced file's inode, so that no other file gets it."""
    return found.st_ino, found.st_size


def _open(stack: ExitStack, map_: NDArray[Any], known: tuple[int, int], random: bool) -> int:
    file = os.open(_path(map_), os.O_RDONLY)
    stack.callback(os.close, file)
    number, size = _identity(os.fstat(file))
    if (number, size) != known:
        how = "cut short" if number == known[0] and size < known[1] else "replaced"
        raise OSError(f"{_path(map_)} was {how} while it was open: {known[1]} bytes before, {size} now; load it again")
    if random and hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)  # or more is read than asked for
    return file


def _fill(pieces: Iterable[_Piece], map_: NDArray[Any]) -> None:
    for file, begin, into in pieces:
        view = into.view(np.uint8).data
        while len(view):
            count = os.preadv(file, [view], begin)
            if not count:
                raise OSError(f"{_path(map_)} was cut short while it was open: no byte {begin}")
            view, begin = view[count:], begin + count
