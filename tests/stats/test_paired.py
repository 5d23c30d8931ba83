"""More than a control, and beyond it: each is found where it is planted, and not where it is not."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from gradkern.encoding import partial_permutation_test, unit_scale
from gradkern.ridge import CrossValidation
from gradkern.stats import PairedTest, Scores, layer_scores, paired_test, resample_images

N, V, FOLDS, BOOTSTRAPS = 100, 12, 5, 120
ALPHAS = tuple(np.logspace(-2, 3, 6).tolist())
CV = CrossValidation(folds=FOLDS, alphas=ALPHAS)
pytestmark = pytest.mark.usefixtures("one_thread")


def make(seed: int, width: int = 40, noise: float = 0.7, subjects: int = 1) -> list[Any]:
    """Two feature spaces of one signal, each under noise of its own (of the second, 0.7), and responses to it."""
    random = np.random.default_rng(seed)
    Z = random.standard_normal((N, width))
    spaces = [unit_scale(Z + size * random.standard_normal(Z.shape)) for size in (noise, 0.7)]
    signals = [Z @ random.standard_normal((width, V)) / np.sqrt(width) for _ in range(subjects)]
    return [*spaces, [signal + random.standard_normal((N, V)) for signal in signals]]


def compared(seed: int, **how: Any) -> PairedTest:
    first, second, responses = make(seed, **how)
    resampling = resample_images(np.arange(N), BOOTSTRAPS, seed)
    scored = [layer_scores([first, second], Y, resampling, CV) for Y in responses]
    return paired_test(*([one_of(scores, i) for scores in scored] for i in (0, 1)), FOLDS, seed=seed)


def one_of(scores: Scores, layer: int) -> Scores:
    return Scores(scores.r[[layer]], scores.resampled[:, [layer]], scores.images)


@pytest.mark.parametrize(("subjects", "runs"), [(1, 200), (4, 60)])
def test_of_the_same_information_neither_predicts_more(subjects: int, runs: int) -> None:
    """Resamplings as they are would say so in 13 % of the cases, and Fisher's combination of subjects in 14 to 22."""
    found = sum(compared(seed, subjects=subjects).p <= 0.05 for seed in range(runs))
    assert found <= binom.ppf(0.99, runs, 0.05)


def test_what_predicts_more_is_found_and_what_predicts_less_is_not() -> None:
    better = [compared(seed, width=10, noise=0.3, subjects=2) for seed in range(10)]
    assert sum(test.p <= 0.05 for test in better) >= 9
    worse = [compared(seed, width=10, noise=1.2, subjects=2) for seed in range(10)]
    assert all(test.p > 0.5 for test in worse)


def test_each_of_two_views_tells_something_beyond_the_other_though_neither_predicts_more() -> None:
    """Which is why a verdict asks both."""
    first, second, (Y,) = make(0, width=10)
    target_groups = {"all": np.arange(V)}
    for X, given in ((first, second), (second, first)):
        assert (
            partial_permutation_test(X, given, Y, ALPHAS, permutations=19, seed=0, target_groups=target_groups)
            .target_groups["all"]
            .p
            == 0.05
        )
    assert 0.05 < compared(0, width=10).p < 0.95


def scores(*shape: int, seed: int = 0, shift: float = 0.0) -> Scores:
    """r [1, v] and resamplings of it, of a shape [b, v]."""
    random = np.random.default_rng(seed)
    r: NDArray[Any] = shift + 0.1 * random.standard_normal((1, shape[1]))
    return Scores(r, r + 0.1 * random.standard_normal((shape[0], 1, shape[1])), 60)


def test_value_and_interval_are_those_of_the_differences_stretched_for_folds() -> None:
    first, second = scores(400, 7, shift=0.2), scores(400, 7, seed=1)
    difference = (first.r - second.r).mean()
    again = (first.resampled - second.resampled).mean((1, 2))
    found = paired_test([first], [second], 5)
    assert found.value == pytest.approx(difference)
    half = np.quantile(np.abs(again - difference), 0.95)
    assert found.interval.high - found.value == pytest.approx(1.5 * half)
    assert found.interval.over == "60 images"
    assert paired_test([first], [second], 2).interval.high - found.value == pytest.approx(np.sqrt(3) * half)
    assert found.smallest_p == 1 / 802
    assert found.p == pytest.approx((1 + (1.5 * np.abs(again - difference) >= difference).sum()) / 401 / 2)


def test_of_two_subjects_the_interval_is_wide_and_p_is_theirs() -> None:
    pairs = [scores(400, 7, seed=seed, shift=0.4) for seed in (2, 3)], [scores(400, 7, seed=seed) for seed in (4, 5)]
    found = paired_test(*pairs, 5)
    np.testing.assert_allclose(found.by_subject, [(one.r - other.r).mean() for one, other in zip(*pairs, strict=True)])
    assert found.value == pytest.approx(found.by_subject.mean())
    assert found.interval.over == "60 images and 2 subjects"
    assert found.interval.freedom == 1
    assert found.interval.contains_zero
    assert found.p < 0.01


A, B = scores(20, 4), scores(20, 4, seed=1)
MISSING = Scores(np.full((1, 4), np.nan), np.full((20, 1, 4), np.nan), 60)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: paired_test([], [], 5), "the same subjects, at least one, got 0 and 0"),
        (lambda: paired_test([A], [B, B], 5), "the same subjects, at least one, got 1 and 2"),
        (lambda: paired_test([A], [B], 1), "folds must be at least 2, got 1"),
        (lambda: paired_test([A], [scores(20, 5)], 5), "must be of one layer, the same targets and bootstrap, got"),
        (lambda: paired_test([A], [scores(19, 4)], 5), "must be of one layer, the same targets and bootstrap, got"),
        (lambda: paired_test([A], [Scores(B.r, B.resampled, 60, "jackknife")], 5), "'jackknife'.* of subject 0"),
        (lambda: paired_test([A], [Scores(B.r, B.resampled, 59)], 5), "the same targets and bootstrap"),
        (lambda: paired_test([A, scores(9, 4)], [B, scores(9, 4)], 5), "subjects must have the same resamplings"),
        (lambda: paired_test([A], [MISSING], 5), "every target must have a score, got none of 4 of subject 0"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
