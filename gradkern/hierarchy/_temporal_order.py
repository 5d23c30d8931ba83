"""The order test: do deeper layers come later for activations, and earlier for gradients?

Fixed before any data were seen. Statistic: the slope of latency on relative depth, s for the whole depth of the model;
beside it the correlation. Direction under backpropagation: activations above 0 (a forward sweep), gradients below 0
(a backward sweep), their difference above 0. Verdict: by the 95 % interval of the slope, over images and subjects
where there are several of these. Latencies are those of the mean curves of all subjects, whose own are often too noisy
to have any. The correlation decides nothing: its size says how straight an order is, not how long.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradkern._excluded import Excluded
from gradkern.hierarchy._latency import Latency, TooFewLatencies, flat_curves, quiet_curves, without_latency
from gradkern.hierarchy._layers import checked_depth
from gradkern.hierarchy._spatial_score import correlate
from gradkern.stats._bootstrap import Floats, Scores
from gradkern.stats._intervals import Crossed, Interval, cross, crossed_interval, interval, one_sided

PREDICTED = "as backpropagation predicts"
OPPOSITE = "opposite"
NO_ORDER = "no order found (interval contains 0)"
UNDECIDED = "not decided (too many resamplings without latencies)"
SUBJECTS = ("subjects averaged first", "mean of subjects")
_EXPECTED = {"activation": 1, "gradient": -1, "difference": 1}
_LEAST_LAYERS = 3


@dataclass(frozen=True, eq=False)
class TimeCourses:
    """Scores over time of one subject, layer by layer.

    Parameters
    ----------
    activations, gradients : r [l, t] and resampled [b, l, t] of the same resamplings, over the same times and layers
    times : [t], s after onset
    layers : names
    depth : [l], relative depth in [0, 1]
    subject : a word

    Raises
    ------
    ValueError : fewer than 3 layers, depths all the same or outside [0, 1], shapes or resamplings that do not fit
    """

    activations: Scores
    gradients: Scores
    times: Any
    layers: tuple[str, ...]
    depth: Any
    subject: str

    def __post_init__(self) -> None:
        count = len(self.layers)
        if count < _LEAST_LAYERS:
            raise ValueError(f"TimeCourses: layers must be at least {_LEAST_LAYERS} to have an order, got {count}")
        at = checked_depth("TimeCourses", self.depth, count)
        if at.min() < 0 or at.max() > 1:
            raise ValueError(f"TimeCourses: depth must lie in [0, 1], got {at.min():g} to {at.max():g}")
        shape = (count, len(np.atleast_1d(self.times)))
        for name in ("activations", "gradients"):
            scores = getattr(self, name)
            if scores.r.shape != shape or np.isnan(scores.r).any():
                raise ValueError(
                    f"TimeCourses: {name} must be scores [{shape[0]}, {shape[1]}], got {scores.r.shape} or NaN"
                )
            if scores.kind != "bootstrap":
                raise ValueError(f"TimeCourses: {name} must be resampled by a bootstrap, got a {scores.kind}")
        made = {(len(scores.resampled), scores.images) for scores in (self.activations, self.gradients)}
        if len(made) > 1:
            raise ValueError(f"TimeCourses: activations and gradients must have the same resamplings, got {made}")

    def curves(self) -> Floats:
        """Of activations and gradients, [1 + b, 2, l, t]: as they are, and in every resampling."""
        both = self.activations, self.gradients
        return np.stack([np.concatenate([kind.r[None], kind.resampled]) for kind in both], 1)


@dataclass(frozen=True)
class Order:
    """One statistic with its direction under backpropagation, `expected` (1 or -1), and what was found.

    Attributes
    ----------
    over_images : interval, subjects as they are
    over_both : for other images and subjects (`crossed_interval`); None of one subject, who says nothing of others
    p : one-sided, in the expected direction, see `one_sided`; of one subject its least is 1 / (2 (resamplings + 1))
    verdict : "as backpropagation predicts", "opposite" or "no order found (interval contains 0)", from `over_both`
        where there is one
    """

    value: float
    expected: int
    over_images: Interval
    over_both: Interval | None
    p: float
    verdict: str


@dataclass(frozen=True, eq=False)
class TemporalOrderTest:
    """Slopes (s for the whole depth) and correlations of latency on depth, of activations, gradients and their
    difference, activations minus gradients.

    What has fewer than 3 layers with a latency has no slope: `refused` says why, by "activation", "gradient" and
    "difference". `latency` [s, 2, l] of each subject (or of the one mean) for both, NaN where there is none or where a
    curve does not rise above noise (`quiet_curves`), which leaves it out of every resampling as well; `flat` [s, 2, l]
    the curves that are plateaus; `excluded` the layers without a latency, of all subjects together.
    """

    slope: dict[str, Order]
    correlation: dict[str, Order]
    refused: dict[str, str]
    latency: Floats
    flat: Any
    subjects: tuple[str, ...]
    images: int
    variant: str
    excluded: tuple[Excluded, ...]


def temporal_order_test(
    courses: Sequence[TimeCourses], latency: Latency | None = None, subjects: str = SUBJECTS[0], *, seed: int = 0
) -> TemporalOrderTest:
    """Is the order of the layers in time that of backpropagation?

    Parameters
    ----------
    courses : one a subject; those who saw the same images resampled alike (by one `resample_images`)
    latency : estimator and window
    subjects : "subjects averaged first" (latencies of the mean curves) or "mean of subjects" (of their slopes)
    seed : of the resampling of subjects

    Raises
    ------
    TooFewLatencies : fewer than 3 layers with a latency, both for activations and for gradients
    ValueError : subjects with different layers, depths, times or resamplings, or one twice; a window with fewer than 3
        samples
    """
    if subjects not in SUBJECTS:
        raise ValueError(f"temporal_order_test: subjects must be one of {SUBJECTS}, got {subjects!r}")
    check_courses("temporal_order_test", courses)
    latency = latency or Latency()
    latencies = _Latencies(courses, latency, subjects)
    everyone = np.arange(len(courses))
    found = latencies.of(everyone, 0)
    refused = _without_order(found, courses, subjects)
    if {"activation", "gradient"} <= set(refused):
        raise TooFewLatencies(f"temporal_order_test: {refused['activation']}; {refused['gradient']}")
    b, images = len(courses[0].activations.resampled), courses[0].activations.images
    depth = np.asarray(courses[0].depth, dtype=np.float64)
    drawn = cross(lambda some, i: _statistics(latencies.of(some, i), depth), len(courses), b, seed)
    value = _statistics(found, depth)
    tables: dict[str, dict[str, Order]] = {}
    for i, name in enumerate(("slope", "correlation")):
        tables[name] = {}
        for j, (kind, expected) in enumerate(_EXPECTED.items()):
            if kind not in refused:
                bound = np.inf if name == "slope" else 2.0 if kind == "difference" else 1.0
                size = (images, len(courses))
                tables[name][kind] = make_order(float(value[i, j]), drawn.of(i, j), expected, bound, size)
    return TemporalOrderTest(
        slope=tables["slope"],
        correlation=tables["correlation"],
        refused=refused,
        latency=found,
        flat=latencies.flat,
        subjects=tuple(one.subject for one in courses),
        images=images,
        variant=f"{latency.variant}; {subjects}",
        excluded=without_latency(found, latencies.quiet),
    )


def slope(latency: Any, depth: Any) -> float:
    """Least-squares slope of latencies [l] on depth [l] over layers that have one; NaN for fewer than 3."""
    y, x = np.asarray(latency, dtype=np.float64), np.asarray(depth, dtype=np.float64)
    known = ~np.isnan(y)
    if int(known.sum()) < _LEAST_LAYERS or np.ptp(x[known]) == 0:
        return float("nan")
    x, y = x[known] - x[known].mean(), y[known]
    return float(x @ y / (x @ x))


def _statistics(latencies: Floats, depth: Floats) -> Floats:
    """Of latencies [s, 2, l] the means over subjects [2, 3]: slope and correlation of activations, gradients and their
    difference. A correlation of latencies that are all the same is not known."""
    each = np.array([[[slope(y, depth), correlate(y, depth)] for y in one] for one in latencies]).mean(0).T
    statistics: Floats = np.column_stack([each, each[:, 0] - each[:, 1]])
    return statistics


def make_order(value: float, drawn: Crossed, expected: int, bound: float, size: tuple[int, int]) -> Order:
    """What a statistic and its bootstraps say, of so many images and subjects."""
    n, subjects = size
    over_images, over_both = interval(value, drawn.images, f"{n} images", bound=bound), None
    if subjects > 1:
        over_both = crossed_interval(value, drawn, subjects, f"{n} images and {subjects} subjects", bound=bound)
    decides = over_both or over_images
    p = one_sided(value, decides, drawn.images, expected)
    return Order(value, expected, over_images, over_both, p, verdict(decides, expected))


def verdict(found: Interval, expected: int) -> str:
    """What an interval says of an order that is expected above (1) or below (-1) 0."""
    if not found.known:
        return UNDECIDED
    if found.contains_zero:
        return NO_ORDER
    return PREDICTED if (found.low > 0) == (expected > 0) else OPPOSITE


class _Latencies:
    """Latencies [s, 2, l] of activations and gradients for any choice of subjects and any resampling (0: none)."""

    def __init__(self, courses: Sequence[TimeCourses], latency: Latency, subjects: str) -> None:
        self._averaged, self._latency, self._times = subjects == SUBJECTS[0], latency, courses[0].times
        self._curves = [one.curves() for one in courses]
        if self._averaged:
            everyone = range(len(courses))
            curves = [np.stack([self._mean(everyone, i) for i in range(len(self._curves[0]))])]
        else:
            curves = self._curves
        cut = [latency.cut(each, self._times)[0] for each in curves]
        self.quiet = np.stack([quiet_curves(each[0], each[1:]) for each in cut])
        self.flat = flat_curves(np.stack([each[0] for each in cut]))
        # a subject's own latencies do not depend on who else is drawn
        self._own = [] if self._averaged else [latency.of(each, self._times) for each in curves]

    def of(self, subjects: Any, resampling: int) -> Floats:
        if self._averaged:
            found, quiet = self._latency.of(self._mean(subjects, resampling)[None], self._times), self.quiet
        else:
            found, quiet = np.stack([self._own[i][resampling] for i in subjects]), self.quiet[list(subjects)]
        return np.where(quiet, np.nan, found)

    def _mean(self, subjects: Any, resampling: int) -> Floats:
        mean: Floats = np.mean([self._curves[i][resampling] for i in subjects], axis=0)
        return mean


def check_courses(op: str, courses: Sequence[TimeCourses]) -> None:
    """Refuse courses that cannot be tested together."""
    if not courses:
        raise ValueError(f"{op}: courses must be at least one subject, got none")
    names = [one.subject for one in courses]
    if len(set(names)) < len(names):
        raise ValueError(f"{op}: courses must be of different subjects, got {names}")
    first = courses[0]
    for one in courses[1:]:
        if one.layers != first.layers or not np.array_equal(one.depth, first.depth):
            raise ValueError(
                f"{op}: subjects must have the same layers at the same depths, got {one.layers} at "
                f"{np.asarray(one.depth).tolist()} of {one.subject!r} and {first.layers} of {first.subject!r}"
            )
        if not np.array_equal(one.times, first.times):
            raise ValueError(f"{op}: subjects must have the same times, got others of {one.subject!r}")
        made = (one.activations.resampled.shape[0], one.activations.images)
        if made != (first.activations.resampled.shape[0], first.activations.images):
            raise ValueError(f"{op}: subjects must have the same resamplings and images, got {made}")


def _without_order(latencies: Floats, courses: Sequence[TimeCourses], subjects: str) -> dict[str, str]:
    """Why there is no statistic: fewer than 3 layers, or all of them at one depth."""
    depth, refused = np.asarray(courses[0].depth, dtype=np.float64), {}
    for j, kind in enumerate(("activation", "gradient")):
        for number, one in enumerate(latencies[:, j]):
            who = "the mean of subjects" if subjects == SUBJECTS[0] else repr(courses[number].subject)
            known = depth[~np.isnan(one)]
            if len(known) < _LEAST_LAYERS:
                refused[kind] = (
                    f"at least {_LEAST_LAYERS} layers must have a latency, got {len(known)} for {kind}s of {who}"
                )
            elif np.ptp(known) == 0:
                refused[kind] = f"layers with a latency must differ in depth, got {known[0]:g} for all {kind}s of {who}"
    if refused:
        refused["difference"] = next(iter(refused.values()))
    return refused
