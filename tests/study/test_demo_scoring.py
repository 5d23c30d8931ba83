"""Scores of features against a recording: what they are, and that nothing leaks into them."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from sklearn.model_selection import KFold

from gradkern import Recording, Sketch, cross_val_score
from gradkern.encoding import unit_scale
from gradkern.features import Features
from gradkern.ridge import CrossValidation
from gradkern.stats import weighted_correlation
from gradkern.study._demo import DemoScoring, layerwise_scores, predict, r_with_interval, score_features
from gradkern.study.report import Picture, best_layers, write_report

SETTINGS = DemoScoring(repeats=2, bootstraps=200)


LABELS = pd.DataFrame({"label": ["signal", "noise"]})


def planted(n: int = 80, d: int = 6, signal: float = 3.0, repeats: int = 1) -> tuple[np.ndarray, Recording]:
    random = np.random.default_rng(0)
    X = random.standard_normal((n, d))
    ids = np.tile(np.arange(n), repeats)
    Y = signal * (X @ random.standard_normal((d, 2)))[ids] + random.standard_normal((n * repeats, 2))
    Y[:, 1] = random.standard_normal(n * repeats)  # noise alone
    return X, Recording(Y, pd.DataFrame({"image": ids}), LABELS, "s", "z", ncsnr=np.array([2.0, 0.5]))


def test_r_is_the_mean_of_cross_val_score() -> None:
    X, recording = planted()
    folds = [
        split
        for repeat in range(SETTINGS.repeats)
        for split in KFold(SETTINGS.cv.folds, shuffle=True, random_state=SETTINGS.cv.seed + repeat).split(X)
    ]
    expected = cross_val_score(unit_scale(X), recording.responses, SETTINGS.cv.alphas, cv=folds, selection="loo").mean(
        0
    )
    np.testing.assert_allclose(score_features({"x": X}, recording, SETTINGS).r.values[0], expected, rtol=1e-9)


def test_signal_is_found_and_noise_is_not() -> None:
    X, recording = planted()
    result = score_features({"x": X, "none": np.random.default_rng(5).standard_normal(X.shape)}, recording, SETTINGS)
    assert float(result.r.sel(feature="x", target="signal")) > 0.95
    low, high = result.interval.sel(feature="none", target="signal").values
    assert low < 0.15
    assert high > -0.15
    assert abs(float(result.r.sel(feature="x", target="noise"))) < 0.3


def test_the_interval_covers_what_other_samples_give() -> None:
    """Predictions fixed, images drawn anew 200 times: the true correlation lies within nearly always."""
    random = np.random.default_rng(3)
    scoring = DemoScoring(CrossValidation(folds=2), repeats=1, bootstraps=300)
    inside = 0
    for _ in range(200):
        truth = random.standard_normal((60, 1))
        y = 0.7 * truth + np.sqrt(1 - 0.49) * random.standard_normal((60, 1))
        held_out = type("H", (), {"predictions": truth[None], "fold": (np.arange(60) % 2)[None]})()
        low, high = r_with_interval(held_out, y, scoring)[1][0]
        inside += low <= 0.7 <= high
    assert inside >= 0.88 * 200


def test_a_held_out_image_changes_no_prediction_of_itself() -> None:
    X, recording = planted()
    changed = np.array(recording.responses)
    held_out = predict(X, recording, SETTINGS)
    test = held_out.fold[0] == 2
    changed[test] += 100 * np.random.default_rng(1).standard_normal((test.sum(), 2))
    again = predict(X, type(recording)(changed, recording.presentations, LABELS, "s", "z"), SETTINGS)
    np.testing.assert_array_equal(again.predictions[0][test], held_out.predictions[0][test])
    assert not np.array_equal(again.predictions[0][~test], held_out.predictions[0][~test])


def test_presentations_of_one_image_are_held_out_together() -> None:
    X, recording = planted(n=30, repeats=3)
    for fold in predict(X, recording, DemoScoring(CrossValidation(selection="kfold"), repeats=2)).fold:
        for image in range(30):
            assert len(set(fold[recording.image_ids == image])) == 1


@pytest.mark.parametrize("selection", ["loo", "gcv"])
def test_repeats_must_not_choose_their_own_alpha(selection: str) -> None:
    """Leaving out one presentation leaves its image's others in."""
    X, recording = planted(n=30, repeats=3)
    with pytest.raises(ValueError, match=f"selection must be 'kfold' for repeated images, got '{selection}'"):
        predict(X, recording, DemoScoring(CrossValidation(selection=selection)))


