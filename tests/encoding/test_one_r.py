"""One layer and one recording have one held-out r, whichever function or command prints it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from gradkern import Recording, Sketch, capture, cross_val_score, simulate_brain
from gradkern.cli import main
from gradkern.encoding import load_scores, score, unit_scale
from gradkern.features import load_features
from gradkern.recordings import Brain, save_recording
from gradkern.ridge import CrossValidation
from gradkern.stats import layer_scores, permutation_test, resample_images
from gradkern.study import Study, VerdictSettings, verdict
from gradkern.study.power import VERDICT_SETTINGS, PowerSettings, simulated_tests, simulated_verdict

IMAGES, TARGETS, LAYERS, MIDDLE = 90, 7, ("2", "4", "6"), 1
ROUNDING = 1e-5
SETTINGS = (
    CrossValidation(),
    CrossValidation(folds=4, seed=3, alphas=(1e-2, 1e-1, 1.0, 10.0)),
    CrossValidation(folds=3, inner_folds=4, selection="kfold", seed=1),
    CrossValidation(selection="loo"),
)
pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class SmallStudy:
    """A capture in a folder, its features by kind, shallow to deep, and the depth of the layers."""

    folder: Path
    features: dict[str, list[np.ndarray]]
    depth: np.ndarray

    @property
    def gradients(self) -> np.ndarray:
        return self.features["gradient"][MIDDLE]


def _quartic(output: Any, batch: Any) -> Any:
    return output.pow(4).sum(1)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> SmallStudy:
    folder = tmp_path_factory.mktemp("one_r") / "capture"
    torch.manual_seed(0)
    blocks = [part for _ in LAYERS for part in (torch.nn.Linear(12, 12), torch.nn.Tanh())]
    model = torch.nn.Sequential(torch.nn.Flatten(1), *blocks)
    images = 2 * torch.randn(IMAGES, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    capture(model, images, _quartic, layers=list(LAYERS), sketch=Sketch(64), out=folder, progress=False)
    loaded = load_features(folder)
    features = {kind: [loaded[kind, layer].numpy() for layer in LAYERS] for kind in ("activation", "gradient")}
    return SmallStudy(folder, features, np.linspace(0, 1, len(LAYERS)))


def recording(study: SmallStudy, image_ids: np.ndarray) -> Recording:
    """Responses that the gradients of the middle layer explain in part, in the order of `image_ids`."""
    random = np.random.default_rng(4)
    signal = unit_scale(study.gradients) @ random.standard_normal((64, TARGETS))
    noise = random.standard_normal((len(image_ids), TARGETS)) * np.linspace(0.5, 3, TARGETS)
    return Recording(
        responses=(signal[image_ids] + noise).astype(np.float32),
        presentations=pd.DataFrame({"image": image_ids}),
        targets=pd.DataFrame({"label": [f"v{number}" for number in range(TARGETS)]}),
        subject="sub 1",
        units="z",
    )


def one_row_an_image(study: SmallStudy) -> Recording:
    return recording(study, np.random.default_rng(2).permutation(IMAGES))


def with_repeats(study: SmallStudy) -> Recording:
    return recording(study, np.random.default_rng(2).permutation(np.tile(np.arange(IMAGES), 2)))


def expected(study: SmallStudy, brain: Recording, cv: CrossValidation) -> np.ndarray:
    """r [targets] of `encoding.score`, which all others are compared with."""
    return score({"g": study.gradients}, brain, cv).r.sel(feature="g").mean("fold").values


@pytest.mark.parametrize("cv", SETTINGS)
@pytest.mark.parametrize("make", [one_row_an_image, with_repeats])
class TestAnyRecording:
    def test_command(
        self, study: SmallStudy, make: Any, cv: CrossValidation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        brain = make(study)
        save_recording(brain, tmp_path / "s.h5")
        call = ["encode", "--features", str(study.folder), "--recordings", str(tmp_path / "s.h5"), "--raw-gradients"]
        call += ["--output", str(tmp_path / "scores"), "--folds", str(cv.folds), "--seed", str(cv.seed)]
        call += ["--inner-folds", str(cv.inner_folds), "--selection", cv.selection]
        call += ["--alphas", *map(str, cv.alphas)]
        assert main(call) == 0
        scores = load_scores(tmp_path / "scores")["s"].to_dataset().set_index(feature=["kind", "layer"])
        r = scores.r.sel(feature=("gradient", LAYERS[MIDDLE])).mean("fold")
        np.testing.assert_allclose(r, expected(study, brain, cv), atol=ROUNDING)
        printed = next(line for line in capsys.readouterr().out.splitlines() if "gradient of _quartic" in line)
        best = scores.r.sel(kind="gradient").mean(("fold", "target")).max()
        assert f"r {float(best):6.3f} at" in printed

    def test_ridge(self, study: SmallStudy, make: Any, cv: CrossValidation) -> None:
        brain = make(study)
        X, ids = unit_scale(study.gradients)[brain.image_ids], brain.image_ids
        r = cross_val_score(X, np.asarray(brain.responses), cv=cv, groups=ids).mean(0)
        np.testing.assert_allclose(r, expected(study, brain, cv), atol=ROUNDING)

    def test_permutation_test(self, study: SmallStudy, make: Any, cv: CrossValidation) -> None:
        brain = make(study)
        X, ids = unit_scale(study.gradients)[brain.image_ids], brain.image_ids
        test = permutation_test(X, np.asarray(brain.responses), cv=cv, groups=ids, permutations=1)
        np.testing.assert_allclose(test.r, expected(study, brain, cv), atol=ROUNDING)


@pytest.mark.parametrize("cv", SETTINGS)
class TestOneRowAnImage:
    """Rows in the order of the images need no groups; some functions take nothing else."""

    def test_arrays(self, study: SmallStudy, cv: CrossValidation) -> None:
        brain = one_row_an_image(study)
        X, Y = unit_scale(study.gradients), np.asarray(brain.responses)[np.argsort(brain.image_ids)]
        scored = layer_scores([X], Y, resample_images(np.arange(IMAGES), 2), cv)
        for r in (
            cross_val_score(X, Y, cv=cv).mean(0),
            permutation_test(X, Y, cv=cv, permutations=1).r,
            scored.r[0],
        ):
            np.testing.assert_allclose(r, expected(study, brain, cv), atol=ROUNDING)

    def test_verdict(self, study: SmallStudy, cv: CrossValidation) -> None:
        subjects = [one_row_an_image(study), replace(recording(study, np.arange(IMAGES)), subject="sub 2")]
        settings = VerdictSettings(cv=cv, permutations=19, bootstraps=20, layer=MIDDLE)
        table = verdict(Study(study.features, study.depth, fmri=subjects), settings).set_index("id")
        estimate = table.loc["gradient-predicts-fmri", "estimate"]
        np.testing.assert_allclose(estimate, np.mean([expected(study, brain, cv) for brain in subjects]), atol=ROUNDING)


@pytest.mark.parametrize("cv", SETTINGS[:2])
def test_simulated_brains(study: SmallStudy, cv: CrossValidation) -> None:
    brain = Brain("gradient-misplaced", subjects=2, repeats=1, vertices=40, silent=5, times=(0.0, 0.1, 0.2))
    fmri, _ = simulate_brain(study.features, replace(brain, seed=6))
    visual = fmri[0].targets["depth"].notna().to_numpy()
    scores = [expected(study, each.select_targets(visual, "visual"), cv).mean() for each in fmri]
    found = simulated_tests(brain, study.features, PowerSettings(cv, permutations=19, bootstraps=20), seed=6)
    np.testing.assert_allclose(found.values["gradient: r, one subject"], scores[0], atol=ROUNDING)
    np.testing.assert_allclose(found.values["gradient: r, all subjects"], np.mean(scores), atol=ROUNDING)


def test_a_simulated_verdict(study: SmallStudy) -> None:
    cv = CrossValidation(folds=4, seed=3)
    brain = Brain("gradient-misplaced", subjects=2, repeats=1, vertices=40, silent=5, times=(0.0, 0.1, 0.2))
    fmri, _ = simulate_brain(study.features, replace(brain, seed=6))
    placed = [each.select_targets(each.targets["distance"].notna().to_numpy(), "with a distance") for each in fmri]
    settings = replace(VERDICT_SETTINGS, cv=cv, bootstraps=20)
    found = simulated_verdict(brain, load_features(study.folder), settings, seed=6, regions="O", every=8)
    r = np.mean([expected(study, each, cv).mean() for each in placed])
    np.testing.assert_allclose(found.values["gradient-predicts-fmri"], r, atol=ROUNDING)
