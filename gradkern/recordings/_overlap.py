"""Presentations that follow each other faster than their epochs are long, so that epochs have samples in common."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

SLACK = 1e-9  # s; times are rounded


def until_next(presentations: pd.DataFrame) -> NDArray[np.float64]:
    """Seconds from each "onset" to the next one of its "run" (and "session", if known), [n]; NaN for a run's last."""
    runs, onset = _runs(presentations), presentations["onset"].to_numpy(dtype=np.float64)
    order = np.lexsort((onset, runs))
    here, after = order[:-1], order[1:]
    same = runs[here] == runs[after]
    wait = np.full(len(onset), np.nan)
    wait[here[same]] = onset[after[same]] - onset[here[same]]
    return wait


def near(
    presentations: pd.DataFrame, rows: NDArray[np.int64], others: NDArray[np.int64], distance: float
) -> NDArray[np.bool_]:
    """Whether the onset of each of `rows` lies within `distance` s of an onset of `others` in the same run."""
    if not len(others):
        return np.zeros(len(rows), dtype=bool)
    onset = presentations["onset"].to_numpy(dtype=np.float64)
    # runs laid one after another, too far apart to meet
    line = onset - onset.min() + _runs(presentations) * (np.ptp(onset) + distance + 1)
    there = np.sort(line[others])
    at = np.searchsorted(there, line[rows])
    before = np.abs(line[rows] - there[np.maximum(at - 1, 0)])
    after = np.abs(line[rows] - there[np.minimum(at, len(there) - 1)])
    close: NDArray[np.bool_] = np.minimum(before, after) <= distance + SLACK
    return close


def _runs(presentations: pd.DataFrame) -> NDArray[np.int64]:
    names = [name for name in ("session", "run") if name in presentations]
    runs: NDArray[np.int64] = presentations.groupby(names, sort=False, dropna=False).ngroup().to_numpy()
    return runs
