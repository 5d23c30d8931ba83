"""Confounds: every part is what its name says, row by row, and what is missing is said."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from gradkern import Sketch, capture, objectives
from gradkern.encoding import Confounds, confounds, image_statistics, nuisances
from gradkern.features import Features
from tests.toy_models import ConvNet

N, CLASSES = 12, 10
IMAGES = torch.rand(N, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(N) % 3


def captured(of: Any = None, **fields: Any) -> Features:
    torch.manual_seed(1)
    features = capture(
        ConvNet().eval(), IMAGES, of or objectives.CrossEntropy(), layers=["stem", "block"], sketch=Sketch(64)
    )
    return replace(features, **fields)


def logits() -> np.ndarray:
    torch.manual_seed(1)
    with torch.no_grad():
        values: np.ndarray = ConvNet().eval()(IMAGES).logits.double().numpy()
    return values


def rand_statistics() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((N, 3))


def loss_gradient(objective: Any) -> np.ndarray:
    """By autograd, with respect to the logits."""
    z = torch.from_numpy(logits()).requires_grad_()
    output = objectives.Output(z.detach(), z)
    objective(output, objectives.Batch(IMAGES, torch.arange(N))).sum().backward()
    assert z.grad is not None
    return z.grad.numpy()


def test_parts() -> None:
    found = confounds(captured(), IMAGES, user={"memorability": np.ones((N, 1))}, outputs=logits())
    assert isinstance(found, Confounds)
    assert len(found) == N
    assert found.missing == {}
    assert list(found.parts) == [
        "activations", "scaled activations", "outputs", "labels", "image statistics", "difficulty", "user",
    ]  # fmt: skip
    for part, matrices in found.parts.items():
        for name, values in matrices.items():
            read = np.asarray(values)
            assert read.shape == tuple(values.shape), (part, name)
            assert len(read) == N, (part, name)
            assert np.isfinite(read).all(), (part, name)
    for line in ("Confounds of 12 images", "image statistics", "stem 64"):
        assert line in repr(found)


def test_activations_are_all_captured_layers() -> None:
    features = captured()
    found = confounds(features).parts["activations"]
    assert list(found) == ["stem", "block"]
    np.testing.assert_array_equal(found["block"], features["activation", "block"])
    torch.manual_seed(1)
    tokens = capture(
        ConvNet().eval(), IMAGES, objectives.CrossEntropy(), layers=["stem"], sketch=Sketch(64),
        tokens=("all", "mean"),
    )  # fmt: skip
    assert confounds(tokens).parts["activations"]["stem"].shape == (N, 128)


def test_outputs_in_every_form() -> None:
    z = logits()
    found = confounds(captured(), outputs=z).parts["outputs"]
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    np.testing.assert_array_equal(found["logits"], z)
    np.testing.assert_allclose(found["softmax"], p)
    np.testing.assert_allclose(found["sharpened softmax"], p**2 / (p**2).sum(1, keepdims=True))
    np.testing.assert_allclose(found["log-probabilities"], np.log(p))
    np.testing.assert_allclose(found["p log p"], p * np.log(p))


@pytest.mark.parametrize("sharpness", [1.0, 1e4])
def test_outputs_of_a_certain_model_are_finite(sharpness: float) -> None:
    found = confounds(captured(), outputs=sharpness * logits()).parts
    assert all(np.isfinite(values).all() for values in found["outputs"].values())


@pytest.mark.parametrize(
    "objective",
    [
        objectives.CrossEntropy(),
        objectives.CrossEntropy(LABELS),
        objectives.CrossEntropy(torch.eye(CLASSES)[LABELS] * 0.8 + 0.02),
        objectives.Entropy(),
        objectives.KLToUniform(),
    ],
)
def test_the_loss_gradient_is_that_of_autograd(objective: Any) -> None:
    found = confounds(captured(objective, labels=getattr(objective, "labels", None)), outputs=logits())
    np.testing.assert_allclose(found.parts["outputs"]["loss gradient"], loss_gradient(objective), atol=1e-7)


def test_logits_are_the_captured_ones_unless_given() -> None:
    found, given = confounds(captured()).parts["outputs"], confounds(captured(outputs={}), outputs=logits())
    for name, values in given.parts["outputs"].items():
        np.testing.assert_allclose(found[name], values, atol=1e-5)
    assert list(found) == list(given.parts["outputs"])


def test_the_loss_gradient_of_the_feature_norm_is_the_direction_of_the_features() -> None:
    torch.manual_seed(1)
    f = ConvNet().eval()(IMAGES).features.detach().double().requires_grad_()
    f.norm(dim=1).sum().backward()
    assert f.grad is not None
    found = confounds(captured(objectives.FeatureNorm())).parts["outputs"]
    np.testing.assert_allclose(found["loss gradient"], f.grad, atol=1e-6)
    assert {"logits", "features"} <= set(found)


def test_a_projection_is_read_at_both_temperatures() -> None:
    projection = torch.randn(N, 7, generator=torch.Generator().manual_seed(0))
    found = confounds(captured(outputs={"projection": projection}, objective="self-distillation"))
    for temperature in (0.1, 0.04):
        np.testing.assert_allclose(
            found.parts["outputs"][f"softmax of the projection at {temperature}"],
            (projection.double() / temperature).softmax(1),
        )
    assert "self-distillation" in found.missing["outputs/loss gradient"]


def test_labels_that_are_not_known_are_not_guessed() -> None:
    features = captured(objectives.CrossEntropy(LABELS), outputs={}, labels=None)
    found = confounds(features, outputs=logits())
    assert "loss gradient" not in found.parts["outputs"]
    assert "labels that the cross-entropy was with" in found.missing["outputs/loss gradient"]
    assert not any("1 - p" in name for name in found.parts["scaled activations"])


def test_scaled_activations_are_products_with_the_objectives_factors() -> None:
    features = captured(objectives.FeatureNorm())
    found = confounds(features).parts["scaled activations"]
    of_losses = confounds(replace(features, outputs={})).parts["scaled activations"]
    assert list(of_losses) == list(found)
    for name, values in of_losses.items():
        np.testing.assert_allclose(np.asarray(values), np.asarray(found[name]), rtol=1e-5)
    a = features["activation", "block"].double().numpy()
    norm = features.losses.double().numpy()
    np.testing.assert_allclose(found["block divided by the norm of the features"], a / norm[:, None], rtol=1e-6)
    unit = np.asarray(found["block of unit length"], dtype=np.float64)
    np.testing.assert_allclose(unit, a / np.linalg.norm(a, axis=1, keepdims=True), rtol=1e-6)
    scaled = found["block divided by the norm of the features"]
    np.testing.assert_allclose(
        np.asarray(scaled) @ np.asarray(scaled).T, (a @ a.T) * np.outer(scaled.factor, scaled.factor), rtol=1e-5
    )
    z = logits()
    of_classes = confounds(captured(), outputs=z).parts["scaled activations"]
    p = np.exp(z).max(1) / np.exp(z).sum(1)
    np.testing.assert_allclose(of_classes["block times 1 - p of the target"], a * (1 - p)[:, None], rtol=1e-5)


def test_labels_are_one_hot() -> None:
    names = np.array(["cat", "dog", "car"])[LABELS.numpy()]
    soft = np.random.default_rng(0).random((N, 2))
    found = confounds(captured(labels=LABELS), labels={"animal": names, "rating": soft}, outputs=logits()).parts
    labels = found["labels"]
    assert list(labels) == ["animal", "rating", "of the objective", "predicted class"]
    assert labels["animal"].shape == (N, 3)
    np.testing.assert_array_equal(labels["animal"].sum(1), 1)
    np.testing.assert_array_equal(labels["animal"] @ labels["animal"].T, np.equal.outer(names, names))
    np.testing.assert_array_equal(labels["rating"], soft)
    predicted = logits().argmax(1)
    np.testing.assert_array_equal(
        labels["predicted class"] @ labels["predicted class"].T, np.equal.outer(predicted, predicted)
    )
    np.testing.assert_array_equal(confounds(captured(), labels=names).parts["labels"]["given"], labels["animal"])


def test_image_statistics_are_z_scored_and_squared() -> None:
    table = image_statistics(IMAGES)
    found = confounds(captured(), IMAGES).parts["image statistics"]
    again = confounds(captured(), table).parts["image statistics"]
    assert list(found) == ["whole image", "whole image, squares", "cells", "cells, squares"]
    for name in found:
        np.testing.assert_array_equal(found[name], again[name])
        np.testing.assert_allclose(found[name].mean(0), 0, atol=1e-9)
        np.testing.assert_allclose(found[name].std(0), 1)
    of_cell = np.array([", cell " in name for name in table.statistic.to_numpy()])
    assert of_cell.sum() > 5 * (~of_cell).sum()
    for name, chosen in (("whole image", ~of_cell), ("cells", of_cell)):
        raw = table.to_numpy()[:, chosen]
        raw = raw[:, np.ptp(raw, axis=0) > 1e-9]  # the size does not vary
        expected = (raw - raw.mean(0)) / raw.std(0)
        np.testing.assert_allclose(found[name], expected, atol=1e-6)
        squares = found[f"{name}, squares"]
        correlation = [np.corrcoef(x**2, y)[0, 1] for x, y in zip(expected.T, squares.T, strict=True)]
        np.testing.assert_allclose(correlation, 1)
    unnamed = confounds(captured(), xr.DataArray(rand_statistics())).parts["image statistics"]
    assert list(unnamed) == ["whole image", "whole image, squares"]
    still = confounds(captured(), xr.DataArray(np.ones((N, 3))))
    assert "image statistics" not in still.parts
    assert "image statistics" in still.missing


def test_difficulty_is_nuisances_margin_and_certainty() -> None:
    features, z = captured(), logits()
    extra = xr.DataArray(np.random.default_rng(0).random((N, 2)), dims=("image", "nuisance"))
    found = confounds(features, nuisances=extra, outputs=z).parts["difficulty"]
    expected = nuisances(features).to_numpy()
    np.testing.assert_allclose(found["nuisances"], (expected - expected.mean(0)) / expected.std(0), atol=1e-9)
    assert found["nuisances given"].shape == (N, 2)
    ordered = np.sort(z, axis=1)
    margin = ordered[:, -1] - ordered[:, -2]
    certainty = np.exp(ordered[:, -1]) / np.exp(z).sum(1)
    for column, values in enumerate((margin, certainty)):
        assert np.corrcoef(values, found["margin and certainty"][:, column])[0, 1] == pytest.approx(1)


def test_an_image_without_a_gradient_has_a_loss_all_the_same() -> None:
    features = captured()
    arrays = {key: values.clone() for key, values in features.items()}
    arrays["gradient", "stem"][4] = 0
    found = confounds(replace(features, arrays=arrays))
    assert found.parts["difficulty"]["nuisances"].shape == (N, 2)  # loss and entropy
    assert np.corrcoef(found.parts["difficulty"]["nuisances"][:, 0], features.losses)[0, 1] == pytest.approx(1)
    assert "must not be zero, got that for image 4" in found.missing["difficulty/norms"]


def test_what_is_not_there_is_said() -> None:
    torch.manual_seed(1)
    features = capture(ConvNet().eval(), IMAGES, None, layers=["stem"], kinds=["activation"])
    found = confounds(features)
    assert list(found.parts) == ["activations", "scaled activations"]
    assert set(found.missing) == {
        "outputs", "outputs/loss gradient", "labels", "image statistics", "difficulty", "user",
    }  # fmt: skip


def test_some_images_in_another_order() -> None:
    found = confounds(captured(), IMAGES, outputs=logits())
    rows = np.array([7, 2, 2, 0])
    taken = found.take(rows)
    assert len(taken) == 4
    for part, matrices in found.parts.items():
        for name, values in matrices.items():
            np.testing.assert_array_equal(taken.parts[part][name], np.asarray(values)[rows])


BAD = np.full((N, 2), np.nan)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"images": IMAGES[:5]}, rf"images must be a floating-point matrix \[{N}, d\]"),
        ({"labels": np.arange(5)}, rf"labels 'given' must be \[{N}\]"),
        ({"labels": BAD[:, 0]}, "labels 'given' must be finite"),
        ({"nuisances": np.ones((5, 2))}, rf"nuisances must be a floating-point matrix \[{N}, d\]"),
        ({"nuisances": BAD}, "nuisances must be finite"),
        ({"outputs": np.ones((5, 4))}, rf"outputs must be a floating-point matrix \[{N}, d\]"),
        ({"outputs": BAD}, "outputs must be finite"),
        ({"user": {"arousal": np.ones(N)}}, r"user\['arousal'\] must be a floating-point matrix"),
        ({"user": {"arousal": BAD}}, r"user\['arousal'\] must be finite"),
    ],
)
def test_rows_and_numbers_are_checked(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"confounds: {message}"):
        confounds(captured(), **given)


def test_activations_are_needed_and_finite() -> None:
    features = captured()
    gradients = {key: values for key, values in features.items() if key[0] == "gradient"}
    with pytest.raises(ValueError, match="confounds: features must hold activations"):
        confounds(replace(features, arrays=gradients))
    arrays = {key: values.clone() for key, values in features.items()}
    arrays["activation", "block"][3, 2] = torch.inf
    with pytest.raises(ValueError, match="confounds: activations of 'block' must be finite"):
        confounds(replace(features, arrays=arrays))
