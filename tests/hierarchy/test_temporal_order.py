"""The order test: its verdicts on planted orders, how often it errs without one, and what it refuses."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from gradkern.hierarchy import (
    ESTIMATORS,
    NO_ORDER,
    OPPOSITE,
    PREDICTED,
    UNDECIDED,
    Latency,
    TimeCourses,
    TooFewLatencies,
    slope,
    temporal_order_test,
)
from gradkern.stats import Scores

TIMES = np.arange(40) * 0.01
DEPTH = np.linspace(0, 1, 6)
LAYERS = tuple(f"blocks.{i}" for i in range(6))


def scores(slope_of: float, noise: float, random: np.random.Generator, bootstraps: int) -> Scores:
    middle = 0.2 + slope_of * (DEPTH - 0.5)
    truth = 0.2 * np.exp(-((TIMES - middle[:, None]) ** 2) / (2 * 0.04**2))
    r = truth + noise * random.standard_normal(truth.shape)
    return Scores(r, r + noise * random.standard_normal((bootstraps, *r.shape)), 100)


def subject(
    number: int, forward: float = 0.1, backward: float = -0.1, noise: float = 0.01, bootstraps: int = 100
) -> TimeCourses:
    random = np.random.default_rng(number)
    curves = [scores(each, noise, random, bootstraps) for each in (forward, backward)]
    return TimeCourses(*curves, TIMES, LAYERS, DEPTH, f"s{number}")


def verdicts(found: Any) -> list[str]:
    return [found.slope[kind].conclusion for kind in ("activation", "gradient", "difference")]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("subjects", ["mean-of-subjects", "subjects-first"])
def test_the_planted_order_of_backpropagation_is_found(estimator: str, subjects: str) -> None:
    found = temporal_order_test([subject(number) for number in range(5)], Latency(estimator), subjects)
    assert verdicts(found) == [PREDICTED] * 3
    for kind, planted in (("activation", 0.1), ("gradient", -0.1), ("difference", 0.2)):
        assert found.slope[kind].value == pytest.approx(planted, rel=0.25)
        assert found.slope[kind].p < 0.025
    assert found.correlation["gradient"].value < -0.9
    assert found.variant == f"{estimator}, all times; {subjects}"
    assert found.images == 100
    assert found.subjects == tuple(f"s{i}" for i in range(5))


def test_gradients_that_follow_the_forward_order_are_opposite() -> None:
    found = temporal_order_test([subject(number, backward=0.1) for number in range(4)])
    assert verdicts(found) == [PREDICTED, OPPOSITE, NO_ORDER]
    assert found.slope["gradient"].p > 0.975


def test_slopes_and_correlations_are_those_of_scipy() -> None:
    subjects = [subject(number, noise=0.02) for number in range(3)]
    found = temporal_order_test(subjects, None, "mean-of-subjects")
    assert found.latency.shape == found.flat.shape == (3, 2, 6)
    fits = [[stats.linregress(DEPTH, latency) for latency in one] for one in found.latency]
    for i, kind in enumerate(("activation", "gradient")):
        assert found.slope[kind].value == pytest.approx(np.mean([fit[i].slope for fit in fits]))
        assert found.correlation[kind].value == pytest.approx(np.mean([fit[i].rvalue for fit in fits]))
    difference = found.slope["activation"].value - found.slope["gradient"].value
    assert found.slope["difference"].value == pytest.approx(difference)


def test_of_one_subject_nothing_is_said_about_others() -> None:
    found = temporal_order_test([subject(0)])
    assert found.slope["gradient"].over_both is None
    assert found.slope["gradient"].over_images.over == "100 images"
    assert verdicts(found) == [PREDICTED] * 3


def test_subjects_who_differ_decide() -> None:
    """Each of three is certain of an order of its own; their mean is not."""
    found = temporal_order_test([subject(n, forward=0.1 * f) for n, f in enumerate((1.2, 0.9, -0.6))])
    assert not found.slope["activation"].over_images.contains_zero
    assert found.slope["activation"].conclusion == NO_ORDER


def test_a_shift_in_time_changes_no_slope() -> None:
    one = subject(0)
    first, later = temporal_order_test([one]), temporal_order_test([replace(one, times=TIMES + 0.15)])
    for kind in ("activation", "gradient", "difference"):
        assert later.slope[kind].value == pytest.approx(first.slope[kind].value, abs=1e-12)
    np.testing.assert_allclose(later.latency, first.latency + 0.15, atol=1e-12)


@pytest.mark.parametrize("estimator", ["fractional area", "centre of mass"])
def test_without_an_order_one_is_found_as_rarely_as_95_percent_says(estimator: str) -> None:
    """200 experiments of one subject whose layers all rise at once: the upper binomial limit of 5 % is 8.5 %."""
    wrong = [
        temporal_order_test([subject(n, 0, 0, noise=0.03)], Latency(estimator)).slope["gradient"].conclusion != NO_ORDER
        for n in range(200)
    ]
    assert np.mean(wrong) < 0.085


def test_subjects_with_orders_of_their_own_are_no_common_order() -> None:
    """200 experiments of 4 subjects whose slopes have mean 0; over images alone most are taken for an order."""
    random = np.random.default_rng(0)
    wrong, narrow = 0, 0
    for n in range(200):
        slopes = 0.05 * random.standard_normal(4)
        found = temporal_order_test([subject(4 * n + i, slopes[i], 0, bootstraps=60) for i in range(4)], seed=n)
        order = found.slope["activation"]
        wrong += order.conclusion != NO_ORDER
        narrow += not order.over_images.contains_zero
    assert wrong < 0.085 * 200
    assert narrow > 0.5 * 200


def test_layers_without_a_latency_are_counted_and_3_are_the_least() -> None:
    one = subject(0, noise=0.001)
    silenced = one.gradients.r.copy()
    silenced[:2] = -0.1
    found = temporal_order_test(
        [replace(one, gradients=Scores(silenced, one.gradients.resampled, 100))], Latency("peak")
    )
    assert [(each.what, each.count) for each in found.excluded] == [("layers", 2)]
    known = found.latency[0, 1, 2:]
    assert found.slope["gradient"].value == pytest.approx(stats.linregress(DEPTH[2:], known).slope)


def test_layers_of_one_depth_have_no_order() -> None:
    one = subject(0, noise=0.001)
    quiet = one.gradients.r.copy()
    quiet[3:] = -0.1
    made = replace(one, gradients=replace(one.gradients, r=quiet), depth=np.array([0.2, 0.2, 0.2, 0.5, 0.8, 1]))
    found = temporal_order_test([made], Latency("peak"))
    assert (
        found.refused["gradient"]
        == "layers with a latency must differ in depth, got 0.2 for all gradients of the mean of subjects"
    )


@pytest.mark.parametrize(
    ("subjects", "who"), [("subjects-first", "the mean of subjects"), ("mean-of-subjects", "'s0'")]
)
def test_what_has_no_order_leaves_the_other_its_own(subjects: str, who: str) -> None:
    one = subject(0, noise=0.001)
    silenced = one.gradients.r.copy()
    silenced[:4] = -0.1
    quiet = Scores(silenced, one.gradients.resampled, 100)
    found = temporal_order_test([replace(one, gradients=quiet)], Latency("peak"), subjects)
    why = f"at least 3 layers must have a latency, got 2 for gradients of {who}"
    assert found.refused == {"gradient": why, "difference": why}
    assert list(found.slope) == list(found.correlation) == ["activation"]
    assert found.slope["activation"].conclusion == PREDICTED
    with pytest.raises(TooFewLatencies, match=f"got 2 for activations of {who}; .* got 2 for gradients"):
        temporal_order_test([replace(one, activations=quiet, gradients=quiet)], Latency("peak"), subjects)


def test_too_many_resamplings_without_latencies_decide_nothing() -> None:
    one = subject(0)
    resampled = one.gradients.resampled.copy()
    resampled[:6] = 0.2  # from the first sample on: no onset
    made = replace(one, gradients=Scores(one.gradients.r, resampled, 100))
    found = temporal_order_test([made], Latency("50 % onset"))
    assert verdicts(found) == [PREDICTED, UNDECIDED, UNDECIDED]
    assert found.slope["gradient"].over_images.undefined == 6
    assert np.isnan(found.slope["gradient"].p)


def test_a_window_after_the_sweep_finds_no_order_in_noise() -> None:
    """Early layers are noise there, whose latency is the window's middle, late ones end at its beginning: a slope below
    0 of a forward sweep, were these layers counted."""
    one = subject(3, forward=0.2, noise=0.02)
    measured = Latency(window=(0.3, 0.39)).of(one.activations.r, TIMES)
    assert slope(measured, DEPTH) < -0.01
    with pytest.raises(TooFewLatencies, match=r"at least 3 layers must have a latency, got [0-2] for activations of"):
        temporal_order_test([one], Latency(window=(0.3, 0.39)))


def test_plateaus_are_flagged() -> None:
    one = subject(0)
    r = one.activations.r.copy()
    r[3] = 0.1
    found = temporal_order_test([replace(one, activations=Scores(r, one.activations.resampled, 100))])
    assert np.argwhere(found.flat).tolist() == [[0, 0, 3]]


def test_slope_by_hand() -> None:
    assert slope([1, 2, 3], [0, 0.5, 1]) == pytest.approx(2)
    assert slope([1, np.nan, 3, 2], [0, 0.5, 1, 0.5]) == pytest.approx(2)
    assert np.isnan(slope([1, np.nan, 3], [0, 0.5, 1]))


ONE, OTHER = subject(0), subject(1)


def cut(one: TimeCourses, layers: int) -> TimeCourses:
    curves = [Scores(s.r[:layers], s.resampled[:, :layers], 100) for s in (one.activations, one.gradients)]
    return TimeCourses(*curves, TIMES, LAYERS[:layers], DEPTH[:layers], one.subject)


def jackknifed() -> Scores:
    return replace(ONE.activations, kind="jackknife")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cut(ONE, 2), "layers must be at least 3 to have an order, got 2"),
        (lambda: replace(ONE, depth=np.full(6, 0.5)), "depth must differ between layers, got 0.5 for all 6"),
        (lambda: replace(ONE, depth=np.arange(6)), r"depth must lie in \[0, 1\], got 0 to 5"),
        (lambda: replace(ONE, times=TIMES[1:]), r"activations must be scores \[6, 39\]"),
        (lambda: replace(ONE, activations=jackknifed()), "must be resampled by a bootstrap, got a jackknife"),
        (lambda: replace(ONE, gradients=subject(0, bootstraps=9).gradients), "must have the same resamplings"),
        (lambda: temporal_order_test([]), "at least one subject, got none"),
        (lambda: temporal_order_test([ONE], None, "pooled"), "subjects must be one of .* got 'pooled'"),
        (lambda: temporal_order_test([ONE, ONE]), r"different subjects, got \['s0', 's0'\]"),
        (
            lambda: temporal_order_test([ONE, cut(OTHER, 5)]),
            "must have the same layers at the same depths, got .* of 's1'",
        ),
        (
            lambda: temporal_order_test([ONE, replace(OTHER, depth=DEPTH**2)]),
            "must have the same layers at the same depths",
        ),
        (lambda: temporal_order_test([ONE, replace(OTHER, layers=tuple("abcdef"))]), "must have the same layers"),
        (lambda: temporal_order_test([ONE, replace(OTHER, times=TIMES + 1)]), "the same times, got others of 's1'"),
        (
            lambda: temporal_order_test([ONE, subject(1, bootstraps=50)]),
            r"same resamplings and images, got \(50, 100\)",
        ),
        (lambda: temporal_order_test([ONE], Latency(window=(0.6, 0.9))), "at least 3 samples, got 0 from 0.6 to 0.9 s"),
    ],
)
def test_what_cannot_be_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
