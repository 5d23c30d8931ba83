"""The noise of scores goes where the scores go."""

import numpy as np
import pytest

from gradkern.hierarchy import time_courses
from gradkern.stats import Scores

RANDOM = np.random.default_rng(0)
R, RESAMPLED, NOISE = RANDOM.random((3, 8)), RANDOM.random((5, 3, 8)), RANDOM.random((3, 8))
SCORES = Scores(R, RESAMPLED, 60, noise=NOISE)


def test_blocks_hold_the_noise_of_their_targets() -> None:
    blocks = list(SCORES.blocks(max_memory=8 * 3 * 6 * 2))
    assert len(blocks) == 4
    for columns, block in blocks:
        np.testing.assert_array_equal(block.noise, NOISE[:, columns])


def test_noise_is_divided_by_the_ceiling() -> None:
    ceiling = RANDOM.random(8) + 0.5
    scaled = SCORES.over_ceiling(ceiling)
    assert scaled.noise is not None
    np.testing.assert_allclose(scaled.noise / scaled.r, NOISE / R)
    assert Scores(R, RESAMPLED, 60).over_ceiling(ceiling).noise is None


def test_the_noise_of_a_mean_over_sensors_is_told_by_resamplings_alone() -> None:
    curves, _ = time_courses(SCORES, list("aabbccdd"), [0, 1] * 4)
    assert curves.noise is None


def test_noise_of_another_shape_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"Scores: noise must be \[3, 8\], as r, got \[3, 7\]"):
        Scores(R, RESAMPLED, 60, noise=NOISE[:, :7])
