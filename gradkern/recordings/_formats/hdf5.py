"""HDF5 datasets with an axis of trials, as responses that are read in parts."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern._hdf5 import reading_hdf5
from gradkern.recordings._responses.lazy import Responses
from gradkern.recordings._responses.out_of_core import FileColumns, FileRows


class Trials(Responses):
    """A dataset [trials, ...], or [..., trials] if `last`, as [trials, targets], with targets in the file's order."""

    def __init__(self, path: Path, name: str, last: bool = False) -> None:
        self.path, self.name, self.last = path, name, last
        with reading_hdf5(path) as file:
            shape, self.dtype = tuple(file[name].shape), file[name].dtype
        self.stored = shape
        self.grid = shape[:-1] if last else shape[1:]
        self.shape = (shape[-1] if last else shape[0], int(np.prod(self.grid)))

    def columns(self, which: slice) -> NDArray[Any]:
        row = self.grid[-1]
        block = np.empty((self.shape[0], which.stop - which.start), self.dtype)
        with reading_hdf5(self.path) as file:
            start = which.start
            while start < which.stop:
                stop = min(which.stop, (start // row + 1) * row)  # at most the end of this row of targets
                outer = np.unravel_index(start // row, self.grid[:-1])
                part = slice(start % row, start % row + stop - start)
                stored = (
                    file[self.name][(*outer, part)].T if self.last else file[self.name][(slice(None), *outer, part)]
                )
                block[:, start - which.start : stop - which.start] = stored
                start = stop
        return block

    def first(self, count: int) -> NDArray[Any]:
        """The first trials, [count, targets]."""
        with reading_hdf5(self.path) as file:
            stored = file[self.name][..., :count] if self.last else np.moveaxis(file[self.name][:count], 0, -1)
        trials: NDArray[Any] = stored.reshape(self.shape[1], -1).T
        return trials

    def mapped(self) -> Responses:
        """The same responses, read from the file without HDF5, which is faster, if the dataset is contiguous."""
        with reading_hdf5(self.path) as file:
            start = file[self.name].id.get_offset()
        if start is None:
            return self
        shape = self.shape[::-1] if self.last else self.shape
        stored = np.memmap(self.path, self.dtype, "r", start, shape)
        return FileColumns(stored) if self.last else FileRows([stored])
