"""Maps of subjects along an axis, such as the hierarchy, held against maps of the same smoothness."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.hierarchy._spatial_score import correlate
from gradkern.stats._bootstrap import Floats
from gradkern.stats._spatial_nulls import NullMaps, map_correlation, variogram_maps

LEAST_PLACES = 20  # of fewer no variogram can be matched


@dataclass(frozen=True, eq=False)
class SubjectMap:
    """Scores r [l, v] of a subject's targets at places `points` [v, 3] that lie on an axis [v]; NaN where not known.

    `noise` [l, l] is the covariance of the scores' noise over layers, to a factor.
    """

    subject: str
    points: Floats
    axis: Floats
    r: Floats
    noise: Any = None

    def same_places(self, other: "SubjectMap") -> bool:
        return np.array_equal(self.points, other.points) and np.array_equal(self.axis, other.axis)


@dataclass(frozen=True)
class Measure:
    """What is made of scores r [l, v]: a map `value` [v], NaN where there is none.

    Where `strength` [m, v] is given, how well targets are predicted, it and its squares are taken out of map and axis.
    Noise draws the layer that a target prefers to the middle of all layers, that of weakly predicted targets most:
    where targets are predicted worse along the axis, depth would seem to go along it.
    """

    value: Callable[[Floats], Floats]
    strength: Callable[[SubjectMap], Floats] | None = None

    def along(self, one: SubjectMap) -> tuple[Floats, Floats, Callable[[Floats], Floats]]:
        """Map and axis [v], NaN where either is not known, and what takes out of maps [..., v] what was taken out."""
        values = self.value(one.r)
        known = np.isfinite(values) & np.isfinite(one.axis)
        strength = self.strength

        def taken_out(maps: Floats) -> Floats:
            if strength is None:
                return maps
            Z = np.hstack([np.vander((at - at.mean()) / (at.std() or 1), 3) for at in strength(one)[:, known]])
            left: Floats = np.full(maps.shape, np.nan)
            here = maps[..., known]
            left[..., known] = here - (Z @ np.linalg.lstsq(Z, here.T, rcond=None)[0]).T
            return left

        return taken_out(np.where(known, values, np.nan)), taken_out(np.where(known, one.axis, np.nan)), taken_out

    def correlation(self, one: SubjectMap) -> float:
        """Pearson r of map and axis; NaN of fewer than 3 targets, or where one of the two does not vary."""
        values, axis, _ = self.along(one)
        return correlate(values, axis)


def predictability(one: SubjectMap) -> Floats:
    """How well a target is predicted, [2, v]: its highest score, and the length of its scores in units of their noise.

    Noise of equal size in all layers changes that length and not the direction of the scores, by which a target
    prefers some layers; noise that layers share changes the highest score. Of targets that all read one layer, under a
    ceiling that fell or rose along the axis, the mean correlation of depth and axis was -.65 to .64; with both taken
    out -.05 to .09, with the highest score alone -.25 to .26, with the length alone -.16 to .16.
    """
    length = np.sqrt(np.einsum("lv,lm,mv->v", one.r, np.linalg.pinv(one.noise, hermitian=True), one.r).clip(min=0))
    return np.stack([one.r.max(0), length])


def mirror_hemispheres(points: Any, hemispheres: Any) -> Floats:
    """Places [v, 3] with those of the right hemisphere mirrored into the left.

    Homologous places are alike, as neighbours are: of mirrored maps surrogates by straight distances, which take the
    hemispheres for independent, found an order in 11 % of null maps at 5 %.

    Parameters
    ----------
    points : [v, 3], the first coordinate 0 between the hemispheres
    hemispheres : [v], "left" or "right"
    """
    places = np.array(points, dtype=np.float64)
    places[np.asarray(hemispheres) == "right", 0] *= -1
    return places


def joined(maps: Sequence[SubjectMap]) -> list[SubjectMap]:
    """One map of the mean scores where all subjects have the same places, else all of them as they are."""
    if len(maps) < 2 or not all(one.same_places(maps[0]) for one in maps):
        return list(maps)
    r = np.mean([one.r for one in maps], axis=0)
    noise = None if maps[0].noise is None else np.mean([one.noise for one in maps], axis=0)
    return [replace(maps[0], subject=f"the mean of {len(maps)} subjects", r=r, noise=noise)]


def variogram_null_test(
    maps: Sequence[SubjectMap], of: Measure, *, places: int, permutations: int, seed: int
) -> list[float]:
    """One-sided p of each map that it goes with its axis, beside maps of the same variogram.

    Parameters
    ----------
    places : at most so many, drawn at random, go into a null
    permutations, seed : of `variogram_maps`

    Raises
    ------
    ValueError : fewer than 20 places that are known
    """
    p = []
    for one in maps:
        chosen = _known(one, of.value(one.r), places, seed)
        here = replace(one, points=one.points[chosen], axis=one.axis[chosen], r=one.r[:, chosen])
        values, axis, taken_out = of.along(here)
        apart = np.linalg.norm(here.points[:, None] - here.points, axis=2)
        null = variogram_maps(values, apart, permutations=permutations, seed=seed)
        found = map_correlation(values, axis, NullMaps(taken_out(null.values), null.what))
        p.append(found.p / 2 if found.r > 0 else 1 - found.p / 2)
    return p


def _known(one: SubjectMap, values: Floats, most: int, seed: int) -> NDArray[np.int64]:
    """Which targets have a place and one of these values [v]; at most so many, drawn at random."""
    finite = np.isfinite(one.points).all(1) & np.isfinite(one.axis) & np.isfinite(values)
    chosen = np.flatnonzero(finite)
    if len(chosen) < LEAST_PLACES:
        raise ValueError(
            f"maps of {one.subject} must have at least {LEAST_PLACES} targets with a place, an axis and a value, "
            f"got {len(chosen)} of {len(finite)}"
        )
    if len(chosen) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, most, replace=False))
    return chosen
