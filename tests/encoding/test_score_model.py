"""A model against a recording in one call: the numbers of capture and score, and of the commands."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch import nn

from gradkern import Recording, Sketch, capture
from gradkern.cli import main
from gradkern.encoding import join_captures, load_scores, score, score_model, unit_gradients
from gradkern.errors import Refused
from gradkern.models import load_model
from gradkern.objectives import FeatureNorm
from gradkern.recordings import folder_images, save_recording
from gradkern.ridge import CrossValidation
from tests.fake_datasets.photographs import CONFIGURATION, MODEL, pixels, write

N = 30
CV = CrossValidation(folds=3, seed=2)
ASK: dict[str, Any] = {"sketch": Sketch(64), "progress": False}


def tiny() -> Any:
    return load_model(MODEL, "random", seed=3, config=CONFIGURATION)


def recording(shown: np.ndarray, images: Any = None, names: tuple[str, ...] | None = None) -> Recording:
    rng = np.random.default_rng(1)
    table, voxels = pd.DataFrame({"image": shown}), pd.DataFrame({"label": list("abcd")})
    return Recording(rng.standard_normal((len(shown), 4)), table, voxels, "s", "z", images=images, image_names=names)


def by_hand(model: nn.Module, images: Any, objective: Any, brain: Recording, **ask: Any) -> xr.Dataset:
    features = capture(model, images, objective, **{**ASK, **ask})
    return score(unit_gradients(join_captures([features])), brain, CV)


def test_it_is_capture_and_score_to_the_bit() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(1), nn.Linear(144, 5))
    images, brain = torch.randn(N, 3, 8, 8), recording(np.arange(N))
    ask = {"layers": ["0", "3"], "kinds": ["activation", "gradient", "weight_gradient"]}
    found = score_model(model, images, FeatureNorm(), brain, CV, **ASK, **ask)
    xr.testing.assert_identical(found, by_hand(model, images, FeatureNorm(), brain, **ask))
    assert list(found.kind.values) == [kind for kind in ask["kinds"] for _ in range(2)]
    alone = score_model(model, images, None, brain, CV, **ASK, layers=["0"])
    assert list(alone.kind.values) == ["activation"]
    default = score_model(model, images, FeatureNorm(), brain, layers=["0"], progress=False)
    expected = score(unit_gradients(join_captures([capture(model, images, FeatureNorm(), layers=["0"])])), brain)
    xr.testing.assert_identical(default, expected)


class Counted:
    """Pixels that count how often each was read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return 50

    def __getitem__(self, number: int) -> np.ndarray:
        self.read.append(number)
        return pixels(number)


@pytest.mark.parametrize("named", [True, False])
def test_only_images_that_were_shown_are_read_and_matched(named: bool) -> None:
    names = tuple(f"{number}.png" for number in range(50)) if named else None
    shown = np.random.default_rng(0).permutation(50)[:N]
    source = Counted()
    model = tiny()
    found = score_model(model, None, FeatureNorm(), recording(shown, source, names), CV, **ASK)
    assert set(source.read) == set(shown.tolist())
    chosen = sorted(shown.tolist())
    part = model.spec.prepared([pixels(number) for number in chosen], names and [names[number] for number in chosen])
    expected = by_hand(model, part, FeatureNorm(), recording(shown, source, names))
    xr.testing.assert_identical(found, expected)
    reversed_ = [pixels(number) for number in reversed(range(50))]
    other = score_model(model, reversed_, FeatureNorm(), recording(shown, source), CV, **ASK)
    # whose scale, and with it the penalties, is that of all 50
    np.testing.assert_allclose(found.r.values, other.r.values, atol=5e-3)


def test_it_is_what_the_commands_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, count=N)
    monkeypatch.chdir(tmp_path)
    source, names = folder_images("photographs")
    brain = recording(np.arange(N), source, names)
    save_recording(brain, "s.h5")
    model = ["capture", MODEL, "--images", "photographs", "--config", "tiny.json", "--untrained", "3"]
    assert main([*model, "--objective", "feature-norm", "--sketch", "64", "--out", "c"]) == 0
    assert main(["encode", "--features", "c", "--recordings", "s.h5", "--folds", "3", "--seed", "2"]) == 0
    written = load_scores("scores")["s"].to_dataset()
    found = score_model(tiny(), None, FeatureNorm(), brain, CV, **ASK)
    assert found.feature.values.tolist() == written.feature.values.tolist()
    np.testing.assert_allclose(found.r.values, written.r.values, atol=1e-6)


def test_what_cannot_be_scored_is_said() -> None:
    model, brain = nn.Sequential(nn.Flatten(1), nn.Linear(2160, 3)), recording(np.arange(N))
    with pytest.raises(Refused, match="score_model: the recording must have images, got none"):
        score_model(model, None, FeatureNorm(), brain)
    with pytest.raises(ValueError, match="score_model: images must be preprocessed for a model without a spec"):
        score_model(model, [pixels(0)], FeatureNorm(), brain)
    with pytest.raises(TypeError, match="score_model: out must be left out"):
        score_model(model, torch.randn(N, 3, 24, 30), FeatureNorm(), brain, out="x")
    with pytest.raises(ValueError, match=r"capture: images must be \[N, 3, h, w\]"):
        score_model(model, 3, FeatureNorm(), brain, layers=["1"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"image_ids must lie in 0\.\.9"):
        score_model(model, torch.randn(10, 3, 24, 30), FeatureNorm(), brain, layers=["1"])
