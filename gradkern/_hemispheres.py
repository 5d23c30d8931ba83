"""Names of hemispheres, as atlases and formats write them."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_NAMES = {"left": "left", "lh": "left", "right": "right", "rh": "right"}


def hemisphere_sides(hemispheres: Any) -> NDArray[np.str_]:
    """Name every hemisphere [v] "left" or "right"; "" where it is unknown ("", None or NaN).

    Raises
    ------
    ValueError : another name than left, lh, right or rh

    Examples
    --------
    >>> hemisphere_sides(["lh", "right", None]).tolist()
    ['left', 'right', '']
    """
    given = np.asarray(hemispheres, dtype=object)
    names = np.where(pd.isna(given), "", given).astype(str)
    known, number = np.unique(names, return_inverse=True)
    other = [name for name in known.tolist() if name and name not in _NAMES]
    if other:
        raise ValueError(f"hemispheres must be 'left' or 'right', got {other[0]!r}")
    sides: NDArray[np.str_] = np.array([_NAMES.get(name, "") for name in known.tolist()])[number]
    return sides
