"""Scores of studies: what they are, that nothing leaks, and `gradkern encode`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from sklearn.model_selection import GroupKFold

from gradkern import Recording, Sketch, capture
from gradkern.analysis import held_out
from gradkern.analysis.controls import unit_length
from gradkern.analysis.held_out import HoldOut, ceiling_of, held_out_scores
from gradkern.encoding.scores import cross_val_score
from gradkern.recordings.ceilings import estimate_ncsnr
from gradkern.recordings.saved import save_recording
from gradkern.study.cli import main
from gradkern.vision.files import load_features

IMAGES, REPEATS, V = 60, 2, 4


def features(d: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((IMAGES, d)).astype(np.float32)


def recording(**changes: Any) -> Recording:
    """Target a is a linear function of the features, d is noise; 6 concepts, 4 sessions."""
    random = np.random.default_rng(1)
    ids = np.tile(np.arange(IMAGES), REPEATS)
    signal = features() @ random.standard_normal((8, V)) * np.array([1, 1, 1, 0])
    table = {
        "image": ids,
        "concept": np.array([f"c{i % 6}" for i in ids]),
        "session": np.arange(len(ids)) % 4,
        "split": np.where(ids % 5 == 0, "test", "train"),
    }
    given = {
        "responses": (signal[ids] + random.standard_normal((len(ids), V))).astype(np.float32),
        "presentations": pd.DataFrame(table),
        "targets": pd.DataFrame({"label": list("abcd"), "roi": ["V1", "V1", "", "V4"], "vertex": range(V)}),
        "subject": "s",
        "units": "z",
    }
    return Recording(**(given | changes))


def test_scores_are_those_of_nested_cross_validation_by_image() -> None:
    brain = recording()
    found = held_out_scores({"x": features(), "other": features(5, 3)}, brain)
    groups = brain.image_ids
    splits = list(GroupKFold(5, shuffle=True, random_state=0).split(groups, groups=groups))
    X = features()
    X = (X / np.sqrt(((X - X.mean(0)) ** 2).sum(1).mean()))[brain.image_ids]
    for scoring in ("r", "r2"):
        expected = cross_val_score(
            X, np.asarray(brain.responses), HoldOut().alphas, cv=splits, groups=groups, scoring=scoring
        )
        np.testing.assert_allclose(found[scoring].sel(feature="x"), expected, atol=2e-5)
    assert found.r.dims == ("feature", "fold", "target")
    assert found.r.sel(feature="x").mean("fold").values[:3].min() > 0.5
    assert float(found.r.sel(feature="x", target="d").mean()) < 0.3
    assert found.roi.values.tolist() == ["V1", "V1", "", "V4"]


def test_scores_do_not_depend_on_what_fits_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    spaces = {("activation", f"blocks.{i}"): torch.from_numpy(features(6, i)) for i in range(3)}
    whole = held_out_scores(spaces, recording())
    monkeypatch.setattr(held_out, "_BYTES_OF_X", 1)
    xr.testing.assert_allclose(held_out_scores(spaces, recording()), whole)
    assert whole.kind.values.tolist() == ["activation"] * 3
    assert whole.layer.values.tolist() == ["blocks.0", "blocks.1", "blocks.2"]


def test_ceilings_are_of_the_rows_that_are_scored() -> None:
    brain = recording()
    single = held_out_scores({"x": features()}, brain)
    squared = estimate_ncsnr(brain) ** 2
    np.testing.assert_allclose(single.noise_ceiling, np.sqrt(squared / (squared + 1)))
    np.testing.assert_allclose(single.r_normalised, single.r.mean("fold") / single.noise_ceiling)
    np.testing.assert_allclose(single.r2_normalised, single.r2.mean("fold") / single.noise_ceiling**2)
    averaged = held_out_scores({"x": features()}, brain.average_repeats())
    assert averaged.noise_ceiling.isnull().all()
    assert "not known" in averaged.attrs["ceiling"]
    np.testing.assert_allclose(ceiling_of(recording(ncsnr=np.ones(V))).r, np.sqrt(0.5))
    silent = held_out_scores({"x": features()}, recording(ncsnr=np.array([1, 1, 0, np.nan])))
    assert silent.noise_ceiling.values[2] == 0
    assert silent.r_normalised.isnull().values.tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("by", ["image", "concept", "session", "published", "zero-shot"])
def test_whatever_is_held_out_no_response_of_it_is_trained_on(by: str) -> None:
    brain = recording(
        presentations=recording().presentations.assign(
            concept=[f"c{i // 10}" for i in np.tile(np.arange(IMAGES), REPEATS)],
            split=np.where(np.tile(np.arange(IMAGES), REPEATS) < 10, "test", "train"),
            session=np.tile(np.arange(IMAGES), REPEATS) % 4,
        )
    )
    how = HoldOut(by=by, folds=3, inner_folds=3)
    splits = how.splits(brain)
    assert len(splits) == (1 if by in ("published", "zero-shot") else 3)
    before = held_out_scores({"x": features()}, brain, how)
    for number, (train, test) in enumerate(splits):
        assert not set(brain.image_ids[train]) & set(brain.image_ids[test])
        changed = np.array(brain.responses)
        changed[test] = 3 * changed[test] - 7
        after = held_out_scores({"x": features()}, recording(responses=changed, presentations=brain.presentations), how)
        # r of a fold is blind to scale and shift of what is held out if no fit has seen it
        np.testing.assert_allclose(after.r[:, number], before.r[:, number], atol=1e-5)
    assert json.loads(before.attrs["held_out"])["by"] == by


def test_what_is_odd_is_said_before_and_kept() -> None:
    values = np.array(recording().responses)
    values[:, 2] = 4
    with (
        pytest.warns(UserWarning, match="held_out_scores: 1 of the first 4 targets are constant"),
        pytest.warns(UserWarning, match="1 of 4 targets of 'x' have no defined score"),
    ):
        found = held_out_scores({"x": features()}, recording(responses=values))
    assert "constant" in found.attrs["odd"]
    assert found.r.sel(target="c").isnull().all()
    values[3, 1] = np.inf
    with pytest.raises(ValueError, match="responses must be finite, got inf at presentation 3, target 'b'"):
        held_out_scores({"x": features()}, recording(responses=values))


@pytest.mark.parametrize(
    ("spaces", "how", "message"),
    [
        ({}, {}, "features must hold at least one feature space, got none"),
        ({"x": np.zeros((60, 2, 3))}, {}, r"features must be \[images, d\], got \[60, 2, 3\] of 'x'"),
        ({"x": np.zeros((50, 3))}, {}, r"image_ids must lie in 0\.\.49 for 50 images, got 0\.\.59"),
        ({"x": np.full((60, 3), np.nan)}, {}, "finite"),
        ({"x": np.ones((60, 3))}, {"by": "time"}, "HoldOut: by must be one of .*, got 'time'"),
        ({"x": np.ones((60, 3))}, {"gap": 0.1}, "folds: 'onset' must be known for a gap"),
        ({"x": np.ones((60, 3))}, {"folds": 61}, r"folds: n_folds must lie in 2\.\.60"),
    ],
)
def test_bad_input_is_named(spaces: dict[str, Any], how: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        held_out_scores(spaces, recording(), HoldOut(**how))


@pytest.fixture
def captured(tmp_path: Path) -> Path:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(1))
    images = torch.randn(IMAGES, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    capture(model, images, _square, layers=["0", "1"], sketch=Sketch(64), out=tmp_path / "features", progress=False)
    return tmp_path / "features"


def _square(output: Any, batch: Any) -> Any:
    return output.square().sum(1)


class TestCommand:
    def test_a_capture_and_a_saved_recording_give_a_file_of_scores(
        self, captured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        save_recording(recording(), tmp_path / "brain.h5")
        arguments = ["encode", str(captured), str(tmp_path / "brain.h5"), "--output", str(tmp_path / "scores.nc")]
        assert main([*arguments, "--roi", "V1"]) == 0
        assert "mean held-out r over 2 targets" in capsys.readouterr().out
        with xr.open_dataset(tmp_path / "scores.nc", engine="h5netcdf") as found:
            loaded = load_features(captured)
            spaces = {
                key: value if key[0] == "activation" else unit_length(value.numpy()) for key, value in loaded.items()
            }
            expected = held_out_scores(spaces, recording().roi("V1"))
            np.testing.assert_allclose(found.r, expected.r, atol=1e-6)
            assert found.attrs["features_sketch_k"] == "64"
            assert found.attrs["gradients"] == "of unit length"
        assert main(arguments) == 2
        assert "exists; name another --output" in capsys.readouterr().err
        assert main([*arguments, "--overwrite", "--kinds", "weight_gradient"]) == 2
        assert "--kinds must be some of activation, gradient, got 'weight_gradient'" in capsys.readouterr().err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["brain.h5", "features", "scores.nc"]

    def test_a_capture_that_is_missing_or_not_finished_is_refused(self, captured: Path, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"load_features: folder must hold capture\.json"):
            load_features(tmp_path)
        state = json.loads((captured / "capture.json").read_text())
        (captured / "capture.json").write_text(json.dumps(state | {"done": 10}))
        with pytest.raises(ValueError, match="must be finished, got 10 of 60 images"):
            load_features(captured)


def test_loaded_features_are_those_captured(captured: Path) -> None:
    loaded = load_features(captured)
    assert list(loaded) == [("activation", "0"), ("activation", "1"), ("gradient", "0"), ("gradient", "1")]
    assert loaded.sketch == Sketch(64)
    assert loaded.objective == "_square"
    assert loaded.losses.shape == (IMAGES,)
