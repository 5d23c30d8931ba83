"""Pearson correlations of columns."""

import numpy as np


def correlation(y: np.ndarray, yhat: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson r of columns for each row of weights, [..., b, targets]; 0 where either does not vary.

    Parameters
    ----------
    y, yhat : [..., n, targets]; axes before these two are broadcast: one y [n, targets] serves the yhat of many layers
    weights : [b, n], how often each row counts
    """
    y, yhat = y - y.mean(-2, keepdims=True), yhat - yhat.mean(-2, keepdims=True)
    share = weights / np.maximum(weights.sum(1, keepdims=True), 1)
    mean_y, mean_yhat = share @ y, share @ yhat
    covariance = share @ (y * yhat) - mean_y * mean_yhat
    variances = (share @ y**2 - mean_y**2) * (share @ yhat**2 - mean_yhat**2)
    vary = variances > (1e-12 * (y**2).mean(-2, keepdims=True)) ** 2
    r: np.ndarray = np.zeros_like(covariance)
    np.divide(covariance, np.sqrt(np.abs(variances)), out=r, where=vary)
    return r
