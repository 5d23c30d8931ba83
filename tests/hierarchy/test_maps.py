"""Maps beside smooth maps: what is not along the axis is not found along it, and what is is."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, norm

from gradkern.hierarchy import (
    Measure,
    Preference,
    SubjectMap,
    average_maps,
    mirror_hemispheres,
    predictability,
    predicted_targets,
    variogram_null_test,
)
from gradkern.stats import layer_scores, resample_images

pytestmark = pytest.mark.usefixtures("one_thread")
DEPTH = np.linspace(0, 1, 5)
SIZES = {"max_locations": 200, "permutations": 39}
DEPTHS = Measure(partial(Preference().depth_of, depth=DEPTH), predictability)
ALONE = Measure(DEPTHS.value)


def scored(seed: int, peak: Any, v: int = 120, noise: float = 0.04) -> SubjectMap:
    """Targets along x that prefer layers at `peak` [v] or of one depth, and are predicted worse and worse."""
    random = np.random.default_rng(seed)
    points = random.random((v, 3)) * [60, 30, 30]
    profile = np.exp(-((DEPTH[:, None] - np.broadcast_to(peak, v)) ** 2) / (2 * 0.3**2))
    r = (0.5 - 0.4 * points[:, 0] / 60) * profile + noise * random.standard_normal((len(DEPTH), v))
    return SubjectMap("s", points, points[:, 0], r, np.eye(len(DEPTH)))


@pytest.mark.parametrize("peak", [0.0, 0.25, 1.0])
def test_one_layer_has_no_place_where_targets_are_predicted_worse_along_the_axis(peak: float) -> None:
    """Weak targets seem to prefer the middle of all layers: without their strength that is an order."""
    runs = 40
    maps = [scored(seed, peak) for seed in range(runs)]
    alone, beside = ([of.correlation(one) for one in maps] for of in (ALONE, DEPTHS))
    assert abs(np.mean(alone)) > 0.15
    assert abs(np.mean(beside)) < 0.08
    p = [variogram_null_test([one], DEPTHS, **SIZES, seed=seed)[0] for seed, one in enumerate(maps)]
    assert sum(each <= 0.05 for each in p) <= binom.ppf(0.995, runs, 0.05)


def test_an_order_is_found_beside_how_well_targets_are_predicted() -> None:
    for seed in range(5):
        first = scored(seed, 0.5)
        one = scored(seed, first.hierarchy / 60)
        assert DEPTHS.correlation(one) > 0.3
        assert variogram_null_test([one], DEPTHS, **SIZES, seed=seed)[0] <= 0.05


def test_what_is_taken_out_is_a_regression_on_strengths_and_their_squares() -> None:
    one = scored(0, 0.25)
    values, axis, taken_out = DEPTHS.along(one)
    high, length, depth = one.r.max(0), np.sqrt((one.r**2).sum(0)), Preference().depth_of(one.r, DEPTH)
    Z = np.column_stack([np.ones(120), high, high**2, length, length**2])
    for found, given in ((values, depth), (axis, one.hierarchy)):
        np.testing.assert_allclose(found, given - Z @ np.linalg.lstsq(Z, given, rcond=None)[0], atol=1e-9)
    maps = np.stack([depth, one.hierarchy])
    np.testing.assert_allclose(taken_out(maps), [values, axis], atol=1e-9)
    assert DEPTHS.correlation(one) == pytest.approx(np.corrcoef(values, axis)[0, 1])


def test_the_length_of_scores_is_in_units_of_their_noise() -> None:
    one, random = scored(3, 0.25), np.random.default_rng(0)
    turned = random.standard_normal((5, 5))
    other = SubjectMap("s", one.points, one.hierarchy, turned @ one.r, turned @ turned.T)
    np.testing.assert_allclose(predictability(other)[1], predictability(one)[1])
    np.testing.assert_array_equal(predictability(other)[0], (turned @ one.r).max(0))


def test_targets_that_are_not_known_take_no_part() -> None:
    one = scored(1, 0.25)
    gone = np.arange(0, 120, 7)
    value = partial(Preference().depth_of, depth=DEPTH)
    fewer = Measure(lambda r: np.where(np.isin(np.arange(r.shape[1]), gone), np.nan, value(r)), predictability)
    left = np.setdiff1d(np.arange(120), gone)
    rest = SubjectMap("s", one.points[left], one.hierarchy[left], one.r[:, left], one.noise)
    assert fewer.correlation(one) == pytest.approx(DEPTHS.correlation(rest))


def test_mirrored_hemispheres_are_not_twice_the_evidence() -> None:
    """Smooth maps without an order, alike in both hemispheres: straight distances find one in too many."""
    runs, v = 60, 60
    found = {"folded": 0, "straight": 0}
    for seed in range(runs):
        random = np.random.default_rng(seed)
        left = random.random((v, 3)) * [-40, 60, 40] - [10, 0, 0]
        apart = np.linalg.norm(left[:, None] - left, axis=2)
        smooth = np.linalg.cholesky(np.exp(-((apart / 25) ** 2) / 2) + 1e-6 * np.eye(v)) @ random.standard_normal(v)
        points = np.vstack([left, left * [-1, 1, 1]])
        r = np.tile(smooth, 2)[None] + 0.2 * random.standard_normal(2 * v)
        sides = np.repeat(["left", "right"], v)
        for name, places in (("folded", mirror_hemispheres(points, sides)), ("straight", points)):
            one = SubjectMap("s", places, np.tile(left[:, 1], 2), r)
            (p,) = variogram_null_test([one], Measure(lambda r: r[0]), **SIZES, seed=seed)
            found[name] += p <= 0.05
    assert found["folded"] <= binom.ppf(0.99, runs, 0.05)
    assert found["folded"] < found["straight"]


def smooth_scored(seed: int, order: float, length: float = 40.0, half: int = 80) -> SubjectMap:
    """Targets alike in both hemispheres, whose preferred depth is a smooth map that follows y with r = `order`."""
    random = np.random.default_rng(seed)
    points = random.random((half, 3)) * [40, 80, 40]
    squared = ((points[:, None] - points) ** 2).sum(2)
    root = np.linalg.cholesky(np.exp(-squared / (2 * length**2)) + 1e-6 * np.eye(half))
    preference, strength = (root @ random.standard_normal(half) for _ in range(2))
    hierarchy = (points[:, 1] - points[:, 1].mean()) / points[:, 1].std()
    peak = norm.cdf(order * hierarchy + np.sqrt(1 - order**2) * preference)
    height = 0.15 + 0.5 * norm.cdf(strength - hierarchy)
    points, hierarchy, peak, height = (np.concatenate([x] * 2) for x in (points, hierarchy, peak, height))
    profile = np.exp(-((DEPTH[:, None] - peak) ** 2) / (2 * 0.3**2))
    r = height * profile + 0.04 * random.standard_normal((len(DEPTH), 2 * half))
    return SubjectMap("s", points, hierarchy, r, np.eye(len(DEPTH)))


@pytest.mark.parametrize("length", [20, 40, 60])
def test_smooth_maps_without_an_order_have_none_beside_predictability(length: float) -> None:
    """Preferred depths and strengths that vary over much of the cortex, predicted worse along the hierarchy."""
    runs = 100
    p = [variogram_null_test([smooth_scored(seed, 0.0, length)], DEPTHS, **SIZES, seed=seed)[0] for seed in range(runs)]
    assert sum(value <= 0.05 for value in p) <= binom.ppf(0.995, runs, 0.05)
    p = [variogram_null_test([smooth_scored(seed, 0.9, length)], DEPTHS, **SIZES, seed=seed)[0] for seed in range(30)]
    assert sum(value <= 0.05 for value in p) >= 24


def test_folding_mirrors_the_right_hemisphere_alone() -> None:
    points = np.arange(12.0).reshape(4, 3) + 1
    both = mirror_hemispheres(points, ["left", "right", "left", "right"])
    np.testing.assert_array_equal(both[:, 0], [1, -4, 7, -10])
    np.testing.assert_array_equal(both[:, 1:], points[:, 1:])


def test_hemispheres_are_those_of_every_format() -> None:
    points = np.ones((4, 3))
    for names in (["left", "right", "", None], ["lh", "rh", np.nan, ""]):
        np.testing.assert_array_equal(mirror_hemispheres(points, names)[:, 0], [1, -1, 1, 1])
    with pytest.raises(ValueError, match="hemispheres must be 'left' or 'right', got 'up'"):
        mirror_hemispheres(points, ["up", "left", "left", "left"])


def test_subjects_of_the_same_places_are_one_map_of_their_mean() -> None:
    one = scored(0, 0.25)
    other = SubjectMap("t", one.points, one.hierarchy, 2 * one.r, 3 * one.noise)
    (both,) = average_maps([one, other])
    np.testing.assert_allclose(both.noise, 2 * one.noise)
    np.testing.assert_allclose(both.r, 1.5 * one.r)
    assert both.subject == "the mean of 2 subjects"
    moved = SubjectMap("t", one.points + 1, one.hierarchy, one.r)
    assert average_maps([one, moved]) == [one, moved]
    assert average_maps([one]) == [one]


def test_few_places_are_refused() -> None:
    one = scored(0, 0.25, v=19)
    with pytest.raises(ValueError, match=r"maps of s must have at least 20 targets with a place, .* got 19 of 19"):
        variogram_null_test([one], DEPTHS, **SIZES, seed=0)


def test_predicted_targets_have_a_layer_above_five_by_the_root_of_the_images() -> None:
    r = np.array([[0.0, 0.49, np.nan, 0.51], [-0.5, 0.1, np.nan, 0.0]])
    np.testing.assert_array_equal(predicted_targets(r, 100), [False, False, False, True])


def test_noise_has_no_layer_that_predicts_it_and_responses_have_one() -> None:
    """Noise that is alike from trial to trial has held-out r of 1.4 / sqrt(images)."""
    random, n, v = np.random.default_rng(0), 200, 150
    layers = [random.standard_normal((n, 24)) for _ in range(6)]
    noise = random.standard_normal((n, 2 * v))
    for trial in range(1, n):
        noise[trial] = 0.4 * noise[trial - 1] + 0.84**0.5 * noise[trial]
    signal = layers[2] @ random.standard_normal((24, v)) / 24**0.5
    noise[:, :v] = 0.7 * signal + 0.51**0.5 * noise[:, :v]
    predicted = predicted_targets(layer_scores(layers, noise, resample_images(np.arange(n), 20)).r, n)
    assert predicted[:v].mean() > 0.9
    assert predicted[v:].mean() <= 0.02
