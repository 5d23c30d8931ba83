"""Where values belong: the table of targets and the space, of a recording or of scores."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from gradkern.recordings import Recording


def places_of(like: Any, columns: tuple[str, ...]) -> pd.DataFrame:
    """The targets of a recording or of scores, with these columns.

    Raises
    ------
    TypeError : it is neither
    ValueError : a column is missing; the message has those that there are
    """
    if isinstance(like, Recording):
        table = like.targets
    elif isinstance(like, xr.Dataset | xr.DataArray):
        names = [str(name) for name, values in like.coords.items() if values.dims == ("target",)]
        table = pd.DataFrame({name: like[name].values for name in names})
    else:
        raise TypeError(f"like must be a Recording or scores, got {type(like).__name__}")
    missing = [name for name in columns if name not in table]
    if missing:
        raise ValueError(f"like must have targets with {' and '.join(map(repr, missing))}, got {list(table.columns)}")
    return table.reset_index(drop=True)


def space_of(like: Any) -> str:
    """The space of a recording or of scores, in words; "" where it is not known."""
    return like.space if isinstance(like, Recording) else str(like.attrs.get("space", ""))


def checked_values(values: Any, count: int) -> NDArray[np.float64]:
    """Values [v], one for each target, as float64.

    Raises
    ------
    ValueError : another number of values, infinite ones, NaN everywhere
    """
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (count,):
        raise ValueError(f"values must be [{count}], one for each target, got {list(array.shape)}")
    if np.isinf(array).any():
        raise ValueError(f"values must not be infinite, got {int(np.isinf(array).sum())} that are")
    if np.isnan(array).all():
        raise ValueError("values must have a number, got NaN everywhere")
    return array
