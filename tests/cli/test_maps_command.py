"""`gradkern maps` and `gradkern encode --maps`: from saved recordings and scores to files on the brain."""

import itertools
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from gradkern.cli import main
from gradkern.encoding import load_scores
from gradkern.recordings import VolumeGrid, load_recording, save_recording
from tests.fake_datasets.captures_and_recordings import arguments, write
from tests.fake_datasets.geometries import AFFINE

GRID = VolumeGrid((3, 3, 3), AFFINE, 1)
VOXELS = pd.DataFrame({"i": [0, 1, 2, 2, 0], "j": [0, 2, 1, 0, 0], "k": [0, 0, 0, 2, 2]})


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose recordings have voxels of a grid."""
    folder = write(tmp_path_factory.mktemp("study"))
    for name in ("s1", "s2"):
        brain = load_recording(folder / f"{name}.h5")
        placed = replace(brain, targets=brain.targets.join(VOXELS), space="T1w", geometry=GRID)
        save_recording(placed, folder / f"{name}.h5", overwrite=True)
    return folder


@pytest.fixture(scope="module")
def encoded(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of scores of `gradkern encode --maps` for the voxels of V1."""
    output = tmp_path_factory.mktemp("encoded") / "scores"
    call = arguments(folders, output, "--roi", "V1", "--folds", "2", "--maps", "r", "best-layer")
    assert main(call) == 0
    return output


