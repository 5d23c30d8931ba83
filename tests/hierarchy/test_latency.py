"""Latencies: hand-computed, moved by what a curve is moved, and what has none; the jackknife by brute force."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, optimize, stats

from gradkern.hierarchy import (
    ESTIMATORS,
    Latency,
    area_latency,
    center_latency,
    corrected_f,
    flat_curves,
    jackknife,
    jackknife_error,
    onset_latency,
    peak_latency,
    plateau_latency,
    quiet_curves,
    temporal_score,
    time_courses,
)
from gradkern.stats import Scores, leave_out_images, resampled_scores

TIMES = np.arange(60) * 0.01 - 0.1


def gaussian(middle: Any, times: NDArray[Any] = TIMES, width: float = 0.05) -> NDArray[Any]:
    return np.exp(-((times - np.asarray(middle)[..., None]) ** 2) / (2 * width**2))


def planted(middle: Any, noise: float = 0.02, seed: int = 0, bootstraps: int = 200) -> Scores:
    random = np.random.default_rng(seed)
    truth = 0.3 * gaussian(middle)
    r = truth + noise * random.standard_normal(truth.shape)
    return Scores(r, r + noise * random.standard_normal((bootstraps, *r.shape)), 100)


def test_a_curve_by_hand() -> None:
    times, curve = [0.0, 1.0, 2.0, 4.0], [-1.0, 4.0, 3.9, 0.0]
    assert peak_latency(curve, times) == 1
    assert plateau_latency(curve, times) == 1.5
    # trapezoids weigh 0.5, 1, 1.5, 1: (4 + 1.5 * 2 * 3.9) / (4 + 1.5 * 3.9)
    assert center_latency(curve, times) == pytest.approx(15.7 / 9.85)
    # areas 2, 3.95, 3.9; half of 9.85 is 2.925 into the second piece, which falls from 4 by 0.1
    u = optimize.brentq(lambda u: 4 * u - 0.05 * u**2 - 2.925, 0, 1)
    assert area_latency(curve, times) == pytest.approx(1 + u)
    # from -1 to 4 the half, 2, is reached after 3 of 5
    assert onset_latency(curve, times) == pytest.approx(0.6)


def test_area_latency_is_that_of_numerical_integration() -> None:
    random = np.random.default_rng(0)
    times = np.cumsum(random.uniform(0.5, 1.5, 12))
    curves = random.standard_normal((20, 12))
    fine = np.linspace(times[0], times[-1], 200_001)
    for curve, found in zip(curves, area_latency(curves, times, 0.3), strict=True):
        area = integrate.cumulative_trapezoid(np.interp(fine, times, np.maximum(curve, 0)), fine, initial=0)
        assert found == pytest.approx(np.interp(0.3 * area[-1], area, fine), abs=1e-3)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_shift_in_time_shifts_the_latency_by_exactly_that(estimator: str) -> None:
    curves = np.random.default_rng(1).standard_normal((50, 60)) + 3 * gaussian(np.full(50, 0.2))
    curves[:, 0] = -1.0
    found = ESTIMATORS[estimator](curves, TIMES)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(ESTIMATORS[estimator](curves, TIMES + 1.234), found + 1.234, atol=1e-12)
    moved = np.pad(curves, ((0, 0), (7, 0)), constant_values=-1.0)
    np.testing.assert_allclose(ESTIMATORS[estimator](moved, np.arange(67) * 0.01 - 0.17), found, atol=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_size_of_a_curve_does_not_matter(estimator: str) -> None:
    curves = np.random.default_rng(2).standard_normal((50, 60)) + 2 * gaussian(np.full(50, 0.2))
    found = ESTIMATORS[estimator](curves, TIMES)
    np.testing.assert_allclose(ESTIMATORS[estimator](0.37 * curves, TIMES), found, atol=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_planted_times_are_recovered_below_the_sampling_step(estimator: str) -> None:
    middle = np.array([0.15, 0.153, 0.2, 0.247])
    found = Latency(estimator).of(gaussian(middle), TIMES)
    # a Gaussian reaches its half 1.1774 standard deviations before its middle
    expected = middle - (0.05 * np.sqrt(2 * np.log(2)) if estimator == "50 % onset" else 0)
    step = 0.0051 if estimator in ("peak", "plateau mean") else 0.0003
    np.testing.assert_allclose(found, expected, atol=step)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_curve_without_a_positive_maximum_has_no_latency(estimator: str) -> None:
    found = ESTIMATORS[estimator](np.stack([np.zeros(60), gaussian(0.2) - 2, gaussian(0.2)]), TIMES)
    assert np.isnan(found).tolist() == [True, True, False]


def test_an_onset_before_the_first_sample_is_not_known() -> None:
    assert np.isnan(onset_latency([3.0, 4.0, 1.0], [0, 1, 2]))
    assert np.isnan(onset_latency([4.0, 3.0, 1.0], [0, 1, 2]))
    # of several rises the last one before the maximum
    assert onset_latency([0, 3, 1, 4], [0, 1, 2, 3]) == pytest.approx(2 + 1 / 3)


def test_flat_curves_are_flagged() -> None:
    curves = np.stack([np.ones(60), gaussian(0.2), np.zeros(60), np.tanh((TIMES + 0.09) * 30)])
    assert flat_curves(curves).tolist() == [True, False, False, True]
    assert plateau_latency(curves[0], TIMES) == pytest.approx(TIMES.mean())  # which is why


def test_curves_that_do_not_rise_above_noise_have_no_latency() -> None:
    curves = planted(np.linspace(0.1, 0.2, 5), noise=0.01)
    r = curves.r.copy()
    r[1] = 0.03 * gaussian(0.2)  # 3 standard errors of 0.01
    r[2] = 0.06 * gaussian(0.2)  # 6
    assert quiet_curves(r, curves.resampled).tolist() == [False, True, False, False, False]
    found = temporal_score(replace(curves, r=r), TIMES, np.linspace(0, 1, 5))
    assert (found.layers, np.isnan(found.latency).tolist()) == (4, [False, True, False, False, False])
    assert [each.reason[:34] for each in found.excluded] == ["a maximum of less than 4 standard "]
    noise = np.random.default_rng(0).standard_normal((101, 2000, 25))
    assert quiet_curves(noise[0], noise[1:]).mean() > 0.99


def test_a_window_takes_its_bounds_in() -> None:
    values, at = Latency(window=(0.1, 0.3)).cut(gaussian(0.2), TIMES)
    assert len(values) == len(at) == 21
    assert (at[0], at[-1]) == (pytest.approx(0.1), pytest.approx(0.3))
    late = gaussian(0.1) + 2 * gaussian(0.4)
    assert Latency("peak", (0.0, 0.25)).of(late, TIMES) == pytest.approx(0.1, abs=0.011)
    assert Latency("peak").of(late, TIMES) == pytest.approx(0.4)


def test_curves_of_sensors_in_any_order() -> None:
    random = np.random.default_rng(3)
    cube = random.uniform(-1, 1, (5, 2, 4, 6))  # resamplings, layers, sensors, times
    order = random.permutation(24)
    sensors, times = np.repeat(list("abcd"), 6)[order], np.tile(np.arange(6.0), 4)[order]
    flat = cube.reshape(5, 2, 24)[:, :, order]
    mean, at = time_courses(Scores(flat[0], flat, 100), sensors, times)
    np.testing.assert_array_equal(at, np.arange(6.0))
    np.testing.assert_allclose(mean.r, cube[0].mean(1), atol=1e-12)
    np.testing.assert_allclose(mean.resampled, cube.mean(2), atol=1e-12)
    rms, _ = time_courses(Scores(flat[0], flat, 100), sensors, times, "rms")
    np.testing.assert_allclose(rms.r, np.sqrt((cube[0] ** 2).mean(1)), atol=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_temporal_score_finds_either_order(estimator: str) -> None:
    depth = np.linspace(0, 1, 6)
    forward = temporal_score(planted(0.1 + 0.1 * depth, noise=0.005), TIMES, depth, Latency(estimator))
    backward = temporal_score(planted(0.2 - 0.1 * depth, noise=0.005), TIMES, depth, Latency(estimator))
    assert forward.value > 0.85
    assert backward.value < -0.85
    assert forward.interval.low > 0 > backward.interval.high
    assert estimator in forward.variant
    assert (forward.layers, forward.images, forward.excluded) == (6, 100, ())
    assert not forward.flat.any()


def test_layers_without_a_latency_are_counted() -> None:
    depth = np.linspace(0, 1, 5)
    curves = planted(0.1 + 0.1 * depth, noise=0.001)
    r = curves.r.copy()
    r[2] = -np.abs(r[2])
    found = temporal_score(Scores(r, curves.resampled, 100), TIMES, depth, Latency("peak"), "spearman")
    assert found.layers == 4
    assert [(each.what, each.count) for each in found.excluded] == [("layers", 1)]
    expected = stats.spearmanr(found.latency, depth, nan_policy="omit")[0]
    assert found.value == pytest.approx(expected)


def test_the_jackknife_is_brute_force() -> None:
    random = np.random.default_rng(4)
    units = 0.3 * gaussian(random.uniform(0.15, 0.2, (8, 3))) + 0.02 * random.standard_normal((8, 3, 60))
    found = jackknife(units, lambda mean: area_latency(mean, TIMES))
    rest = [area_latency(np.delete(units, i, axis=0).mean(0), TIMES) for i in range(8)]
    np.testing.assert_allclose(found.left_out, rest, atol=1e-12)
    np.testing.assert_allclose(found.value, area_latency(units.mean(0), TIMES), atol=1e-12)
    np.testing.assert_allclose(found.error, np.std(rest, axis=0) * np.sqrt(7), atol=1e-12)


def test_of_a_mean_the_jackknife_gives_the_standard_error() -> None:
    """Where a statistic is linear the formula is exact: the inflation by m - 1 is right."""
    values = np.random.default_rng(5).standard_normal((9, 4))
    found = jackknife(values, lambda mean: mean)
    np.testing.assert_allclose(found.error, stats.sem(values, axis=0), rtol=1e-12)
    # Ulrich and Miller: the t of values that leave one out, corrected, is that of the values themselves
    t = stats.ttest_1samp(found.left_out[:, 0], 0).statistic
    assert corrected_f(t**2, 9) == pytest.approx(stats.ttest_1samp(values[:, 0], 0).statistic ** 2)


def test_the_error_of_latencies_is_that_of_other_subjects() -> None:
    """Standard deviation of the latency over 400 samples of 12 subjects, and the mean of the jackknife's errors."""
    random = np.random.default_rng(6)
    middles = 0.2 + 0.03 * random.standard_normal((400, 12))
    curves = gaussian(middles) + 0.1 * random.standard_normal((400, 12, 60))
    each = [jackknife(units, lambda mean: onset_latency(mean, TIMES)) for units in curves]
    spread = np.std([one.value for one in each])
    # of onsets, which interpolation makes smooth; chi^2 of 12 subjects leaves the root of the mean square
    assert np.sqrt(np.mean([one.error**2 for one in each])) == pytest.approx(spread, rel=0.15)


