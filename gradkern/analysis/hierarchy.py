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

from gradkern.analysis.bootstrap import Floats, Scores, ScoreStream
from gradkern.analysis.intervals import Interval, cross, crossed_interval, interval
from gradkern.analysis.layers import Preference, best_layers, checked_depth
from gradkern.recordings.recording import Excluded

POINTS = ("targets", "regions, scores averaged first", "regions, depths averaged")
SUBJECTS = ("mean of subjects", "pooled", "subjects averaged first")
CORRELATIONS = ("Pearson", "Spearman")
BEST_LAYER = Preference("best layer")
_LEAST_POINTS = 3


@dataclass(frozen=True, eq=False)
class Mapped:
    """Scores of one subject's targets, and where these lie in a hierarchy.

    Parameters
    ----------
    scores : r [l, v] and its resamplings; of subjects who saw the same images drawn by one `resample_images`. A
        `ScoreStream` is never held as a whole, and computed anew for every spatial score
    axis : [v], place in the hierarchy: distance to V1 in mm, rank of the region, a map; NaN where none is known
    regions : [v], names; needed where points are regions
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
                raise ValueError(f"Mapped: {name} must be [{v}], one a target, got {list(np.shape(given))}")
        if self.keep is not None and np.asarray(self.keep).dtype != bool:
            raise ValueError(f"Mapped: keep must be bool [{v}], got {np.asarray(self.keep).dtype}")
        if self.scores.kind != "bootstrap":
            raise ValueError(f"Mapped: scores must be resampled by a bootstrap, got a {self.scores.kind}")

    def identified(self) -> "Mapped":
        """Only targets whose best layer can be told from the second best."""
        here = ~np.concatenate([best_layers(block).flat for _, block in self.scores.blocks()])
        kept = here if self.keep is None else here & np.asarray(self.keep)
        why = "best layer not identified"
        return Mapped(self.scores, self.axis, self.regions, kept, why if self.keep is None else f"{self.why}, or {why}")


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
    excluded : targets left out and why, all subjects together
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
    mapped: Sequence[Mapped], depth: Any, variant: SpatialVariant | None = None, *, seed: int = 0
) -> SpatialScore:
    """Spatial score of one or several subjects in one variant.

    Scores are gone through block by block of targets: 8 b v bytes of preferred depths are kept, or the means of
    regions. Only "targets" with "subjects averaged first" need all scores at once, 8 b l v bytes a subject.

    Parameters
    ----------
    mapped : one a subject
    depth : [l], of the layers
    seed : of the resampling of subjects

    Raises
    ------
    ValueError : fewer than 3 points, an axis or preferred depths without variance; regions needed and not given;
        subjects with different numbers of resamplings or images, or (averaged first, over targets) different targets
    """
    variant = variant or SpatialVariant()
    _check_subjects(mapped, variant)
    tables = [_points(one, depth, variant) for one in mapped]
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
    lost = sum(len(depths) for depths, _ in clouds) - sum(points)
    excluded = _excluded(mapped, tables, lost)
    return SpatialScore(value, over_images, over_both, each, points, images, variant.name, excluded)


def every_spatial_score(
    mapped: Sequence[Mapped], depth: Any, preferences: Sequence[Preference], *, seed: int = 0
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

    Raises
    ------
    ValueError : a region twice in the list
    """
    places = {name: float(place) for place, name in enumerate(order)}
    if len(places) != len(order):
        raise ValueError(f"rank_axis: order must name a region once, got {list(order)}")
    return np.array([places.get(str(region), np.nan) for region in np.asarray(regions)])


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


@dataclass(frozen=True, eq=False)
class _Points:
    """Scores [1 + b, l, points], or preferred depths [1 + b, points] where these come first; first without resampling.

    `unknown` counts targets without a place, `unscored` those without a score or, where depths come first, a depth.
    """

    values: Floats
    axis: Floats
    names: NDArray[Any]
    unknown: int
    unscored: int


def _points(one: Mapped, depth: Any, variant: SpatialVariant) -> _Points:
    axis = np.asarray(one.axis, dtype=np.float64)
    kept = np.ones(len(axis), dtype=bool) if one.keep is None else np.asarray(one.keep)
    placed = kept & np.isfinite(axis)
    if not variant.depths_first:
        checked_depth("spatial_score", depth, one.scores.shape[1])
    by_region = variant.points != "targets"
    names, region = np.unique(np.asarray(one.regions).astype(str), return_inverse=True) if by_region else ((), axis)
    scored, means, found = np.zeros(len(axis), dtype=bool), _Means(len(names)), []
    for columns, block in one.scores.blocks():
        values = np.concatenate([block.r[None], block.resampled])
        if variant.depths_first:
            values = variant.preference.depth_of(values, depth)
        known = placed[columns] & ~np.isnan(values[0] if variant.depths_first else values[0, 0])
        scored[columns] = known
        if by_region:
            means.add(values[..., known], region[columns][known])
        else:
            found.append(values[..., known])
    unknown, unscored = int((kept & ~placed).sum()), int((placed & ~scored).sum())
    if not by_region:
        places = np.flatnonzero(scored).astype(str)
        return _Points(np.concatenate(found, axis=-1), axis[scored], places, unknown, unscored)
    number = np.bincount(region[scored], minlength=len(names))
    full = number > 0
    at = np.bincount(region[scored], axis[scored], minlength=len(names))[full] / number[full]
    return _Points(means.values()[..., full], at, np.asarray(names)[full], unknown, unscored)


class _Means:
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


def _check_subjects(mapped: Sequence[Mapped], variant: SpatialVariant) -> None:
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


def _whole(one: Mapped) -> Floats:
    """Places [v] of the targets that have all that a point needs, NaN of others."""
    scored = ~np.isnan(one.scores.r[0])
    kept = scored if one.keep is None else scored & np.asarray(one.keep)
    return np.where(kept, np.asarray(one.axis, dtype=np.float64), np.nan)


def _same(first: NDArray[Any], second: NDArray[Any]) -> bool:
    return np.array_equal(first, second, equal_nan=first.dtype.kind == "f")


def _excluded(mapped: Sequence[Mapped], tables: Sequence[_Points], lost: int) -> tuple[Excluded, ...]:
    counts = [(int((~np.asarray(one.keep)).sum()), one.why) for one in mapped if one.keep is not None]
    counts += [(sum(table.unknown for table in tables), "no place in the hierarchy")]
    counts += [(sum(table.unscored for table in tables), "no score, or none above 0 at any layer")]
    totals = {why: sum(count for count, reason in counts if reason == why) for _, why in counts}
    left_out = [Excluded("targets", count, why) for why, count in totals.items()]
    left_out.append(Excluded("points", lost, "no score above 0 at any layer after averaging"))
    return tuple(each for each in left_out if each.count)
