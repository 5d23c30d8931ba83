"""Intervals: those over images and subjects hold the truth as often as they say, whatever it is that varies."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from gradkern.stats import Crossed, cross, crossed_interval, interval, interval_p, over_subjects


def experiment(seed: int, subjects: int, images: int, sizes: tuple[float, float, float]) -> tuple[float, Crossed]:
    """The mean of a table of subjects and images whose rows, columns and cells differ so much; its truth is 0."""
    random = np.random.default_rng(seed)
    rows, columns, cells = sizes
    table = (
        rows * random.standard_normal((subjects, 1))
        + columns * random.standard_normal((1, images))
        + cells * random.standard_normal((subjects, images))
    )
    counts = np.vstack([np.ones(images), random.multinomial(images, np.full(images, 1 / images), 120)])
    means = table @ counts.T / images  # [s, 1 + b]
    return float(table.mean()), cross(lambda some, i: means[some, i].mean(), subjects, 120, seed)


VARYING = {"subjects": (1.0, 0.5, 0.5), "images": (0.02, 1.0, 0.1), "noise": (0.0, 0.0, 1.0), "all": (0.2, 1.0, 3.0)}


@pytest.mark.parametrize("what", VARYING)
def test_a_crossed_interval_holds_the_truth(what: str) -> None:
    """300 experiments of 5 subjects and 40 images each. Limits: 95 % less 3.5 binomial errors; nothing is asked from
    above, since Student's of 4 degrees is too wide where images vary most."""
    inside, plain = 0, 0
    for seed in range(300):
        value, drawn = experiment(seed, 5, 40, VARYING[what])
        found = crossed_interval(value, drawn, 5, "images and subjects")
        inside += found.contains_zero
        plain += abs(value) < 1.96 * drawn.both.std()
    assert inside >= 0.906 * 300
    if what == "noise":
        # of the bootstrap of both alone, noise counts three times
        assert plain > 0.985 * 300


def test_noise_counts_once_and_not_three_times() -> None:
    """Without subjects or images of their own, the error is that of the mean of all cells."""
    ratios = []
    for seed in range(200):
        value, drawn = experiment(seed, 8, 60, VARYING["noise"])
        ratios.append(
            (crossed_interval(value, drawn, 8, "").error * np.sqrt(8 * 60), drawn.both.std() * np.sqrt(8 * 60))
        )
    ours, both = np.median(ratios, axis=0)
    assert ours == pytest.approx(1, abs=0.15)
    assert both > 1.5


@pytest.mark.parametrize("subjects", [2, 3, 8])
def test_the_variance_is_right_however_few_subjects(subjects: int) -> None:
    """Of tables whose rows, columns and cells vary alike on the scale of the mean, whose variance is then 3: the mean
    over 400 tables. The lower bound on each raises it a little."""
    images, found = 40, []
    sizes = (np.sqrt(subjects), np.sqrt(images), np.sqrt(subjects * images))
    for seed in range(400):
        value, drawn = experiment(seed, subjects, images, sizes)
        found.append(crossed_interval(value, drawn, subjects, "").error ** 2)
    assert 0.9 * 3 <= np.mean(found) <= 1.25 * 3


def test_the_error_is_that_of_the_formula_and_stays_in_its_bounds() -> None:
    random = np.random.default_rng(0)
    images, subjects = random.standard_normal((2, 50))
    both = 1.4 * random.standard_normal(50)
    found = crossed_interval(3.0, Crossed(images, subjects, both), 4, "x")
    parts = images.var(ddof=1), 4 / 3 * subjects.var(ddof=1), 4 / 3 * both.var(ddof=1)
    expected = np.clip(7 / 3 * parts[0] + 2 * parts[1] - parts[2], max(parts[:2]), max(parts))
    assert found.error == pytest.approx(np.sqrt(expected))
    assert found.freedom == 3
    assert found.high - 3.0 == pytest.approx(3.18245 * found.error, rel=1e-4)
    large = crossed_interval(0.0, Crossed(images, subjects, 10 * both), 4, "x")
    assert large.error == pytest.approx(np.sqrt(max(parts[:2])))
    small = crossed_interval(0.0, Crossed(images, subjects, 0.8 * both), 4, "x")
    assert small.error == pytest.approx(np.sqrt(max(0.64 * parts[2], *parts[:2])))
    assert crossed_interval(0.9, Crossed(images, subjects, both), 4, "x", bound=1).high == 1


def test_subjects_alone_give_the_interval_of_a_t_test() -> None:
    values = np.array([0.3, 0.1, 0.5, 0.2])
    found = over_subjects(values)
    expected = stats.ttest_1samp(values, 0)
    np.testing.assert_allclose((found.low, found.high), expected.confidence_interval(0.95))
    assert interval_p(values.mean(), found, []) == pytest.approx(expected.pvalue / 2)
    assert interval_p(values.mean(), found, [], "two-sided") == pytest.approx(expected.pvalue)
    narrow = over_subjects(values, confidence=0.8)
    np.testing.assert_allclose((narrow.low, narrow.high), expected.confidence_interval(0.8))
    assert interval_p(values.mean(), found, [], "less") == pytest.approx(1 - expected.pvalue / 2)


def test_p_and_the_interval_agree() -> None:
    random = np.random.default_rng(1)
    for value in (-0.3, -0.1, 0.05, 0.2):
        resampled = value + 0.1 * random.standard_normal(999)
        found = interval(value, resampled, "images")
        p = interval_p(value, found, resampled)
        assert p == pytest.approx(stats.norm.sf(value / 0.1), abs=0.03)
        assert p + interval_p(value, found, resampled, "less") == pytest.approx(1)
        crossed = crossed_interval(value, Crossed(resampled, resampled, resampled), 6, "both")
        p = interval_p(value, crossed, resampled)
        assert (min(p, 1 - p) <= 0.025) == (not crossed.contains_zero)
    resampled += 4.8
    assert interval_p(5.0, interval(5.0, resampled, ""), resampled) == 1 / 2000


def test_too_many_resamplings_without_a_value_give_no_interval() -> None:
    values = np.linspace(-1, 1, 100)
    few, many = values.copy(), values.copy()
    few[:5], many[:6] = np.nan, np.nan
    for gaps, known in ((few, True), (many, False)):
        crossed = crossed_interval(0.1, Crossed(values, gaps, values), 4, "x")
        plain = interval(0.1, gaps, "x")
        assert (crossed.known, plain.known) == (known, known)
        assert (crossed.undefined, plain.undefined) == (int(np.isnan(gaps).sum()),) * 2
        assert np.isnan(interval_p(0.1, crossed, values)) == (not known)
    assert np.isnan(interval_p(0.1, interval(0.1, np.full(10, np.nan), ""), values))


def test_a_number_that_never_varies_is_certain() -> None:
    zeros = np.zeros(20)
    found = crossed_interval(0.5, Crossed(zeros, zeros, zeros), 3, "x")
    assert (found.low, found.high) == (0.5, 0.5)
    assert [interval_p(0.5, found, zeros, side) for side in ("greater", "less", "two-sided")] == [0, 1, 0]


REFUSED: tuple[tuple[Callable[[], Any], str], ...] = (
    (lambda: crossed_interval(0.0, Crossed(*np.zeros((3, 9))), 1, ""), "subjects must be at least 2, got 1"),
    (lambda: over_subjects([0.3]), "values must be of at least 2 subjects, got 1"),
)


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_bad_input_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
