"""Correlations. An undefined one, of data that do not vary, is NaN; nothing turns it into a number silently."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern._columns import pearson

METHODS = ("pearson", "spearman")
LEAST_POINTS = 3
_ROUNDING = 1e-12  # of a column's variance: what a weighted variance keeps where it should be 0


def correlation(x: Any, y: Any, method: str = "pearson") -> float:
    """Correlate two vectors over the points at which both are known.

    Parameters
    ----------
    x, y : [m]; NaN where unknown
    method : "pearson" or "spearman"

    Returns
    -------
    float : NaN if fewer than 3 points are known, or if one of the vectors does not vary over them

    Raises
    ------
    ValueError : an unknown method

    Examples
    --------
    >>> correlation([1, 2, 3, float("nan")], [2, 4, 6, 0])
    1.0
    """
    if method not in METHODS:
        raise ValueError(f"correlation: method must be one of {METHODS}, got {method!r}")
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    known = ~(np.isnan(first) | np.isnan(second))
    first, second = first[known], second[known]
    if len(first) < LEAST_POINTS or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    if method == "spearman":
        from scipy.stats import rankdata

        first, second = rankdata(first), rankdata(second)
    r = float(pearson(first[:, None], second[:, None])[0])
    return min(1.0, max(-1.0, r))


def weighted_correlation(y: Any, yhat: Any, weights: Any) -> NDArray[np.float64]:
    """Pearson r of columns under several weightings of the rows, for example all resamplings of a bootstrap.

    Parameters
    ----------
    y, yhat : [..., n, v]; axes before these two are broadcast: one y [n, v] serves the yhat of many layers
    weights : [b, n], how often each row counts

    Returns
    -------
    [..., b, v] : NaN where y or yhat does not vary over the rows that count

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> weighted_correlation(rng.random((9, 2)), rng.random((3, 9, 2)), np.ones((5, 9))).shape
    (3, 5, 2)
    """
    # exactly: the mean of equal numbers is rounded, so that they may seem to vary about it
    constant = (np.ptp(y, axis=-2) == 0) | (np.ptp(yhat, axis=-2) == 0)
    y, yhat = y - y.mean(-2, keepdims=True), yhat - yhat.mean(-2, keepdims=True)
    share = weights / np.maximum(weights.sum(1, keepdims=True), 1)
    mean_y, mean_yhat = share @ y, share @ yhat
    covariance = share @ (y * yhat) - mean_y * mean_yhat
    square_y, square_yhat = y**2, yhat**2
    variance_y, variance_yhat = share @ square_y - mean_y**2, share @ square_yhat - mean_yhat**2
    vary = (variance_y > _ROUNDING * square_y.mean(-2, keepdims=True)) & ~constant[..., None, :]
    vary &= variance_yhat > _ROUNDING * square_yhat.mean(-2, keepdims=True)
    r: NDArray[np.float64] = np.full(covariance.shape, np.nan)
    np.divide(covariance, np.sqrt(np.abs(variance_y * variance_yhat)), out=r, where=vary)
    return r
