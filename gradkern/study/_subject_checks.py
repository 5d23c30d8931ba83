"""Do the activations predict every subject? A subject whose images are in another order is predicted by nothing."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gradkern.errors import Refused
from gradkern.stats._bootstrap import Floats, Scores, layer_scores
from gradkern.study.claims._claim import FMRI
from gradkern.study.claims._scored import ScoredStudy, Subject

_MOST_TARGETS = 200  # of a subject, drawn at random
_PREDICTED = 3.0  # standard errors: the best of several layers reaches 2 by chance
_SHIFTED = 5.0  # since several orders are tried
_WEAK = 0.5  # of the other subjects' r, below which other orders of the images are tried


@dataclass(frozen=True)
class _Strength:
    """Mean held-out r over targets at the best layer, and its standard error over images; NaN if no target has r."""

    r: float
    error: float

    @classmethod
    def of(cls, scores: Scores) -> "_Strength":
        known = np.isfinite(scores.r).all(0)
        if not known.any():
            return cls(np.nan, np.nan)
        means = scores.r[:, known].mean(1)
        best = int(means.argmax())
        return cls(float(means[best]), float(scores.resampled[:, best, known].mean(1).std(ddof=1)))

    @property
    def is_predicted(self) -> bool:
        return self.r > _PREDICTED * self.error


def subject_checks(scored: ScoredStudy) -> list[str]:
    """Sentences about subjects whose responses no layer's activations predict.

    A subject is named if its mean r at the best layer is within 3 standard errors of 0, most of the other subjects' are
    not, and their median is 3 standard errors higher; or if its responses are predicted by 5 standard errors better,
    and half as well as those of the others, once they are shifted by one row. That is tried for a single subject, and
    for one that is not predicted half as well as the others.
    """
    notes: list[str] = []
    for modality, subjects in scored.subjects.items():
        try:
            strengths = [_Strength.of(_scores(scored, subject)) for subject in subjects]
        except Refused:  # too few images, which the rows of the verdict say
            continue
        for number, (subject, strength) in enumerate(zip(subjects, strengths, strict=True)):
            others = strengths[:number] + strengths[number + 1 :]
            predicted = 2 * sum(other.is_predicted for other in others) > len(others)
            usual = float(np.median([other.r for other in others])) if predicted else 0.0
            if np.isnan(strength.r) or (predicted and strength.is_predicted and strength.r > _WEAK * usual):
                continue
            shifted = _shifted(scored, subject, max(strength.r, _WEAK * usual))
            unpredicted = not strength.is_predicted and usual > strength.r + _PREDICTED * strength.error
            if shifted or unpredicted:
                beside = f"; other subjects {usual:.3f}" if predicted else ""
                notes.append(
                    f"{modality}: responses of {subject.name} are hardly predicted by any layer's activations (mean r "
                    f"{strength.r:.3f}, standard error {strength.error:.3f}{beside}): are its images in the right "
                    f"order?{shifted}"
                )
    return notes


def _scores(scored: ScoredStudy, subject: Subject) -> Scores:
    """Those of the verdict for fMRI; for MEG, which has many targets, of some of them."""
    if subject.modality == FMRI:
        return scored.scores(subject, "activation")
    return _scores_of(scored, subject, subject.Y)


def _scores_of(scored: ScoredStudy, subject: Subject, Y: Floats) -> Scores:
    v, random = Y.shape[1], np.random.default_rng(scored.settings.seed)
    chosen = np.sort(random.choice(v, min(v, _MOST_TARGETS), replace=False))
    layers = [X[subject.rows] for X in scored.features["activation"]]
    return layer_scores(layers, Y[:, chosen], scored.resampled(subject), scored.settings.cv)


def _shifted(scored: ScoredStudy, subject: Subject, least: float) -> str:
    """In which shifted order the responses are predicted better than this, as a sentence; "" if in none."""
    for words, Y in _orders(subject):
        other = _Strength.of(_scores_of(scored, subject, Y))
        if other.r - max(least, 0.0) > _SHIFTED * other.error:
            return f" They are predicted (mean r {other.r:.3f}) if each image is given the response {words}."
    return ""


def _orders(subject: Subject) -> Iterator[tuple[str, Floats]]:
    """Responses [n, v] shifted by one image id, and by one row of the recording if rows are in another order."""
    following, before = "of the following", "of the previous"
    for words, step in ((following, -1), (before, 1)):
        yield f"{words} image", np.roll(subject.Y, step, axis=0)
    order = np.argsort(subject.recording.image_ids)
    if (np.diff(order) != 1).any():
        by_row = np.empty_like(subject.Y)
        by_row[order] = subject.Y
        for words, step in ((following, -1), (before, 1)):
            yield f"{words} row", np.roll(by_row, step, axis=0)[order]
