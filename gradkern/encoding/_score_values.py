"""Where scores of many feature spaces and targets are put while they are computed: into memory, or into a file."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from gradkern._files import allocate

SCORES = ("r", "r2")
_NORMALISED = {"r_normalised": ("r", 1), "r2_normalised": ("r2", 2)}  # by the ceiling to that power
_DIMS = ("feature", "fold", "target")


class Values(Protocol):
    """r and r2 of feature spaces by their row numbers."""

    def put(self, rows: Sequence[int], folds: slice, targets: Any, scores: NDArray[Any]) -> None:
        """Keep scores [2, f, k] of some folds and targets, for all `rows`."""


class ScoresInMemory:
    """r and r2 [2, feature, fold, target]."""

    def __init__(self, rows: int, folds: int, targets: int) -> None:
        self.values = np.full((len(SCORES), rows, folds, targets), np.nan, np.float32)

    def put(self, rows: Sequence[int], folds: slice, targets: Any, scores: NDArray[Any]) -> None:
        """Keep scores [2, f, k] of some folds and targets, for all `rows`."""
        for row in rows:
            self.values[:, row][:, folds, targets] = scores

    def variables(self, spaces: int) -> dict[str, tuple[tuple[str, ...], NDArray[Any]]]:
        """r and r2 of the first feature spaces, and of the others sketch by sketch."""
        return {name: (_DIMS, values[:spaces]) for name, values in zip(SCORES, self.values, strict=True)} | {
            f"{name}_matched": (("sketch_seed", *_DIMS), values[spaces:].reshape(-1, spaces, *values.shape[1:]))
            for name, values in zip(SCORES, self.values, strict=True)
            if len(values) > spaces
        }


class ScoresInFile:
    """r and r2 in a netCDF file, of `spaces` feature spaces and of their sketches."""

    def __init__(self, file: Any, spaces: int, rows: int, shape: tuple[int, int]) -> None:
        self._spaces = spaces
        sizes = {"feature": spaces, "fold": shape[0], "target": shape[1]}
        if rows > spaces:
            sizes["sketch_seed"] = rows // spaces - 1
        file.dimensions.update(sizes)
        self._plain = [file.create_variable(name, _DIMS, np.float32) for name in SCORES]
        dims = ("sketch_seed", *_DIMS)
        self._matched = [file.create_variable(f"{name}_matched", dims, np.float32) for name in SCORES if rows > spaces]

    def put(self, rows: Sequence[int], folds: slice, targets: Any, scores: NDArray[Any]) -> None:
        """Keep scores [2, f, k] of some folds and targets, for all `rows`."""
        order: Any = slice(None)
        if not isinstance(targets, slice):
            order = np.argsort(targets)  # HDF5 writes numbers that ascend
            targets = np.asarray(targets)[order]
        for row in rows:
            sketched, feature = divmod(row, self._spaces)
            where: tuple[Any, ...] = (feature, folds, targets)
            variables = self._matched if sketched else self._plain
            for variable, values in zip(variables, scores, strict=True):
                variable[(sketched - 1, *where) if sketched else where] = np.asarray(values[:, order], np.float32)


@contextmanager
def scores_in_file(path: Path, spaces: int, rows: int, shape: tuple[int, int]) -> Iterator[ScoresInFile]:
    """r and r2 [feature, fold, target] to be put into a new netCDF file, block by block.

    Raises
    ------
    OSError : the disk has no room; the message has the bytes that are needed
    """
    import h5netcdf

    with path.open("wb") as file:  # HDF5 cannot go on after a full disk
        allocate(file.fileno(), 4 * len(SCORES) * rows * shape[0] * shape[1], path.parent)
    with h5netcdf.File(path, "w") as stored:
        yield ScoresInFile(stored, spaces, rows, shape)


def with_normalised(scores: xr.Dataset) -> xr.Dataset:
    """Scores with r and r2 over the noise ceiling, which are computed from what is read whenever they are."""
    if "noise_ceiling" not in scores:
        return scores
    ceiling = scores["noise_ceiling"].values
    reachable = np.where(ceiling > 0, ceiling, np.nan)
    for name, (plain, power) in _NORMALISED.items():
        if plain in scores and name not in scores and scores[plain].dims[-1:] == ("target",):
            ratio = _Ratio(scores.variables[plain], reachable**power)
            scores = scores.assign({name: (scores[plain].dims, indexing.LazilyIndexedArray(ratio))})
    return scores


def without_normalised(scores: xr.Dataset) -> xr.Dataset:
    """Scores without what `with_normalised` derives."""
    return scores.drop_vars([name for name in _NORMALISED if name in scores and "noise_ceiling" in scores])


class _Ratio(BackendArray):
    """A variable [..., target] over numbers [target], divided when it is read."""

    def __init__(self, over: xr.Variable, under: NDArray[np.float64]) -> None:
        self._over, self._under = over, under
        self.shape, self.dtype = over.shape, np.dtype(np.float64)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[np.float64]:
        values: NDArray[np.float64] = self._over[key].values / self._under[key[-1]]
        return values
