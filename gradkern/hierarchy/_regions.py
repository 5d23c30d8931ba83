"""Targets in their regions (ROIs): means over them, and no region that is dropped silently."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern.errors import Refused
from gradkern.stats._bootstrap import Floats
from gradkern.stats._summary import Summary


@dataclass(frozen=True, eq=False, repr=False)
class Regions(Summary):
    """The region of every target.

    Attributes
    ----------
    names : sorted names of the regions
    number : [v], index of every target's region in `names`
    inside : bool [v], whether a target is in a region at all
    """

    names: NDArray[Any]
    number: NDArray[np.int64]
    inside: NDArray[np.bool_]

    @classmethod
    def from_names(cls, names: Any) -> "Regions":
        """Group targets by the name [v] of their region; "", None and NaN stand for no region.

        Examples
        --------
        >>> Regions.from_names(["V1", "V2", "", "V1"]).names.shape
        (2,)
        """
        labels = np.asarray(names, dtype=object)
        inside = ~pd.isna(labels) & (labels.astype(str) != "")
        unique, indices = np.unique(labels[inside].astype(str), return_inverse=True)
        number = np.zeros(len(labels), dtype=np.int64)
        number[inside] = indices
        return cls(unique, number, inside)

    def count(self, chosen: NDArray[np.bool_], weights: Floats | None = None) -> NDArray[Any]:
        """Count the chosen targets of every region, or sum their weights."""
        members = chosen & self.inside
        counts: NDArray[Any] = np.bincount(
            self.number[members], None if weights is None else weights[members], minlength=len(self.names)
        )
        return counts

    def left_out(self, wanted: NDArray[np.bool_], kept: NDArray[np.bool_], reason: str) -> Excluded:
        """Name the regions that have wanted targets and keep none of them."""
        names = self.names[(self.count(wanted) > 0) & (self.count(kept) == 0)]
        return Excluded("regions", len(names), f"{reason}: {quoted(names)}")

    def check(
        self, wanted: NDArray[np.bool_], left: NDArray[np.bool_], lost: Mapping[str, NDArray[np.bool_]], whose: str = ""
    ) -> None:
        """Check that every region with wanted targets has one left.

        Parameters
        ----------
        wanted, left : bool [v]
        lost : reason -> bool [v], targets that are missing for it
        whose : the subject, in words

        Raises
        ------
        Refused : regions with none left
        """
        empty = np.flatnonzero((self.count(wanted) > 0) & (self.count(left) == 0))
        counts = {reason: self.count(targets) for reason, targets in lost.items()}
        described = []
        for region in empty:
            reasons = [f"{count[region]} {reason}" for reason, count in counts.items() if count[region]]
            described.append(f"{str(self.names[region])!r} ({', '.join(reasons)})")
        if described:
            raise Refused(f"regions{whose} must keep at least one target, got none left of {', '.join(described)}")


def quoted(names: Any) -> str:
    """Names in one line."""
    return ", ".join(repr(str(name)) for name in names)


class RegionMeans:
    """Means of targets in regions, added up block by block; targets without a value in a resampling are left out."""

    def __init__(self, regions: int) -> None:
        self.regions = np.arange(regions)
        self.total: Any = 0.0
        self.mass: Any = 0.0

    def add(self, values: Floats, region: NDArray[np.int64]) -> None:
        """Add values [..., w] of targets in these regions [w]."""
        share = (region[:, None] == self.regions).astype(np.float64)
        known = ~np.isnan(values)
        self.total = self.total + np.where(known, values, 0.0) @ share
        self.mass = self.mass + known @ share

    def values(self) -> Floats:
        """Means [..., regions], NaN where no value is known."""
        result: Floats = np.full(np.shape(self.total), np.nan)
        np.divide(self.total, self.mass, out=result, where=self.mass > 0)
        return result
