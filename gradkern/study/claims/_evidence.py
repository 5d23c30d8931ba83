"""What the claims of a verdict rest on: subjects, the scores of their targets, and the row that a test makes."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from gradkern.encoding._scale import check_first, unit_scale
from gradkern.encoding._score import ceiling_of
from gradkern.features._engine.memory import free_bytes
from gradkern.recordings._recording import Recording
from gradkern.stats._bootstrap import Floats, Resampling, Scores, layer_scores, resample_images
from gradkern.stats._group_tests import combine
from gradkern.stats._intervals import over_subjects
from gradkern.study._settings import Study, VerdictSettings


@dataclass(frozen=True)
class Row:
    """A claim's test; NaN where there is no such number."""

    estimate: float
    p: float
    low: float = np.nan
    high: float = np.nan
    smallest_p: float = np.nan
    ceiling: float = np.nan
    against: str = ""
    supported: bool | None = None  # None: by p
    as_simulated: bool = True  # all subjects in one test, latencies and preferences the same
    rows: int | None = None  # what was left of the images; None: all


@dataclass(frozen=True, eq=False)
class Subject:
    """A subject's chosen targets: responses Y [n, v] of the images `rows` of the features."""

    recording: Recording
    Y: Floats
    rows: NDArray[np.int64]

    @property
    def targets(self) -> pd.DataFrame:
        return self.recording.targets

    def ceiling(self) -> Floats:
        return ceiling_of(self.recording).r


def _check_memory(meg: Sequence[Recording]) -> None:
    """Every sensor at every time is kept of all subjects, and permuted in float32; predictions are of one at a time.

    Raises
    ------
    ValueError : that takes more memory than there is
    """
    sizes = [one.responses.shape[0] * one.responses.shape[1] for one in meg]
    needed, free = 20 * sum(sizes) + 16 * max(sizes, default=0), free_bytes(torch.device("cpu"))
    if free is not None and needed > free:
        shape = " x ".join(f"{size:,}" for size in meg[int(np.argmax(sizes))].responses.shape)
        raise ValueError(
            f"verdict: meg of {len(meg)} subjects must fit into memory, got up to {shape} numbers each, which take "
            f"{needed / 2**30:,.1f} GiB of {free / 2**30:,.1f} that are free: take fewer sensors or times "
            "(Recording.select_targets, Recording.window)"
        )


class ScoredStudy:
    """Features and subjects of one study, and scores, which are computed once.

    Attributes
    ----------
    features : kind -> of every layer [images, d], of unit size
    layer : place of the layer that stands for a kind where one feature space is meant
    fmri, meg : subjects, rows in the order of the images
    """

    def __init__(self, study: Study, how: VerdictSettings) -> None:
        self.study, self.how = study, how
        self.features = {kind: [unit_scale(layer) for layer in each] for kind, each in study.features.items()}
        layers = len(self.features["activation"])
        self.layer = layers // 2 if how.layer is None else how.layer
        _check_memory(study.meg)
        self.fmri = [self._subject(one, some=True) for one in study.fmri]
        self.meg = [self._subject(one, some=False) for one in study.meg]
        self._scores: dict[tuple[int, str], Scores] = {}

    def _subject(self, recording: Recording, some: bool) -> Subject:
        """Courses need every sensor at every time; of fMRI's targets those with a place, or some of them."""
        check_first("verdict", recording)
        if some and self.study.axis in recording.targets:
            placed = recording.targets[self.study.axis].notna().to_numpy()
            if placed.any():  # else claims that need no place are of all targets; those that do refuse them
                recording = recording.select_targets(placed, f"with a {self.study.axis}")
        v = len(recording.targets)
        if some and v > self.how.targets:
            drawn = np.random.default_rng(self.how.seed).choice(v, self.how.targets, replace=False)
            recording = recording.select_targets(np.sort(drawn), "drawn at random")
        Y, rows = np.asarray(recording.responses, dtype=np.float64), recording.image_ids
        dead = np.ptp(Y, axis=0) == 0
        if some and dead.any() and not dead.all():
            recording, Y = recording.select_targets(~dead, "that vary"), Y[:, ~dead]
            warnings.warn(f"verdict: {dead.sum()} targets of {recording.subject} do not vary, left out", stacklevel=4)
        by_image = np.argsort(rows)  # so that subjects who saw the same have the same rows
        return Subject(recording, Y[by_image], rows[by_image])

    def scores(self, one: Subject, kind: str) -> Scores:
        """Of every layer, resampled over images, the same of all subjects."""
        key = id(one), kind
        if key not in self._scores:
            self._scores[key] = self.scored(one, self.features[kind])
        return self._scores[key]

    def scored(self, one: Subject, layers: Sequence[Any]) -> Scores:
        rows = [X[one.rows] for X in layers]
        return layer_scores(rows, one.Y, self.resampled(one), self.how.cv)

    def resampled(self, one: Subject) -> Resampling:
        """Images of all subjects are drawn together: one that several saw counts alike in each of them."""
        images = np.unique(np.concatenate([other.rows for other in (self.fmri if one in self.fmri else self.meg)]))
        drawn = resample_images(images, self.how.bootstraps, self.how.seed)
        return replace(drawn, counts=drawn.counts[:, np.searchsorted(images, one.rows)])

    def over(
        self, r: Sequence[float], p: Sequence[float], of: Sequence[Subject], against: str, halves: bool = False
    ) -> Row:
        """The mean over subjects with its interval, and one p of all: where each subject has one, Fisher's if no image
        was seen by two of them, else twice their mean, which holds whatever they share."""
        values, smallest = np.asarray(r, dtype=np.float64), 1 / (1 + self.how.permutations) / (2 if halves else 1)
        together, low, high = float(p[0]), np.nan, np.nan
        if len(p) > 1:
            rows = np.concatenate([one.rows for one in of])
            apart = len(np.unique(rows)) == len(rows)
            combined = combine(p, method="fisher" if apart and not halves else "mean", smallest_p=smallest)
            together, smallest = float(combined.p[0]), float(combined.smallest_p or np.nan)
        if len(values) > 1:
            around = over_subjects(values, bound=1)
            low, high = around.low, around.high
        ceiling = self.ceiling(of)
        return Row(float(values.mean()), together, low, high, smallest, ceiling, against, as_simulated=len(p) == 1)

    def images(self, of: Sequence[Subject]) -> int:
        return min((len(one.Y) for one in of), default=0)

    def best_ceiling(self, of: Sequence[Subject]) -> float:
        """What simulated studies are made by: of all targets that respond, or of the best sensor at its best time."""
        if of is not self.meg:
            return self.ceiling(of)
        best = [np.nanmax(one.ceiling(), initial=0) for one in of]
        return float(np.mean(best)) if min(best) > 0 else np.nan

    def ceiling(self, of: Sequence[Subject]) -> float:
        """Mean over targets and subjects; NaN where it is not known."""
        known = np.concatenate([one.ceiling() for one in of])
        known = known[np.isfinite(known)]
        return float(known.mean()) if len(known) else np.nan
