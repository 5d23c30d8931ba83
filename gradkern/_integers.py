"""Integers that users give: Python's, NumPy's, or of any type that says it is one by `__index__`."""

import operator
from typing import Any

_LEAST_TOO_LARGE = 1 << 63  # what an int64 does not hold


def as_integer(argument: str, value: Any) -> int:
    """A Python integer.

    Raises
    ------
    TypeError : value is no integer; a bool is none
    """
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise TypeError(f"{argument} must be an integer, got {value!r}")


def as_seed(argument: str, value: Any) -> int:
    """A Python integer that any random number generator takes.

    Raises
    ------
    ValueError : value is no integer, negative, or 2^63 or above
    """
    try:
        seed = as_integer(argument, value)
    except TypeError:
        raise ValueError(f"{argument} must be an integer of at least 0, got {value!r}") from None
    if seed < 0:
        raise ValueError(f"{argument} must be an integer of at least 0, got {value!r}")
    if seed >= _LEAST_TOO_LARGE:
        raise ValueError(f"{argument} must be in [0, 2^63), got {value!r}")
    return seed
