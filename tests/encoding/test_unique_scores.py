"""Unique variance of a study: the parts are those of `unique_variance`, and refusals have their reason."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from gradkern import Recording, Sketch, capture
from gradkern.cli import main
from gradkern.encoding import (
    UNIQUE_VARIABLES,
    FeatureSpace,
    UniqueVarianceSettings,
    join_captures,
    load_scores,
    unique_scores,
    unique_variance,
    unit_gradients,
)
from gradkern.errors import Refused
from gradkern.features import Features, load_features
from gradkern.recordings import save_recording
from gradkern.ridge import CrossValidation

N, V = 60, 4
CV = CrossValidation(folds=3, alphas=(0.01, 1.0, 100.0), seed=2)
FEW: dict[str, Any] = {"cv": CV, "band_weights": 3, "permutations": 19}
pytestmark = pytest.mark.usefixtures("one_thread")


def captured() -> dict[FeatureSpace, Any]:
    """Of two layers and models; gradients are nonlinear functions of the activations."""
    captures = []
    for number, model in enumerate(("net", "resnet")):
        random, arrays = np.random.default_rng(number), {}
        for layer in "ab":
            A = random.standard_normal((N, 6))
            arrays["activation", layer] = torch.from_numpy(A.astype(np.float32))
            arrays["gradient", layer] = torch.from_numpy(np.tanh(A @ random.standard_normal((6, 4))).astype(np.float32))
        captures.append(Features(arrays, torch.zeros(N), "loss", Sketch(64), "float32", facts={"model": model}))
    return join_captures(captures)


def brain(**changes: Any) -> Recording:
    random = np.random.default_rng(5)
    ids = np.tile(np.arange(N), 2)[::-1]
    X = captured()
    signal = sum(
        np.asarray(X[FeatureSpace("net", *name)]) @ random.standard_normal((width, V))
        for name, width in ((("none", "activation", "a"), 6), (("loss", "gradient", "a"), 4))
    )
    given = {
        "responses": (signal[ids] + random.standard_normal((len(ids), V))).astype(np.float32),
        "presentations": pd.DataFrame({"image": ids}),
        "targets": pd.DataFrame({"label": list("wxyz")}),
        "subject": "s",
        "units": "z",
    }
    return Recording(**(given | changes))


@pytest.mark.parametrize("given", ["all-layers", "same-layer"])
def test_parts_are_those_of_unique_variance_on_means_over_repeats(given: str) -> None:
    X, one = captured(), brain()
    found = unique_scores(X, X, one, UniqueVarianceSettings(given, **FEW, seed=2))
    assert found.feature.values.tolist() == [
        f"{model}/loss/gradient/{layer}" for model in ("net", "resnet") for layer in "ab"
    ]
    Y = np.stack([np.asarray(one.responses)[one.image_ids == image].mean(0) for image in range(N)])
    A = [np.asarray(X[FeatureSpace("net", "none", "activation", layer)]) for layer in "ab"]
    for layer, beside in (("a", A if given == "all-layers" else A[0]), ("b", A if given == "all-layers" else A[1])):
        G = np.asarray(X[FeatureSpace("net", "loss", "gradient", layer)])
        expected = unique_variance(
            G, beside, Y, band_weights=3, cv=CV, permutations=19, seed=2, target_groups={"all": range(V)}
        )
        here = found.sel(feature=f"net/loss/gradient/{layer}")
        test = expected.test
        parts = (
            expected.joint,
            expected.unique,
            expected.unique_covariates,
            expected.shared,
            test.r,
            test.p,
            test.p_max,
        )
        for name, values in zip(UNIQUE_VARIABLES, parts, strict=True):
            assert here[name].dims == ("target",)
            np.testing.assert_allclose(here[name], values, atol=1e-4, err_msg=name)
        assert here.beyond_p_pooled == test.target_groups["all"].p
    own = found.sel(feature="net/loss/gradient/a")
    np.testing.assert_allclose(own.unique_r2 + own.unique_covariates_r2 + own.shared_r2, own.joint_r2, atol=1e-6)
    assert own.unique_r2.mean() > 0.02
    stated = json.loads(found.attrs["unique"])
    assert stated["covariates"] == given
    assert (stated["images"], stated["repeats"], stated["smallest_p"]) == (N, [2, 2], 0.05)
    assert stated["rows_left"]["net/loss/gradient/a"] == N - 1 - (12 if given == "all-layers" else 6)


def test_targets_without_a_score_are_missing_and_said() -> None:
    X, one = captured(), brain().average_repeats()
    whole = unique_scores(X, X, one, UniqueVarianceSettings(**FEW))
    values = np.array(one.responses)
    values[:, 1], values[3, 2] = 4, np.nan
    with pytest.warns(UserWarning, match="2 of 4 targets of s are constant or not finite"):
        found = unique_scores(X, X, replace(one, responses=values), UniqueVarianceSettings(**FEW))
    assert found.joint_r2.isnull().any("feature").values.tolist() == [False, True, True, False]
    np.testing.assert_allclose(found.unique_r2[:, [0, 3]], whole.unique_r2[:, [0, 3]], atol=1e-5)
    np.testing.assert_array_equal(found.beyond_p[:, [0, 3]], whole.beyond_p[:, [0, 3]])
    with pytest.raises(ValueError, match="targets that are finite and vary, got none of 4"):
        unique_scores(X, X, replace(one, responses=0 * values), UniqueVarianceSettings(**FEW))


def test_a_gradient_that_is_refused_has_a_reason_and_no_number() -> None:
    X = captured()
    linear = np.asarray(X[FeatureSpace("net", "none", "activation", "a")])[:, :2]
    spaces = {FeatureSpace("net", "loss", "gradient", "a"): linear, **{k: v for k, v in X.items() if k.layer == "b"}}
    with pytest.warns(UserWarning, match="net/loss/gradient/a is NaN: .*must hold something that is no linear readout"):
        found = unique_scores(spaces, X, brain(), UniqueVarianceSettings(**FEW))
    assert found.unique_r2.isnull().all("target").values.tolist() == [True, False, False]
    assert "no linear readout" in json.loads(found.attrs["unique"])["refused"]["net/loss/gradient/a"]
    with pytest.raises(ValueError, match=r"n_components must be None or 1\.\.12"):
        unique_scores(X, X, brain(), UniqueVarianceSettings(n_components=13, **FEW))


def test_a_programming_error_is_no_refusal() -> None:
    """Only what the data cannot carry becomes NaN with a reason; any other ValueError ends the call."""

    @dataclass(frozen=True)
    class Broken:
        shape: tuple[int, int] = (N, 4)

        def __len__(self) -> int:
            return N

        def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
            raise ValueError("operands could not be broadcast together")

    X = captured()
    with pytest.raises(ValueError, match="operands could not be broadcast together") as raised:
        unique_scores(
            X | {FeatureSpace("net", "loss", "gradient", "b"): Broken()}, X, brain(), UniqueVarianceSettings(**FEW)
        )
    assert not isinstance(raised.value, Refused)


def test_what_refuses_every_gradient_is_raised() -> None:
    X = captured()
    constant = {FeatureSpace("net", "loss", "gradient", "a"): np.ones((N, 4))}
    with pytest.raises(Refused, match="X must vary over its rows"):
        unique_scores(constant, X, brain(), UniqueVarianceSettings(**FEW))


def test_images_shown_more_often_are_said() -> None:
    ids = np.concatenate([np.arange(N), np.arange(10)])
    one = brain(responses=np.asarray(brain().responses)[:70], presentations=pd.DataFrame({"image": ids}))
    spaces = {name: values for name, values in captured().items() if name.model == "net" and name.layer == "a"}
    with pytest.warns(UserWarning, match="images of s were shown 1 to 2 times"):
        unique_scores(spaces, spaces, one, UniqueVarianceSettings(**FEW))


X = captured()
REFUSED = (
    (lambda: UniqueVarianceSettings("layers"), "covariates must be one of same-layer, all-layers, got 'layers'"),
    (lambda: UniqueVarianceSettings(band_weights=0), "band_weights must be at least 1, got 0"),
    (lambda: UniqueVarianceSettings(permutations=0), "permutations must be at least 1, got 0"),
    (lambda: unique_scores({}, X, brain()), r"spaces must hold gradients, got only \[\]"),
    (lambda: unique_scores(X, {}, brain()), "must hold the activations of all layers for net/loss/gradient/a"),
    (lambda: unique_scores({name: values[:50] for name, values in X.items()}, X, brain()), "for 50 images"),
)


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_the_command_writes_the_parts_beside_the_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=3), torch.nn.Tanh(), torch.nn.Flatten(1))
    images = torch.randn(N, 3, 6, 6, generator=torch.Generator().manual_seed(0))

    def quartic(output: Any, batch: Any) -> Any:
        return output.pow(4).sum(1)

    capture(model, images, quartic, layers=["0", "1"], sketch=Sketch(64), out=tmp_path / "c", progress=False)
    save_recording(replace(brain(), targets=brain().targets.assign(unique_r2=1.5)), tmp_path / "s.h5")
    call = ["encode", "--features", str(tmp_path / "c"), "--recordings", str(tmp_path / "s.h5")]
    call += ["--output", str(tmp_path / "o"), "--folds", "3", "--layers", "1", "--controls", "image-permuted"]
    assert main([*call, "--axes", "9"]) == 2
    assert "--components must come with --unique" in capsys.readouterr().err
    asked = [*call, "--unique", "--permutations", "19", "--axes", "9"]
    assert main(asked) == 0
    assert "there; beyond activations: p " in capsys.readouterr().out
    scores = load_scores(tmp_path / "o")["s"].to_dataset()
    loaded = load_features(tmp_path / "c")
    joined = join_captures([loaded])
    gradient = FeatureSpace("Sequential", "quartic", "gradient", "1")
    how = UniqueVarianceSettings(cv=CrossValidation(folds=3), permutations=19, n_components=9)
    expected = unique_scores({gradient: unit_gradients(joined)[gradient]}, joined, brain(), how)
    for name in UNIQUE_VARIABLES:
        assert scores[name].dims == ("feature", "target")
        np.testing.assert_allclose(scores[name].sel(feature=str(gradient)), expected[name][0], atol=1e-5)
    assert scores.unique_r2.notnull().all("target").values.tolist() == [False, True, False]
    assert scores.kind.values.tolist() == ["activation", "gradient", "gradient/image-permuted"]
    assert scores.layer.values.tolist() == ["1"] * 3
    assert scores.target_unique_r2.values.tolist() == [1.5] * V
    assert json.loads(scores.attrs["unique"])["n_components"] == 9
    assert json.loads(scores.attrs["made_from"])["unique"]["covariates"] == "all-layers"
    assert main(asked) == 0
    assert "kept" in capsys.readouterr().out
    for other, message in (
        (call, "unique.n_components: 9, now null"),
        ([*asked, "--unique", "same-layer"], 'unique.covariates: "all-layers", now "same-layer"'),
        ([*asked, "--permutations", "39"], "unique.permutations: 19, now 39"),
    ):
        assert main(other) == 2
        assert message in capsys.readouterr().err
