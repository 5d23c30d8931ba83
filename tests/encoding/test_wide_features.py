"""Features that are much wider than there are images: scored by the images' products, without being read whole."""

from pathlib import Path

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
    """An array many times side by side, which says how much of it was read at once."""

    def __init__(self, values: np.ndarray, times: int) -> None:
        self._values, self.dtype, self.largest = values, values.dtype, 0
        self.shape = len(values), times * values.shape[1]

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, place: tuple[slice, slice]) -> np.ndarray:
        rows, columns = place
        start, stop, _ = columns.indices(self.shape[1])
        part = self._values[rows][:, np.arange(start, stop) % self._values.shape[1]]
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


def test_features_in_files_are_read_part_by_part(tmp_path: Path) -> None:
    X, brain = features_and_recording(np.arange(IMAGES))
    expected = score({"wide": X}, brain).r
    with h5py.File(tmp_path / "X.h5", "w") as file:
        stored = file.create_dataset("X", data=X)
        np.testing.assert_array_equal(score({"wide": stored}, brain).r, expected)
    repeated = ReadInParts(X, times=500)  # 240 MB in float32, and would be twice that in float64
    assert score({"wide": repeated}, brain).r.shape == (1, 5, 4)
    assert repeated.largest <= 2**25


def test_nan_in_wide_features_is_an_error() -> None:
    X, brain = features_and_recording(np.arange(IMAGES))
    X[3, 2000] = np.nan
    with pytest.raises(ValueError, match="score: features must be finite"):
        score({"wide": X}, brain)
