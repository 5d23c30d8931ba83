"""Targets in their regions: means over these, and no region that disappears without a word."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern.stats._bootstrap import Floats


@dataclass(frozen=True, eq=False)
class Regions:
    """Names of the regions; of every target whether it is `inside` of one, and the `number` of that [v]."""

    names: NDArray[Any]
    number: NDArray[np.int64]
    inside: NDArray[np.bool_]

    def count(self, where: NDArray[np.bool_], weights: Floats | None = None) -> NDArray[Any]:
        """How many of these targets every region has, or the sum of their weights."""
        chosen = where & self.inside
        of = None if weights is None else weights[chosen]
        counted: NDArray[Any] = np.bincount(self.number[chosen], of, minlength=len(self.names))
        return counted

    def left_out(self, wanted: NDArray[np.bool_], kept: NDArray[np.bool_], reason: str) -> Excluded:
        """Regions with wanted targets of which none is kept, by name."""
        names = self.names[(self.count(wanted) > 0) & (self.count(kept) == 0)]
        return Excluded("regions", len(names), f"{reason}: {quoted(names)}")

    def check(
        self, op: str, wanted: NDArray[np.bool_], left: NDArray[np.bool_], lost: Mapping[str, NDArray[np.bool_]],
        who: str = "",
    ) -> None:  # fmt: skip
        """Of every region with wanted targets one must be left; `lost` tells why others are not, `who` of whom.

        Raises
        ------
        ValueError : regions of which none is left
        """
        empty = np.flatnonzero((self.count(wanted) > 0) & (self.count(left) == 0))
        counts = {why: self.count(where) for why, where in lost.items()}
        told = [
            f"{str(self.names[i])!r} ({', '.join(f'{each[i]} {why}' for why, each in counts.items() if each[i])})"
            for i in empty
        ]
        if told:
            raise ValueError(f"{op}: regions{who} must keep at least one target, got none left of {', '.join(told)}")


def in_regions(given: Any) -> Regions:
    """Of names [v], where "", None and NaN are of targets in no region."""
    told = np.asarray(given, dtype=object)
    inside = ~pd.isna(told) & (told.astype(str) != "")
    names, place = np.unique(told[inside].astype(str), return_inverse=True)
    number = np.zeros(len(told), dtype=np.int64)
    number[inside] = place
    return Regions(names, number, inside)


def quoted(names: Any) -> str:
    """Names in one line."""
    return ", ".join(repr(str(name)) for name in names)


class Means:
    """Means of targets in regions, block by block; of those that are known, where a resampling gives one no depth."""

    def __init__(self, regions: int) -> None:
        self.regions = np.arange(regions)
        self.total: Any = 0.0
        self.mass: Any = 0.0

    def add(self, values: Floats, region: NDArray[np.int64]) -> None:
        """Of values [..., w] of targets in these regions [w]."""
        share = (region[:, None] == self.regions).astype(np.float64)
        known = ~np.isnan(values)
        self.total = self.total + np.where(known, values, 0.0) @ share
        self.mass = self.mass + known @ share

    def values(self) -> Floats:
        """[..., regions], NaN where nothing is known."""
        result: Floats = np.full(np.shape(self.total), np.nan)
        np.divide(self.total, self.mass, out=result, where=self.mass > 0)
        return result
