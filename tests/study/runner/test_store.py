"""Listing, verifying and cleaning the results of a study; nothing outside its folder is read, changed or removed."""

import json
import shutil
from hashlib import blake2b
from pathlib import Path

import h5py
import numpy as np
import pytest

from gradkern.cli import main
from gradkern.recordings import load_recording
from gradkern.study.runner import Damaged, Store, make_plan, read_run, run
from tests.small_studies import IMAGES, SIDE, small_study, toy

SMALL = ["recordings={first='first.h5'}", "objectives={norm='FeatureNorm'}"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = small_study(tmp_path_factory.mktemp("store") / "lab")
    path.write_text(path.read_text().replace('labelled = {name = "CrossEntropy", labels = "labels.csv"}\n', ""))
    assert not run(path, models={"toy": toy()}, changes=SMALL, say=lambda line: None).failed
    return path


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished.parent, tmp_path / "lab") / "study.toml"


def called(action: str, study: Path, *more: str) -> int:
    return main(["store", action, str(study), *[word for change in SMALL for word in ("--set", change)], *more])


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_ls_names_every_result_with_its_size(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("ls", study) == 0
    lines = capsys.readouterr().out.splitlines()
    store = Store(study.with_suffix(""))
    assert len(lines) == len(store.places()) == 6
    for place in store.places():
        line = next(line for line in lines if line.endswith(place))
        size = sum((store.path(place) / name).stat().st_size for name in store.manifest(place).files)
        assert line.split()[0] == f"{size:,}"
        assert store.manifest(place).task in line


def test_verify_names_what_is_not_as_it_was_written(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("verify", study) == 0
    assert "6 results, 0 damaged" in capsys.readouterr().out
    file = next(study.with_suffix("").glob("results/capture/*/*/gradient*.npy"))
    content = bytearray(file.read_bytes())
    content[200] ^= 1
    file.write_bytes(content)
    assert called("verify", study) == 3
    said = capsys.readouterr().out
    assert f"{file.name} is not what was written" in said
    assert "6 results, 1 damaged" in said


def test_prune_removes_what_the_file_asks_for_no_more_and_nothing_else(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = study.with_suffix("")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "data").write_text("kept")
    (folder / "damaged").mkdir()
    (folder / "damaged" / "old").symlink_to(outside)
    (folder / "results" / "fit" / "linked").symlink_to(outside)
    left = folder / "work" / ("0" * 32)
    (left / "new").mkdir(parents=True)
    (left / "new" / "half").write_text("half")
    (left / "link").symlink_to(outside)
    before = files(folder / "results")
    assert called("prune", study) == 0
    assert "would remove" in capsys.readouterr().out
    assert files(folder / "results") == before
    assert left.is_dir()
    assert called("prune", study, "--yes") == 0
    assert (outside / "data").read_text() == "kept"
    assert not left.exists()
    assert not list((folder / "damaged").iterdir())
    assert not (folder / "results" / "fit" / "linked").is_symlink()
    plan = make_plan(read_run(study, SMALL))
    assert plan.missing  # of the model of the catalogue: results are of a toy
    assert called("prune", study, "--yes", "--set", "encode.folds=4") == 0
    assert Store(folder).places() == []


def test_a_manifest_names_nothing_outside_its_result(study: Path) -> None:
    store = Store(study.with_suffix(""))
    place = store.places("fit")[0]
    path = store.path(place) / "manifest.json"
    stored = json.loads(path.read_text())
    stored.pop("seal")
    stored["files"]["../../../../first.h5"] = [1, 1, "0" * 32]
    text = json.dumps(stored, sort_keys=True, separators=(",", ":"))
    seal = blake2b(text.encode(), digest_size=16).hexdigest()
    path.write_text(json.dumps({**stored, "seal": seal}))
    with pytest.raises(Damaged, match=r"first.h5', which is not of the result"):
        store.check(place)


@pytest.mark.parametrize("kind", ["link", "external", "virtual"])
def test_hdf5_files_hold_all_that_they_are_made_of(study: Path, kind: str) -> None:
    lab = study.parent
    shape = (IMAGES, SIDE, SIDE, 3)
    with h5py.File(lab / "elsewhere.h5", "w") as file:
        file["pixels"] = np.zeros(shape, np.uint8)
    (lab / "elsewhere.raw").write_bytes(bytes(int(np.prod(shape))))
    with h5py.File(lab / "images.h5", "w") as file:
        if kind == "link":
            file["pixels"] = h5py.ExternalLink("elsewhere.h5", "/pixels")
        elif kind == "external":
            file.create_dataset("pixels", shape, np.uint8, external=[("elsewhere.raw", 0, h5py.h5f.UNLIMITED)])
        else:
            layout = h5py.VirtualLayout(shape, np.uint8)
            layout[:] = h5py.VirtualSource("elsewhere.h5", "pixels", shape)
            file.create_virtual_dataset("pixels", layout)
    change = "images={pictures={file='images.h5', dataset='pixels'}}"
    with pytest.raises(
        ValueError, match=r"images.pictures: .*images.h5 must hold all that it is made of, got '/?pixels'"
    ):
        make_plan(read_run(study, [*SMALL, change]), {"toy": toy()})
    with h5py.File(lab / "first.h5", "r+") as file:
        file["more"] = h5py.ExternalLink("elsewhere.h5", "/pixels")
    with pytest.raises(ValueError, match=r"first\.h5"):
        load_recording(lab / "first.h5")
