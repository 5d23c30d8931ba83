"""Curves of layers over time: the same in any blocks and at any scale."""

import tracemalloc

import numpy as np
import pytest

from gradkern.errors import Refused
from gradkern.hierarchy import layer_time_courses, time_courses
from gradkern.ridge import CrossValidation
from gradkern.stats import layer_scores, resample_images
from tests import temporal_brains as brains

pytestmark = pytest.mark.usefixtures("one_thread")
CV = CrossValidation()
TARGETS = brains.NAMES, brains.AT
FEATURES = brains.features()


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


@pytest.mark.parametrize("gain", [1e-13, 1e3])
def test_units_of_the_responses_do_not_count(gain: float) -> None:
    Y, few = brains.responses(FEATURES, "in order", 0), FEATURES["gradient"][:1]
    drawn = resample_images(np.arange(brains.IMAGES), 2)
    one, other = (layer_time_courses(few, values, TARGETS, drawn, CV)[0] for values in (Y, gain * Y + gain))
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
