"""`gradkern encode` and `gradkern similarity`: from folders of captures and saved recordings to files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from gradkern import Sketch, capture
from gradkern.cli import main
from gradkern.encoding import DimensionMatching, load_scores, save_scores, score, unit_length
from gradkern.features import load_features
from gradkern.recordings import save_recording
from gradkern.ridge import CrossValidation
from tests.fake_datasets.captures_and_recordings import IMAGES, arguments, recording, write


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("study"))


class TestEncode:
    def test_a_file_of_scores_a_recording(
        self, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(arguments(folders, tmp_path / "scores", "--roi", "V1", "--folds", "3")) == 0
        said = capsys.readouterr().out
        assert "s2: 6 feature spaces, 3 targets" in said
        assert "Sequential, gradient of _cube" in said
        assert "the best of 2 layers" in said
        scores = load_scores(tmp_path / "scores")
        assert list(scores.children) == ["s1", "s2"]
        found = scores["s2"].to_dataset().set_index(feature=["objective", "kind", "layer"]).r
        loaded = load_features(folders / "cube")
        spaces = {"g": unit_length(loaded["gradient", "1"].numpy()), "a": loaded["activation", "0"]}
        expected = score(spaces, recording("sub 2", 2).roi("V1"), CrossValidation(folds=3)).r
        for name, key in (("g", ("_cube", "gradient", "1")), ("a", ("none", "activation", "0"))):
            np.testing.assert_allclose(found.sel(feature=key), expected.sel(feature=name), atol=1e-6)
        made_from = json.loads(scores["s2"].attrs["made_from"])
        assert made_from["gradients"] == "of unit length"
        assert [each["objective"] for each in made_from["captures"]] == ["_square", "_cube"]
        assert made_from["captures"][0]["sketch_k"] == 64
        assert made_from["captures"][0]["images_sha256"] == made_from["captures"][1]["images_sha256"]
        assert scores["s2"].attrs["subject"] == "sub 2"
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["s1.nc", "s2.nc", "scores"]

    def test_a_file_holds_one_float32_a_score_and_the_rest_is_derived(self, folders: Path, tmp_path: Path) -> None:
        brain = recording("sub 1", 1)
        values = np.array(brain.responses)
        values[0, 1] = values[3, 3] = np.nan  # targets that are scored after all others
        save_recording(replace(brain, responses=values), tmp_path / "s.h5")
        file = tmp_path / "scores" / "s.nc"
        assert main(["encode", "--features", str(folders / "cube"), "--recordings", str(tmp_path / "s.h5"),
                     "--output", str(tmp_path / "scores"), "--match", "64", "--seeds", "5", "7"]) == 0  # fmt: skip
        with xr.open_dataset(file, engine="h5netcdf") as stored:
            large = {name: array for name, array in stored.data_vars.items() if {"fold", "target"} <= {*array.dims}}
            assert sorted(large) == ["r", "r2", "r2_matched", "r_matched"]
            assert {array.dtype for array in large.values()} == {np.dtype(np.float32)}
        scores = load_scores(tmp_path / "scores")["s"].to_dataset()
        loaded = load_features(folders / "cube")
        spaces = {key: unit_length(X.numpy()) if key[0] == "gradient" else X.numpy() for key, X in loaded.items()}
        with pytest.warns(UserWarning, match="2 of 5 targets"):
            expected = score(spaces, replace(brain, responses=values), CrossValidation(), DimensionMatching(64, (5, 7)))
        order = dict(zip(zip(scores.kind.values, scores.layer.values, strict=True), range(4), strict=True))
        rows = [order[key] for key in spaces]
        for name in ("r", "r2", "r_matched", "r2_matched", "r_normalised", "r2_normalised", "noise_ceiling"):
            found = scores[name].isel(feature=rows) if "feature" in scores[name].dims else scores[name]
            np.testing.assert_allclose(found, expected[name], atol=1e-6)
        assert 0 < int(expected.r.isnull().sum()) < expected.r.size
        with np.errstate(invalid="ignore"):
            part = (
                scores.r[1, 2, [3, 0]].values / np.where(scores.noise_ceiling > 0, scores.noise_ceiling, np.nan)[[3, 0]]
            )
        np.testing.assert_array_equal(scores.r_normalised[1, 2, [3, 0]], part)
        save_scores(expected, tmp_path / "again.nc", {})
        with xr.open_dataset(tmp_path / "again.nc", engine="h5netcdf") as stored:
            assert "r_normalised" not in stored
        np.testing.assert_array_equal(load_scores(tmp_path / "again.nc")["r_normalised"], expected.r_normalised)

    def test_following_the_advice_about_repeats_keeps_every_noise_ceiling(
        self, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        brain, advice = recording("sub 3", 3), "average_repeats() before save_recording makes this faster"
        for name, made in (("single", brain), ("mean", brain.average_repeats()), ("zscored", brain.zscore())):
            save_recording(made, tmp_path / f"{name}.h5")
            call = ["encode", "--features", str(folders / "square"), "--recordings", str(tmp_path / f"{name}.h5"),
                    "--output", str(tmp_path / "scores"), "--folds", "2", "--kinds", "activation"]  # fmt: skip
            assert main(call) == 0
            assert (advice in capsys.readouterr().out) == (name != "mean")
        main([*call, "--by", "session", "--overwrite"])  # which means do not have
        assert advice not in capsys.readouterr().out
        ceilings = [load_scores(tmp_path / "scores")[name]["noise_ceiling"] for name in ("single", "mean")]
        assert np.isfinite(ceilings[0]).any()
        np.testing.assert_array_equal(np.isnan(ceilings[0]), np.isnan(ceilings[1]))

    def test_what_is_done_is_kept_and_what_failed_is_gone_on_with(
        self, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        study, scores = write(tmp_path), tmp_path / "scores"
        call = arguments(study, scores, "--kinds", "activation", "--folds", "2")
        whole = (study / "s2.h5").read_bytes()
        broken = recording("sub 2", 2)
        values = np.array(broken.responses)
        values[3, 2] = np.inf
        save_recording(replace(broken, responses=values), study / "s2.h5", overwrite=True)
        assert main(call) == 2
        assert "responses must be finite" in capsys.readouterr().err
        assert [path.name for path in scores.iterdir()] == ["s1.nc"]
        before = (scores / "s1.nc").stat().st_mtime_ns
        (study / "s2.h5").write_bytes(whole)
        assert main(call) == 0
        printed = capsys.readouterr().out
        assert f"s1: kept {scores / 's1.nc'}, which was made from the same" in printed
        assert "s2: 2 feature spaces, 5 targets" in printed
        assert "s1: 2 feature spaces" not in printed
        assert (scores / "s1.nc").stat().st_mtime_ns == before
        assert main([*call, "--seed", "1"]) == 2
        assert (
            "s1.nc was made from something else (--overwrite replaces it): held_out.seed: 0, now 1\n"
            in capsys.readouterr().err
        )
        assert main([*call, "--raw-gradients"]) == 2
        assert 'gradients: "of unit length", now "raw"' in capsys.readouterr().err
        assert (scores / "s1.nc").stat().st_mtime_ns == before
        assert main([*call, "--seed", "1", "--overwrite"]) == 0
        assert capsys.readouterr().out.count("2 feature spaces, 5 targets") == 2
        assert json.loads(load_scores(scores)["s1"].attrs["held_out"])["seed"] == 1

    def test_alphas_at_an_edge_of_the_grid_are_counted_and_printed(
        self, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Responses are noise, so that most targets choose the largest penalty."""
        assert main(arguments(folders, tmp_path / "o", "--folds", "2", "--alphas", "1", "10", "100")) == 0
        printed = capsys.readouterr().out
        scores = load_scores(tmp_path / "o")["s1"]
        assert scores["targets_at_largest_alpha"].dims == ("feature", "fold")
        largest, lowest = (int(scores[f"targets_at_{edge}_alpha"].sum()) for edge in ("largest", "lowest"))
        assert largest > 0.5 * scores["r"].size
        assert (
            f"alpha: {lowest / scores['r'].size:.0%} of the choices are the lowest and "
            f"{largest / scores['r'].size:.0%} the largest of 3 penalties (1 to 100)" in printed
        )
        assert main(arguments(folders, tmp_path / "one", "--folds", "2", "--alphas", "1")) == 0
        assert "of the choices are" not in capsys.readouterr().out  # of one penalty there is none

    def test_bad_calls_write_nothing(self, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "s1.h5").write_bytes((folders / "s1.h5").read_bytes())
        same = ["encode", "--features", str(folders / "cube"), "--output", str(tmp_path / "o"), "--recordings"]
        for call, message in (
            (
                arguments(folders, tmp_path / "o", "--kinds", "weight_gradient"),
                "--kinds must be some of activation, gradient",
            ),
            (arguments(folders, tmp_path / "o", "--layers", "2"), "--layers must be some of 0, 1, got '2'"),
            (arguments(folders, tmp_path / "o", "--models", "a"), "models must be 2 names"),
            (arguments(folders, tmp_path / "o", "--match", "32"), "DimensionMatching: k must be at least 64, got 32"),
            (arguments(folders, tmp_path / "o", "--match", "64", "--seeds", "1", "0"), "got 0 among [1, 0]"),
            (
                arguments(folders, tmp_path / "o", "--match", "65"),
                "width of every feature space, got 65 and 64 of 'Sequ",
            ),
            (arguments(folders, tmp_path / "o", "--seeds", "1"), "--seeds must come with --match"),
            (
                arguments(folders, tmp_path / "o", "--controls", "shuffled"),
                "controls must be some of raw, unit-length, ",
            ),
            (
                arguments(folders, tmp_path / "o", "--controls", "raw", "--raw-gradients"),
                "are with --raw-gradients, got",
            ),
            (
                arguments(folders, tmp_path / "o", "--controls", "raw", "--kinds", "activation"),
                "must hold gradients, got",
            ),
            (arguments(folders, tmp_path / "no" / "o"), "no is not a folder"),
            (
                [*same, str(folders / "s1.h5"), str(tmp_path / "other" / "s1.h5")],
                "--recordings must have different names",
            ),
            ([*same, str(folders / "square")], "path must be a file"),
        ):
            assert main(call) == 2
            assert message in capsys.readouterr().err
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["other", "s1.h5"]

    def test_kinds_and_layers_that_never_meet_are_refused(
        self, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(1), torch.nn.Tanh())
        images = torch.randn(IMAGES, 3, 8, 8)
        capture(model, images, None, layers=["1", "2"], kinds=["activation"], out=tmp_path / "c", progress=False)
        loaded = [str(tmp_path / "c"), str(folders / "square")]
        call = ["encode", "--features", *loaded, "--recordings", str(folders / "s1.h5"), "--models", "x", "y"]
        state = json.loads((folders / "square" / "capture.json").read_text())
        assert state["facts"]["model"] == "Sequential"
        both = ["--kinds", "gradient", "--layers", "1", "--output", str(tmp_path / "o")]
        assert main([*call, *both, "--folds", "2"]) == 0
        assert load_scores(tmp_path / "o")["s1"].feature.values.tolist() == ["y/_square/gradient/1"]
        assert main([*call, "--kinds", "gradient", "--layers", "2", "--output", str(tmp_path / "none")]) == 2
        assert "no features are of kinds ['gradient'] and layers ['2'] at once" in capsys.readouterr().err
        assert not (tmp_path / "none").exists()


