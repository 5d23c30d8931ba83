"""The command line ends bad input in one line, never in a traceback."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradkern.cli import main
from gradkern.recordings import Recording, readers, save_recording
from tests.fake_datasets.bids_runs import FOLDER, SPACE, FakeRun
from tests.fake_datasets.laion_fmri import FakeLAION
from tests.fake_datasets.nsd import FakeNSD

IN_FOLDER = [HealthCheck.function_scoped_fixture]
NEEDED = {"subject": "1", "task": "img", "image": "stim_file", "space": SPACE, "modality": "fmri", "mask": "mask.nii"}
ARGUMENTS = {
    name: [word for option in reader.needs for word in (f"--{option.replace('_', '-')}", NEEDED[option])]
    for name, reader in readers().items()
    if reader.takes_path
}


def status(capsys: pytest.CaptureFixture[str], *arguments: str) -> int:
    """The exit status, once it is known that an error is one line."""
    result = main(["data", "check", *arguments])
    error = capsys.readouterr().err
    assert error.count("\n") == (result != 0), error
    assert "Traceback" not in error
    assert "unexpected" not in error, error
    return result


@pytest.mark.parametrize("name", ARGUMENTS)
@given(content=st.one_of(st.none(), st.binary(max_size=300), st.just(b"\x89HDF\r\n\x1a\n"), st.just(b"onset\tx\n")))
@settings(max_examples=8, deadline=None, suppress_health_check=IN_FOLDER)
def test_any_file_in_the_place_of_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None
) -> None:
    path = tmp_path / "x"
    if content is not None:
        path.write_bytes(content)
    for place in (path, tmp_path):
        assert status(capsys, name, str(place), *ARGUMENTS[name]) == 2
    path.unlink(missing_ok=True)


def bids(folder: Path) -> list[str]:
    FakeRun(folder, confounds={"trans_x": [0.5] * 60}).write()
    return ["bids", str(folder), "--subject", "01", "--task", "img", "--image", "stim_file", "--space", SPACE]


def nsd(folder: Path) -> list[str]:
    FakeNSD(folder)
    return ["nsd", str(folder), "--subject", "2", "--atlas", "streams"]


def laion(folder: Path) -> list[str]:
    FakeLAION(folder)
    return ["laion-fmri", str(folder), "--subject", "3"]


@pytest.mark.parametrize("make", [bids, nsd, laion])
def test_each_file_of_a_data_set_broken_in_turn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Path], list[str]]
) -> None:
    arguments = make(tmp_path)
    assert status(capsys, *arguments) == 0
    for path in sorted(path for path in tmp_path.rglob("*") if path.is_file()):
        content = path.read_bytes()
        for broken in (b"", b"\0" * 50, b"a\tb\nc\n", content[: len(content) // 2], b"{}", b"[1, 2]"):
            path.write_bytes(broken)
            assert status(capsys, *arguments) in (0, 2), (path, broken[:20])
        path.write_bytes(content)


@given(
    cells=st.lists(
        st.one_of(st.integers(), st.text(max_size=3), st.none(), st.floats(), st.booleans()), min_size=6, max_size=6
    )
)
@settings(max_examples=30, deadline=None, suppress_health_check=IN_FOLDER)
def test_columns_of_words_numbers_and_gaps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cells: list[object]
) -> None:
    table = pd.DataFrame({"image": [0, 1, 2] * 2, "session": pd.Series(cells, dtype=object), "run": cells})
    targets = pd.DataFrame({"label": list("abcdef"), "roi": pd.Series(cells, dtype=object)})
    responses = np.random.default_rng(0).standard_normal((6, 6))
    path = tmp_path / "r.h5"
    try:
        save_recording(Recording(responses, table, targets, "s", "u"), path, overwrite=True)
    except ValueError:
        return  # words that are no Unicode
    assert status(capsys, "saved", str(path)) == 0


def test_names_in_no_unicode_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("K\udcf6ln.png", "b.png")
    labels = pd.DataFrame({"label": ["a"], "roi": ["V\udcf61"]})
    recording = Recording(np.eye(2)[:, :1], pd.DataFrame({"image": [0, 1]}), labels, "s", "u", image_names=names)
    save_recording(recording, tmp_path / "r.h5")
    assert status(capsys, "saved", str(tmp_path / "r.h5")) == 0


def test_options_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = bids(tmp_path)
    assert status(capsys, *arguments, "--confounds", "trans_*", "--dummy-scans", "2", "--affine", "data") == 0
    for wrong in (["--confounds", "rot_x"], ["--dummy-scans", "99"], ["--repetition-time", "0"], ["--mask", "nowhere"]):
        assert status(capsys, *arguments, *wrong) == 2
    for path in (tmp_path / FOLDER).glob("*confounds*"):
        path.unlink()
    assert status(capsys, *arguments, "--confounds", "trans_x") == 2
