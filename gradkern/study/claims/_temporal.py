"""Claims about time: do gradients predict MEG later than activations, and deep layers before shallow ones?

Gradients are scored at what the confounds leave of the responses, because the deepest are readable from the
activations and would begin with the forward sweep; activations at the responses as they are. Decided by 95 % intervals
of latencies, at a one-sided level of .025, and for an order by other orders of the layers as well.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gradkern.errors import Refused
from gradkern.hierarchy._lag import lag_test
from gradkern.hierarchy._latency import Latency, TooFewLatencies, quiet_curves
from gradkern.hierarchy._layer_courses import layer_time_courses
from gradkern.hierarchy._layer_permutation import LayerPermutationTest, layer_permutation_test
from gradkern.hierarchy._temporal_order import (
    PREDICTED,
    DirectionTest,
    TemporalOrderTest,
    TimeCourses,
    slope,
    temporal_order_test,
)
from gradkern.recordings._responses.lazy import ChosenTargets
from gradkern.stats._bootstrap import Floats
from gradkern.study.claims._claim import LEVEL, MEG, Row
from gradkern.study.claims._scored import ScoredStudy, Subject

_NOTHING_LEFT = (
    "no layer's gradients predict MEG beyond the confounds (no curve is above 4 standard errors): such data cannot "
    "decide an order"
)
_OF_SCORES = "slope and interval are of scores, mostly nearer 0 than the brain's"


def lag(scored: ScoredStudy) -> Row:
    """Latency of gradients minus that of activations, mean over layers, in seconds."""
    try:
        result = lag_test(_all_courses(scored), scored.settings.latency, seed=scored.settings.seed)
    except TooFewLatencies as error:
        raise Refused(_refusal(scored, str(error))) from None
    return _row(scored, result, "activations' latencies, under noise of one size; gradients beyond confounds")


def temporal_order(scored: ScoredStudy) -> Row:
    """Slope of the gradients' latency on depth, in seconds; supported if layers in other orders do not have it too."""
    tested = _order_test(scored)
    if "gradient" in tested.refused:
        raise Refused(_refusal(scored, tested.refused["gradient"]))
    row = _row(scored, tested.slope["gradient"], f"no order (slope 0) of gradients beyond confounds; {_OF_SCORES}")
    permuted = temporal_layer_permutation(scored)
    if permuted.smallest_p > LEVEL:
        return replace(row, against=f"{row.against}; too few layers to be permuted")
    among_layers = f"{row.against}; and layers in another order (p {permuted.p:.2g})"
    return replace(row, against=among_layers, supported=row.is_supported() and permuted.p <= LEVEL)


def temporal_order_of_layers(scored: ScoredStudy) -> Row:
    """The gradients' slope, against the same slope with the layers permuted; supported only if the order itself is."""
    row, permuted = temporal_order(scored), temporal_layer_permutation(scored)
    supported = row.is_supported() and permuted.p <= LEVEL
    return replace(row, p=permuted.p, smallest_p=permuted.smallest_p, against=permuted.against, supported=supported)


def temporal_layer_permutation(scored: ScoredStudy) -> LayerPermutationTest:
    """The gradients' slope among those of permuted layers; only layers with a latency are permuted."""
    latencies = _order_test(scored).latency[:, 1]
    measured = np.isfinite(latencies).any(0)

    def mean_slope(depth: Floats) -> float:
        return float(np.mean([slope(latency, depth) for latency in latencies[:, measured]]))

    depth, settings = np.asarray(scored.study.depth, dtype=np.float64)[measured], scored.settings
    return layer_permutation_test(
        mean_slope, depth, alternative="less", permutations=settings.permutations, seed=settings.seed
    )


def _row(scored: ScoredStudy, order: DirectionTest, against: str) -> Row:
    interval, smallest = order.over_both or order.over_images, np.nan
    if interval.freedom is None:
        smallest = 1 / (2 * (1 + scored.settings.bootstraps))
    usual = scored.settings.latency.estimator == Latency().estimator
    ceiling, supported = scored.ceiling(MEG), order.conclusion == PREDICTED
    return Row(order.value, order.p, interval.low, interval.high, smallest, ceiling, against, supported, usual)


def _order_test(scored: ScoredStudy) -> TemporalOrderTest:
    settings = scored.settings

    def tested() -> TemporalOrderTest:
        try:
            return temporal_order_test(_all_courses(scored), settings.latency, seed=settings.seed)
        except TooFewLatencies as error:
            raise Refused(_refusal(scored, str(error))) from None

    return scored.once(("temporal order test",), tested)


def _all_courses(scored: ScoredStudy) -> list[TimeCourses]:
    return scored.once(("time courses",), lambda: [_courses(scored, subject) for subject in scored.subjects[MEG]])


def _refusal(scored: ScoredStudy, why: str) -> str:
    """Why there is no test: no layer's gradients are above noise in the mean of subjects, or else `why`."""
    courses = _all_courses(scored)
    mean = np.mean([course.curves()[:, 1] for course in courses], axis=0)
    inside, _ = scored.settings.latency.cut(mean, courses[0].times)
    return _NOTHING_LEFT if quiet_curves(inside[0], inside[1:]).all() else why


class _ReadWhenNeeded:
    """All usable responses [n, v] of a subject, images in the order of the features' rows, read by columns."""

    def __init__(self, subject: Subject) -> None:
        self._whole, self._order = subject.whole, subject.order
        self.shape = self._whole.responses.shape

    def __getitem__(self, where: tuple[slice, NDArray[np.int64]]) -> Floats:
        rows, columns = where
        block = ChosenTargets(self._whole.responses, columns).columns(slice(0, len(columns)))
        return block[self._order][rows].astype(np.float64)


def _courses(scored: ScoredStudy, subject: Subject) -> TimeCourses:
    targets = subject.whole.targets
    for column in ("sensor", "time"):
        if column not in targets:
            raise Refused(f"targets of {subject.name} must have {column!r}, got {list(targets)}")
    sensors, times = (targets[column].to_numpy() for column in ("sensor", "time"))
    resampling, cv = scored.resampled(subject), scored.settings.cv
    activations, gradients = (
        layer_time_courses(
            [X[subject.rows] for X in scored.features[kind]],
            _ReadWhenNeeded(subject),
            (sensors, times),
            resampling,
            cv,
            smoother=smoother,
        )
        for kind, smoother in (("activation", None), ("gradient", scored.smoother(subject)))
    )
    layers = tuple(f"layer {number}" for number in range(len(scored.features["activation"])))
    return TimeCourses(activations[0], gradients[0], activations[1], layers, scored.study.depth, subject.name)
