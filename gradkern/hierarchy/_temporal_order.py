"""The temporal order test: do deeper layers come later for activations, and earlier for gradients?

The test was fixed before any data were seen. Its statistic is the slope of latency on relative depth, in s for the
whole depth of the model; the correlation is reported beside it. Under backpropagation the slope is above 0 for
activations (a forward sweep), below 0 for gradients (a backward sweep), and the difference is above 0. The conclusion
follows from the 95 % interval of the slope, over images, and over subjects where there are several. Latencies are those
of the mean curves of all subjects, because single subjects' curves are often too noisy to have any. The correlation
decides nothing: its size says how straight an order is, not how long it takes.

A slope is that of scores. Features of neighboring layers are alike, so that a layer's curve holds a part of its
neighbors' responses, and noise draws latencies of weak curves to the middle of the window: both draw slopes to 0.
Intervals are those of the slope of scores, and hold that of the brain less often than they say (docs/hierarchy.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern.errors import Refused, naming
from gradkern.hierarchy._latency import Latency, TooFewLatencies, flat_curves, lower_than_noise, without_latency
from gradkern.hierarchy._layers import checked_depth
from gradkern.stats._bootstrap import Floats, Scores
from gradkern.stats._correlation import correlation
from gradkern.stats._intervals import Crossed, Interval, cross, crossed_interval, interval, interval_p
from gradkern.stats._summary import Summary

PREDICTED = "as backpropagation predicts"
OPPOSITE = "opposite"
NO_ORDER = "no order found (interval contains 0)"
UNDECIDED = "not decided (too many resamplings without latencies)"
_COMBINATIONS = ("subjects-first", "mean-of-subjects")
_ALTERNATIVES = {"activation": "greater", "gradient": "less", "difference": "greater"}
_LEAST_LAYERS = 3


@dataclass(frozen=True, eq=False, repr=False)
class TimeCourses(Summary):
    """Scores over time of one subject, layer by layer.

    Parameters
    ----------
    activations, gradients : r [l, t] (of gradients also shares of variance) and resampled [b, l, t] of the same
        resamplings, over the same times and layers
    times : [t], s after onset
    layers : names
    depth : [l], relative depth in [0, 1]
    subject : its name

    Raises
    ------
    Refused : fewer than 3 layers, depths that are all the same
    ValueError : depths outside [0, 1], shapes or resamplings that do not fit
    """

    activations: Scores
    gradients: Scores
    times: Any
    layers: tuple[str, ...]
    depth: Any
    subject: str

    @naming("TimeCourses")
    def __post_init__(self) -> None:
        count = len(self.layers)
        if count < _LEAST_LAYERS:
            raise Refused(f"layers must be at least {_LEAST_LAYERS} to have an order, got {count}")
        depths = checked_depth(self.depth, count)
        if depths.min() < 0 or depths.max() > 1:
            raise ValueError(f"depth must lie in [0, 1], got {depths.min():g} to {depths.max():g}")
        shape = (count, len(np.atleast_1d(self.times)))
        for name in ("activations", "gradients"):
            scores = getattr(self, name)
            if scores.r.shape != shape or np.isnan(scores.r).any():
                raise ValueError(f"{name} must be scores [{shape[0]}, {shape[1]}], got {scores.r.shape} or NaN")
            if scores.kind != "bootstrap":
                raise ValueError(f"{name} must be resampled by a bootstrap, got a {scores.kind}")
        sizes = {(len(scores.resampled), scores.images) for scores in (self.activations, self.gradients)}
        if len(sizes) > 1:
            raise ValueError(f"activations and gradients must have the same resamplings, got {sizes}")

    def curves(self) -> Floats:
        """Stack curves of activations and gradients, over all images and resampled: [1 + b, 2, l, t]."""
        both = self.activations, self.gradients
        return np.stack([np.concatenate([scores.r[None], scores.resampled]) for scores in both], 1)

    def noise(self) -> Floats:
        """Standard errors of noise alone, of activations and gradients [2, l, t]; NaN where only resamplings tell."""
        unknown = np.full(self.activations.r.shape, np.nan)
        return np.stack([unknown if s.noise is None else s.noise for s in (self.activations, self.gradients)])


def quiet_means(courses: Sequence[TimeCourses], curves: Floats, latency: Latency) -> NDArray[np.bool_]:
    """Whether the mean curves of some courses, and resampled, [1 + b, 2, l, t], do not rise above noise, [2, l]."""
    times, first = courses[0].times, courses[0]
    ratio = np.array([first.activations.noise_ratio, first.gradients.noise_ratio])[:, None, None]
    inside = latency.cut(curves, times)[0]
    noise = np.sqrt(np.sum([np.square(course.noise()) for course in courses], axis=0)) / len(courses)
    alone = latency.cut(noise, times)[0]
    error = np.where(np.isfinite(alone), alone, ratio * inside[1:].std(0, ddof=1))
    return lower_than_noise(inside[0], error)


@dataclass(frozen=True, repr=False)
class DirectionTest(Summary):
    """One statistic of an order in time, tested in the direction that backpropagation predicts.

    Attributes
    ----------
    value : the statistic
    alternative : "greater" or "less" than 0, as backpropagation predicts
    over_images : interval for other images, with the same subjects
    over_both : interval for other images and subjects (`crossed_interval`); None for one subject, who says nothing
        about others
    p : one-sided, by `stats.interval_p`; for one subject at least 1 / (2 (bootstraps + 1))
    conclusion : "as backpropagation predicts", "opposite" or "no order found (interval contains 0)", from `over_both`
        where there is one
    """

    value: float
    alternative: str
    over_images: Interval
    over_both: Interval | None
    p: float
    conclusion: str

    @property
    def brief(self) -> str:
        """Value, p and conclusion in a few words."""
        return f"{self.value:.4g}, p {self.p:.4g}, {self.conclusion}"


@dataclass(frozen=True, eq=False, repr=False)
class TemporalOrderTest(Summary):
    """Slopes of latency on depth, and their correlations, for activations, gradients and their difference.

    Attributes
    ----------
    slope, correlation : "activation", "gradient" and "difference" (activations minus gradients) -> test; slopes are in
        s for the whole depth
    refused : why one of these has no slope: fewer than 3 layers have a latency
    latency : [s, 2, l], of activations and gradients of each subject (or of the one mean); NaN where there is none or
        where a curve does not rise above noise (`quiet_curves`), which leaves it out of every resampling as well
    flat : [s, 2, l], the curves that are plateaus
    subjects : their names
    images : number of images that were resampled
    variant : the choices in words
    excluded : layers without a latency, of all subjects together
    """

    slope: dict[str, DirectionTest]
    correlation: dict[str, DirectionTest]
    refused: dict[str, str]
    latency: Floats
    flat: Any
    subjects: tuple[str, ...]
    images: int
    variant: str
    excluded: tuple[Excluded, ...]


@naming("temporal_order_test")
def temporal_order_test(
    courses: Sequence[TimeCourses], latency: Latency | None = None, subjects: str = "subjects-first", *, seed: int = 0
) -> TemporalOrderTest:
    """Test whether the layers' order in time is that of backpropagation.

    Parameters
    ----------
    courses : one per subject; of subjects who saw the same images, resampled alike (by one `resample_images`)
    latency : estimator and window
    subjects : "subjects-first" (latencies of the mean curves) or "mean-of-subjects" (mean of the subjects' slopes)
    seed : of the resampling of subjects

    Raises
    ------
    TooFewLatencies : fewer than 3 layers with a latency, both for activations and for gradients
    Refused : fewer than 3 samples, in a window too; subjects with other times
    ValueError : subjects with different layers, depths, times or resamplings, or one twice
    """
    if subjects not in _COMBINATIONS:
        raise ValueError(f"subjects must be one of {_COMBINATIONS}, got {subjects!r}")
    check_courses(courses)
    latency = latency or Latency()
    latencies = _Latencies(courses, latency, subjects == "subjects-first")
    everyone = np.arange(len(courses))
    measured = latencies.of(everyone, 0)
    refused = _without_order(measured, courses, subjects)
    if {"activation", "gradient"} <= set(refused):
        raise TooFewLatencies(f"{refused['activation']}; {refused['gradient']}")
    b, images = len(courses[0].activations.resampled), courses[0].activations.images
    depth = np.asarray(courses[0].depth, dtype=np.float64)
    drawn = cross(lambda chosen, i: _statistics(latencies.of(chosen, i), depth), len(courses), b, seed)
    value = _statistics(measured, depth)
    tests: dict[str, dict[str, DirectionTest]] = {"slope": {}, "correlation": {}}
    for i, name in enumerate(tests):
        for j, (kind, alternative) in enumerate(_ALTERNATIVES.items()):
            if kind not in refused:
                bound = np.inf if name == "slope" else 2.0 if kind == "difference" else 1.0
                size = (images, len(courses))
                tests[name][kind] = direction_test(float(value[i, j]), drawn.of(i, j), alternative, bound, size)
    return TemporalOrderTest(
        slope=tests["slope"],
        correlation=tests["correlation"],
        refused=refused,
        latency=measured,
        flat=latencies.flat,
        subjects=tuple(course.subject for course in courses),
        images=images,
        variant=f"{latency.variant}; {subjects}",
        excluded=without_latency(measured, latencies.quiet),
    )


def slope(latency: Any, depth: Any) -> float:
    """Compute the least-squares slope of latencies [l] on depth [l] over layers that have one; NaN for fewer than 3.

    Examples
    --------
    >>> slope([1, float("nan"), 2, 3], [0, 0.2, 0.5, 1])
    2.0
    """
    y, x = np.asarray(latency, dtype=np.float64), np.asarray(depth, dtype=np.float64)
    known = ~np.isnan(y)
    if int(known.sum()) < _LEAST_LAYERS or np.ptp(x[known]) == 0:
        return float("nan")
    x, y = x[known] - x[known].mean(), y[known]
    return float(x @ y / (x @ x))


def _statistics(latencies: Floats, depth: Floats) -> Floats:
    """Means over subjects [2, 3] from latencies [s, 2, l]: slope and correlation of activations, gradients and their
    difference. The correlation of latencies that are all the same is NaN."""
    by_kind = np.array([[[slope(y, depth), correlation(y, depth)] for y in subject] for subject in latencies]).mean(0).T
    statistics: Floats = np.column_stack([by_kind, by_kind[:, 0] - by_kind[:, 1]])
    return statistics


def direction_test(
    value: float, drawn: Crossed, alternative: str, bound: float, size: tuple[int, int]
) -> DirectionTest:
    """Test a statistic by its bootstraps, of a `size` in images and subjects."""
    n, subjects = size
    over_images, over_both = interval(value, drawn.images, f"{n} images", bound=bound), None
    if subjects > 1:
        over_both = crossed_interval(value, drawn, subjects, f"{n} images and {subjects} subjects", bound=bound)
    decisive = over_both or over_images
    p = interval_p(value, decisive, drawn.images, alternative)
    return DirectionTest(value, alternative, over_images, over_both, p, _conclude(decisive, alternative))


def _conclude(decisive: Interval, alternative: str) -> str:
    """What an interval says about an order that is expected "greater" or "less" than 0."""
    if not decisive.known:
        return UNDECIDED
    if decisive.contains_zero:
        return NO_ORDER
    return PREDICTED if (decisive.low > 0) == (alternative == "greater") else OPPOSITE


class _Latencies:
    """Latencies [s, 2, l] of activations and gradients for any choice of subjects and any resampling (0: none)."""

    def __init__(self, courses: Sequence[TimeCourses], latency: Latency, averaged: bool) -> None:
        self._averaged, self._latency, self._times = averaged, latency, courses[0].times
        self._curves = [course.curves() for course in courses]
        if self._averaged:
            everyone = range(len(courses))
            curves = [np.stack([self._mean(everyone, i) for i in range(len(self._curves[0]))])]
        else:
            curves = self._curves
        in_window = [latency.cut(values, self._times)[0] for values in curves]
        groups = [courses] if averaged else [[course] for course in courses]
        self.quiet = np.stack([quiet_means(some, of, latency) for some, of in zip(groups, curves, strict=True)])
        self.flat = flat_curves(np.stack([values[0] for values in in_window]))
        # a subject's own latencies do not depend on who else is drawn
        self._own = [] if self._averaged else [latency.of(values, self._times) for values in curves]

    def of(self, subjects: Any, resampling: int) -> Floats:
        if self._averaged:
            latencies = self._latency.of(self._mean(subjects, resampling)[None], self._times)
            return np.where(self.quiet, np.nan, latencies)
        latencies = np.stack([self._own[i][resampling] for i in subjects])
        return np.where(self.quiet[list(subjects)], np.nan, latencies)

    def _mean(self, subjects: Any, resampling: int) -> Floats:
        mean: Floats = np.mean([self._curves[i][resampling] for i in subjects], axis=0)
        return mean


def check_courses(courses: Sequence[TimeCourses]) -> None:
    """Check that courses can be tested together."""
    if not courses:
        raise ValueError("courses must be at least one subject, got none")
    names = [course.subject for course in courses]
    if len(set(names)) < len(names):
        raise ValueError(f"courses must be of different subjects, got {names}")
    first = courses[0]
    for course in courses[1:]:
        if course.layers != first.layers or not np.array_equal(course.depth, first.depth):
            raise ValueError(
                f"subjects must have the same layers at the same depths, got {course.layers} at "
                f"{np.asarray(course.depth).tolist()} of {course.subject!r} and {first.layers} of {first.subject!r}"
            )
        if not np.array_equal(course.times, first.times):
            raise Refused(f"subjects must have the same times, got others of {course.subject!r}")
        size = (course.activations.resampled.shape[0], course.activations.images)
        if size != (first.activations.resampled.shape[0], first.activations.images):
            raise ValueError(f"subjects must have the same resamplings and images, got {size}")


def _without_order(latencies: Floats, courses: Sequence[TimeCourses], subjects: str) -> dict[str, str]:
    """Why there is no statistic: fewer than 3 layers, or all of them at one depth."""
    depth, refused = np.asarray(courses[0].depth, dtype=np.float64), {}
    for j, kind in enumerate(("activation", "gradient")):
        for number, of_layers in enumerate(latencies[:, j]):
            who = "the mean of subjects" if subjects == "subjects-first" else repr(courses[number].subject)
            known = depth[~np.isnan(of_layers)]
            if len(known) < _LEAST_LAYERS:
                refused[kind] = (
                    f"at least {_LEAST_LAYERS} layers must have a latency, got {len(known)} for {kind}s of {who}"
                )
            elif np.ptp(known) == 0:
                refused[kind] = f"layers with a latency must differ in depth, got {known[0]:g} for all {kind}s of {who}"
    if refused:
        refused["difference"] = next(iter(refused.values()))
    return refused
