"""Maps of subjects along an axis, such as the hierarchy, held against maps of the same smoothness."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gradkern.analysis.bootstrap import Floats
from gradkern.analysis.spatial_nulls import map_correlation, variogram_maps

_LEAST_PLACES = 20  # of fewer no variogram can be matched


@dataclass(frozen=True, eq=False)
class SubjectMap:
    """Values [v] of one subject at places `points` [v, 3] that lie on an axis [v]; NaN where not known."""

    subject: str
    points: Floats
    axis: Floats
    values: Floats

    def same_places(self, other: "SubjectMap") -> bool:
        return np.array_equal(self.points, other.points) and np.array_equal(self.axis, other.axis)

    def known(self, most: int, seed: int) -> "SubjectMap":
        """Of what is known, at most so many drawn at random.

        Raises
        ------
        ValueError : fewer than 20 places
        """
        finite = np.isfinite(self.points).all(1) & np.isfinite(self.axis) & np.isfinite(self.values)
        chosen = np.flatnonzero(finite)
        if len(chosen) < _LEAST_PLACES:
            raise ValueError(
                f"maps of {self.subject} must have at least {_LEAST_PLACES} targets with a place, an axis and a value, "
                f"got {len(chosen)} of {len(finite)}"
            )
        if len(chosen) > most:
            chosen = np.sort(np.random.default_rng(seed).choice(chosen, most, replace=False))
        return replace(self, points=self.points[chosen], axis=self.axis[chosen], values=self.values[chosen])


def beside_smooth_maps(maps: Sequence[SubjectMap], *, places: int, permutations: int, seed: int) -> list[float]:
    """One-sided p that maps go with their axes, beside maps of the same variogram: one of the mean map where all
    subjects have the same places, else one a subject.

    Parameters
    ----------
    places : at most so many, drawn at random, go into a null
    permutations, seed : of `variogram_maps`

    Raises
    ------
    ValueError : fewer than 20 places that are known
    """
    tested = list(maps)
    if all(one.same_places(maps[0]) for one in maps):
        who = maps[0].subject if len(maps) == 1 else f"the mean of {len(maps)} subjects"
        tested = [replace(maps[0], subject=who, values=np.mean([one.values for one in maps], axis=0))]
    p = []
    for one in (each.known(places, seed) for each in tested):
        apart = np.linalg.norm(one.points[:, None] - one.points, axis=2)
        null = variogram_maps(one.values, apart, permutations=permutations, seed=seed)
        found = map_correlation(one.values, one.axis, null)
        p.append(found.p / 2 if found.r > 0 else 1 - found.p / 2)
    return p
