"""A verdict's claims of time: do gradients predict MEG later than activations, and deep layers before shallow ones?"""

from functools import cached_property

import numpy as np

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
from gradkern.study.claims._evidence import Row, ScoredStudy, Subject


class InTime:
    """Tests of the latencies of every layer's curve over time; decided by intervals, at .025."""

    def __init__(self, evidence: ScoredStudy) -> None:
        self.evidence, self.how = evidence, evidence.how

    def later(self) -> Row:
        """Mean over layers of the gradients' latency minus the activations', s."""
        found = lag_test(self._all_courses, self.how.latency, seed=self.how.seed)
        return self._row(found, "activations' latencies, under noise of one size")

    def order(self) -> Row:
        """Slope of the gradients' latency on depth, s."""
        found = self._tested
        if "gradient" in found.refused:
            raise ValueError(found.refused["gradient"])
        return self._row(found.slope["gradient"], "no order (slope 0)")

    def in_another_order(self) -> LayerPermutationTest:
        """The gradients' slope beside that of layers in another order; only those with a latency change places."""
        latencies = self._tested.latency[:, 1]
        known = np.isfinite(latencies).any(0)

        def temporal(depth: Floats) -> float:
            return float(np.mean([slope(each, depth) for each in latencies[:, known]]))

        depth = np.asarray(self.evidence.study.depth, dtype=np.float64)[known]
        how = self.how
        return layer_permutation_test(temporal, depth, alternative="less", permutations=how.permutations, seed=how.seed)

    @cached_property
    def _tested(self) -> TemporalOrderTest:
        return temporal_order_test(self._all_courses, self.how.latency, seed=self.how.seed)

    @cached_property
    def _all_courses(self) -> list[TimeCourses]:
        return [self._courses(one) for one in self.evidence.meg]

    def _row(self, found: DirectionTest, against: str) -> Row:
        over, smallest = found.over_both or found.over_images, np.nan
        if over.freedom is None:
            smallest = 1 / (2 * (1 + self.how.bootstraps))
        right, ceiling = found.conclusion == PREDICTED, self.evidence.ceiling(self.evidence.meg)
        usual = self.how.latency.estimator == Latency().estimator
        return Row(found.value, found.p, over.low, over.high, smallest, ceiling, against, right, usual)

    def _courses(self, one: Subject) -> TimeCourses:
        for name in ("sensor", "time"):
            if name not in one.targets:
                raise ValueError(f"targets of {one.recording.subject} must have {name!r}, got {list(one.targets)}")
        (activations, times), (gradients, _) = (self._curve(one, kind) for kind in KINDS)
        layers = tuple(f"layer {number}" for number in range(len(self.evidence.features["activation"])))
        return TimeCourses(activations, gradients, times, layers, self.evidence.study.depth, one.recording.subject)

    def _curve(self, one: Subject, kind: str) -> tuple[Scores, Floats]:
        """Means over sensors, layer by layer: all scores of whole MEG would take 8 b l v bytes."""
        sensors, at = one.targets["sensor"], one.targets["time"]
        each = [time_courses(self.evidence.scored(one, [X]), sensors, at) for X in self.evidence.features[kind]]
        return stack_layers([curve for curve, _ in each]), each[0][1]
