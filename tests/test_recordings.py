"""Recordings: what is refused, and the data set in the package."""

from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest

from gradkern import Recording
from gradkern.recordings.kay2017 import load_bootstraps, load_kay2017


def recording(**changes: object) -> Recording:
    random = np.random.default_rng(0)
    given = {
        "responses": random.standard_normal((6, 2)),
        "image_ids": np.arange(6),
        "targets": ("a", "b"),
        "subject": "s",
        "units": "z",
        "images": np.zeros((6, 4, 4), np.uint8),
        "noise_variance": np.array([0.1, 0.2]),
    }
    return Recording(**(given | changes))


NAN = np.zeros((6, 2))
NAN[3, 1] = np.nan
ERRORS = [
    ({"responses": np.zeros(6)}, r"responses must be float \[presentations, targets\], got float64 \[6\]"),
    ({"responses": np.zeros((6, 2), int)}, r"responses must be float \[presentations, targets\], got int64 \[6, 2\]"),
    (
        {"responses": NAN},
        "responses must be finite, got 1 NaN or infinite values, the first at presentation 3, target 'b'",
    ),
    ({"image_ids": np.arange(5)}, r"image_ids must be integers \[6\], got int64 \[5\]"),
    ({"image_ids": np.arange(6.0)}, r"image_ids must be integers \[6\], got float64 \[6\]"),
    ({"image_ids": np.arange(1, 7)}, r"image_ids must lie in 0\.\.5 for 6 images, got 1\.\.6 .*1-based"),
    ({"targets": ("a", "a")}, "targets must be 2 different labels, got 1"),
    ({"noise_variance": np.zeros(3)}, r"noise_variance must be \[2\], got \[3\]"),
]


@pytest.mark.parametrize(("changes", "message"), ERRORS)
def test_bad_input_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"Recording: {message}"):
        recording(**changes)


def test_ceiling_needs_to_know_the_noise() -> None:
    with pytest.raises(ValueError, match="a noise ceiling needs noise_variance"):
        recording(noise_variance=None).noise_ceiling()


def test_ceiling_is_the_best_correlation_there_is() -> None:
    """Signal with known noise: the correlation of the signal itself with the responses is the ceiling."""
    random = np.random.default_rng(1)
    signal = random.standard_normal((20_000, 3)) * [1.0, 2.0, 0.5]
    noisy = signal + random.standard_normal(signal.shape)
    ceiling = recording(
        responses=noisy, image_ids=np.arange(20_000), targets=("a", "b", "c"), images=None, noise_variance=np.ones(3)
    ).noise_ceiling()
    reached = [np.corrcoef(signal[:, i], noisy[:, i])[0, 1] for i in range(3)]
    np.testing.assert_allclose(ceiling, reached, atol=0.02)


def test_ceiling_is_nan_where_noise_exceeds_the_variance() -> None:
    ceiling = recording(noise_variance=np.array([0.1, 100.0])).noise_ceiling()
    assert np.isnan(ceiling).tolist() == [False, True]


class TestKay2017:
    def test_shapes_and_ceiling(self) -> None:
        kay = load_kay2017()
        assert kay.responses.shape == (115, 2)
        assert kay.targets == ("VWFA", "FFA")
        assert kay.images.shape == (115, 378, 378)
        assert kay.images.dtype == np.uint8
        np.testing.assert_allclose(kay.noise_ceiling(), [0.602, 0.966], atol=1e-3)

    def test_the_first_image_is_the_blank_and_faces_drive_the_ffa(self) -> None:
        kay = load_kay2017()
        assert np.ptp(kay.images[0]) == 0
        assert np.ptp(kay.images[4]) > 100  # a face at full contrast
        assert kay.responses[4, 1] > 2.5 > 1 > kay.responses[0, 1]

    def test_bootstraps_scatter_as_the_standard_errors_say(self) -> None:
        kay = load_kay2017()
        scatter = load_bootstraps().var(axis=0).mean(axis=0)
        np.testing.assert_allclose(scatter, kay.noise_variance, rtol=0.25)

    def test_it_is_small_and_says_whose_it_is(self) -> None:
        folder = files("gradkern.recordings").joinpath("data")
        assert len(folder.joinpath("kay2017.npz").read_bytes()) < 4_000_000
        licence = folder.joinpath("kay2017.LICENSE.txt").read_text()
        assert "eLife 6:e22341" in licence
        assert "Creative Commons Attribution 3.0" in licence
        assert "CC BY 3.0" in load_kay2017().provenance["licence"]

    def test_other_ids_are_refused(self) -> None:
        kay = load_kay2017()
        with pytest.raises(ValueError, match=r"image_ids must lie in 0\.\.114 for 115 images, got 1\.\.115"):
            replace(kay, image_ids=kay.image_ids + 1)