def test_a_constant_prediction_predicts_nothing() -> None:
    y = np.random.default_rng(0).standard_normal((20, 1))
    assert np.isnan(weighted_correlation(y, np.full((20, 1), 0.1), np.ones((1, 20)))[0, 0])
    weights = np.random.default_rng(1).integers(0, 3, (5, 20)).astype(float)
    rows = [np.repeat(np.arange(20), w.astype(int)) for w in weights]
    expected = [np.corrcoef(y[r, 0], (y**3)[r, 0])[0, 1] for r in rows]
    np.testing.assert_allclose(weighted_correlation(y, y**3, weights)[:, 0], expected, rtol=1e-9)


def test_ids_that_do_not_fit_the_features_are_refused() -> None:
    X, recording = planted()
    with pytest.raises(ValueError, match=r"image_ids must lie in 0\.\.49 for 50 images, got 0\.\.79"):
        score_features({"x": X[:50]}, recording, SETTINGS)


@pytest.fixture(scope="module")
def scores() -> xr.Dataset:
    random = torch.Generator().manual_seed(0)
    _, recording = planted(n=40)

    def features(objective: str, kinds: tuple[str, ...]) -> Features:
        arrays = {(kind, f"blocks.{i}"): torch.randn(40, 64, generator=random) for kind in kinds for i in range(3)}
        return Features(arrays, torch.zeros(40), objective, Sketch(64), "float32")

    gradients = ("gradient", "weight_gradient")
    captures = [features("one", ("activation", *gradients)), features("two", gradients)]
    return layerwise_scores(captures, np.random.default_rng(0).standard_normal((40, 16)), recording, SETTINGS)


def test_layerwise_scores_are_named_and_in_place(scores: xr.Dataset) -> None:
    assert scores.activation.dims == ("layer", "target")
    assert scores.gradient.dims == ("objective", "scaling", "layer", "target")
    assert scores.weight_gradient_interval.dims == ("objective", "scaling", "layer", "target", "bound")
    assert set(scores.data_vars) == {
        "noise_ceiling", "pixels", "pixels_interval", "activation", "activation_interval",
        "gradient", "gradient_interval", "weight_gradient", "weight_gradient_interval",
    }  # fmt: skip
    assert all(np.isfinite(scores[name]).all() for name in scores.data_vars)
    low, high = scores.gradient_interval.sel(bound="low"), scores.gradient_interval.sel(bound="high")
    assert (low < high).all()
    assert len(np.unique(scores.gradient.values)) == scores.gradient.size


def test_best_layers_are_the_largest(scores: xr.Dataset) -> None:
    best = {(b.target, b.kind, b.objective): b for b in best_layers(scores)}
    top = best["noise", "weight gradient", "two"]
    values = scores.weight_gradient.sel(target="noise", objective="two", scaling="unit length")
    assert top.r == float(values.max())
    assert top.layer == str(values.layer.values[int(values.argmax("layer"))])


def test_report_stands_alone(scores: xr.Dataset) -> None:
    from matplotlib.figure import Figure

    facts = {
        "images_used": 40, "model": "<b>toy</b>", "citation": "c", "data_licence": "l", "noise_variance": "v",
        "sketch_k": 64, "sketch_error": 0.125, "outer_folds": 5, "repeats": 2, "alpha_selection": "w",
    }  # fmt: skip
    page = write_report(scores, [Picture.of("p", "A caption.", Figure())], facts)
    assert not re.search(r"https?:", page.split("<body>")[0])
    assert 'src="data:image/png;base64,' in page
    assert "&lt;b&gt;toy&lt;/b&gt;" in page
    assert "A caption." in page
    assert "no evidence of backpropagation" in page
