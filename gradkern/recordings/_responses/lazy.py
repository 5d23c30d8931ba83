"""Responses [presentations, targets] that are read, block by block, when they are needed.

Stacking sessions, selecting targets, z-scoring within a session and averaging repeats treat each target by itself. So
they can wait until a block of targets is read, and all responses are never in memory at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradkern.errors import naming

_NEAR = 64  # targets at most this far apart in a file are read together


class Stored(Protocol):
    """An array, a memory map, or a dataset of HDF5 or Zarr."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    def __getitem__(self, where: Any) -> Any: ...


class Responses:
    """A matrix [n, v]: `responses[rows, columns]` reads a block or a column, and `numpy.asarray` reads all of it.

    Subclasses set `shape` and `dtype` and implement `columns`.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    ndim = 2

    def columns(self, which: slice) -> NDArray[Any]:
        """All rows of consecutive columns, [n, b]."""
        raise NotImplementedError

    def __repr__(self) -> str:
        n, v = self.shape
        return f"Responses [{n} presentations, {v} targets] of {self.dtype}, read when needed ({type(self).__name__})"

    @naming("Responses")
    def __getitem__(self, where: Any) -> NDArray[Any]:
        rows, columns = where if isinstance(where, tuple) else (where, slice(None))
        if isinstance(columns, int | np.integer):
            number = range(self.shape[1])[columns]
            column: NDArray[Any] = self.columns(slice(number, number + 1))[rows, 0]
            return column
        if not isinstance(columns, slice):
            raise IndexError(f"columns must be a number or a slice, got {type(columns).__name__}")
        start, stop, step = columns.indices(self.shape[1])
        if step != 1:
            raise IndexError(f"columns must be consecutive, got a step of {step}")
        block: NDArray[Any] = self.columns(slice(start, stop))[rows]
        return block

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        block: NDArray[Any] = np.asarray(self.columns(slice(0, self.shape[1])), dtype=dtype)
        return block.copy() if copy and not block.flags.writeable else block  # a writeable block is the caller's own


@dataclass(frozen=True, repr=False)
class Whole(Responses):
    """Stored responses as they are, in the machine's byte order; blocks share their memory and are read-only."""

    values: Stored

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.values.shape))
        object.__setattr__(self, "dtype", np.dtype(self.values.dtype).newbyteorder("="))

    def columns(self, which: slice) -> NDArray[Any]:
        block: NDArray[Any] = np.asarray(self.values[:, which], dtype=self.dtype).view()
        block.flags.writeable = False
        return block


class Stacked(Responses):
    """Parts with the same targets, one after another: the sessions of a subject."""

    def __init__(self, parts: Sequence[Responses]) -> None:
        self.parts = tuple(parts)
        self.shape = (sum(part.shape[0] for part in parts), parts[0].shape[1])
        self.dtype = np.result_type(*(part.dtype for part in parts))

    def columns(self, which: slice) -> NDArray[Any]:
        return np.concatenate([part.columns(which) for part in self.parts])


class Beside(Responses):
    """Parts with the same presentations, side by side: the hemispheres of a brain."""

    def __init__(self, parts: Sequence[Responses]) -> None:
        self.parts = tuple(parts)
        self.ends = np.cumsum([part.shape[1] for part in parts])
        self.shape = (parts[0].shape[0], int(self.ends[-1]))
        self.dtype = np.result_type(*(part.dtype for part in parts))

    def columns(self, which: slice) -> NDArray[Any]:
        blocks = []
        for part, end in zip(self.parts, self.ends, strict=True):
            first = int(end) - part.shape[1]
            start, stop = max(which.start, first) - first, min(which.stop, int(end)) - first
            if start < stop:
                blocks.append(part.columns(slice(start, stop)))
        if len(blocks) == 1 and blocks[0].dtype == self.dtype:
            return blocks[0]
        return np.concatenate(blocks, axis=1) if blocks else np.empty((self.shape[0], 0), self.dtype)


