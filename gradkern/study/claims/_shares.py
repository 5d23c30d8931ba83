"""What gradients of each layer add to the confounds in the responses of a subject, over time and in single targets."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.encoding._pair_sums import PairSums
from gradkern.encoding._share_courses import share_time_courses, target_sums
from gradkern.recordings._responses.lazy import ChosenTargets
from gradkern.stats._bootstrap import Floats, Scores
from gradkern.study.claims._scored import ScoredStudy, Subject


class ReadWhenNeeded:
    """All usable responses [n, v] of a subject, images in the order of the features' rows, read by columns."""

    def __init__(self, subject: Subject) -> None:
        self._whole, self._order = subject.whole, subject.order
        self.shape = self._whole.responses.shape

    def __getitem__(self, where: tuple[Any, NDArray[np.int64]]) -> Floats:
        rows, columns = where
        block = ChosenTargets(self._whole.responses, columns).columns(slice(0, len(columns)))
        chosen: Floats = block[self._order[rows]].astype(np.float64)
        return chosen


def shares_over_time(scored: ScoredStudy, subject: Subject, targets: tuple[Any, Any]) -> Scores:
    """Shares of variance [l, t] that gradients of each layer add, mean over sensors; targets: sensors and times."""
    gradients, drawn = scored.features["gradient"], scored.resampled(subject)
    return share_time_courses(scored.model(subject), gradients, ReadWhenNeeded(subject), targets, drawn)[0]


def shares_of_targets(scored: ScoredStudy, subject: Subject) -> PairSums:
    """What gradients of each layer add to single targets [l, v]."""

    def sums() -> PairSums:
        return target_sums(scored.model(subject), scored.features["gradient"], subject.Y, scored.resampled(subject))

    return scored.once(("shares of targets", subject.modality, subject.name), sums)
