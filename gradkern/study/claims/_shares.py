"""What gradients of each layer add to readouts of the confounds, over time and over targets of one subject.

Held-out scores do not tell: what a regression on hundreds of images leaves of responses and of gradients are both
functions of activations. In simulated brains of 500 images and 6 subjects, curves of such scores were 3 to 12 standard
errors below 0 for deep layers at every time, whose gradients come in fact at a time of their own. The shares of
`encoding.conditional_test` expect 0 where there is no gradient.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.encoding._pair_sums import PairSums
from gradkern.hierarchy._layer_courses import BYTES_AT_ONCE, whole_times
from gradkern.recordings._responses.lazy import ChosenTargets
from gradkern.stats._bootstrap import Floats, Scores
from gradkern.study.claims._scored import ScoredStudy, Subject

_COPIES = 4  # of a block's responses


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


class _Targets:
    """Each target as a group of its own."""

    size = 1

    def __init__(self, Y: Floats) -> None:
        self._Y, self.groups = Y, Y.shape[1]

    def blocks(self, images: NDArray[np.int64]) -> Iterator[tuple[slice, Floats]]:
        step = _width(len(self._Y))
        for start in range(0, self.groups, step):
            chosen = slice(start, min(start + step, self.groups))
            yield chosen, self._Y[images, chosen][:, :, None]


class _Times:
    """All sensors of a time as a group."""

    def __init__(self, subject: Subject, at: Floats) -> None:
        self._read, self._at = ReadWhenNeeded(subject), at
        self.groups = len(np.unique(at))
        self.size = len(at) // self.groups

    def blocks(self, images: NDArray[np.int64]) -> Iterator[tuple[slice, Floats]]:
        start = 0
        for columns in whole_times(self._at, _width(self._read.shape[0])):
            sorted_by_time = columns[np.argsort(self._at[columns], kind="stable")]
            block = self._read[images, sorted_by_time].reshape(len(images), -1, self.size)
            yield slice(start, start + block.shape[1]), block
            start += block.shape[1]


def _width(rows: int) -> int:
    return max(1, BYTES_AT_ONCE // (8 * _COPIES * rows))


def shares_over_time(scored: ScoredStudy, subject: Subject, at: Floats) -> Scores:
    """Shares of variance [l, t] that gradients of each layer add, mean over sensors; `at` [v]: times of targets."""
    sums = _sums(scored, subject, _Times(subject, at))
    r, resampled = sums.over(sums.sizes)
    return Scores(r, resampled, scored.resampled(subject).images, noise_ratio=1.0)


def of_targets(scored: ScoredStudy, subject: Subject) -> PairSums:
    """What gradients of each layer add to single targets [l, v] of a subject."""
    return scored.once(
        ("pair sums of targets", subject.modality, subject.name), lambda: _sums(scored, subject, _Targets(subject.Y))
    )


def _sums(scored: ScoredStudy, subject: Subject, groups: Any) -> PairSums:
    counts = scored.resampled(subject).counts
    return scored.model(subject).pair_sums(scored.features["gradient"], groups, counts)
