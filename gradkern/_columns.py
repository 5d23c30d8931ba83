"""What several packages compute over the columns of a matrix: Pearson correlations, and the size of a feature space."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def pearson(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """Pearson r of every column of x [n, v] with the same column of y; NaN where a column does not vary.

    Weighted rows, and scores that must not leave the device, have forms of their own with the same convention:
    `stats.weighted_correlation` and the metrics of `ridge`.
    """
    constant = (np.ptp(x, axis=0) == 0) | (np.ptp(y, axis=0) == 0)
    x, y = x - x.mean(0), y - y.mean(0)
    norms = np.sqrt((x**2).sum(0) * (y**2).sum(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        r: NDArray[Any] = (x * y).sum(0) / norms
    r[constant] = np.nan  # the mean of equal numbers is rounded, so that they may seem to vary about it
    return r


def unit_size(values: NDArray[Any]) -> float:
    """Root mean square norm of the centered rows of X [n, d], summed in float64; 0 if the rows do not vary."""
    return float(np.sqrt(np.mean(np.sum((values - values.mean(0, dtype=np.float64)) ** 2, axis=1))))
