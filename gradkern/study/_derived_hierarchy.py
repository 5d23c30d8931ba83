"""The hierarchy of a study file: a column of the targets, or one derived from their points or regions.

hierarchy = "distance"                        # a column that the recordings have
hierarchy = {euclidean = "V1"}                # straight distance to the middle of V1, or of several: ["V1v", "V1d"]
hierarchy = {order = ["V1", "V2", "V4"]}      # index of the region in a list, from low to high
hierarchy = {order = "HCP-MMP1"}              # the same in `HCP_ORDER`
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.errors import naming
from gradkern.hierarchy._regions import quoted
from gradkern.hierarchy._values import euclidean_hierarchy, rank_hierarchy
from gradkern.recordings._recording import Recording
from gradkern.recordings._simulation.cortex import HCP_ORDER

ORDERS = {"HCP-MMP1": HCP_ORDER}
FORMS = "a column's name, {euclidean = region} or {order = regions from low to high}"
_POINT = ["x", "y", "z"]


@dataclass(frozen=True)
class DerivedHierarchy:
    """A hierarchy value per target that is computed from the targets' points or regions.

    Attributes
    ----------
    column : its name in the targets, which says how it is computed
    regions : the regions that it is computed from
    by : "euclidean", the distance to the middle of the regions; or "order", the index of a target's region in them
    """

    column: str
    regions: tuple[str, ...]
    by: str

    @naming("DerivedHierarchy")
    def added(self, recording: Recording) -> Recording:
        """The recording with the hierarchy value in its targets, and a line about it in its history.

        Raises
        ------
        ValueError : columns that it is computed from are missing, or its own is there; no target in the origin in a
            hemisphere, or fewer than 2 regions of the order
        """
        targets, euclidean = recording.targets, self.by == "euclidean"
        for name in ("roi", "hemisphere", *_POINT) if euclidean else ("roi",):
            if name not in targets:
                missing = "".join(f"; {line}" for line in recording.history if line.startswith("no "))
                raise ValueError(f"targets must have {name!r}, got {list(targets)}{missing}")
        if self.column in targets:
            raise ValueError(f"targets must have no {self.column!r}, which is computed, got {list(targets)}")
        values = self._distance(targets) if euclidean else self._rank(targets)
        valued = int(np.isfinite(values).sum())
        line = f"the hierarchy is the {self.column}, of {valued} targets; {len(values) - valued} have no value"
        return replace(recording, targets=targets.assign(**{self.column: values}), history=(*recording.history, line))

    def _distance(self, targets: pd.DataFrame) -> NDArray[np.float64]:
        try:
            points = targets[_POINT].to_numpy(dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"x, y and z of the targets must be numbers: {error}") from error
        hemispheres, origin = targets["hemisphere"], targets["roi"].isin(self.regions).to_numpy()
        sided = hemispheres.notna().to_numpy() & hemispheres.astype(str).ne("").to_numpy()
        located = sided & np.isfinite(points).all(1)
        sides = hemispheres[located].astype(str).to_numpy()
        for side in np.unique(sides) if located.any() else ["any hemisphere"]:
            if not (origin[located] & (sides == side)).any():
                raise ValueError(
                    f"targets with points must lie in {' or '.join(self.regions)} in every hemisphere, got none in "
                    f"{side}; 'roi' there: {_first_regions(targets.loc[located, 'roi'][sides == side])}"
                )
        distance = np.full(len(targets), np.nan)
        distance[located] = euclidean_hierarchy(points[located], origin[located], sides)
        return distance

    def _rank(self, targets: pd.DataFrame) -> NDArray[np.float64]:
        ranks = rank_hierarchy(self.regions, targets["roi"])
        if len(np.unique(ranks[np.isfinite(ranks)])) < 2:
            raise ValueError(
                f"targets must lie in at least 2 regions of the order {', '.join(self.regions)}; their 'roi': "
                f"{_first_regions(targets['roi'])}"
            )
        return ranks


def parse_hierarchy(value: Any, key: str = "hierarchy") -> str | DerivedHierarchy:
    """What a study file says about the hierarchy: the name of a column, or how it is computed.

    Parameters
    ----------
    key : of the file, which errors name

    Raises
    ------
    ValueError : none of the forms at the head of this page

    Examples
    --------
    >>> parse_hierarchy({"order": ["V1", "V2"]}).column
    'rank of the region in V1, V2'
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in ("euclidean", "order"):
        raise ValueError(f"{key} must be {FORMS}, got {value!r}")
    ((by, regions),) = value.items()
    if by == "order" and isinstance(regions, str):
        if regions not in ORDERS:
            wanted = f"a list of regions from low to high, or one of {quoted(ORDERS)}"
            raise ValueError(f"{key}.order must be {wanted}, got {regions!r}")
        return DerivedHierarchy(f"rank of the region in {regions}", ORDERS[regions], by)
    least, wanted = (1, "a region, or a list of them") if by == "euclidean" else (2, "a list of 2 regions or more")
    names = [regions] if isinstance(regions, str) else regions
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names) or len(names) < least:
        raise ValueError(f"{key}.{by} must be {wanted}, got {regions!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"{key}.{by} must be regions that are named once, got {regions!r}")
    column = f"distance to {' and '.join(names)}" if by == "euclidean" else f"rank of the region in {', '.join(names)}"
    return DerivedHierarchy(column, tuple(names), by)


def _first_regions(regions: pd.Series) -> str:
    """The first ten regions, quoted."""
    names = [str(name) for name in pd.unique(regions) if not pd.isna(name) and name != ""]
    return quoted(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") if names else "none"
