"""Claims about time: do gradients predict MEG later than activations, and deep layers before shallow ones?

Decided by 95 % intervals of latencies, at a one-sided level of .025.
"""

from dataclasses import replace

import numpy as np

from gradkern.errors import Refused
from gradkern.hierarchy._lag import lag_test
from gradkern.hierarchy._latency import Latency, time_courses
from gradkern.hierarchy._layer_permutation import LayerPermutationTest, layer_permutation_test
from gradkern.hierarchy._temporal_order import (
    PREDICTED,
    DirectionTest,
    TemporalOrderTest,
    TimeCourses,
    slope,
    temporal_order_test,
)
from gradkern.stats._bootstrap import Floats, Scores, stack_layers
from gradkern.study._settings import KINDS
from gradkern.study.claims._claim import MEG, Row
from gradkern.study.claims._scored import ScoredStudy, Subject


def lag(scored: ScoredStudy) -> Row:
    """Latency of gradients minus that of activations, mean over layers, in seconds."""
    result = lag_test(_all_courses(scored), scored.settings.latency, seed=scored.settings.seed)
    return _row(scored, result, "activations' latencies, under noise of one size")


def temporal_order(scored: ScoredStudy) -> Row:
    """Slope of the gradients' latency on depth, in seconds."""
    tested = _order_test(scored)
    if "gradient" in tested.refused:
        raise Refused(tested.refused["gradient"])
    return _row(scored, tested.slope["gradient"], "no order (slope 0)")


def temporal_order_of_layers(scored: ScoredStudy) -> Row:
    """The gradients' slope, against the same slope with the layers permuted."""
    row, permuted = temporal_order(scored), temporal_layer_permutation(scored)
    return replace(row, p=permuted.p, smallest_p=permuted.smallest_p, against=permuted.against, supported=None)


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
    return scored.once(
        ("temporal order test",),
        lambda: temporal_order_test(_all_courses(scored), settings.latency, seed=settings.seed),
    )


def _all_courses(scored: ScoredStudy) -> list[TimeCourses]:
    return scored.once(("time courses",), lambda: [_courses(scored, subject) for subject in scored.subjects[MEG]])


def _courses(scored: ScoredStudy, subject: Subject) -> TimeCourses:
    for column in ("sensor", "time"):
        if column not in subject.targets:
            raise Refused(f"targets of {subject.name} must have {column!r}, got {list(subject.targets)}")
    (activations, times), (gradients, _) = (_curve(scored, subject, kind) for kind in KINDS)
    layers = tuple(f"layer {number}" for number in range(len(scored.features["activation"])))
    return TimeCourses(activations, gradients, times, layers, scored.study.depth, subject.name)


def _curve(scored: ScoredStudy, subject: Subject, kind: str) -> tuple[Scores, Floats]:
    """Mean over sensors, layer by layer: scores of all layers and targets would take 8 b l v bytes."""
    sensors, times = subject.targets["sensor"], subject.targets["time"]
    curves = [time_courses(scored.score(subject, [X]), sensors, times) for X in scored.features[kind]]
    return stack_layers([scores for scores, _ in curves]), curves[0][1]