def test_images_can_be_left_out_as_well() -> None:
    """The error of a correlation over images, by the jackknife, is near (1 - r^2) / sqrt(n)."""
    random = np.random.default_rng(7)
    y = random.standard_normal((400, 1))
    yhat = np.stack([0.6 * y + 0.8 * random.standard_normal((400, 1)) for _ in range(2)])
    scores = resampled_scores(yhat, y, leave_out_images(np.arange(400)))
    error = jackknife_error(scores.resampled)
    np.testing.assert_allclose(error, (1 - scores.r**2) / 20, rtol=0.2)


CURVES = planted(np.linspace(0.1, 0.2, 4), bootstraps=3)
FLAT = Scores(np.zeros((2, 6)), np.zeros((3, 2, 6)), 10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: peak_latency(np.zeros((2, 5)), TIMES), r"got \[2, 5\] and \[60\]"),
        (lambda: peak_latency([0, 1, 2], [0, 2, 1]), "times must rise"),
        (lambda: peak_latency([0, 1], [0, 2]), "times must be at least 3, got"),
        (lambda: center_latency([0, 1, np.nan], [0, 1, 2]), "curves must be finite, got 1 values that are not"),
        (lambda: Latency("mode"), "estimator must be one of .* got 'mode'"),
        (lambda: Latency(window=(0.6, 0.9)).of(gaussian(0.2), TIMES), "at least 3 samples, got 0 from 0.6 to 0.9 s"),
        (lambda: temporal_score(CURVES, TIMES, np.ones(4)), "depth must differ between layers"),
        (lambda: temporal_score(replace(CURVES, kind="jackknife"), TIMES, np.arange(4)), "got a jackknife"),
        (lambda: temporal_score(CURVES, TIMES, [0, 1]), "depth must be 4 finite numbers"),
        (lambda: temporal_score(CURVES, TIMES, np.arange(4), None, "Kendall"), "got 'Kendall'"),
        (lambda: temporal_score(FLAT, np.arange(6), [0, 1]), "at least 3 layers must have latencies"),
        (lambda: jackknife(np.zeros((2, 5)), lambda mean: mean), "at least 3, got 2"),
        (lambda: corrected_f(1.0, 2), "units must be at least 3, got 2"),
        (lambda: time_courses(FLAT, list("aabbcc"), [0, 1, 0, 1, 0, 0]), "every sensor must have every time once"),
        (lambda: time_courses(FLAT, list("aaabcb"), [0, 1, 2, 0, 1, 2]), "every sensor must have every time once"),
        (lambda: time_courses(FLAT, list("aabbcc"), [0, 1]), r"must be \[6\], got \[6\], \[2\]"),
        (lambda: time_courses(FLAT, list("aabbcc"), [0, 1] * 3, "max"), "average must be 'mean' or 'rms', got 'max'"),
    ],
)
def test_what_cannot_be_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
