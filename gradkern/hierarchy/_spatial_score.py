"""Spatial score: do targets higher in a hierarchy prefer deeper layers?

The number depends on choices that the literature makes differently (what a point is, how subjects come together, which
correlation), so a score names all of its own. No p value is given here: neighbours on cortex are alike, and only a null
that keeps this (`spatial_nulls`) can give one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern._geodesic import along_edges
from gradkern.hierarchy._layers import Preference, best_layers, checked_depth
from gradkern.hierarchy._regions import Means, in_regions, quoted
from gradkern.stats._bootstrap import Floats, Scores, ScoreStream
from gradkern.stats._intervals import Interval, cross, crossed_interval, interval

POINTS = ("targets", "regions, scores averaged first", "regions, depths averaged")
SUBJECTS = ("mean of subjects", "pooled", "subjects averaged first")
CORRELATIONS = ("Pearson", "Spearman")
BEST_LAYER = Preference("best layer")
_LEAST_POINTS = 3


@dataclass(frozen=True, eq=False)
class HierarchyScores:
    """Scores of one subject's targets, and where these lie in a hierarchy.

    Parameters
    ----------
    scores : r [l, v] and its resamplings; of subjects who saw the same images drawn by one `resample_images`. A
        `ScoreStream` is never held as a whole, and computed anew for every spatial score
    axis : [v], place in the hierarchy: distance to V1 in mm, rank of the region, a map; NaN where none is known
    regions : [v], names; "", None or NaN of targets in no region; needed where points are regions
    keep : bool [v]; None: all
    why : what the others lack, in words

    Raises
    ------
    ValueError : shapes that do not fit together, scores of a jackknife
    """

    scores: Scores | ScoreStream
    axis: Any
    regions: Any = None
    keep: Any = None
    why: str = "not kept"

    def __post_init__(self) -> None:
        v = self.scores.shape[2]
        for name in ("axis", "regions", "keep"):
            given = getattr(self, name)
            if given is not None and np.shape(given) != (v,):
                raise ValueError(f"HierarchyScores: {name} must be [{v}], one a target, got {list(np.shape(given))}")
        if self.keep is not None and np.asarray(self.keep).dtype != bool:
            raise ValueError(f"HierarchyScores: keep must be bool [{v}], got {np.asarray(self.keep).dtype}")
        if self.scores.kind != "bootstrap":
            raise ValueError(f"HierarchyScores: scores must be resampled by a bootstrap, got a {self.scores.kind}")

    def identified(self) -> "HierarchyScores":
        """Only targets whose best layer can be told from the second best; those without a score are not judged."""
        found = [best_layers(block) for _, block in self.scores.blocks()]
        here = np.concatenate([~each.flat | (each.best < 0) for each in found])
        kept = here if self.keep is None else here & np.asarray(self.keep)
        why = "best layer not identified"
        return HierarchyScores(
            self.scores, self.axis, self.regions, kept, why if self.keep is None else f"{self.why}, or {why}"
        )


@dataclass(frozen=True)
class SpatialVariant:
    """Which spatial score.

    Parameters
    ----------
    points : "targets" (a point is a voxel, vertex or sensor), "regions, scores averaged first" (mean r of the region's
        targets, then its preferred depth) or "regions, depths averaged" (mean of its targets' preferred depths)
    subjects : "mean of subjects" (of their correlations), "pooled" (all points of all subjects in one correlation) or
        "subjects averaged first" (mean over subjects of a point's scores, or of its depths where depths are averaged)
    preference : how scores over layers become a depth
    correlation : "Pearson" or "Spearman"
    """

    points: str = "targets"
    subjects: str = "mean of subjects"
    preference: Preference = BEST_LAYER
    correlation: str = "Pearson"

    def __post_init__(self) -> None:
        known = {"points": POINTS, "subjects": SUBJECTS, "correlation": CORRELATIONS}
        for name, choices in known.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"SpatialVariant: {name} must be one of {choices}, got {getattr(self, name)!r}")

    @property
    def depths_first(self) -> bool:
        """Are preferred depths what is averaged, or scores?"""
        return self.points == POINTS[2] or (self.points == POINTS[0] and self.subjects != SUBJECTS[2])

    @property
    def name(self) -> str:
        return f"{self.correlation}; {self.preference.variant}; {self.points}; {self.subjects}"


@dataclass(frozen=True, eq=False)
class SpatialScore:
    """Correlation of preferred depth and hierarchy axis, positive where deeper layers go with higher places.

    Attributes
    ----------
    over_images : interval, the subjects as they are
    over_both : for other images and subjects (`crossed_interval`); None of one subject
    each : [s], every subject alone; NaN where it has no correlation of its own
    points : how many points a correlation has: of each subject, or of the one correlation
    excluded : targets left out and why, all subjects together; regions of which all targets are, by name
    """

    value: float
    over_images: Interval
    over_both: Interval | None
    each: Floats
    points: tuple[int, ...]
    images: int
    variant: str
    excluded: tuple[Excluded, ...]


def spatial_score(
    mapped: Sequence[HierarchyScores], depth: Any, variant: SpatialVariant | None = None, *, seed: int = 0
) -> SpatialScore:
    """Spatial score of one or several subjects in one variant.

    Scores are gone through block by block of targets: 8 b v bytes of preferred depths are kept, or the means of
    regions. Only "targets" with "subjects averaged first" need all scores at once, 8 b l v bytes a subject.

    A region is left out, and named in `excluded`, where `keep` has none of its targets, or none of those has a place.
    One that has such targets, but none with a score, is an error: nobody asked for a correlation without it.

    Parameters
    ----------
    mapped : one a subject
    depth : [l], of the layers
    seed : of the resampling of subjects

    Raises
    ------
    ValueError : fewer than 3 points, an axis or preferred depths without variance; regions needed and not given, or
        one without a target left that has a score (where depths are averaged, one above 0 at some layer if the depth is
        a centre of mass); subjects with different numbers of resamplings or images, or (averaged first, over targets)
        different targets
    """
    variant = variant or SpatialVariant()
    _check_subjects(mapped, variant)
    whose = [f" of subject {number}" if len(mapped) > 1 else "" for number in range(len(mapped))]
    tables = [_points(one, depth, variant, who) for one, who in zip(mapped, whose, strict=True)]
    if variant.subjects == "subjects averaged first":
        _check_same_points(tables, variant)
    statistic, everyone = _Statistic(tables, depth, variant), range(len(mapped))
    value, clouds = statistic.of(everyone, 0), statistic.clouds(everyone, 0)
    points = tuple(int((~np.isnan(depths)).sum()) for depths, _ in clouds)
    if np.isnan(value):
        raise ValueError(
            f"spatial_score: {variant.name!r} needs at least {_LEAST_POINTS} points whose place and preferred depth "
            f"vary, got {points} points"
        )
    images, b = mapped[0].scores.images, mapped[0].scores.shape[0]
    drawn = cross(statistic.of, len(mapped), b, seed)
    over_images, over_both = interval(value, drawn.images, f"{images} images", bound=1), None
    if len(mapped) > 1:
        over = f"{images} images and {len(mapped)} subjects"
        over_both = crossed_interval(value, drawn, len(mapped), over, bound=1)
    each = np.array([statistic.of([i], 0) for i in everyone])
    excluded = _excluded(tables, clouds, variant)
    return SpatialScore(value, over_images, over_both, each, points, images, variant.name, excluded)


def every_spatial_score(
    mapped: Sequence[HierarchyScores], depth: Any, preferences: Sequence[Preference], *, seed: int = 0
) -> tuple[SpatialScore, ...]:
    """Spatial scores in all variants that the subjects allow: what one choice or another would have reported.

    Regions are left out where none are given, "pooled" and "subjects averaged first" where there is one subject,
    targets averaged over subjects where these have different ones.
    """
    points = POINTS if all(one.regions is not None for one in mapped) else POINTS[:1]
    subjects = SUBJECTS if len(mapped) > 1 else SUBJECTS[:1]
    first = _whole(mapped[0])
    shared = all(_same(first, _whole(one)) for one in mapped)
    variants = [SpatialVariant(*choice) for choice in product(points, subjects, preferences, CORRELATIONS)]
    return tuple(
        spatial_score(mapped, depth, variant, seed=seed)
        for variant in variants
        if shared or (variant.points, variant.subjects) != ("targets", "subjects averaged first")
    )


def correlate(x: Any, y: Any, kind: str = "Pearson") -> float:
    """Correlation of x [m] and y [m] over what is known of both; NaN for fewer than 3 points or no variance."""
    from scipy import stats

    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    known = ~(np.isnan(first) | np.isnan(second))
    first, second = first[known], second[known]
    if len(first) < _LEAST_POINTS or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    if kind == "Spearman":
        first, second = stats.rankdata(first), stats.rankdata(second)
    first, second = first - first.mean(), second - second.mean()
    r = float(first @ second / np.sqrt((first @ first) * (second @ second)))
    return min(1.0, max(-1.0, r))


def rank_axis(order: Sequence[str], regions: Any) -> Floats:
    """Place of every target's region [v] in a list from low to high, as 0, 1, ...; NaN of regions not in it.

    `recordings.cortex.HCP_ORDER` is such a list, of the visual areas of HCP-MMP1.

    Raises
    ------
    ValueError : a region twice in the list
    """
    places = {name: float(place) for place, name in enumerate(order)}
    if len(places) != len(order):
        raise ValueError(f"rank_axis: order must name a region once, got {list(order)}")
    known = in_regions(regions)
    ranks = np.array([places.get(name, np.nan) for name in known.names.tolist()] or [np.nan])
    return np.where(known.inside, ranks[known.number], np.nan)


def euclidean_axis(points: Any, origin: Any, hemispheres: Any) -> Floats:
    """Straight distance to the middle of the targets in V1, [v], in the units of the points.

    Parameters
    ----------
    points : [v, 3]
    origin : bool [v], the targets in V1
    hemispheres : [v]; a target's distance is to the V1 of its own

    Raises
    ------
    ValueError : a hemisphere without a target of the origin
    """
    places, start, sides = np.asarray(points, dtype=np.float64), np.asarray(origin), np.asarray(hemispheres)
    if places.shape != (len(start), 3) or start.dtype != bool or sides.shape != start.shape:
        raise ValueError(
            "euclidean_axis: points must be [v, 3], origin bool [v] and hemispheres [v], got "
            f"{list(places.shape)}, {start.dtype} {list(start.shape)} and {list(sides.shape)}"
        )
    distance = np.empty(len(places))
    for side in np.unique(sides):
        here = sides == side
        if not (here & start).any():
            raise ValueError(
                f"euclidean_axis: origin must hold a target of every hemisphere, got none of {str(side)!r}"
            )
        distance[here] = np.linalg.norm(places[here] - places[here & start].mean(0), axis=1)
    return distance


def geodesic_axis(points: Any, triangles: Any, origin: Any) -> Floats:
    """Distance along the surface to the nearest vertex of V1, [v], in the units of the points.

    It is the length of the shortest way along edges, which is at least that of the shortest on the surface.

    Parameters
    ----------
    points : [v, 3], vertices of the surface: of one hemisphere, or of both, whose triangles then share none
    triangles : int [f, 3], places of their corners in points
    origin : bool [v], the vertices in V1

    Returns
    -------
    [v], NaN where no way leads to the origin. Targets that are some of the vertices are taken from it: `[vertex]`.

    Raises
    ------
    ValueError : shapes that do not fit together, triangles of other vertices, points that are not finite, no origin
    """
    places, corners, start = np.asarray(points, dtype=np.float64), np.asarray(triangles), np.asarray(origin)
    if places.shape != (len(start), 3) or start.dtype != bool:
        raise ValueError(
            f"geodesic_axis: points must be [v, 3] and origin bool [v], got {list(places.shape)} and {start.dtype} "
            f"{list(start.shape)}"
        )
    if not np.isfinite(places).all():
        raise ValueError(f"geodesic_axis: points must be finite, got {int((~np.isfinite(places)).sum())} that are not")
    whole = corners.ndim == 2 and corners.shape[1] == 3 and corners.dtype.kind in "iu"
    if not whole or (corners.size and not 0 <= corners.min() <= corners.max() < len(places)):
        got = f"{corners.dtype} {list(corners.shape)}" if not whole else f"{corners.min()}..{corners.max()}"
        raise ValueError(f"geodesic_axis: triangles must be int [f, 3] in 0..{len(places) - 1}, got {got}")
    if not start.any():
        raise ValueError("geodesic_axis: origin must hold a vertex, got none")
    return along_edges(places, corners.astype(np.int64), np.flatnonzero(start))


@dataclass(frozen=True, eq=False)
class _Points:
    """Scores [1 + b, l, points], or preferred depths [1 + b, points] where these come first; first without resampling.

    `excluded` are targets and regions that are in no point.
    """

    values: Floats
    axis: Floats
    names: NDArray[Any]
    excluded: tuple[Excluded, ...]


def _points(one: HierarchyScores, depth: Any, variant: SpatialVariant, who: str) -> _Points:
    axis = np.asarray(one.axis, dtype=np.float64)
    kept = np.ones(len(axis), dtype=bool) if one.keep is None else np.asarray(one.keep)
    if not variant.depths_first:
        checked_depth("spatial_score", depth, one.scores.shape[1])
    by_region = variant.points != "targets"
    regions = in_regions(one.regions if by_region else np.full(len(axis), "all"))
    placed = kept & regions.inside & np.isfinite(axis)
    known, scored = np.zeros((2, len(axis)), dtype=bool)
    means, found = Means(len(regions.names)), []
    for columns, block in one.scores.blocks():
        values = np.concatenate([block.r[None], block.resampled])
        known[columns] = ~np.isnan(block.r[0])
        if variant.depths_first:
            values = variant.preference.depth_of(values, depth)
        here = placed[columns] & ~np.isnan(values[0] if variant.depths_first else values[0, 0])
        scored[columns] = here
        if by_region:
            means.add(values[..., here], regions.number[columns][here])
        else:
            found.append(values[..., here])
    inside = kept & regions.inside
    counts = {
        one.why: ~kept,
        "in no region": kept & ~inside,
        "no place in the hierarchy": inside & ~placed,
        "no score, or none above 0 at any layer": placed & ~scored,
    }
    excluded = [Excluded("targets", int(where.sum()), why) for why, where in counts.items()]
    if not by_region:
        places = np.flatnonzero(scored).astype(str)
        return _Points(np.concatenate(found, axis=-1), axis[scored], places, tuple(excluded))
    lost = {
        "without a score": placed & ~known,
        "without a score above 0 at any layer": placed & known & ~scored,
        "without a place": inside & ~placed,
        "not kept": ~kept,
    }
    regions.check("spatial_score", placed, scored, lost, who)
    excluded += [
        regions.left_out(regions.inside, inside, f"no target kept ({one.why})"),
        regions.left_out(inside, placed, "no target has a place in the hierarchy"),
    ]
    number = regions.count(scored)
    full = number > 0
    at = regions.count(scored, axis)[full] / number[full]
    return _Points(means.values()[..., full], at, regions.names[full], tuple(excluded))


@dataclass(frozen=True, eq=False)
class _Statistic:
    """The correlation that a variant is, of any choice of subjects and any resampling (0: none)."""

    tables: Sequence[_Points]
    depth: Any
    variant: SpatialVariant

    def clouds(self, subjects: Any, resampling: int) -> list[tuple[Floats, Floats]]:
        """Preferred depths and places of the points of each correlation."""
        values = [self.tables[i].values[resampling] for i in subjects]
        axes = [self.tables[i].axis for i in subjects]
        if self.variant.subjects == "subjects averaged first":
            values, axes = [np.mean(values, axis=0)], [np.mean(axes, axis=0)]
        if not self.variant.depths_first:
            values = [self.variant.preference.depth_of(scores, self.depth) for scores in values]
        if self.variant.subjects == "pooled":
            values, axes = [np.concatenate(values)], [np.concatenate(axes)]
        return list(zip(values, axes, strict=True))

    def of(self, subjects: Any, resampling: int) -> float:
        clouds = self.clouds(subjects, resampling)
        return float(np.mean([correlate(values, axis, self.variant.correlation) for values, axis in clouds]))


def _check_subjects(mapped: Sequence[HierarchyScores], variant: SpatialVariant) -> None:
    if not mapped:
        raise ValueError("spatial_score: mapped must be at least one subject, got none")
    made = {(one.scores.shape[:2], one.scores.images) for one in mapped}
    if len(made) > 1:
        raise ValueError(f"spatial_score: subjects must have the same resamplings, layers and images, got {made}")
    if variant.points != "targets" and any(one.regions is None for one in mapped):
        raise ValueError(f"spatial_score: regions must be given for {variant.points!r}, got none")


def _check_same_points(tables: Sequence[_Points], variant: SpatialVariant) -> None:
    """Values of a point can be averaged over subjects only if all have it; a target, in the same place."""
    for number, table in enumerate(tables):
        same_place = variant.points != "targets" or _same(table.axis, tables[0].axis)
        if not (_same(table.names, tables[0].names) and same_place):
            raise ValueError(
                "spatial_score: subjects must have the same points to be averaged first, got "
                f"{len(table.names)} of subject {number} and other {len(tables[0].names)} of subject 0"
            )


def _whole(one: HierarchyScores) -> Floats:
    """Places [v] of the targets that have all that a point needs, NaN of others."""
    scored = ~np.isnan(one.scores.r[0])
    kept = scored if one.keep is None else scored & np.asarray(one.keep)
    return np.where(kept, np.asarray(one.axis, dtype=np.float64), np.nan)


def _same(first: NDArray[Any], second: NDArray[Any]) -> bool:
    return np.array_equal(first, second, equal_nan=first.dtype.kind == "f")


def _excluded(
    tables: Sequence[_Points], clouds: Sequence[tuple[Floats, Floats]], variant: SpatialVariant
) -> tuple[Excluded, ...]:
    names = [table.names for table in tables]
    if variant.subjects != "mean of subjects":
        names = [np.concatenate(names) if variant.subjects == "pooled" else names[0]]
    lost = np.concatenate([of[np.isnan(depths)] for of, (depths, _) in zip(names, clouds, strict=True)])
    why = "no score above 0 at any layer after averaging"
    why += f": {quoted(np.unique(lost))}" if variant.points != "targets" else ""
    totals: dict[tuple[str, str], int] = {}
    for each in [*(each for table in tables for each in table.excluded), Excluded("points", len(lost), why)]:
        totals[each.what, each.reason] = totals.get((each.what, each.reason), 0) + each.count
    return tuple(Excluded(what, count, reason) for (what, reason), count in totals.items() if count)
