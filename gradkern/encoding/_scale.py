"""What every analysis does first: one scale for all feature spaces, and what a recording warns of."""

import warnings
from typing import Any

import numpy as np

from gradkern.recordings._recording import Recording


def unit_scale(X: Any) -> np.ndarray:
    """X times one number, so that the mean square norm of its centred rows is 1: one grid of alphas fits all."""
    values: np.ndarray = np.asarray(X, dtype=np.float64)
    return values / unit_size(values)


def unit_size(values: np.ndarray) -> float:
    """Root mean square norm of the centred rows of X [n, d], summed in float64; 1 if they do not vary."""
    size = float(np.sqrt(np.mean(np.sum((values - values.mean(0, dtype=np.float64)) ** 2, axis=1))))
    return size if size > 0 else 1.0


def check_first(op: str, recording: Recording) -> tuple[str, ...]:
    """What `Recording.check` finds odd, which is warned of, before anything is computed."""
    odd = recording.check()
    for line in odd:
        warnings.warn(f"{op}: {line}", stacklevel=3)
    return odd
