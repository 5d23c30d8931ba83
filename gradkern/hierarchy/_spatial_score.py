"""Spatial score: do targets higher in a hierarchy prefer deeper layers?

The number depends on choices that the literature makes differently (what a point is, how subjects are combined, which
correlation), so a score names all of its choices. It comes without a p value: neighboring places of cortex are alike,
and only null maps that keep this (`stats.spin_maps`, `stats.variogram_maps`) can give one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern.errors import Refused, naming
from gradkern.hierarchy._layers import Preference, best_layers, checked_depth
from gradkern.hierarchy._maps import LEAST_PLACES
from gradkern.hierarchy._regions import RegionMeans, Regions, quoted
from gradkern.stats._bootstrap import Floats, Scores, ScoreStream
from gradkern.stats._correlation import LEAST_POINTS, METHODS, correlation
from gradkern.stats._intervals import Interval, cross, crossed_interval, interval
from gradkern.stats._smooth_maps import smooth_map_test
from gradkern.stats._summary import Summary

_MOST_PLACES = 400  # of a map, whose smoothness is told by matrices of that size
_BEST_LAYER = Preference("best layer")


@dataclass(frozen=True, eq=False, repr=False)
class HierarchyScores(Summary):
    """Scores of one subject's targets, with the position of these in a hierarchy.

    Parameters
    ----------
    scores : r [l, v] and its resamplings; of subjects who saw the same images, drawn by one `resample_images`. A
        `ScoreStream` is never held as a whole, and computed anew for every spatial score
    hierarchy : [v], a value per target: distance to V1 in mm, rank of the region, a map; NaN where unknown
    regions : [v], names; "", None or NaN for targets in no region; needed where points are regions
    keep : bool [v], the targets to use; None: all
    why : reason for which the other targets are not used, in words
    points : [v, 3], places in mm; needed for the interval over maps. Right hemispheres mirrored onto the left ones
        (`mirror_hemispheres`)

    Raises
    ------
    ValueError : shapes that do not fit together, scores of a jackknife
    """

    scores: Scores | ScoreStream
    hierarchy: Any
    regions: Any = None
    keep: Any = None
    why: str = "not kept"
    points: Any = None

    @naming("HierarchyScores")
    def __post_init__(self) -> None:
        v = self.scores.shape[2]
        for name in ("hierarchy", "regions", "keep"):
            values = getattr(self, name)
            if values is not None and np.shape(values) != (v,):
                raise ValueError(f"{name} must be [{v}], one per target, got {list(np.shape(values))}")
        if self.points is not None and np.shape(self.points) != (v, 3):
            raise ValueError(f"points must be [{v}, 3], a place per target, got {list(np.shape(self.points))}")
        if self.keep is not None and np.asarray(self.keep).dtype != bool:
            raise ValueError(f"keep must be bool [{v}], got {np.asarray(self.keep).dtype}")
        if self.scores.kind != "bootstrap":
            raise ValueError(f"scores must be resampled by a bootstrap, got a {self.scores.kind}")

    def identified(self) -> "HierarchyScores":
        """Keep only targets whose best layer can be told from the second best, and those without a score."""
        best = [best_layers(block) for _, block in self.scores.blocks()]
        keep = np.concatenate([~block.flat | (block.best < 0) for block in best])
        why = "best layer not identified"
        if self.keep is not None:
            keep, why = keep & np.asarray(self.keep), f"{self.why}, or {why}"
        return replace(self, keep=keep, why=why)


@dataclass(frozen=True)
class SpatialVariant:
    """Which spatial score to compute.

    Parameters
    ----------
    points : "targets" (a point is a voxel, vertex or sensor), "region-scores" (mean r of the region's targets, then its
        preferred depth) or "region-depths" (mean of its targets' preferred depths)
    subjects : "mean-of-subjects" (of their correlations), "pooled" (all points of all subjects in one correlation) or
        "subjects-first" (mean over subjects of a point's scores, or of its depths where depths are averaged)
    preference : how scores over layers become a depth
    correlation : "pearson" or "spearman"

    Raises
    ------
    ValueError : an unknown choice
    """

    POINTS: ClassVar[tuple[str, ...]] = ("targets", "region-scores", "region-depths")
    SUBJECTS: ClassVar[tuple[str, ...]] = ("mean-of-subjects", "pooled", "subjects-first")
    CORRELATIONS: ClassVar[tuple[str, ...]] = METHODS

    points: str = "targets"
    subjects: str = "mean-of-subjects"
    preference: Preference = _BEST_LAYER
    correlation: str = "pearson"

    @naming("SpatialVariant")
    def __post_init__(self) -> None:
        known = {"points": self.POINTS, "subjects": self.SUBJECTS, "correlation": self.CORRELATIONS}
        for name, choices in known.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")

    @property
    def depths_first(self) -> bool:
        """Whether preferred depths are averaged, instead of scores."""
        return self.points == "region-depths" or (self.points == "targets" and self.subjects != "subjects-first")

    @property
    def name(self) -> str:
        """All choices in words."""
        return f"{self.correlation}; {self.preference.variant}; {self.points}; {self.subjects}"


@dataclass(frozen=True, eq=False, repr=False)
class SpatialScore(Summary):
    """The correlation of preferred depth with the hierarchy, positive where higher targets prefer deeper layers.

    Attributes
    ----------
    value : the correlation
    over_images : interval for other images, with the same subjects
    over_both : interval for other images and subjects (`crossed_interval`); None for one subject
    over_maps : interval for other random maps as smooth as these (`stats.smooth_map_test`), mean over subjects and so
        as wide as if all had one map; None unless 20 targets of every subject have `points`, targets are the points of
        the score, not pooled, and Pearson r correlates them. The other intervals take the maps as given: without an
        order they exclude 0 far too often
    by_subject : [s], the correlation of every subject alone; NaN where it has none
    points : number of points in every correlation
    images : number of images that were resampled
    variant : the choices in words
    excluded : what is not among the points, and why
    """

    value: float
    over_images: Interval
    over_both: Interval | None
    over_maps: Interval | None
    by_subject: Floats
    points: tuple[int, ...]
    images: int
    variant: str
    excluded: tuple[Excluded, ...]


@naming("spatial_score")
def spatial_score(
    subjects: Sequence[HierarchyScores], depth: Any, variant: SpatialVariant | None = None, *, seed: int = 0
) -> SpatialScore:
    """Compute the spatial score of one or several subjects in one variant.

    Scores are read block by block of targets: 8 b v bytes of preferred depths are kept, or the means of regions. Only
    "targets" with "subjects-first" needs all scores at once, 8 b l v bytes per subject.

    A region is left out, and named in `excluded`, if `keep` selects none of its targets, or if none of those has a
    place in the hierarchy. A region that has such targets, but none with a score, is refused, because nobody asked for
    a correlation without it.

    Parameters
    ----------
    subjects : scores of every subject
    depth : [l], of the layers
    variant : which score; by default over targets, by their best layers
    seed : of the resampling of subjects

    Raises
    ------
    Refused : fewer than 3 points, a hierarchy or preferred depths that do not vary; a region without any target that
        has a score (where depths are averaged, one above 0 at some layer if the depth is a center of mass); subjects
        with different points where these are averaged first
    ValueError : regions needed and not given; subjects with different numbers of resamplings or images

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> scores = Scores(rng.random((3, 40)), rng.random((20, 3, 40)), 60)
    >>> spatial_score([HierarchyScores(scores, np.arange(40))], [0, 0.5, 1]).by_subject.shape
    (1,)
    """
    variant = variant or SpatialVariant()
    _check_subjects(subjects, variant)
    whose = [f" of subject {number}" if len(subjects) > 1 else "" for number in range(len(subjects))]
    tables = [_points(scores, depth, variant, who) for scores, who in zip(subjects, whose, strict=True)]
    if variant.subjects == "subjects-first":
        _check_same_points(tables, variant)
    statistic, everyone = _Statistic(tables, depth, variant), range(len(subjects))
    value, clouds = statistic.of(everyone, 0), statistic.clouds(everyone, 0)
    points = tuple(int((~np.isnan(depths)).sum()) for depths, _ in clouds)
    if np.isnan(value):
        raise Refused(
            f"{variant.name!r} needs at least {LEAST_POINTS} points whose place and preferred depth vary, got {points} "
            "points"
        )
    images, b = subjects[0].scores.images, subjects[0].scores.shape[0]
    drawn = cross(statistic.of, len(subjects), b, seed)
    over_images, over_both = interval(value, drawn.images, f"{images} images", bound=1), None
    if len(subjects) > 1:
        over = f"{images} images and {len(subjects)} subjects"
        over_both = crossed_interval(value, drawn, len(subjects), over, bound=1)
    by_subject = np.array([statistic.of([number], 0) for number in everyone])
    excluded = _excluded(tables, clouds, variant)
    over_maps = _over_maps(subjects, tables, clouds, variant, seed)
    return SpatialScore(value, over_images, over_both, over_maps, by_subject, points, images, variant.name, excluded)


def every_spatial_score(
    subjects: Sequence[HierarchyScores], depth: Any, preferences: Sequence[Preference], *, seed: int = 0
) -> tuple[SpatialScore, ...]:
    """Compute spatial scores in all variants that the subjects allow: what other choices would have reported.

    They have no intervals over maps, which take seconds each.

    Regions are left out where none are given, "pooled" and "subjects-first" where there is one subject, and targets
    averaged over subjects where these have different ones.

    Parameters
    ----------
    subjects, depth, seed : as in `spatial_score`
    preferences : ways in which scores over layers become a depth

    Raises
    ------
    Refused, ValueError : as `spatial_score`
    """
    subjects = [replace(subject, points=None) for subject in subjects]
    points = SpatialVariant.POINTS if all(one.regions is not None for one in subjects) else ("targets",)
    combinations = SpatialVariant.SUBJECTS if len(subjects) > 1 else ("mean-of-subjects",)
    first = _whole(subjects[0])
    shared = all(_same(first, _whole(other)) for other in subjects)
    choices = product(points, combinations, preferences, SpatialVariant.CORRELATIONS)
    variants = [SpatialVariant(*choice) for choice in choices]
    return tuple(
        spatial_score(subjects, depth, variant, seed=seed)
        for variant in variants
        if shared or (variant.points, variant.subjects) != ("targets", "subjects-first")
    )


def _over_maps(
    subjects: Sequence[HierarchyScores],
    tables: Sequence["_Points"],
    clouds: Sequence[tuple[Floats, Floats]],
    variant: SpatialVariant,
    seed: int,
) -> Interval | None:
    """The mean of the maps' intervals about their correlations; at most 400 targets of a map, drawn at random."""
    located = all(subject.points is not None for subject in subjects)
    if not located or (variant.points, variant.correlation) != ("targets", "pearson") or variant.subjects == "pooled":
        return None
    tests = []
    for subject, table, (depths, hierarchy) in zip(subjects, tables, clouds, strict=False):  # one cloud of the mean
        places = np.asarray(subject.points, dtype=np.float64)[table.names.astype(np.int64)]
        chosen = np.flatnonzero(np.isfinite(depths) & np.isfinite(places).all(1))
        if len(chosen) < LEAST_PLACES:
            return None
        if len(chosen) > _MOST_PLACES:
            chosen = np.sort(np.random.default_rng(seed).choice(chosen, _MOST_PLACES, replace=False))
        distances = np.linalg.norm(places[chosen, None] - places[chosen], axis=2)
        tests.append(smooth_map_test(depths[chosen], hierarchy[chosen], distances, seed=seed))
    # about the correlation over all places, not over those that were drawn
    off = float(np.mean([correlation(*cloud) for cloud in clouds]) - np.mean([test.r for test in tests]))
    around = [float(np.clip(np.mean([getattr(test, end) for test in tests]) + off, -1, 1)) for end in ("low", "high")]
    maps = f"random maps of the same smoothness, {len(tests)}"
    return Interval(around[0], around[1], maps, len(tests[0].null), 0, float("nan"))


@dataclass(frozen=True, eq=False)
class _Points:
    """Scores [1 + b, l, points], or preferred depths [1 + b, points] where these come first; first without resampling.

    `excluded` are targets and regions that are in no point.
    """

    values: Floats
    hierarchy: Floats
    names: NDArray[Any]
    excluded: tuple[Excluded, ...]


def _points(subject: HierarchyScores, depth: Any, variant: SpatialVariant, whose: str) -> _Points:
    hierarchy = np.asarray(subject.hierarchy, dtype=np.float64)
    v = len(hierarchy)
    kept = np.ones(v, dtype=bool) if subject.keep is None else np.asarray(subject.keep)
    if not variant.depths_first:
        checked_depth(depth, subject.scores.shape[1])
    by_region = variant.points != "targets"
    regions = Regions.from_names(subject.regions if by_region else np.full(v, "all"))
    inside = kept & regions.inside
    placed = inside & np.isfinite(hierarchy)
    known, scored = np.zeros((2, v), dtype=bool)
    means, of_targets = RegionMeans(len(regions.names)), []
    for columns, block in subject.scores.blocks():
        values = np.concatenate([block.r[None], block.resampled])
        known[columns] = ~np.isnan(block.r[0])
        if variant.depths_first:
            values = variant.preference.depth_of(values, depth)
        usable = placed[columns] & ~np.isnan(values[0] if variant.depths_first else values[0, 0])
        scored[columns] = usable
        if by_region:
            means.add(values[..., usable], regions.number[columns][usable])
        else:
            of_targets.append(values[..., usable])
    counts = {
        subject.why: ~kept,
        "in no region": kept & ~inside,
        "no place in the hierarchy": inside & ~placed,
        "no score, or none above 0 at any layer": placed & ~scored,
    }
    excluded = [Excluded("targets", int(targets.sum()), why) for why, targets in counts.items()]
    if not by_region:
        indices = np.flatnonzero(scored).astype(str)
        return _Points(np.concatenate(of_targets, axis=-1), hierarchy[scored], indices, tuple(excluded))
    lost = {
        "without a score": placed & ~known,
        "without a score above 0 at any layer": placed & known & ~scored,
        "without a place": inside & ~placed,
        "not kept": ~kept,
    }
    regions.check(placed, scored, lost, whose)
    excluded += [
        regions.left_out(regions.inside, inside, f"no target kept ({subject.why})"),
        regions.left_out(inside, placed, "no target has a place in the hierarchy"),
    ]
    number = regions.count(scored)
    full = number > 0
    mean_hierarchy = regions.count(scored, hierarchy)[full] / number[full]
    return _Points(means.values()[..., full], mean_hierarchy, regions.names[full], tuple(excluded))


@dataclass(frozen=True, eq=False)
class _Statistic:
    """The correlation that a variant stands for, for any choice of subjects and any resampling (0: none)."""

    tables: Sequence[_Points]
    depth: Any
    variant: SpatialVariant

    def clouds(self, subjects: Any, resampling: int) -> list[tuple[Floats, Floats]]:
        """Preferred depths and hierarchy of the points of each correlation."""
        values = [self.tables[i].values[resampling] for i in subjects]
        hierarchies = [self.tables[i].hierarchy for i in subjects]
        if self.variant.subjects == "subjects-first":
            values, hierarchies = [np.mean(values, axis=0)], [np.mean(hierarchies, axis=0)]
        if not self.variant.depths_first:
            values = [self.variant.preference.depth_of(scores, self.depth) for scores in values]
        if self.variant.subjects == "pooled":
            values, hierarchies = [np.concatenate(values)], [np.concatenate(hierarchies)]
        return list(zip(values, hierarchies, strict=True))

    def of(self, subjects: Any, resampling: int) -> float:
        """The mean of the correlations."""
        clouds = self.clouds(subjects, resampling)
        return float(np.mean([correlation(depths, values, self.variant.correlation) for depths, values in clouds]))


def _check_subjects(subjects: Sequence[HierarchyScores], variant: SpatialVariant) -> None:
    if not subjects:
        raise ValueError("subjects must be at least one, got none")
    sizes = {(subject.scores.shape[:2], subject.scores.images) for subject in subjects}
    if len(sizes) > 1:
        raise ValueError(f"subjects must have the same resamplings, layers and images, got {sizes}")
    if variant.points != "targets" and any(subject.regions is None for subject in subjects):
        raise ValueError(f"regions must be given for {variant.points!r}, got none")


def _check_same_points(tables: Sequence[_Points], variant: SpatialVariant) -> None:
    """Values of a point can be averaged over subjects only if all have it; a target, in the same place."""
    for number, table in enumerate(tables):
        same_place = variant.points != "targets" or _same(table.hierarchy, tables[0].hierarchy)
        if not (_same(table.names, tables[0].names) and same_place):
            raise Refused(
                f"subjects must have the same points to be averaged first, got {len(table.names)} of subject {number} "
                f"and other {len(tables[0].names)} of subject 0"
            )


def _whole(subject: HierarchyScores) -> Floats:
    """Hierarchy [v] of the targets that have everything that a point needs, NaN for others."""
    scored = ~np.isnan(subject.scores.r[0])
    kept = scored if subject.keep is None else scored & np.asarray(subject.keep)
    return np.where(kept, np.asarray(subject.hierarchy, dtype=np.float64), np.nan)


def _same(first: NDArray[Any], second: NDArray[Any]) -> bool:
    return np.array_equal(first, second, equal_nan=first.dtype.kind == "f")


def _excluded(
    tables: Sequence[_Points], clouds: Sequence[tuple[Floats, Floats]], variant: SpatialVariant
) -> tuple[Excluded, ...]:
    names = [table.names for table in tables]
    if variant.subjects != "mean-of-subjects":
        names = [np.concatenate(names) if variant.subjects == "pooled" else names[0]]
    lost = np.concatenate([points[np.isnan(depths)] for points, (depths, _) in zip(names, clouds, strict=True)])
    why = "no score above 0 at any layer after averaging"
    why += f": {quoted(np.unique(lost))}" if variant.points != "targets" else ""
    totals: dict[tuple[str, str], int] = {}
    by_table = [excluded for table in tables for excluded in table.excluded]
    for excluded in [*by_table, Excluded("points", len(lost), why)]:
        key = excluded.what, excluded.reason
        totals[key] = totals.get(key, 0) + excluded.count
    return tuple(Excluded(what, count, reason) for (what, reason), count in totals.items() if count)
