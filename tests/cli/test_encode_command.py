"""`gradkern encode` and `gradkern similarity`: from folders of captures and saved recordings to files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from gradkern import Recording, Sketch, capture
from gradkern.cli import main
from gradkern.encoding import load_scores, score, unit_length
from gradkern.features import load_features
from gradkern.recordings import save_recording
from gradkern.ridge import CrossValidation
from gradkern.study import _encode as encode

IMAGES = 30


def _square(output: Any, batch: Any) -> Any:
    return output.square().sum(1)


def _cube(output: Any, batch: Any) -> Any:
    return output.pow(3).sum(1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captures "square" and "cube" of one model, and recordings of two subjects."""
    place = tmp_path_factory.mktemp("study")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(1))
    images = torch.randn(IMAGES, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for name, objective in (("square", _square), ("cube", _cube)):
        capture(model, images, objective, layers=["0", "1"], sketch=Sketch(64), out=place / name, progress=False)
    for subject in (1, 2):
        save_recording(recording(f"sub {subject}", subject), place / f"s{subject}.h5")
    return place


def recording(subject: str = "sub 1", seed: int = 1) -> Recording:
    random = np.random.default_rng(seed)
    ids = np.tile(np.arange(IMAGES), 2)
    return Recording(
        responses=random.standard_normal((len(ids), 5)).astype(np.float32),
        presentations=pd.DataFrame({"image": ids, "session": np.repeat([1, 2], IMAGES)}),
        targets=pd.DataFrame({"label": list("abcde"), "roi": ["V1", "V1", "V1", "", "V4"]}),
        subject=subject,
        units="z",
    )


def asked(folders: Path, output: Path, *more: str, command: str = "encode") -> list[str]:
    features = ["--features", str(folders / "square"), str(folders / "cube")]
    recordings = ["--recordings", str(folders / "s1.h5"), str(folders / "s2.h5")]
    return [command, *features, *recordings, "--output", str(output), *more]


class TestEncode:
    def test_a_file_of_scores_a_recording(
        self, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(asked(folders, tmp_path / "scores", "--roi", "V1", "--folds", "3")) == 0
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

    def test_what_is_done_is_kept_and_what_failed_is_gone_on_with(
        self, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        call = asked(folders, tmp_path / "scores", "--kinds", "activation", "--folds", "2")
        calls = []

        def failing(spaces: Any, one: Recording, *how: Any) -> Any:
            calls.append(one.subject)
            if one.subject == "sub 2" and len(calls) == 2:
                raise ValueError("the disk is full")
            return score(spaces, one, *how)

        monkeypatch.setattr(encode, "score", failing)
        assert main(call) == 2
        assert "the disk is full" in capsys.readouterr().err
        assert [path.name for path in (tmp_path / "scores").iterdir()] == ["s1.nc"]
        before = (tmp_path / "scores" / "s1.nc").stat().st_mtime_ns
        assert main(call) == 0
        assert calls == ["sub 1", "sub 2", "sub 2"]
        assert f"s1: kept {tmp_path / 'scores' / 's1.nc'}, which was made from the same" in capsys.readouterr().out
        assert (tmp_path / "scores" / "s1.nc").stat().st_mtime_ns == before
        assert main([*call, "--seed", "1"]) == 2
        assert (
            "s1.nc was made from something else (--overwrite replaces it): held_out.seed: 0, now 1\n"
            in capsys.readouterr().err
        )
        assert main([*call, "--raw-gradients"]) == 2
        assert 'gradients: "of unit length", now "raw"' in capsys.readouterr().err
        assert len(calls) == 3
        assert main([*call, "--seed", "1", "--overwrite"]) == 0
        assert len(calls) == 5
        assert json.loads(load_scores(tmp_path / "scores")["s1"].attrs["held_out"])["seed"] == 1

    def test_bad_calls_write_nothing(self, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "s1.h5").write_bytes((folders / "s1.h5").read_bytes())
        same = ["encode", "--features", str(folders / "cube"), "--output", str(tmp_path / "o"), "--recordings"]
        for call, message in (
            (
                asked(folders, tmp_path / "o", "--kinds", "weight_gradient"),
                "--kinds must be some of activation, gradient",
            ),
            (asked(folders, tmp_path / "o", "--layers", "2"), "--layers must be some of 0, 1, got '2'"),
            (asked(folders, tmp_path / "o", "--models", "a"), "models must be 2 names"),
            (asked(folders, tmp_path / "o", "--match", "32"), "DimensionMatching: k must be at least 64, got 32"),
            (asked(folders, tmp_path / "o", "--match", "64", "--seeds", "1", "0"), "got 0 among [1, 0]"),
            (asked(folders, tmp_path / "o", "--match", "65"), "width of every feature space, got 65 and 64 of 'Sequ"),
            (asked(folders, tmp_path / "o", "--seeds", "1"), "--seeds must come with --match"),
            (asked(folders, tmp_path / "o", "--controls", "shuffled"), "controls must be some of raw, unit-length, "),
            (asked(folders, tmp_path / "o", "--controls", "raw", "--raw-gradients"), "are with --raw-gradients, got"),
            (asked(folders, tmp_path / "o", "--controls", "raw", "--kinds", "activation"), "must hold gradients, got"),
            (asked(folders, tmp_path / "no" / "o"), "no is not a folder"),
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
    assert main(asked(folders, tmp_path / "scores", *few)) == 0
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
    call = asked(folders, tmp_path / "similar.nc", *more, command="similarity")
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
