"""Claims about time: do gradients predict MEG later than activations, and deep layers before shallow ones?

Gradients are scored by what they add to the confounds (`_shares`), because the deepest are readable from the
activations and would begin with the forward sweep; activations by the responses as they are. Decided by 95 % intervals
of latencies, at a one-sided level of .025, and for an order by other orders of the layers as well.
"""

from dataclasses import replace

import numpy as np

from gradkern.errors import Refused
from gradkern.hierarchy._lag import lag_test
from gradkern.hierarchy._latency import Latency, TooFewLatencies
from gradkern.hierarchy._layer_courses import layer_time_courses
from gradkern.hierarchy._layer_permutation import LayerPermutationTest, layer_permutation_test
from gradkern.hierarchy._temporal_order import (
    PREDICTED,
    DirectionTest,
    TemporalOrderTest,
    TimeCourses,
    quiet_means,
    slope,
    temporal_order_test,
)
from gradkern.stats._bootstrap import Floats, Scores
from gradkern.study.claims._claim import LEVEL, MEG, Row
from gradkern.study.claims._scored import ScoredStudy, Subject
from gradkern.study.claims._shares import ReadWhenNeeded, shares_over_time

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
    mean = np.mean([course.curves() for course in courses], axis=0)
    return _NOTHING_LEFT if quiet_means(courses, mean, scored.settings.latency)[1].all() else why


def _courses(scored: ScoredStudy, subject: Subject) -> TimeCourses:
    targets = subject.whole.targets
    for column in ("sensor", "time"):
        if column not in targets:
            raise Refused(f"targets of {subject.name} must have {column!r}, got {list(targets)}")
    sensors, times = (targets[column].to_numpy() for column in ("sensor", "time"))
    resampling, cv = scored.resampled(subject), scored.settings.cv
    layers = [X[subject.rows] for X in scored.features["activation"]]
    activations, moments = layer_time_courses(layers, ReadWhenNeeded(subject), (sensors, times), resampling, cv)
    gradients = shares_over_time(scored, subject, (sensors, times))
    names = tuple(f"layer {number}" for number in range(len(layers)))
    return TimeCourses(_squared(activations), gradients, moments, names, scored.study.depth, subject.name)


def _squared(scores: Scores) -> Scores:
    """r |r|, as shares of variance are; its standard error is 2 |r| times that of r."""
    r, resampled = scores.r * np.abs(scores.r), scores.resampled * np.abs(scores.resampled)
    return replace(scores, r=r, resampled=resampled, noise_ratio=scores.noise_ratio / 2)
