"""Maps of subjects along an axis, such as the hierarchy, held against maps of the same smoothness."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gradkern.analysis.bootstrap import Floats
from gradkern.analysis.spatial_nulls import map_correlation, variogram_maps

LEAST_PLACES = 20  # of fewer no variogram can be matched


@dataclass(frozen=True, eq=False)
class SubjectMap:
    """Scores r [l, v] of a subject's targets at places `points` [v, 3] that lie on an axis [v]; NaN where not known."""

    subject: str
    points: Floats
    axis: Floats
    r: Floats

    def same_places(self, other: "SubjectMap") -> bool:
        return np.array_equal(self.points, other.points) and np.array_equal(self.axis, other.axis)

    def known(self, values: Floats, most: int, seed: int) -> NDArray[np.int64]:
        """Which targets have a place and one of these values [v]; at most so many, drawn at random.

        Raises
        ------
        ValueError : fewer than 20
        """
        finite = np.isfinite(self.points).all(1) & np.isfinite(self.axis) & np.isfinite(values)
        chosen = np.flatnonzero(finite)
        if len(chosen) < LEAST_PLACES:
            raise ValueError(
                f"maps of {self.subject} must have at least {LEAST_PLACES} targets with a place, an axis and a value, "
                f"got {len(chosen)} of {len(finite)}"
            )
        if len(chosen) > most:
            chosen = np.sort(np.random.default_rng(seed).choice(chosen, most, replace=False))
        return chosen


def joined(maps: Sequence[SubjectMap]) -> list[SubjectMap]:
    """One map of the mean scores where all subjects have the same places, else all of them as they are."""
    if len(maps) < 2 or not all(one.same_places(maps[0]) for one in maps):
        return list(maps)
    r = np.mean([one.r for one in maps], axis=0)
    return [replace(maps[0], subject=f"the mean of {len(maps)} subjects", r=r)]


def beside_smooth_maps(
    maps: Sequence[SubjectMap], value_of: Callable[[Floats], Floats], *, places: int, permutations: int, seed: int
) -> list[float]:
    """One-sided p of each map that it goes with its axis, beside maps of the same variogram.

    Parameters
    ----------
    value_of : scores [l, v] -> the map [v], NaN where it has no value
    places : at most so many, drawn at random, go into a null
    permutations, seed : of `variogram_maps`

    Raises
    ------
    ValueError : fewer than 20 places that are known
    """
    p = []
    for one in maps:
        values = value_of(one.r)
        chosen = one.known(values, places, seed)
        points, here = one.points[chosen], values[chosen]
        apart = np.linalg.norm(points[:, None] - points, axis=2)
        null = variogram_maps(here, apart, permutations=permutations, seed=seed)
        found = map_correlation(here, one.axis[chosen], null)
        p.append(found.p / 2 if found.r > 0 else 1 - found.p / 2)
    return p
