"""Shares that gradients add over time: the order of brains that have one, and none where there is none."""

from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from gradkern.encoding import conditional_test, response_model, share_time_courses
from gradkern.errors import Refused
from gradkern.hierarchy import (
    PREDICTED,
    TimeCourses,
    TooFewLatencies,
    lag_test,
    layer_time_courses,
    temporal_order_test,
)
from gradkern.ridge import CrossValidation
from gradkern.stats import resample_images
from tests import temporal_brains as brains

pytestmark = pytest.mark.usefixtures("one_thread")
TARGETS = brains.NAMES, brains.AT
RESAMPLING = resample_images(np.arange(brains.IMAGES), 60)


def test_they_are_the_shares_of_the_conditional_test_of_each_time() -> None:
    made = brains.features()
    Y, confounds, G = brains.responses(made, "in order", 0), by_layer(made), made["gradient"][0]
    model = response_model(confounds, Y)
    shares, times = share_time_courses(model, [G], Y, TARGETS, RESAMPLING)
    groups = {f"{time:g}": np.flatnonzero(time == brains.AT) for time in times}
    test = conditional_test(G, confounds, Y, permutations=99, target_groups=groups)
    expected = np.array([test.target_groups[f"{time:g}"].share for time in times])
    np.testing.assert_allclose(shares.r[0], expected, atol=1e-5)
    assert shares.r[0].max() > 0.1
    assert shares.resampled.shape == (60, 1, len(times))


def test_blocks_of_images_of_any_order_and_readers_of_columns_give_the_same() -> None:
    class Read:
        def __init__(self, Y: np.ndarray) -> None:
            self.Y, self.shape = Y, Y.shape

        def __getitem__(self, where: tuple[Any, Any]) -> np.ndarray:
            rows, columns = where
            return self.Y[:, columns][rows]

    made = brains.features()
    Y, A, G = brains.responses(made, "in order", 0), np.hstack(made["activation"]), made["gradient"][:2]
    rows = np.random.default_rng(0).permutation(brains.IMAGES)
    order = np.argsort(rows)
    whole, _ = share_time_courses(response_model({"a": A}, Y), G, Y, TARGETS, RESAMPLING)
    turned = response_model({"a": A}, Y[rows], rows=rows)
    other, _ = share_time_courses(turned, G, Read(Y[rows][order]), TARGETS, RESAMPLING)
    np.testing.assert_allclose(other.r, whole.r, atol=1e-4)
    parts, _ = share_time_courses(response_model({"a": A}, Y, images_at_once=120), G, Y, TARGETS, RESAMPLING)
    assert np.corrcoef(parts.r.ravel(), whole.r.ravel())[0, 1] > 0.8  # of half of the pairs


def test_resampled_shares_vary_as_shares_of_other_images_do() -> None:
    """Of noise, where the terms of images alone say too much, and of a signal."""
    random = np.random.default_rng(1)
    found: dict[str, list[Any]] = {"noise": [], "signal": []}
    for seed in range(40):
        A, G = (np.random.default_rng([seed, part]).standard_normal((100, 5)) for part in range(2))
        noise = random.standard_normal((100, 20))
        for name, Y in (("noise", noise), ("signal", noise + 0.3 * G @ random.standard_normal((5, 20)))):
            targets = [f"s{number}" for number in range(20)], np.zeros(20)
            drawn = resample_images(np.arange(100), 100, seed=seed)
            shares, _ = share_time_courses(response_model({"a": A}, Y), [G], Y, targets, drawn)
            found[name].append((shares.r[0, 0], shares.resampled[:, 0, 0].std()))
    for pairs in found.values():
        values, errors = np.array(pairs).T
        assert 0.7 < np.sqrt(np.square(errors).mean()) / values.std() < 1.45


