"""Names of places, spelled one way: hemispheres are "left" and "right"."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIDES = {"left": ("l", "lh", "left"), "right": ("r", "rh", "right")}
_AROUND = ("cifti structure ", "hemisphere ", "hemi ", "cortex ")  # words before or behind the side
_GIFTI = {"cortexleft": "left", "cortexright": "right"}
_KNOWN = {spelling: side for side, spellings in _SIDES.items() for spelling in spellings} | _GIFTI


def side_of(name: Any) -> str | None:
    """ "left" or "right" for lh, rh, L, R, hemi-L, CortexLeft, CIFTI_STRUCTURE_CORTEX_LEFT and the like, else None."""
    words = str(name).strip().lower().replace("_", " ").replace("-", " ")
    for word in _AROUND:
        words = words.removeprefix(word).removesuffix(f" {word}".rstrip())
    return _KNOWN.get(words)


def hemispheres(names: Any) -> NDArray[Any]:
    """ "left" or "right" for each name [v], in whatever spelling; empty and missing names stay as they are.

    Raises
    ------
    ValueError : a name is of no hemisphere

    Examples
    --------
    >>> from gradkern._places import hemispheres
    >>> hemispheres(["lh", "R", "left", ""]).tolist()
    ['left', 'right', 'left', '']
    """
    given = np.asarray(names, dtype=object)
    distinct = {name: side_of(name) for name in dict.fromkeys(given.ravel()) if isinstance(name, str) and name}
    for name, side in distinct.items():
        if side is None:
            raise ValueError(f"hemispheres must be 'left' or 'right', got {name!r}")
    missing = [name for name in given.ravel() if not isinstance(name, str) and name is not None and name == name]
    if missing:
        raise ValueError(f"hemispheres must be 'left' or 'right', got {missing[0]!r}")
    sides = np.empty(given.shape, dtype=object)
    sides.ravel()[:] = [distinct.get(name, name) for name in given.ravel()]
    return sides
