"""Tables of files for `load_bold` and `load_betas`, and the commands that read them."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from gradkern.cli import main
from gradkern.recordings import load, load_betas, load_bold, load_recording

GRID = (3, 2, 2)


def save(path: Path, values: Any, seconds: float = 0.0) -> Path:
    image = nibabel.Nifti1Image(np.asarray(values, np.float32), np.eye(4))
    if seconds:
        image.header.set_zooms((1, 1, 1, seconds))
        image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    save(tmp_path / "mask.nii.gz", np.ones(GRID))
    for run, shown in (("a", "xy"), ("b", "zx")):
        save(tmp_path / f"{run}_bold.nii.gz", 1000 + random.standard_normal((*GRID, 30)), 2.0)
        (tmp_path / f"{run}.tsv").write_text(f"onset\tname\n4\t{shown[0]}.png\n20\t{shown[1]}.png\n")
        save(tmp_path / f"{run}_betas.nii.gz", random.standard_normal((*GRID, 2)))
        (tmp_path / f"{run}.txt").write_text(f"{shown[0]}.png\n{shown[1]}.png\n")
    (tmp_path / "runs.tsv").write_text("bold\tevents\tsession\na_bold.nii.gz\ta.tsv\t1\nb_bold.nii.gz\tb.tsv\t2\n")
    (tmp_path / "sessions.tsv").write_text("betas\timages\na_betas.nii.gz\ta.txt\nb_betas.nii.gz\tb.txt\n")
    return tmp_path


def same(first: Any, second: Any) -> None:
    np.testing.assert_array_equal(np.asarray(first.responses), np.asarray(second.responses))
    assert first.image_names == second.image_names
    assert first.presentations.equals(second.presentations)


def test_a_table_names_what_the_arguments_name(folder: Path) -> None:
    mask = folder / "mask.nii.gz"
    runs = [(folder / f"{run}_bold.nii.gz", folder / f"{run}.tsv") for run in "ab"]
    listed = load("bold", folder / "runs.tsv", image="name", mask=mask, subject="s")
    same(listed, load_bold(runs, "name", mask=mask, subject="s", sessions=[1, 2]))
    betas = load("betas", folder / "sessions.tsv", mask=mask)
    names = [["x.png", "y.png"], ["z.png", "x.png"]]
    same(betas, load_betas([folder / f"{run}_betas.nii.gz" for run in "ab"], names, mask=mask, subject="s"))
    same(
        load_betas(folder / "a_betas.nii.gz", names[0], mask=mask, subject="s"),
        load_betas([folder / "a_betas.nii.gz"], names[:1], mask=mask, subject="s"),
    )


def test_commands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = ["--mask", str(folder / "mask.nii.gz"), "--subject", "s"]
    for kind, path, options in (
        ("bold", "runs.tsv", ["--image", "name"]),
        ("betas", "sessions.tsv", []),
        ("betas", "a_betas.nii.gz", ["--images", str(folder / "a.txt")]),
    ):
        out = folder / f"{kind}-{path}.h5"
        assert main(["data", "save", kind, str(folder / path), *options, *mask, "--out", str(out)]) == 0
        recording = load_recording(out)
        assert recording.subject == "s"
        assert set(recording.image_names or ()) <= {"x.png", "y.png", "z.png"}
    assert main(["data", "check", "bold", str(folder / "runs.tsv"), *mask]) == 2
    assert "bold needs --image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        (
            "runs.tsv",
            "bold\tevents\na_bold.nii.gz\ta.tsv\na_bold.nii.gz\tb.tsv\n",
            ValueError,
            "a file once, got a_bold",
        ),
        (
            "runs.tsv",
            "bold\tevents\na_bold.nii.gz\tn/a\n",
            ValueError,
            "must name 'events' in every row, got none in row 1",
        ),
        ("runs.tsv", "bold\tevents\nc_bold.nii.gz\ta.tsv\n", FileNotFoundError, "c_bold.nii.gz"),
        ("runs.tsv", "bold\na_bold.nii.gz\n", ValueError, "must have the column 'events'"),
        ("runs.tsv", "bold\tevents\n", ValueError, "a row for each file, got none"),
    ],
)
def test_tables_that_cannot_be_read(folder: Path, name: str, text: str, error: type[Exception], message: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(error, match=message):
        load_bold(folder / name, "name", mask=folder / "mask.nii.gz", subject="s")


def test_what_the_table_says_is_said_once(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"load_bold: sessions must be None, since .*runs.tsv names that of every run"):
        load_bold(folder / "runs.tsv", "name", mask=folder / "mask.nii.gz", subject="s", sessions=[1, 2])
    with pytest.raises(ValueError, match=r"load_betas: images must be None, since .*sessions.tsv"):
        load_betas(folder / "sessions.tsv", [["x"], ["y"]], mask=folder / "mask.nii.gz", subject="s")
    with pytest.raises(ValueError, match=r"load_betas: images must be given for each of 1 paths, got 0"):
        load_betas(folder / "a_betas.nii.gz", mask=folder / "mask.nii.gz", subject="s")
