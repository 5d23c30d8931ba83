"""Names and numbers of images, in one spelling: what is a number, what is a name, and what is missing."""

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._image_names import canonical, same_name

MISSING = ("n/a", "")  # BIDS' word for no value, and the empty cell
_NUMBER = re.compile(r"(0|[1-9][0-9]{0,17})(\.0+)?")  # of a table; digits after leading zeros are a name


_NUMBERED = re.compile(r"#(0|[1-9][0-9]{0,8})")


@lru_cache(maxsize=16)  # since every step of a recording checks the same names again
def different_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names in one spelling.

    Raises
    ------
    ValueError : two are the same
    """
    canonical_names = tuple(map(canonical, names))
    twice = next((name for name, count in Counter(canonical_names).items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"image_names must be different, got {twice!r} for {canonical_names.count(twice)} images")
    return canonical_names


@lru_cache(maxsize=16)
def other_names(names: tuple[str, ...], sources: tuple[str, ...]) -> tuple[int, ...]:
    """Places where two lists name different files: see `same_name`."""
    pairs = enumerate(zip(names, sources, strict=True))
    return tuple(place for place, pair in pairs if pair[0] != pair[1] and not same_name(*pair))


def natural(word: str) -> list[tuple[int, int, str]]:
    """A key that sorts words by the numbers in them: run-2 before run-10."""
    parts = re.split(r"([0-9]+)", word)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]


def is_missing(value: Any) -> bool:
    """Whether a cell names nothing: "n/a", an empty cell, None or NaN. "None", "null" and "NA" are names."""
    return value in MISSING if isinstance(value, str) else bool(pd.isna(value))


def names_or_numbers(texts: Iterable[str]) -> NDArray[Any]:
    """Cells of a table as whole numbers if all of them are, else as names.

    One cell that is no number ("catch"), or has leading zeros ("0003"), makes names of all, so that an image has one
    name in every run.

    Raises
    ------
    ValueError : all are whole numbers, and one is negative
    """
    words = [str(text) for text in texts]
    if all(_NUMBER.fullmatch(word.removeprefix("-")) for word in words):
        numbers = np.array([int(word.partition(".")[0]) for word in words], dtype=np.int64)
        if len(numbers) and numbers.min() < 0:
            raise ValueError(f"numbers of images must be 0 or more, got {numbers.min()}")
        return numbers
    return np.array([canonical(word) for word in words], dtype=object)


def numbered_images(shown: Any) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    """An id for the image of every presentation, and the names of the images by id.

    Names are numbered in their order. Whole numbers are the ids themselves, and have no names.

    Raises
    ------
    ValueError : an image is missing, or is neither a name nor a whole number of 0 or more
    """
    values = np.asarray(shown)
    if values.dtype.kind == "O" and len(values) and all(_is_integer(value) for value in values):
        values = values.astype(np.int64)
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.round(values)).all():
        values = values.astype(np.int64)  # tables with a gap have whole numbers as floats
    if values.dtype.kind in "iu":
        if len(values) and values.min() < 0:
            raise ValueError(f"numbers of images must be 0 or more, got {values.min()}")
        return values.astype(np.int64), None
    if values.dtype.kind not in "OUS":
        raise ValueError(f"images must be names or whole numbers, got {values.dtype}")
    missing = sum(is_missing(value) for value in values.tolist())
    if missing:
        raise ValueError(f"every presentation must name an image, got none for {missing}")
    words = [canonical(value.decode() if isinstance(value, bytes) else str(value)) for value in values.tolist()]
    names, ids = np.unique(np.array(words, dtype=object), return_inverse=True)
    return ids, tuple(names.tolist())


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def name_numbers(numbers: Iterable[int]) -> tuple[str, ...]:
    """Names of images that have only their 0-based numbers in the image source: "#17".

    Examples
    --------
    >>> from gradkern.recordings._formats.names import name_numbers
    >>> name_numbers([0, 17])
    ('#0', '#17')
    """
    return tuple(f"#{number}" for number in numbers)


def numbers_named(names: Iterable[str]) -> NDArray[np.int64] | None:
    """The numbers in names that `name_numbers` made; None where one is another name."""
    found = [_NUMBERED.fullmatch(name) for name in names]
    return None if None in found else np.array([int(match[1]) for match in found if match], dtype=np.int64)
