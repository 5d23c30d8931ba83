"""Captures of several models and objectives as one set of feature spaces, named and selected after a file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from gradkern import Recording, capture, load_model
from gradkern.encoding import (
    FeatureSpace,
    is_up_to_date,
    join_captures,
    load_scores,
    save_scores,
    score,
    unit_gradients,
    unit_length,
)
from gradkern.features import Features, load_features
from gradkern.kernels import Sketch

N = 40
EARLIER = Path(__file__).parent / "earlier_scores"


def captured(objective: str = "square", model: str = "net", seed: int = 0, **facts: Any) -> Features:
    """Activations depend on the model alone, gradients on the objective too."""
    told = {"model": model, "weights": None, "depth": {"a": 0.0, "b": 1.0}, "images_sha256": "i", "model_sha256": model}
    arrays = {}
    for kind, key in (("activation", [seed, len(model)]), ("gradient", [seed, len(model), len(objective)])):
        random = np.random.default_rng(key)
        for layer in "ab":
            arrays[kind, layer] = torch.from_numpy(random.standard_normal((N, 64)).astype(np.float32))
    return Features(arrays, torch.zeros(N), objective, Sketch(64), "float32", facts=told | facts)


def brain(subject: str = "s", seed: int = 0, **columns: Any) -> Recording:
    random = np.random.default_rng(seed)
    return Recording(
        responses=random.standard_normal((N, 3)).astype(np.float32),
        presentations=pd.DataFrame({"image": np.arange(N)}),
        targets=pd.DataFrame({"label": list("xyz"), "roi": ["V1", "V1", "V4"], **columns}),
        subject=subject,
        units="z",
    )


def test_models_and_objectives_side_by_side_and_activations_once() -> None:
    first, second, other = captured(), captured("entropy"), captured("entropy", "resnet")
    joined = join_captures([first, second, other])
    expected = [
        *[f"net/none/activation/{layer}" for layer in "ab"],
        *[f"net/{objective}/gradient/{layer}" for objective in ("square", "entropy") for layer in "ab"],
        *[f"resnet/{what}/{layer}" for what in ("none/activation", "entropy/gradient") for layer in "ab"],
    ]
    assert [str(space) for space in joined] == expected
    assert joined[FeatureSpace("net", "entropy", "gradient", "b")] is second["gradient", "b"]
    assert joined[FeatureSpace("net", "none", "activation", "a")] is first["activation", "a"]
    assert [space.depth for space in joined] == [0, 1] * 5
    untrained = join_captures([first, captured(weights="random", model_sha256="r")])
    assert "net, untrained/square/gradient/a" in map(str, untrained)


def test_rounding_of_other_batches_is_no_other_activation() -> None:
    first, second = captured(), captured("entropy")
    near = {key: value * (1 + 5e-6) for key, value in second.items()}
    assert len(join_captures([first, replace(second, arrays=near)])) == 6
    far = {key: value.clone() for key, value in second.items()}
    far["activation", "b"][7] *= 1.001
    with pytest.raises(
        ValueError, match=r"must be the same, got others at net/none/activation/b \(an image's differ by 1"
    ):
        join_captures([first, replace(second, arrays=far)])
    loose = replace(second, arrays=far, facts={**second.facts, "alone_against_batch": 4e-4})
    assert len(join_captures([first, loose])) == 6


def test_unit_gradients_are_read_when_asked_for() -> None:
    joined = join_captures([captured()])
    unit = unit_gradients(joined)
    gradient, activation = (
        FeatureSpace("net", "square", "gradient", "a"),
        FeatureSpace("net", "none", "activation", "a"),
    )
    assert unit[activation] is joined[activation]
    assert unit[gradient].shape == (N, 64)
    assert len(unit[gradient]) == N
    np.testing.assert_array_equal(np.asarray(unit[gradient]), unit_length(joined[gradient].numpy()))


def test_features_are_selected_by_what_they_are_after_a_file(tmp_path: Path) -> None:
    joined = join_captures([captured(), captured("entropy"), captured("entropy", "resnet")])
    for subject in ("s1", "s2"):
        recording = brain(subject, seed=int(subject[1]), depth=[0.1, 0.2, 0.3])
        save_scores(score(joined, recording), tmp_path / f"{subject}.nc", {"subject": subject})
    scores = load_scores(tmp_path)
    assert list(scores.children) == ["s1", "s2"]
    expected = score(joined, brain("s2", 2))
    for tree in (scores, _as_one_file(scores, tmp_path / "all" / "study.nc")):
        table = tree["s2"].to_dataset().set_index(feature=["model", "objective", "kind", "layer"])
        of_net = table.r.sel(model="net", objective="entropy", kind="gradient")
        assert of_net.layer.values.tolist() == ["a", "b"]
        np.testing.assert_array_equal(
            of_net, expected.r.sel(feature=["net/entropy/gradient/a", "net/entropy/gradient/b"])
        )
        whole = tree["s2"].to_dataset()
        assert whole.r.where(whole.kind == "activation", drop=True).sizes["feature"] == 4
        assert whole.depth.values.tolist() == [0, 1] * 5
        # a recording's own column of that name stays, under another
        assert whole.target_depth.values.tolist() == [0.1, 0.2, 0.3]
        assert whole.roi.values.tolist() == ["V1", "V1", "V4"]
        assert whole.r.dims == ("feature", "fold", "target")


def _as_one_file(scores: xr.DataTree, path: Path) -> xr.DataTree:
    path.parent.mkdir()
    scores.to_netcdf(path, engine="h5netcdf")
    return load_scores(path)


def test_a_capture_says_what_it_is_of(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(1))
    images = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for name, seen in (("one", images), ("two", images), ("three", images.flip(0))):
        capture(model, seen, None, layers=["0"], kinds=["activation"], out=tmp_path / name, progress=False)
    one, two, three = (load_features(tmp_path / name) for name in ("one", "two", "three"))
    assert one.facts["model"] == "Sequential"
    assert one.facts["depth"] == {}
    assert one.facts["objective_facts"] == {}
    assert [str(space) for space in join_captures([one, two])] == ["Sequential/none/activation/0"]
    assert all(np.isnan(space.depth) for space in join_captures([one]))
    with pytest.raises(ValueError, match="captures of 'Sequential' must be of the same images, got others"):
        join_captures([one, three])
    with torch.no_grad():
        model[0].weight.mul_(2)
    capture(model, images, None, layers=["0"], kinds=["activation"], out=tmp_path / "changed", progress=False)
    changed = load_features(tmp_path / "changed")
    with pytest.raises(ValueError, match="two models must have two names, got 'Sequential' for both"):
        join_captures([one, changed])
    assert len(join_captures([one, changed], ["first", "second"])) == 2


@pytest.mark.parametrize("path", sorted(EARLIER.glob("*.nc")), ids=lambda path: path.stem)
def test_scores_of_every_version_are_read(path: Path) -> None:
    scores = load_scores(path).to_dataset()
    assert scores.unique_covariates_r2.values.tolist() == [0.5, 0.25]
    assert scores.attrs["subject"] == "s"
    assert load_scores(path.parent)[path.stem].unique_covariates_r2.values.tolist() == [0.5, 0.25]


def test_scores_say_their_version_and_those_of_a_later_one_are_refused(tmp_path: Path) -> None:
    scores = xr.Dataset({"r": ("feature", [1.0])}, coords={"feature": ["x"]})
    save_scores(scores, tmp_path / "s.nc", {})
    attributes = load_scores(tmp_path / "s.nc").attrs
    assert attributes["format"] == "gradkern scores"
    newest = int(attributes["version"])
    assert {path.stem for path in EARLIER.glob("*.nc")} == {f"version-{i}" for i in range(1, newest + 1)}
    scores.assign_attrs(format="gradkern scores", version=newest + 1).to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    message = rf"load_scores: path .*version {newest} or earlier, got version {newest + 1}"
    for source in (tmp_path, tmp_path / "s.nc"):
        with pytest.raises(ValueError, match=message):
            load_scores(source)


def test_files_of_earlier_versions_are_read_under_the_present_names(tmp_path: Path) -> None:
    former = xr.Dataset({"unique_given_r2": ("feature", [1.0])}, coords={"feature": ["x"]}, attrs={"subject": "s"})
    save_scores(former, tmp_path / "s.nc", {})
    scores = load_scores(tmp_path)
    former.to_netcdf(tmp_path / "one.study", engine="h5netcdf")
    assert scores["s"].unique_covariates_r2.values == [1.0]
    assert scores["s"].attrs["subject"] == "s"
    alone = load_scores(tmp_path / "one.study")
    assert alone.unique_covariates_r2.values == [1.0]
    assert alone.attrs["subject"] == "s"


def test_files_of_scores_are_known_again(tmp_path: Path) -> None:
    scores = xr.Dataset({"r": ("feature", [1.0])}, coords={"feature": ["x"]})
    path, made_from = tmp_path / "s.nc", {"captures": [{"sketch": [1, 2]}], "how": "x" * 500}
    assert not is_up_to_date(path, made_from)
    save_scores(scores, path, made_from)
    assert is_up_to_date(path, {"captures": [{"sketch": (1, 2)}], "how": "x" * 500})
    with pytest.raises(
        FileExistsError, match=r'\(--overwrite replaces it\): captures\.0\.sketch\.1: 2, now 3; how: "x+\.\.\., now "y"'
    ):
        is_up_to_date(path, {"captures": [{"sketch": [1, 3]}], "how": "y"})
    save_scores(scores + 1, path, made_from)
    assert load_scores(tmp_path)["s"].r.values == [2.0]
    assert sorted(tmp_path.iterdir()) == [path]
    for name, write in (
        ("text", lambda p: p.write_text("no netCDF")),
        ("other", lambda p: scores.to_netcdf(p, engine="h5netcdf")),
    ):
        write(tmp_path / name)
        with pytest.raises(FileExistsError, match=f"{name} must be a file of save_scores, got another"):
            is_up_to_date(tmp_path / name, made_from)


ONE, OTHER = captured(), captured("entropy")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: join_captures([]), "captures must be at least one, got none"),
        (lambda: join_captures([ONE], ["a", "b"]), r"models must be 1 names, one a capture, got \['a', 'b'\]"),
        (lambda: join_captures([ONE], "a"), "models must be 1 names, one a capture, got 'a'"),
        (lambda: join_captures([replace(ONE, facts={})]), r"models must be named, got captures \[0\] that do not tell"),
        (lambda: join_captures([ONE, replace(OTHER, losses=torch.zeros(9))]), r"as many images, got \[40, 9\]"),
        (lambda: join_captures([ONE, ONE]), "a gradient must come once, got net/square/gradient/a"),
        (
            lambda: join_captures([ONE, replace(OTHER, sketch=Sketch(64, seed=1))]),
            r"got others at net/none/activation/a \(sketch Sketch\(k=64, seed=0, .* and Sketch\(k=64, seed=1",
        ),
        (lambda: join_captures([ONE, replace(OTHER, tokens="mean")]), r"\(tokens 'all' and 'mean'\)"),
        (
            lambda: score({1: np.ones((N, 2)), "1": np.ones((N, 2))}, brain()),
            r"score: features must have different names, got \['1'\] more than once",
        ),
    ],
)
def test_what_cannot_be_joined_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_missing_files_of_scores_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"load_scores: path must be a folder of \.nc files, got none"):
        load_scores(tmp_path)
    with pytest.raises(FileNotFoundError, match="load_scores: path must be a folder or a file of scores"):
        load_scores(tmp_path / "none.nc")
    with pytest.raises(FileNotFoundError, match="save_scores: path must lie in a folder that exists"):
        save_scores(xr.Dataset(), tmp_path / "no" / "s.nc", {})


def test_a_loaded_model_tells_its_name_and_depths() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    model = load_model("efficientnet-lite0", "random")
    images = torch.randn(2, 3, 32, 32)
    found = capture(model, images, None, layers=["blocks.0", "blocks.15"], kinds=["activation"], progress=False)
    spaces = list(join_captures([found]))
    assert [str(space) for space in spaces] == [
        f"efficientnet-lite0, untrained/none/activation/blocks.{number}" for number in (0, 15)
    ]
    assert [space.depth for space in spaces] == [0, 1]
