"""Responses [presentations, targets] that lie elsewhere until columns of them are asked for.

What is done to responses before an analysis - stacking sessions, choosing targets, z-scoring within a session,
averaging repeats - treats each target for itself. So it can wait until a block of targets is read, and the whole is
never in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

_NEAR = 64  # targets that lie at most so far apart in a store are read in one go


class Stored(Protocol):
    """A NumPy array, a memory map, a dataset of HDF5 or Zarr."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    def __getitem__(self, where: Any) -> Any: ...


class Responses:
    """A matrix [n, v] of which `responses[rows, columns]` reads a block, or one column; `numpy.asarray` reads all."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    ndim = 2

    def columns(self, which: slice) -> NDArray[Any]:
        """All rows of consecutive columns, [n, b]."""
        raise NotImplementedError

    def __getitem__(self, where: Any) -> NDArray[Any]:
        rows, columns = where if isinstance(where, tuple) else (where, slice(None))
        if isinstance(columns, int | np.integer):
            at = range(self.shape[1])[columns]
            column: NDArray[Any] = self.columns(slice(at, at + 1))[rows, 0]
            return column
        if not isinstance(columns, slice):
            raise IndexError(f"Responses: columns must be a number or a slice, got {type(columns).__name__}")
        start, stop, step = columns.indices(self.shape[1])
        if step != 1:
            raise IndexError(f"Responses: columns must be consecutive, got a step of {step}")
        block: NDArray[Any] = self.columns(slice(start, stop))[rows]
        return block

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        block: NDArray[Any] = np.asarray(self.columns(slice(0, self.shape[1])), dtype=dtype)
        return block.copy() if copy and not block.flags.writeable else block  # the rest was made for the caller


@dataclass(frozen=True)
class Whole(Responses):
    """What is stored, as it is, in the machine's byte order; blocks share its memory and cannot be written to."""

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
        found = []
        for part, end in zip(self.parts, self.ends, strict=True):
            first = int(end) - part.shape[1]
            start, stop = max(which.start, first) - first, min(which.stop, int(end)) - first
            if start < stop:
                found.append(part.columns(slice(start, stop)))
        if len(found) == 1 and found[0].dtype == self.dtype:
            return found[0]
        return np.concatenate(found, axis=1) if found else np.empty((self.shape[0], 0), self.dtype)


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
    """Responses times a factor, or a factor for each target [v], in float32: what was stored in other units."""

    def __init__(self, base: Responses, factor: float | NDArray[Any]) -> None:
        self.base, self.factor = base, np.broadcast_to(np.float32(factor), base.shape[1])
        self.shape, self.dtype = base.shape, np.dtype(np.float32)

    def columns(self, which: slice) -> NDArray[Any]:
        return self.base.columns(which).astype(np.float32) * self.factor[which]


class Standardised(Responses):
    """Mean 0 and standard deviation 1 (ddof 0) of a target in each of the groups [n]; NaN where it does not vary."""

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
    """Means over the presentations of each group; `groups` [n] hold 0..m-1, the row of the result."""

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
    """The mean of parts of the same presentations and targets: of subjects."""

    def __init__(self, parts: Sequence[Responses]) -> None:
        self.parts = tuple(parts)
        self.shape = parts[0].shape
        self.dtype = np.result_type(*(part.dtype for part in parts))

    def columns(self, which: slice) -> NDArray[Any]:
        total = np.sum([part.columns(which) for part in self.parts], axis=0, dtype=np.float64)
        mean: NDArray[Any] = (total / len(self.parts)).astype(self.dtype)
        return mean
