"""Features that are much wider than there are images: scored by the images' products, without being read whole."""

import h5py
import numpy as np
import pandas as pd
import pytest

from gradkern import Recording
from gradkern.encoding import score
from gradkern.ridge import CrossValidation, cross_val_score

IMAGES, WIDTH = 40, 3000
pytestmark = pytest.mark.usefixtures("one_thread")


class ReadInParts:
    """An array that says how much of it was read at once."""

    def __init__(self, values: np.ndarray) -> None:
        self._values, self.shape, self.dtype, self.largest = values, values.shape, values.dtype, 0

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, place: object) -> np.ndarray:
        part = np.asarray(self._values[place])
        self.largest = max(self.largest, part.size)
        return part

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        raise AssertionError("all of it was read at once")


def features_and_recording(shown: np.ndarray) -> tuple[np.ndarray, Recording]:
    random = np.random.default_rng(0)
    X = (random.standard_normal((IMAGES, WIDTH)) * np.linspace(0.1, 2, WIDTH) + 5).astype(np.float32)
    signal = (X - 5) @ random.standard_normal((WIDTH, 4)) / 60
    Y = (signal[shown] + random.standard_normal((len(shown), 4))).astype(np.float32)
    brain = Recording(Y, pd.DataFrame({"image": shown}), pd.DataFrame({"label": list("abcd")}), subject="s", units="z")
    return X, brain


@pytest.mark.parametrize("shown", [np.arange(IMAGES), np.repeat(np.arange(0, IMAGES, 2), 3)], ids=["once", "repeated"])
@pytest.mark.parametrize("selection", ["gcv", "kfold"])
def test_scores_are_those_of_all_features(shown: np.ndarray, selection: str) -> None:
    X, brain = features_and_recording(shown)
    cv = CrossValidation(folds=4, selection=selection)
    found = score({"wide": X}, brain, cv)
    wide = X.astype(np.float64)[shown]
    wide /= np.sqrt(((X - X.mean(0, dtype=np.float64)) ** 2).sum(1).mean())
    groups = np.unique(shown, return_inverse=True)[1]
    folds = list(cv.split(wide, groups=groups))
    expected = cross_val_score(
        wide, brain.responses, cv.alphas, cv=folds, inner_cv=5, groups=groups, selection=selection
    )
    np.testing.assert_allclose(found.r[0], expected, atol=1e-4)


def test_features_in_files_are_read_part_by_part(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    X, brain = features_and_recording(np.arange(IMAGES))
    expected = score({"wide": X}, brain).r
    with h5py.File(f"{tmp_path}/X.h5", "w") as file:
        stored = file.create_dataset("X", data=X)
        np.testing.assert_array_equal(score({"wide": stored}, brain).r, expected)
    watched = ReadInParts(X)
    monkeypatch.setattr("gradkern.encoding._wide.BYTES_AT_ONCE", 8 * IMAGES * 100)
    np.testing.assert_allclose(score({"wide": watched}, brain).r, expected, atol=1e-6)
    assert watched.largest == 100 * IMAGES


def test_nan_in_wide_features_is_an_error() -> None:
    X, brain = features_and_recording(np.arange(IMAGES))
    X[3, 2000] = np.nan
    with pytest.raises(ValueError, match="score: features must be finite"):
        score({"wide": X}, brain)
