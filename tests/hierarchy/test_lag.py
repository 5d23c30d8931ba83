"""The gradients' lag: weak copies of the activations' curves are not late, and what is late is."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from gradkern.hierarchy import ESTIMATORS, Latency, TimeCourses, TooFewLatencies, lag_test
from gradkern.stats import Scores

pytestmark = pytest.mark.usefixtures("one_thread")
LAYERS = tuple(f"blocks.{i}" for i in range(4))
DEPTH = np.linspace(0, 1, 4)
TIMES = np.arange(-4, 37) * 0.025
NOISE = 0.012  # of a sample


def curves(late: float, size: float, random: np.random.Generator, resamplings: int) -> Scores:
    """A sweep over the layers, and noise that lasts; every resampling has noise of its own once more."""
    peak = 0.08 + 0.08 * DEPTH[:, None] + late
    signal = size * np.exp(-((TIMES - peak) ** 2) / (2 * 0.04**2))
    white = NOISE * random.standard_normal((1 + resamplings, *signal.shape))
    for now in range(1, len(TIMES)):
        white[..., now] = 0.5 * white[..., now - 1] + np.sqrt(0.75) * white[..., now]
    r = signal + white[0]
    return Scores(r, r + white[1:], 100)


def study(
    seed: int, late: float = 0.0, size: float = 0.09, subjects: int = 1, resamplings: int = 60
) -> list[TimeCourses]:
    random = np.random.default_rng(seed)
    return [
        TimeCourses(
            curves(0.0, 0.5, random, resamplings), curves(late, size, random, resamplings), TIMES, LAYERS, DEPTH,
            f"s{number}",
        )
        for number in range(subjects)
    ]  # fmt: skip


def lags(late: float, size: float, estimator: str, runs: int = 60) -> np.ndarray:
    found = []
    for seed in range(runs):
        try:
            found.append(lag_test(study(seed, late, size, resamplings=40), Latency(estimator)).value)
        except TooFewLatencies:
            continue
    return np.array(found)


@pytest.mark.parametrize("estimator", ["fractional area", "centre of mass"])
def test_a_weak_copy_of_the_activations_is_not_late(estimator: str) -> None:
    """Its own latency is far towards the middle of the window, 0.4 s."""
    every = [study(seed, resamplings=2)[0] for seed in range(20)]
    naive = [
        np.mean([Latency(estimator).of(getattr(one, kind).r, TIMES) for one in every])
        for kind in ("activations", "gradients")
    ]
    assert naive[1] - naive[0] > 0.01
    found = lags(0.0, 0.09, estimator)
    assert len(found) > 30
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(len(found)) + 0.004


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("size", [0.12, 0.5, 1.0])
def test_a_lag_is_found_at_any_size(estimator: str, size: float) -> None:
    """Of weak curves a part of it: noise draws both to the middle. A gradient may be the stronger one."""
    found = lags(0.15, size, estimator, runs=12)
    assert len(found) > 8
    assert found.mean() == pytest.approx(0.15, abs=0.09 if size == 0.12 else 0.03)


def test_the_level_is_held_where_gradients_are_the_activations() -> None:
    tests = []
    for seed in range(150):
        try:
            tests.append(lag_test(study(seed, subjects=1), seed=seed))
        except TooFewLatencies:
            continue
    assert len(tests) > 80
    found = sum(test.conclusion == "as backpropagation predicts" for test in tests)
    assert found <= binom.ppf(0.995, len(tests), 0.025)


def test_the_power_over_subjects_is_there() -> None:
    found = [lag_test(study(seed, 0.12, 0.12, subjects=4), seed=seed) for seed in range(8)]
    assert sum(test.conclusion == "as backpropagation predicts" for test in found) >= 7
    assert all(test.over_both is not None for test in found)


def test_without_noise_it_is_the_difference_of_latencies() -> None:
    (one,) = study(0, 0.1, 0.5)
    sharp = replace(
        one,
        **{
            name: Scores(scores.r, np.repeat(scores.r[None], 20, axis=0), 100)
            for name, scores in (("activations", one.activations), ("gradients", one.gradients))
        },
    )
    latency = Latency("centre of mass")
    expected = [latency.of(kind.r, TIMES) for kind in (sharp.activations, sharp.gradients)]
    assert lag_test([sharp], latency).value == pytest.approx((expected[1] - expected[0]).mean(), abs=1e-12)


def quiet(one: TimeCourses, layers: int) -> TimeCourses:
    r, resampled = one.gradients.r.copy(), one.gradients.resampled.copy()
    r[:layers], resampled[:, :layers] = -0.1, -0.1
    return replace(one, gradients=Scores(r, resampled, 100))


def test_layers_that_do_not_rise_above_noise_are_left_out() -> None:
    (one,) = study(1, 0.1, 0.5)
    assert lag_test([quiet(one, 3)], Latency("peak")).value == pytest.approx(0.1, abs=0.03)
    with pytest.raises(TooFewLatencies, match="a layer must have both latencies"):
        lag_test([quiet(one, 4)])


def test_bad_input_is_named() -> None:
    (one,) = study(0)
    calls: tuple[tuple[Any, str], ...] = (
        ([], "lag_test: courses must be at least one subject, got none"),
        ([one, one], "lag_test: courses must be of different subjects"),
    )
    for courses, message in calls:
        with pytest.raises(ValueError, match=message):
            lag_test(courses)