def test_a_capture_that_is_missing_or_not_finished_is_refused(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"load_features: folder must hold capture\.json"):
        load_features(tmp_path)
    state = json.loads((folders / "cube" / "capture.json").read_text())
    (tmp_path / "capture.json").write_text(json.dumps(state | {"done": 10}))
    with pytest.raises(ValueError, match="must be finished, got 10 of 30 images"):
        load_features(tmp_path)


def test_loaded_features_are_those_captured(folders: Path) -> None:
    loaded = load_features(folders / "square")
    assert list(loaded) == [("activation", "0"), ("activation", "1"), ("gradient", "0"), ("gradient", "1")]
    assert loaded.sketch == Sketch(64)
    assert loaded.objective == "_square"
    assert loaded.losses.shape == (IMAGES,)


def test_similarity_of_all_subjects_in_one_file_with_best_layers_beside(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import xarray as xr

    few = ["--folds", "2", "--kinds", "gradient"]
    assert main(arguments(folders, tmp_path / "scores", *few)) == 0
    more = [
        "--permutations",
        "19",
        "--kinds",
        "gradient",
        "--distance",
        "euclidean",
        "--scores",
        str(tmp_path / "scores"),
    ]
    call = arguments(folders, tmp_path / "similar.nc", *more, command="similarity")
    capsys.readouterr()
    assert main(call) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0].split() == ["subject", "roi", "model", "objective", "kind", "rsa", "cka", "r"]
    assert len(said.splitlines()) == 1 + 2 * 2 * 2 + 1
    with xr.open_dataset(tmp_path / "similar.nc", engine="h5netcdf") as found:
        assert dict(found.rsa.sizes) == {"subject": 2, "feature": 4, "roi": 2}
        assert found.channels.values.tolist() == [[3, 1], [3, 1]]
        assert found.attrs["distance"] == "euclidean"
    assert main(call) == 0
    again = capsys.readouterr().out
    assert "kept" in again
    assert again.splitlines()[1:] == said.splitlines()  # best layers are told of what was kept as well
    assert main([*call, "--seed", "3"]) == 2
    assert "(--overwrite replaces it): how.seed: 0, now 3\n" in capsys.readouterr().err
    assert main([*call, "--seed", "3", "--overwrite", "--by", "time"]) == 2
    assert "'time' must be known" in capsys.readouterr().err


def test_the_best_layers_are_of_the_scores_of_these_recordings(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scores of another recording of the same subject, such as MEG beside fMRI, may lie in the folder."""
    again = tmp_path / "again.h5"
    again.write_bytes((folders / "s1.h5").read_bytes())
    shared = ["--features", str(folders / "cube"), "--kinds", "gradient"]
    call = ["encode", *shared, "--recordings", str(folders / "s1.h5"), str(again), "--folds", "2"]
    assert main([*call, "--output", str(tmp_path / "scores")]) == 0
    similar = ["similarity", *shared, "--recordings", str(folders / "s1.h5"), "--permutations", "19"]
    similar += ["--distance", "euclidean", "--output", str(tmp_path / "s.nc"), "--scores"]
    capsys.readouterr()
    assert main([*similar, str(tmp_path / "scores")]) == 0
    of_folder = capsys.readouterr().out.splitlines()
    assert of_folder[-1].startswith("RSA and CKA with 1 subject, ")
    assert main([*similar, str(tmp_path / "scores" / "s1.nc")]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == of_folder
