"""Curves of layers over time: the same in any blocks and at any scale, and of gradients beyond what confounds tell."""

import tracemalloc
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from gradkern.errors import Refused
from gradkern.hierarchy import (
    NO_ORDER,
    PREDICTED,
    TimeCourses,
    TooFewLatencies,
    lag_test,
    layer_time_courses,
    temporal_order_test,
    time_courses,
)
from gradkern.ridge import CrossValidation
from gradkern.stats import layer_scores, resample_images
from tests import temporal_brains as brains

pytestmark = pytest.mark.usefixtures("one_thread")
CV = CrossValidation()
TARGETS = brains.NAMES, brains.AT
FEATURES = brains.features()
SMOOTHER = brains.LinearSmoother(np.hstack(FEATURES["activation"]))
RESAMPLING = resample_images(np.arange(brains.IMAGES), 60)


class Recorded:
    """A smoother that remembers what it was called with."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def residuals(self, values: np.ndarray) -> np.ndarray:
        assert values.dtype == np.float32
        self.shapes.append(values.shape)
        return SMOOTHER.residuals(values)


@pytest.mark.parametrize("max_memory", [1, 2 * 10**6, 2**30])
def test_blocks_of_any_size_give_the_mean_over_sensors_of_all_scores(max_memory: int) -> None:
    Y, few = brains.responses(FEATURES, "in order", 0), FEATURES["gradient"][:2]
    drawn = resample_images(np.arange(brains.IMAGES), 5)
    expected, times = time_courses(layer_scores(few, Y, drawn, CV), *TARGETS)
    found, at = layer_time_courses(few, Y, TARGETS, drawn, CV, max_memory=max_memory)
    np.testing.assert_array_equal(at, times)
    np.testing.assert_allclose(found.r, expected.r, atol=1e-6)
    np.testing.assert_allclose(found.resampled, expected.resampled, atol=1e-6)
    assert (found.images, found.kind) == (expected.images, expected.kind)


def test_with_a_smoother_they_are_the_smaller_scores_of_features_and_their_residuals_at_what_it_leaves() -> None:
    Y, few, smoother = brains.responses(FEATURES, "in order", 0), FEATURES["gradient"][:1], Recorded()
    drawn = resample_images(np.arange(brains.IMAGES), 5)
    X, left = few[0] - few[0].mean(0), SMOOTHER.residuals(Y)
    directions, sizes, _ = np.linalg.svd(X, full_matrices=False)
    residual = SMOOTHER.residuals(directions * sizes)
    residual = residual / np.sqrt(((residual - residual.mean(0)) ** 2).sum(1).mean())
    pair = [time_courses(layer_scores([values], left, drawn, CV), *TARGETS)[0] for values in (X, residual)]
    found, _ = layer_time_courses(few, Y, TARGETS, drawn, CV, smoother=smoother, max_memory=10**6)
    for name in ("r", "resampled"):
        expected = np.minimum(*(getattr(scores, name) for scores in pair))
        np.testing.assert_allclose(getattr(found, name), expected, atol=1e-4)  # residuals are float32
    assert smoother.shapes[0] == X.shape
    widths = [shape[1] for shape in smoother.shapes[1:]]
    assert sum(widths) == len(brains.AT)
    assert len(widths) > 3
    assert all(width % brains.SENSORS == 0 for width in widths)


@pytest.mark.parametrize("gain", [1e-13, 1e3])
def test_units_of_the_responses_do_not_count(gain: float) -> None:
    Y, few = brains.responses(FEATURES, "in order", 0), FEATURES["gradient"][:1]
    drawn = resample_images(np.arange(brains.IMAGES), 2)
    one, other = (
        layer_time_courses(few, values, TARGETS, drawn, CV, smoother=SMOOTHER)[0] for values in (Y, gain * Y + gain)
    )
    np.testing.assert_allclose(one.r, other.r, atol=1e-4)


def test_memory_is_that_of_a_block_and_not_of_all_targets() -> None:
    n, sensors = 60, 20
    random = np.random.default_rng(0)
    drawn, X = resample_images(np.arange(n), 20), [random.standard_normal((n, 4))]
    peaks = []
    for times in (20, 200):
        Y = random.standard_normal((n, sensors * times)).astype(np.float32)
        targets = np.repeat(np.arange(sensors), times), np.tile(np.arange(times), sensors)
        tracemalloc.start()
        layer_time_courses(X, Y, targets, drawn, CV, max_memory=10**6)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # the curves themselves, and the places of the targets
    assert peaks[1] < peaks[0] + 21 * 8 * 200 * 4 + 60 * sensors * 200


def courses(gradients: str, seed: int, smoother: Any) -> list[TimeCourses]:
    made, found = brains.features(seed), []
    if smoother is not None:
        smoother = brains.LinearSmoother(np.hstack(made["activation"]))
    for number in range(3):
        Y = brains.responses(made, gradients, 100 * seed + number)
        activations, times = layer_time_courses(made["activation"], Y, TARGETS, RESAMPLING, CV)
        curves, _ = layer_time_courses(made["gradient"], Y, TARGETS, RESAMPLING, CV, smoother=smoother)
        layers = tuple(map(str, range(brains.LAYERS)))
        found.append(TimeCourses(activations, curves, times, layers, brains.DEPTH, str(number)))
    return found


def test_gradients_that_come_at_once_have_an_order_only_where_activations_tell_the_deepest() -> None:
    raw = [temporal_order_test(courses("at once", seed, None)).slope["gradient"] for seed in range(3)]
    assert [order.conclusion for order in raw].count(PREDICTED) >= 2
    for seed in range(3):
        order = temporal_order_test(courses("at once", seed, SMOOTHER)).slope["gradient"]
        assert order.conclusion == NO_ORDER
        assert abs(order.value) < 0.03


def test_a_true_order_is_found_beyond_activations() -> None:
    for seed in range(2):
        beyond = courses("in order", seed, SMOOTHER)
        order = temporal_order_test(beyond).slope["gradient"]
        assert order.conclusion == PREDICTED
        assert order.value == pytest.approx(-brains.SWEEP, rel=0.35)
        lag = lag_test(beyond)
        assert lag.conclusion == PREDICTED
        assert lag.value == pytest.approx(0.17, abs=0.05)


def test_gradients_of_a_brain_without_any_have_no_latency_beyond_activations() -> None:
    for seed in range(2):
        beyond = courses("none", seed, SMOOTHER)
        assert "gradient" in temporal_order_test(beyond).refused
        with suppress(TooFewLatencies):
            assert lag_test(beyond).conclusion == NO_ORDER


def test_bad_input_is_named() -> None:
    Y, X = np.random.default_rng(0).standard_normal((60, 4)), [np.random.default_rng(1).standard_normal((60, 2))]
    drawn = resample_images(np.arange(60), 2)
    with pytest.raises(ValueError, match=r"layer_time_courses: targets must be sensors \[4\] and times \[4\]"):
        layer_time_courses(X, Y, (["a"] * 3, [0, 1, 2]), drawn)
    with pytest.raises(Refused, match="every time must have every sensor once, got 1 to 3 sensors"):
        layer_time_courses(X, Y, (list("aabb"), [0, 1, 0, 0]), drawn)
    with pytest.raises(Refused, match="every sensor must have every time once"):
        layer_time_courses(X, Y, (list("aabc"), [0, 1, 0, 1]), drawn)
    with pytest.raises(Refused, match="every target must have a score"):
        layer_time_courses(X, Y * [1, 0, 1, 1], (list("aabb"), [0, 1, 0, 1]), drawn)