def volume(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def test_encode_writes_maps_beside_the_scores(encoded: Path) -> None:
    scores = load_scores(encoded)["s1"].to_dataset()
    name = "sub-sub1_space-T1w_stat-r_desc-gradientCubeSequential_statmap.nii.gz"
    stored = volume(encoded / "maps" / "s1" / name)
    chosen = np.flatnonzero((scores["kind"] == "gradient").to_numpy() & (scores["objective"] == "_cube").to_numpy())
    r = scores.r.mean("fold").to_numpy()[chosen].astype(np.float32)
    for number, (i, j, k) in enumerate(VOXELS.to_numpy()[:3]):
        np.testing.assert_array_equal(stored[i, j, k], r[:, number])
    assert np.isfinite(stored).sum() == 3 * len(chosen)  # other voxels are NaN
    stated = json.loads((encoded / "maps" / "s1" / name.replace(".nii.gz", ".json")).read_text())
    assert (stated["Kind"], stated["Objective"], stated["Maps"]) == ("gradient", "_cube", ["0", "1"])
    assert stated["Scores"]["scores"].endswith("s1.nc")
    assert len(list((encoded / "maps" / "s2").glob("*.nii.gz"))) == 6


def test_scores_that_are_kept_have_maps_too(folders: Path, encoded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (map_, *_) = (encoded / "maps" / "s2").glob("*best*Sequential*.nii.gz")
    map_.unlink()
    assert main(arguments(folders, encoded, "--roi", "V1", "--folds", "2", "--maps", "best-layer")) == 0
    assert "s2: kept" in capsys.readouterr().out
    assert map_.is_file()


def test_scores_without_a_map_keep_no_other_recording_from_its_own(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = arguments(folders, tmp_path / "scores", "--kinds", "activation", "--layers", "0", "--folds", "2")
    assert main([*call, "--maps", "best-layer"]) == 2
    said = capsys.readouterr()
    assert "best-layer must be of at least 2 layers" in said.err
    assert "s2: no maps" in said.out
    assert sorted(path.name for path in (tmp_path / "scores").glob("*.nc")) == ["s1.nc", "s2.nc"]


def test_maps_of_saved_scores(folders: Path, encoded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["maps", str(encoded / "s1.nc"), "--like", str(folders / "s1.h5"), "--out", str(tmp_path / "maps"),
            "--stat", "best-r", "ceiling", "--kinds", "gradient", "--claim", "order"]  # fmt: skip
    assert main(call) == 0
    said = capsys.readouterr().out
    assert "3 files of maps" in said
    (path,) = (tmp_path / "maps").glob("*bestR*Cube*.nii.gz")
    scores = load_scores(encoded)["s1"].to_dataset()
    chosen = (scores["kind"] == "gradient").to_numpy() & (scores["objective"] == "_cube").to_numpy()
    best = scores.r.mean("fold").to_numpy()[chosen].max(0)
    assert volume(path)[1, 2, 0] == np.float32(best[1])
    assert json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())["Claim"] == "order"
    (tmp_path / "maps").joinpath(path.name).unlink()
    assert main(call) == 2
    assert "which exists" in capsys.readouterr().err
    assert not path.exists()  # of several files none is written
    assert main([*call, "--overwrite"]) == 0
    assert path.is_file()


def test_maps_of_a_folder_of_scores_and_a_grid_from_a_file(folders: Path, encoded: Path, tmp_path: Path) -> None:
    bare = replace(load_recording(folders / "s1.h5"), geometry=None)
    save_recording(bare, tmp_path / "s1.h5")
    mask = nibabel.Nifti1Image(np.ones(GRID.shape, np.uint8), AFFINE)
    nibabel.save(mask, tmp_path / "mask.nii.gz")
    call = ["maps", str(encoded), "--like", str(tmp_path / "s1.h5"), "--out", str(tmp_path / "maps")]
    assert main(call) == 2
    assert main([*call, "--geometry", str(tmp_path / "mask.nii.gz")]) == 0
    for path in (encoded / "maps" / "s1").glob("*stat-r_*.nii.gz"):
        np.testing.assert_array_equal(volume(tmp_path / "maps" / path.name), volume(path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--like", "other.h5"], "--like must be recordings of the scores, s1, s2, got 'other'"),
        (["--stat", "mood"], "score_maps: stat must be one of r"),
        (["--kinds", "x"], "kinds must be some of activation, gradient, got 'x'"),
        (["--out", "missing/maps"], "save_maps: path must lie in a folder that exists"),
        (["--out", "s1.h5"], "save_maps: path must be a folder"),
    ],
)
def test_bad_calls_write_nothing(
    folders: Path, encoded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: list[str], message: str
) -> None:
    flag, value = changes
    options = {"--like": str(folders / "s1.h5"), "--out": str(tmp_path / "maps"), "--stat": "r"}
    options |= {flag: str(folders / value) if flag in ("--like", "--out") else value}
    (folders / "other.h5").write_bytes((folders / "s1.h5").read_bytes())
    assert main(["maps", str(encoded), *(word for pair in options.items() for word in pair)]) == 2
    assert message.split(" r")[0] in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_encode_refuses_what_it_could_not_map_before_it_computes(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare.h5"
    save_recording(replace(load_recording(folders / "s1.h5"), geometry=None), bare)
    call = ["encode", "--features", str(folders / "square"), "--output", str(tmp_path / "scores")]
    for more, message in (
        (["--recordings", str(bare), "--maps"], "must have a geometry"),
        (["--recordings", str(folders / "s1.h5"), "--maps", "mood"], "--maps must be some of best-r"),
    ):
        assert main([*call, *more]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "scores").exists()


class TestLongWork:
    """`gradkern maps` of both recordings of a folder of scores."""

    @pytest.fixture
    def call(self, folders: Path, encoded: Path, tmp_path: Path) -> list[str]:
        like = [str(folders / name) for name in ("s1.h5", "s2.h5")]
        return ["maps", str(encoded), "--like", *like, "--out", str(tmp_path / "maps"), "--stat", "best-r"]

    def test_json_is_all_that_is_printed(
        self, call: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert main([*call, "--json"]) == 0
        said = capfd.readouterr()
        done = json.loads(said.out)
        assert said.err == ""
        assert [entry["recording"] for entry in done["recordings"]] == ["s1", "s2"]
        files = {Path(file) for entry in done["recordings"] for file in entry["files"]}
        assert files == set((tmp_path / "maps").glob("*.nii.gz"))

    def test_a_log_has_a_line_a_minute_with_the_time_left(
        self, call: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = itertools.count(step=40)
        monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
        with (tmp_path / "log").open("w") as log:
            monkeypatch.setattr(sys, "stderr", log)
            assert main(call) == 0
        lines = (tmp_path / "log").read_text().splitlines()
        assert any(re.fullmatch(r"maps: \d+ of \d+ files, [\d.]+ a second, \d+ (s|min) left", line) for line in lines)

    def test_ctrl_c_says_that_what_is_there_is_whole(
        self, call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save = nibabel.save

        def stopped(image: object, path: Path) -> None:
            if any(file.suffix == ".json" for file in (tmp_path / "maps").glob("sub-sub1_*")):
                raise KeyboardInterrupt
            save(image, path)

        monkeypatch.setattr(nibabel, "save", stopped)
        assert main(call) == 130
        said = capsys.readouterr().err
        assert said.startswith("gradkern maps: stopped; all maps in")
        names = {path.name.split("_")[0] for path in (tmp_path / "maps").iterdir()}
        assert len(names) == 1  # of the first recording, each with its JSON
        assert all(path.name.startswith("sub-") for path in (tmp_path / "maps").iterdir())
        maps = list((tmp_path / "maps").glob("*.nii.gz"))
        assert all(path.with_name(path.name.replace(".nii.gz", ".json")).is_file() for path in maps)

    def test_ctrl_c_before_anything_is_written_says_so(
        self, call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stopped(image: object, path: Path) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(nibabel, "save", stopped)
        assert main(call) == 130
        assert capsys.readouterr().err == "gradkern maps: stopped; nothing was written\n"
        assert not (tmp_path / "maps").exists()
