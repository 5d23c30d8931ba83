"""Arguments that several tests take, with one meaning."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

ALTERNATIVES = ("greater", "less", "two-sided")


def check_alternative(alternative: str) -> None:
    """Check the name of an alternative."""
    if alternative not in ALTERNATIVES:
        raise ValueError(f"alternative must be one of {ALTERNATIVES}, got {alternative!r}")


def in_direction(values: Any, alternative: str) -> NDArray[np.float64]:
    """Values that are the larger, the more they speak for the alternative."""
    array = np.asarray(values, dtype=np.float64)
    return np.abs(array) if alternative == "two-sided" else -array if alternative == "less" else array


def check_confidence(confidence: float) -> None:
    """Check the confidence of an interval, a probability."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
