"""The axis of a study file: a column of the targets, or one made of their places or regions.

axis = "distance"                        # a column that the recordings have
axis = {euclidean = "V1"}                # straight distance to the middle of V1, or of several regions: ["V1v", "V1d"]
axis = {order = ["V1", "V2", "V4"]}      # place of the region in a list, from low to high
axis = {order = "HCP-MMP1"}              # the same in `HCP_ORDER`
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.hierarchy._regions import quoted
from gradkern.hierarchy._values import euclidean_hierarchy, rank_hierarchy
from gradkern.recordings._recording import Recording
from gradkern.recordings._simulation.cortex import HCP_ORDER

ORDERS = {"HCP-MMP1": HCP_ORDER}
FORMS = "a column's name, {euclidean = region} or {order = regions from low to high}"
_PLACE = ["x", "y", "z"]


@dataclass(frozen=True)
class MadeAxis:
    """An axis that recordings get as they are read.

    Attributes
    ----------
    column : its name in the targets, which says how it is made
    of : the regions that it is made from
    by : "euclidean" or "order"
    """

    column: str
    of: tuple[str, ...]
    by: str

    def added(self, recording: Recording) -> Recording:
        """With the axis in its targets, and a line about it in its history.

        Raises
        ------
        ValueError : columns that it is made from are missing, or its own is there; no target in the origin in a
            hemisphere, or fewer than 2 regions of the order
        """
        targets, euclidean = recording.targets, self.by == "euclidean"
        for name in ("roi", "hemisphere", *_PLACE) if euclidean else ("roi",):
            if name not in targets:
                raise ValueError(f"targets must have {name!r}, got {list(targets)}")
        if self.column in targets:
            raise ValueError(f"targets must have no {self.column!r}, which is to be made, got {list(targets)}")
        values = self._distance(targets) if euclidean else self._rank(targets)
        known = int(np.isfinite(values).sum())
        line = f"the axis is the {self.column}, of {known} targets; {len(values) - known} have no place in it"
        made = targets.assign(**{self.column: values})
        return replace(recording, targets=made, history=(*recording.history, line))

    def _distance(self, targets: pd.DataFrame) -> NDArray[np.float64]:
        try:
            points = targets[_PLACE].to_numpy(dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"x, y and z of the targets must be numbers: {error}") from error
        sides, origin = targets["hemisphere"], targets["roi"].isin(self.of).to_numpy()
        whole = sides.notna().to_numpy() & sides.astype(str).ne("").to_numpy() & np.isfinite(points).all(1)
        named = sides[whole].astype(str).to_numpy()
        for side in np.unique(named) if whole.any() else ["any hemisphere"]:
            if not (origin[whole] & (named == side)).any():
                raise ValueError(
                    f"targets with a place must lie in {' or '.join(self.of)} in every hemisphere, got none in {side}; "
                    f"'roi' there: {_some(targets.loc[whole, 'roi'][named == side])}"
                )
        distance = np.full(len(targets), np.nan)
        distance[whole] = euclidean_hierarchy(points[whole], origin[whole], named)
        return distance

    def _rank(self, targets: pd.DataFrame) -> NDArray[np.float64]:
        ranks = rank_hierarchy(self.of, targets["roi"])
        if len(np.unique(ranks[np.isfinite(ranks)])) < 2:
            raise ValueError(
                f"targets must lie in at least 2 regions of the order {', '.join(self.of)}; their 'roi': "
                f"{_some(targets['roi'])}"
            )
        return ranks


def read_axis(given: Any, error: Callable[[str, str, Any], ValueError]) -> str | MadeAxis:
    """The `axis` of a study file; `error` makes one of a key, what is wanted and what was got."""
    if isinstance(given, str):
        return given
    if not isinstance(given, dict) or len(given) != 1 or next(iter(given)) not in ("euclidean", "order"):
        raise error("axis", FORMS, repr(given))
    ((by, value),) = given.items()
    if by == "order" and isinstance(value, str):
        if value not in ORDERS:
            raise error("axis.order", f"a list of regions from low to high, or one of {quoted(ORDERS)}", repr(value))
        return MadeAxis(f"rank of the region in {value}", ORDERS[value], by)
    least, wanted = (1, "a region, or a list of them") if by == "euclidean" else (2, "a list of 2 regions or more")
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names) or len(names) < least:
        raise error(f"axis.{by}", wanted, repr(value))
    if len(set(names)) < len(names):
        raise error(f"axis.{by}", "regions that are named once", repr(value))
    column = f"distance to {' and '.join(names)}" if by == "euclidean" else f"rank of the region in {', '.join(names)}"
    return MadeAxis(column, tuple(names), by)


def _some(regions: pd.Series) -> str:
    """The first of the regions in words."""
    names = [str(name) for name in pd.unique(regions) if not pd.isna(name) and name != ""]
    return quoted(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") if names else "none"
