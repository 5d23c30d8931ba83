"""`gradkern data check`: what is printed of a recording."""

from pathlib import Path

import pytest

from gradkern.study.cli import _KINDS, main
from gradkern.study.data import KINDS
from tests.test_meg import FOLDER, epochs, trials
from tests.test_nsd import BETAS, Made


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[tuple[str, str]]:
    assert main(["data", "check", *arguments]) == 0
    return [(line[:14].strip(), line[15:]) for line in capsys.readouterr().out.splitlines()]


def test_nsd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Made(tmp_path)
    lines = printed(capsys, "nsd", str(tmp_path), "--subject", "2", "--atlas", "streams")
    found = dict(lines)
    assert found["responses"] == "1500 presentations x 16 targets, float32, percent signal change"
    assert found["sessions"] == "1: 750, 2: 750"
    assert found["odd"] == "nothing seen"
    assert "unknown at 0 targets (r^2 = ncsnr^2" in found["noise ceiling"]
    assert found["rois"] == "2, early to ventral"
    (tmp_path / BETAS.format("fsaverage") / "lh.ncsnr.mgh").unlink()
    found = dict(printed(capsys, "nsd", str(tmp_path), "--subject", "2"))
    assert "from repeats, at 16 of 16 targets" in found["noise ceiling"]
    made.log(subject=3)
    assert main(["data", "check", "nsd", str(tmp_path), "--subject", "2"]) == 2
    assert "another subject's" in capsys.readouterr().err


def test_meg(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / FOLDER).mkdir(parents=True)
    path = tmp_path / FOLDER / "preprocessed_P1-epo.fif"
    epochs(trials()).save(path, verbose="error")
    found = dict(printed(capsys, "things-meg", str(tmp_path)))
    assert found["images"] == "80; shown: 60 x 1, 20 x 6; the images themselves: not given"
    assert found["left out"] == "6 presentations: not of experimental and test images"
    assert found["times"] == "281, -0.1 to 1.3"
    assert found["splits"] == "test: 120, train: 60"
    found = dict(printed(capsys, "epochs", str(path), "--image", "image_path"))
    assert found["responses"].startswith("186 presentations x 1405 targets")
    assert main(["data", "check", "epochs", str(path)]) == 2
    assert "need --image" in capsys.readouterr().err


def test_every_reader_is_a_kind() -> None:
    assert tuple(KINDS) == _KINDS
