"""One scale for all feature spaces, and warnings about a recording before it is scored."""

import warnings
from typing import Any

import numpy as np

from gradkern import _columns
from gradkern.recordings._recording import Recording


def unit_scale(X: Any) -> np.ndarray:
    """Features X [n, d] divided by one number, so that the mean squared norm of their centered rows is 1.

    One grid of penalties then fits every feature space.

    Returns
    -------
    [n, d] in float64
    """
    values: np.ndarray = np.asarray(X, dtype=np.float64)
    return values / unit_size(values)


def unit_size(values: np.ndarray) -> float:
    """Root mean square norm of the centered rows of X [n, d], summed in float64; 1 if the rows do not vary."""
    size = _columns.unit_size(values)
    return size if size > 0 else 1.0


def check_first(verb: str, recording: Recording) -> tuple[str, ...]:
    """Warn of everything that `Recording.check` finds odd, and return it; `verb` opens the warnings."""
    odd = recording.check()
    for line in odd:
        warnings.warn(f"{verb}: {line}", stacklevel=4)
    return odd
