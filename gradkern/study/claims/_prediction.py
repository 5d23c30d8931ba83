"""Claims about prediction: do gradients predict responses, alone, beyond covariates, and better than a control?"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.encoding._dimension import effective_rank
from gradkern.encoding._transforms import image_permuted
from gradkern.encoding._unique import partial_permutation_test
from gradkern.errors import Refused
from gradkern.ridge._ridge_cv import RidgeCV
from gradkern.stats._bootstrap import Floats, Scores
from gradkern.stats._paired import paired_test
from gradkern.stats._permutation import PermutationTest, permutation_test, permutation_test_held_out
from gradkern.study._settings import COVARIATES, IMAGE_PERMUTED
from gradkern.study.claims._claim import Row
from gradkern.study.claims._scored import ScoredStudy

_LEAST_IMAGES = 20
_Test = Callable[[NDArray[np.int64], NDArray[np.float32], Any], PermutationTest]


def prediction(scored: ScoredStudy, modality: str) -> Row:
    """Mean held-out r of the tested layer's gradients, against permuted images."""
    X = scored.gradients.astype(np.float32)

    def test(rows: NDArray[np.int64], Y: NDArray[np.float32], target_groups: Any) -> PermutationTest:
        return permutation_test(X[rows], Y, target_groups=target_groups, **_sizes(scored))

    return _permuted(scored, modality, test, "images in random order")


def linear_diagnostic(scored: ScoredStudy, modality: str) -> Row:
    """What the tested layer's gradients predict beyond linear readouts of all layers' activations."""
    X = scored.gradients.astype(np.float32)
    activations = list(scored.features["activation"])

    def test(rows: NDArray[np.int64], Y: NDArray[np.float32], target_groups: Any) -> PermutationTest:
        removed = [layer[rows] for layer in activations]
        return partial_permutation_test(X[rows], removed, Y, target_groups=target_groups, **_sizes(scored))

    return _permuted(scored, modality, test, COVARIATES["linear-activations"])


def prediction_of_other_images(scored: ScoredStudy, modality: str) -> Row:
    """r of the tested layer's gradients in the study's test images, fitted on its other images.

    A mapping that holds in images like those it was fitted on need not hold in others.
    """
    held_out = np.asarray(scored.study.test_images)
    for subject in scored.subjects[modality]:
        count = int(held_out[subject.rows].sum())
        if min(count, len(subject.rows) - count) < _LEAST_IMAGES:
            raise Refused(
                f"{subject.name} must have at least {_LEAST_IMAGES} test images and as many others, got {count} of "
                f"{len(subject.rows)}"
            )
    X = scored.gradients.astype(np.float32)

    def test(rows: NDArray[np.int64], Y: NDArray[np.float32], target_groups: Any) -> PermutationTest:
        outside = held_out[rows]
        ridge = RidgeCV(scored.settings.cv.alphas, selection="gcv").fit(X[rows[~outside]], Y[~outside])
        sizes = {name: value for name, value in _sizes(scored).items() if name != "cv"}
        predicted = ridge.predict(X[rows[outside]])
        return permutation_test_held_out(Y[outside], predicted, target_groups=target_groups, **sizes)

    return _permuted(scored, modality, test, "test images in random order, by a fit to the other images")


def better_prediction(scored: ScoredStudy, modality: str, control: str) -> Row:
    """Difference in r between the gradients and the control of the same layer."""

    def layer_scores(X: Floats) -> list[Scores]:
        return [scored.score(subject, [X]) for subject in scored.subjects[modality]]

    first = scored.once(("gradients of the tested layer", modality), lambda: layer_scores(scored.gradients))
    second, settings = layer_scores(_control(scored, control)), scored.settings
    paired = paired_test(first, second, settings.cv.folds, seed=settings.seed)
    interval, ceiling = paired.interval, scored.ceiling(modality)
    against = _control_in_words(scored, control)
    return Row(paired.value, paired.p, interval.low, interval.high, paired.smallest_p, ceiling, against)


def _sizes(scored: ScoredStudy) -> dict[str, Any]:
    settings = scored.settings
    return {"cv": settings.cv, "permutations": settings.permutations, "seed": settings.seed}


def _permuted(scored: ScoredStudy, modality: str, test: _Test, against: str) -> Row:
    """Test subjects who saw the same images as one group, otherwise each by itself.

    In a group the images are permuted alike for all subjects, so that what their responses share is not counted as
    evidence of each.
    """
    subjects = scored.subjects[modality]
    same_images = all(np.array_equal(subject.rows, subjects[0].rows) for subject in subjects)
    groups = [list(subjects)] if same_images else [[subject] for subject in subjects]
    r: list[float] = []
    p: list[float] = []
    rows: list[int] = []
    p_without: dict[str, float] = {}
    for group in groups:
        Y = np.hstack([subject.Y.astype(np.float32) for subject in group])
        owner = np.repeat(np.arange(len(group)), [subject.Y.shape[1] for subject in group])
        members = {"all": np.arange(len(owner))}
        for number in range(len(group)):
            members[str(number)] = np.flatnonzero(owner == number)
            if len(group) > 1:
                members[f"without {number}"] = np.flatnonzero(owner != number)
        result = test(group[0].rows, Y, members)
        r += [result.target_groups[str(number)].r for number in range(len(group))]
        p.append(result.target_groups["all"].p)
        rows.append(result.n)
        if len(group) > 1:
            others = (result.target_groups[f"without {number}"].p for number in range(len(group)))
            p_without = {subject.name: value for subject, value in zip(group, others, strict=True)}
    return replace(scored.group_row(r, p, modality, against), rows=min(rows), p_without=p_without)


def _control(scored: ScoredStudy, kind: str) -> Floats:
    """The control of the tested layer [images, d]."""
    if kind == IMAGE_PERMUTED:
        return scored.once((kind,), lambda: image_permuted(scored.gradients, scored.settings.seed))
    return scored.features[kind][scored.layer]


def _control_in_words(scored: ScoredStudy, kind: str) -> str:
    """A control with its seed, or with the dimensions that may explain a difference."""
    if kind == IMAGE_PERMUTED:
        return f"{kind}, seed {scored.settings.seed}"
    sizes = [
        f"{X.shape[1]} columns of effective rank {effective_rank(X).participation:.1f}"
        for X in (_control(scored, kind), scored.gradients)
    ]
    return f"{kind} ({sizes[0]}; gradients {sizes[1]})"