class ChosenTargets(Responses):
    """Some targets [k], in any order."""

    def __init__(self, base: Responses, chosen: NDArray[np.int64]) -> None:
        self.base, self.chosen = base, chosen
        self.shape, self.dtype = (base.shape[0], len(chosen)), base.dtype

    def columns(self, which: slice) -> NDArray[Any]:
        places = self.chosen[which]
        if len(places) and (np.diff(places) == 1).all():
            return self.base.columns(slice(int(places[0]), int(places[-1]) + 1))
        order = np.argsort(places, kind="stable")
        block = np.empty((self.shape[0], len(places)), self.dtype)
        for part in np.split(order, np.flatnonzero(np.diff(places[order]) > _NEAR) + 1) if len(order) else []:
            first, last = int(places[part[0]]), int(places[part[-1]])
            block[:, part] = self.base.columns(slice(first, last + 1))[:, places[part] - first]
        return block


class ChosenPresentations(Responses):
    """Some presentations [m], in any order."""

    def __init__(self, base: Responses, chosen: NDArray[np.int64]) -> None:
        self.base, self.chosen = base, chosen
        self.shape, self.dtype = (len(chosen), base.shape[1]), base.dtype

    def columns(self, which: slice) -> NDArray[Any]:
        block: NDArray[Any] = self.base.columns(which)[self.chosen]
        return block


class Scaled(Responses):
    """Responses times a factor, or times a factor for each target [v], plus an offset, in float32."""

    def __init__(self, base: Responses, factor: float | NDArray[Any], offset: float = 0.0) -> None:
        self.base, self.factor = base, np.broadcast_to(np.float32(factor), base.shape[1])
        self.offset, self._exact = offset, np.broadcast_to(np.float64(factor), base.shape[1])
        self.shape, self.dtype = base.shape, np.dtype(np.float32)

    def columns(self, which: slice) -> NDArray[Any]:
        block = self.base.columns(which)
        if self.offset:  # in float64, since the two may cancel
            return (block.astype(np.float64) * self._exact[which] + self.offset).astype(np.float32)
        return block.astype(np.float32) * self.factor[which]


class ZScored(Responses):
    """Targets z-scored (ddof 0) within each of the groups [n]; NaN where a target does not vary within a group."""

    def __init__(self, base: Responses, groups: NDArray[Any]) -> None:
        self.base = base
        self.rows = [np.flatnonzero(groups == group) for group in np.unique(groups)]
        self.shape, self.dtype = base.shape, np.result_type(base.dtype, np.float32)

    def columns(self, which: slice) -> NDArray[Any]:
        block = self.base.columns(which)
        result = np.empty(block.shape, self.dtype)
        for rows in self.rows:
            part = block[rows].astype(np.float64)
            part -= part.mean(0)
            part[:, np.ptp(block[rows], axis=0) == 0] = np.nan
            with np.errstate(invalid="ignore"):
                result[rows] = part / np.sqrt((part**2).mean(0))
        return result


class Averaged(Responses):
    """Means over the presentations of each group; `groups` [n] are row numbers of the result, 0..m-1."""

    def __init__(self, base: Responses, groups: NDArray[np.int64]) -> None:
        self.base = base
        self.order = np.argsort(groups, kind="stable")
        self.counts = np.bincount(groups)
        self.starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]])
        self.shape, self.dtype = (len(self.counts), base.shape[1]), np.result_type(base.dtype, np.float32)

    def columns(self, which: slice) -> NDArray[Any]:
        block = self.base.columns(which)[self.order]
        sums: NDArray[Any] = np.add.reduceat(block, self.starts, axis=0, dtype=np.float64)
        return (sums / self.counts[:, None]).astype(self.dtype)


class Mean(Responses):
    """The mean of parts with the same presentations and targets, such as subjects."""

    def __init__(self, parts: Sequence[Responses]) -> None:
        self.parts = tuple(parts)
        self.shape = parts[0].shape
        self.dtype = np.result_type(*(part.dtype for part in parts))

    def columns(self, which: slice) -> NDArray[Any]:
        total = np.sum([part.columns(which) for part in self.parts], axis=0, dtype=np.float64)
        mean: NDArray[Any] = (total / len(self.parts)).astype(self.dtype)
        return mean