def by_layer(made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {"activations": {f"layer {number}": layer for number, layer in enumerate(made["activation"])}}


def courses(gradients: str, seed: int) -> list[TimeCourses]:
    made, found = brains.features(seed), []
    responses = [brains.responses(made, gradients, 100 * seed + number) for number in range(3)]
    model = response_model(by_layer(made), np.hstack(responses))
    for number, Y in enumerate(responses):
        activations, times = layer_time_courses(made["activation"], Y, TARGETS, RESAMPLING, CrossValidation())
        shares, _ = share_time_courses(model, made["gradient"], Y, TARGETS, RESAMPLING)
        layers = tuple(map(str, range(brains.LAYERS)))
        found.append(TimeCourses(activations, shares, times, layers, brains.DEPTH, str(number)))
    return found


def test_gradients_that_come_at_once_have_no_order() -> None:
    for seed in range(3):
        slope = temporal_order_test(courses("at once", seed)).slope
        if "gradient" in slope:
            assert slope["gradient"].conclusion != PREDICTED
            assert abs(slope["gradient"].value) < 0.03


def test_a_true_order_is_found_beyond_activations() -> None:
    for seed in range(2):
        beyond = courses("in order", seed)
        order = temporal_order_test(beyond).slope["gradient"]
        assert order.conclusion == PREDICTED
        assert order.value == pytest.approx(-brains.SWEEP, rel=0.35)
        lag = lag_test(beyond)
        assert lag.conclusion == PREDICTED
        assert lag.value == pytest.approx(0.17, abs=0.05)


def test_gradients_of_a_brain_without_any_have_no_latency() -> None:
    for seed in range(2):
        beyond = courses("none", seed)
        assert "gradient" in temporal_order_test(beyond).refused
        with suppress(TooFewLatencies):
            assert lag_test(beyond).conclusion != PREDICTED


def test_features_with_nothing_of_their_own_are_quiet() -> None:
    made = brains.features()
    Y, A = brains.responses(made, "in order", 0), made["activation"][0]
    shares, _ = share_time_courses(response_model({"a": A}, Y), [2 * A, made["gradient"][0]], Y, TARGETS, RESAMPLING)
    assert not shares.r[0].any()
    assert not shares.resampled[:, 0].any()
    assert shares.r[1].any()


def test_features_that_change_in_place_are_tested_as_they_are_now() -> None:
    random = np.random.default_rng(0)
    A, G, Y = (random.standard_normal((60, d)) for d in (4, 3, 6))
    model = response_model({"a": A}, Y)
    targets, drawn = (list("ababab"), [0, 0, 1, 1, 2, 2]), resample_images(np.arange(60), 5)
    changing = G.copy()
    model.test(changing, permutations=19)
    share_time_courses(model, [changing], Y, targets, drawn)
    changing[:] = random.standard_normal(G.shape)
    now, again = changing.copy(), response_model({"a": A}, Y)
    assert model.test(changing, permutations=19).share == again.test(now, permutations=19).share
    one, _ = share_time_courses(model, [changing], Y, targets, drawn)
    other, _ = share_time_courses(again, [now], Y, targets, drawn)
    np.testing.assert_array_equal(one.r, other.r)


def test_responses_that_do_not_vary_in_some_images_have_finite_shares() -> None:
    random = np.random.default_rng(0)
    A, G, Y = (random.standard_normal((80, d)) for d in (4, 3, 2))
    model, drawn = response_model({"a": A}, Y, images_at_once=40), resample_images(np.arange(80), 5)
    sparse = Y.copy()
    sparse[model.blocks[0].rows] = 0
    shares, _ = share_time_courses(model, [G], sparse, (list("ab"), [0, 1]), drawn)
    assert np.isfinite(shares.resampled).all()
    assert shares.r.any()


def test_bad_input_is_named() -> None:
    random = np.random.default_rng(0)
    A, Y = random.standard_normal((60, 4)), random.standard_normal((60, 4))
    model, drawn = response_model({"a": A}, Y), resample_images(np.arange(60), 5)
    with pytest.raises(ValueError, match=r"share_time_courses: targets must be sensors \[4\] and times \[4\]"):
        share_time_courses(model, [A], Y, (["a"] * 3, [0, 1, 2]), drawn)
    with pytest.raises(Refused, match="every time must have every sensor once, got 1 to 3 sensors"):
        share_time_courses(model, [A], Y, (list("aabb"), [0, 1, 0, 0]), drawn)
    with pytest.raises(Refused, match="every sensor must have every time once, got one twice"):
        share_time_courses(model, [A], Y, (list("aabb"), [0, 0, 1, 1]), drawn)
    with pytest.raises(ValueError, match="Y and resampling must be of the 60 images of the model, got 50 and 60"):
        share_time_courses(model, [A], Y[:50], (list("aabb"), [0, 1, 0, 1]), drawn)
    with pytest.raises(ValueError, match=r"X must be a floating-point matrix \[60, d\]"):
        share_time_courses(model, [A[:50]], Y, (list("aabb"), [0, 1, 0, 1]), drawn)
