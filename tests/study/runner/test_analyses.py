"""Unique variance, permutations, maps and figures as tasks of a study."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradkern.cli import main
from gradkern.encoding import FeatureSpace, PermutationSettings, permutation_scores, unit_gradients
from gradkern.errors import Refused
from gradkern.features import capture
from gradkern.kernels import Sketch
from gradkern.objectives import FeatureNorm
from gradkern.recordings import Recording, load_recording, save_recording
from gradkern.ridge import CrossValidation
from gradkern.study.runner import make_plan, read_run, run
from tests.small_studies import IMAGES, STUDY, picture, small_study, toy

ANALYSES = """\
[analyses]
unique = {n_components = 3, band_weights = 2, permutations = 19}
permutations = {permutations = 19}
maps = {stats = ["r", "unique_r2"]}
figures = true
"""
SMALL = ["objectives={norm='FeatureNorm'}", "recordings={first='first.h5', sensors='sensors.h5'}"]
TIMES = [0.1, 0.2]


def save_sensors(path: Path) -> None:
    sensors = ["MEG0111", "MEG0121", "MEG0131", "MEG0141"]
    recording = Recording(
        np.random.default_rng(5).standard_normal((IMAGES, 8)).astype(np.float32),
        pd.DataFrame({"image": range(IMAGES)}),
        pd.DataFrame(
            {
                "label": [f"{sensor} {time}" for sensor in sensors for time in TIMES],
                "sensor": np.repeat(sensors, 2),
                "time": TIMES * 4,
            }
        ),
        subject="sensors",
        units="T",
        image_names=tuple(f"{i:03}.png" for i in range(IMAGES)),
    )
    save_recording(recording, path)


def quiet(line: str) -> None:
    """Say nothing."""


def finished(path: Path, *changes: str) -> Path:
    result = run(path, models={"toy": toy()}, changes=[*SMALL, *changes], say=quiet)
    assert not result.failed
    return result.folder


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = small_study(tmp_path_factory.mktemp("analyses") / "lab", STUDY + ANALYSES)
    save_sensors(path.parent / "sensors.h5")
    return path


@pytest.fixture(scope="module")
def folder(path: Path) -> Path:
    pytest.importorskip("mne", reason="maps of sensors need mne")
    return finished(path, "encode.block=5")


def kinds(path: Path, *changes: str) -> dict[str, str]:
    return {task.name: task.kind for task in make_plan(read_run(path, [*SMALL, *changes]), {"toy": toy()}).missing}


def test_tables_of_blocks_are_those_of_all_targets(path: Path, folder: Path, tmp_path: Path) -> None:
    lines = ["analyses.maps=false", "analyses.figures=false", f"images={{pictures='{path.parent / 'pictures'}'}}"]
    whole = run(path, models={"toy": toy()}, changes=[*SMALL, *lines], folder=tmp_path / "whole", say=quiet).folder
    for name in ("unique.csv", "permutations.csv"):
        in_blocks, at_once = pd.read_csv(folder / name), pd.read_csv(whole / name)
        assert list(in_blocks) == list(at_once)
        for column in at_once:
            if at_once[column].dtype.kind == "f":
                np.testing.assert_allclose(in_blocks[column], at_once[column], atol=1e-4, err_msg=column)
            else:
                assert list(in_blocks[column]) == list(at_once[column])


def test_the_test_is_the_one_that_a_lab_would_call(path: Path, folder: Path) -> None:
    model = toy()
    images = model.spec.preprocess([picture(number) for number in range(IMAGES)])
    captured = capture(model, images, FeatureNorm(), layers=["blocks.0", "blocks.2"], sketch=Sketch(64), progress=False)
    spaces = {FeatureSpace("toy", "norm", kind, layer): captured[kind, layer] for kind, layer in captured}
    cv = CrossValidation(folds=3, alphas=(0.1, 10.0))
    recording = load_recording(path.parent / "first.h5")
    found = permutation_scores(unit_gradients(spaces), recording, PermutationSettings(cv, 19))
    table = pd.read_csv(folder / "permutations.csv").set_index(["recording", "kind", "layer"])
    for feature in range(4):
        one = found.isel(feature=feature)
        row = table.loc["first", one.kind.item(), one.layer.item()]
        assert row["permutation_r_pooled"] == pytest.approx(one.permutation_r_pooled.item(), abs=1e-3)
        assert row["permutation_p_pooled"] == pytest.approx(one.permutation_p_pooled.item(), abs=0.051)


def test_maps_and_figures_are_where_the_report_says(folder: Path) -> None:
    maps = {path.name for path in (folder / "maps" / "toy" / "norm" / "sensors").iterdir()}
    assert any("stat-r_desc-gradientNormToy" in name and name.endswith("-ave.fif") for name in maps)
    assert any("stat-uniqueR2" in name for name in maps)
    assert not (folder / "maps" / "toy" / "norm" / "first").exists()
    figures = folder / "figures" / "toy" / "norm" / "pictures"
    assert {path.name for path in figures.glob("fmri/*.svg")} >= {"depth.svg", "regions.svg", "shares.svg"}
    assert {path.name for path in figures.glob("meg/*.svg")} >= {"times.svg", "layers_times.svg"}
    depth = pd.read_csv(figures / "fmri" / "depth.csv")
    assert set(depth["kind"]) == {"activation", "gradient"}
    scores = pd.read_csv(folder / "scores.csv").query("recording == 'first'").set_index(["kind", "layer"])
    for row in depth.itertuples():
        assert row.r == pytest.approx(scores.loc[(row.kind, row.layer), "r"], abs=1e-5)


def test_only_what_a_setting_changes_runs_again(path: Path, folder: Path) -> None:
    assert kinds(path, "encode.block=5") == {}
    again = kinds(path, "encode.block=5", "analyses.permutations={permutations=29}")
    assert set(again.values()) == {"permutations"}
    again = kinds(path, "encode.block=5", "analyses.unique.seed=1")
    assert set(again.values()) == {"unique", "maps", "figures"}
    assert not any("/none/" in name for name in again)
    again = kinds(path, "encode.block=5", "analyses.maps={stats=['best-r']}")
    assert set(again.values()) == {"maps"}
    assert set(kinds(path, "encode.block=5", "encode.folds=4").values()) == {
        "fit", "unique", "permutations", "maps", "figures",
    }  # fmt: skip


def test_what_cannot_be_told_is_a_row_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = small_study(tmp_path / "lab", STUDY + "[analyses]\nunique = {permutations = 19, band_weights = 2}\n")
    changes = ["objectives={norm='FeatureNorm'}", "recordings={first='first.h5'}"]
    said: list[str] = []
    result = run(path, models={"toy": toy()}, changes=changes, say=said.append)
    assert not result.failed
    assert any("128 columns of activations of toy leave no at least 20 rows" in line for line in said)
    table = pd.read_csv(result.folder / "unique.csv")
    assert table["why"].str.contains("must leave at least 20 of the rows").all()
    with pytest.raises(Refused, match=r"analyses.unique must have .*got n_components 4; up to 3"):
        make_plan(read_run(path, [*changes, "analyses.unique.n_components=4"]))
    words = [word for change in changes for word in ("--set", change)]
    assert main(["run", str(path), "--dry-run", *words, "--set", "analyses.unique.n_components=4"]) == 2
    assert "up to 3 leave them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("analyses={maps=true, encode=false}", r"analyses.maps must be left out where encode is false"),
        ("analyses={uniqe=true}", r"did you mean 'unique'"),
        ("analyses={unique={covariate='all-layers'}}", r"did you mean 'covariates'"),
        ("analyses={unique={covariates='some'}}", r"analyses.unique.covariates must be one of all-layers, same-layer"),
        ("analyses={permutations={permutations=0}}", r"analyses.permutations.permutations must be a whole number of"),
        ("analyses={permutations=3}", r"analyses.permutations must be true or false, or a table"),
        ("analyses={figures={}}", r"analyses.figures must be true or false"),
        ("analyses={maps={stats=['rr']}}", r"analyses.maps.stats must be some of best-r, "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(path: Path, change: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_run(path, [change])


def test_blocks_without_a_target_that_varies_are_left_out_and_said(tmp_path: Path) -> None:
    path = small_study(tmp_path / "lab", STUDY + "[analyses]\nencode = false\npermutations = {permutations = 19}\n")
    recording = load_recording(path.parent / "first.h5")
    responses = np.array(recording.responses)
    responses[:, :6] = 1.0
    save_recording(replace(recording, responses=responses), path.parent / "first.h5", overwrite=True)
    changes = ["objectives={norm='FeatureNorm'}", "recordings={first='first.h5'}", "encode.block=6"]
    result = run(path, models={"toy": toy()}, changes=changes, only="permutations/toy/none/*", say=quiet)
    assert not result.failed
    table = pd.read_csv(result.folder / "permutations.csv")
    assert list(table["targets"].dropna()) == [6, 6]
    assert table["why"].str.contains("that are finite and vary").sum() == 1
