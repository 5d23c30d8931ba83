"""Responses in files that are larger than memory, read as fast as the disk gives them."""

import mmap
import os
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.errors import naming
from gradkern.recordings._responses.lazy import Responses, Whole

_THREADS = 32  # that read at once: disks are fastest with a long queue

_Piece = tuple[int, int, NDArray[Any]]  # file descriptor, first byte, and the array to read into


class FileRows(Responses):
    """Rows [n, v] in one or more files, one file after another, as most formats store them.

    The requested part of every row is read separately, many at a time. A memory map would read whole pages around it,
    one after another, at a tenth of the speed.

    Parameters
    ----------
    maps : [n_i, v] each, as `numpy.memmap` made them, not a part or another shape of such a map

    Raises
    ------
    ValueError : maps are not such maps, or differ in width or type
    OSError : when responses are read: a file is no longer the one that was mapped
    """

    bytes_at_once = 4 * 2**20  # that a thread reads

    @naming("FileRows")
    def __init__(self, maps: Sequence[NDArray[Any]]) -> None:
        for map_ in maps:
            if not is_whole_map(map_):
                raise ValueError("maps must be as numpy.memmap made them, [n, v], got a part or a copy")
        if len({(map_.shape[1], map_.dtype) for map_ in maps}) != 1:
            raise ValueError(f"maps must be alike, got {[(m.shape, str(m.dtype)) for m in maps]}")
        self.maps = tuple(maps)
        self.identities = tuple(_identity(_path(map_).stat()) for map_ in maps)
        self.shape = (sum(len(map_) for map_ in maps), maps[0].shape[1])
        self.dtype = maps[0].dtype.newbyteorder("=")

    def columns(self, which: slice) -> NDArray[Any]:
        width = max(which.stop - which.start, 0)
        result = np.empty((self.shape[0], width), self.dtype)
        parts = np.split(result, np.cumsum([len(map_) for map_ in self.maps])[:-1])
        if not width or not hasattr(os, "preadv"):
            for map_, part in zip(self.maps, parts, strict=True):
                part[:] = map_[:, which]
            return result
        rows = max(1, self.bytes_at_once // (width * self.dtype.itemsize))
        jobs = [
            (number, first, part[first : first + rows])
            for number, part in enumerate(parts)
            for first in range(0, len(part), rows)
        ]
        with ExitStack() as stack, ThreadPoolExecutor(_THREADS, "gradkern-read") as pool:
            files = [_open(stack, *pair, random=True) for pair in zip(self.maps, self.identities, strict=True)]
            for future in [pool.submit(self._read, files, *job, which.start) for job in jobs]:
                future.result()
        return result

    def _read(self, files: list[int], number: int, first: int, block: NDArray[Any], start: int) -> None:
        """Fill a block [rows, width] with rows from `first` on and columns from `start` on of one file."""
        map_ = self.maps[number]
        stored = block if map_.dtype == block.dtype else np.empty(block.shape, map_.dtype)
        size, offset = map_.dtype.itemsize, _offset(map_)
        if block.shape[1] == self.shape[1]:
            _fill([(files[number], offset + first * self.shape[1] * size, stored)], map_)
        else:
            begins = offset + (np.arange(first, first + len(block)) * self.shape[1] + start) * size
            _fill(((files[number], begin, row) for begin, row in zip(begins.tolist(), stored, strict=True)), map_)
        if stored is not block:
            block[:] = stored


class FileColumns(Responses):
    """All responses of a target, then those of the next, in a map [v, n]: any block of targets is contiguous.

    With `checksums`, uint32 [v], as `row_checksums` made them, a target is compared with its own when it is first read.
    """

    bytes_at_once = FileRows.bytes_at_once

    def __init__(self, map_: NDArray[Any], checksums: NDArray[np.uint32] | None = None) -> None:
        self._rows = FileRows([map_])
        self.shape, self.dtype = (map_.shape[1], map_.shape[0]), self._rows.dtype
        self.map = map_
        if checksums is not None and checksums.shape != (self.shape[1],):
            raise ValueError(f"checksums must be [{self.shape[1]}], got {list(checksums.shape)}")
        self.checksums, self._compared = checksums, np.zeros(self.shape[1], bool)

    def columns(self, which: slice) -> NDArray[Any]:
        if not hasattr(os, "preadv"):
            return self._checked(np.array(self.map[which]), which).T
        block = np.empty((max(which.stop - which.start, 0), self.shape[0]), self.map.dtype)
        flat = block.reshape(-1)
        step, size = max(1, self.bytes_at_once // flat.itemsize), flat.itemsize
        start = _offset(self.map) + which.start * self.shape[0] * size
        with ExitStack() as stack, ThreadPoolExecutor(_THREADS // 4, "gradkern-read") as pool:
            file = _open(stack, self.map, self._rows.identities[0], random=False)
            pieces = [(file, start + first * size, flat[first : first + step]) for first in range(0, len(flat), step)]
            for future in [pool.submit(_fill, [piece], self.map) for piece in pieces]:
                future.result()
        return self._checked(block, which).astype(self.dtype, copy=False).T

    def _checked(self, block: NDArray[Any], which: slice) -> NDArray[Any]:
        """The stored rows of some targets, unless their bytes are not those that were saved."""
        if self.checksums is not None and not self._compared[which].all():
            wrong = np.flatnonzero(row_checksums(block) != self.checksums[which])
            if len(wrong):
                raise OSError(
                    f"{_path(self.map)} is damaged: responses of {len(wrong)} targets are not those that were saved, "
                    f"first of target {which.start + wrong[0]}"
                )
            self._compared[which] = True
        return block


def row_checksums(rows: NDArray[Any]) -> NDArray[np.uint32]:
    """CRC-32 of the bytes of each row of a contiguous array, uint32 [rows]."""
    if rows.nbytes < _THREADS * FileRows.bytes_at_once:
        return np.array([zlib.crc32(row.data) for row in rows.view(np.uint8)], dtype=np.uint32)
    with ThreadPoolExecutor(thread_name_prefix="gradkern-check") as pool:
        return np.array(list(pool.map(lambda row: zlib.crc32(row.data), rows.view(np.uint8))), dtype=np.uint32)


def is_whole_map(values: Any) -> bool:
    """Whether values are a whole memory map, so that its file has them in the same order as memory."""
    return (
        isinstance(values, np.memmap)
        and values.mode != "c"  # the file does not have what is written to such a map
        and isinstance(values.base, mmap.mmap)
        and values.ndim == 2
        and bool(values.flags.c_contiguous)
    )


def as_responses(values: Any) -> Responses:
    """Responses from an array, read from the file of a memory map or of a contiguous HDF5 dataset if there is one."""
    if is_whole_map(values):
        return FileRows([values])
    if type(values).__module__.startswith("h5py") and values.ndim == 2 and values.file.mode == "r":
        on_disk = values.file.driver == "sec2"  # else its name is no path: HDF5 in memory, or in a Python file
        contiguous = on_disk and values.id.get_offset() is not None
        return FileRows([map_dataset(values)]) if contiguous else Whole(values)
    return Whole(values)


def map_dataset(dataset: Any) -> NDArray[Any]:
    """A contiguous HDF5 dataset as a memory map."""
    return np.memmap(dataset.file.filename, dataset.dtype, "r", dataset.id.get_offset(), dataset.shape)


def _offset(map_: NDArray[Any]) -> int:
    offset: int = map_.offset  # type: ignore[attr-defined]
    return offset


def _path(map_: NDArray[Any]) -> Path:
    return Path(map_.filename)  # type: ignore[attr-defined]


def _identity(status: os.stat_result) -> tuple[int, int]:
    """Inode and size; the map keeps the inode of a file that is replaced, so that no other file gets it."""
    return status.st_ino, status.st_size


def _open(stack: ExitStack, map_: NDArray[Any], identity: tuple[int, int], random: bool) -> int:
    file = os.open(_path(map_), os.O_RDONLY)
    stack.callback(os.close, file)
    inode, size = _identity(os.fstat(file))
    if (inode, size) != identity:
        change = "cut short" if inode == identity[0] and size < identity[1] else "replaced"
        raise OSError(
            f"{_path(map_)} was {change} while it was open: {identity[1]} bytes before, {size} now; load it again"
        )
    if random and hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)  # else the system reads more than requested
    return file


def _fill(pieces: Iterable[_Piece], map_: NDArray[Any]) -> None:
    for file, begin, array in pieces:
        view = array.view(np.uint8).data
        while len(view):
            count = os.preadv(file, [view], begin)
            if not count:
                raise OSError(f"{_path(map_)} was cut short while it was open: no byte {begin}")
            view, begin = view[count:], begin + count
