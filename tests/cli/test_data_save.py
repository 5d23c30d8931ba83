"""`gradkern data save`: what it writes is what the methods of `Recording` give."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradkern import Recording
from gradkern.cli import main
from gradkern.recordings import load_nsd, load_recording, load_things_meg, readers, save_recording
from tests.fake_datasets.glmsingle import FakeGLMsingle
from tests.fake_datasets.nsd import FakeNSD
from tests.fake_datasets.things_meg import FOLDER, fake_epochs, fake_trials


def check_same(first: Recording, second: Recording) -> None:
    np.testing.assert_array_equal(np.asarray(first.responses), np.asarray(second.responses))
    assert first.history == second.history
    assert first.image_ids.tolist() == second.image_ids.tolist()
    assert first.labels == second.labels


def status(call: list[str]) -> int:
    """The exit status; argparse exits by itself, after it has printed the usage too."""
    try:
        return main(call)
    except SystemExit as stopped:
        return int(stopped.code or 0)


@pytest.fixture(scope="module")
def nsd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nsd")
    FakeNSD(folder)
    return folder


def test_regions_zscored_and_averaged(nsd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "s2.h5"
    call = ["data", "save", "nsd", str(nsd), "--subject", "2", "--atlas", "streams", "--out", str(out)]
    assert main([*call, "--regions", "ventral", "--where", "session=1", "--zscore", "--average"]) == 0
    brain = load_nsd(nsd, 2, atlas="streams")
    first = np.flatnonzero(brain.presentations["session"] == 1)
    expected = brain.select_presentations(first, "with session 1").roi("ventral").zscore().average_repeats()
    check_same(load_recording(out), expected)
    said = capsys.readouterr().out
    assert "left out: 750 presentations: not with session 1" in said
    assert "history: z-scored within 1 session\n" in said
    assert said.splitlines()[-1].endswith(f"all in {out}")
    before = out.read_bytes()
    assert main(call) == 2
    assert "--out must be a new file" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert main([*call, "--overwrite"]) == 0
    check_same(load_recording(out), brain)


def test_a_window_of_meg(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir(parents=True)
    fake_epochs(fake_trials()).save(tmp_path / FOLDER / "preprocessed_P1-epo.fif", verbose="error")
    call = ["data", "save", "things-meg", str(tmp_path), "--window", "-0.05", "0.2", "--average"]
    assert main([*call, "--out", str(tmp_path / "m.h5")]) == 0
    check_same(load_recording(tmp_path / "m.h5"), load_things_meg(tmp_path, 1).window(-0.05, 0.2).average_repeats())


def test_pictures_with_several_ids_are_merged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    (tmp_path / "images").mkdir()
    for number, value in enumerate((0, 9, 0)):
        Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(tmp_path / "images" / f"{number}.png")
    names = ("0.png", "1.png", "2.png")
    shown, targets = pd.DataFrame({"image": [0, 1, 2]}), pd.DataFrame({"label": ["a"]})
    brain = Recording(np.arange(3.0)[:, None], shown, targets, "s", "z", image_names=names)
    save_recording(brain, tmp_path / "in.h5")
    call = ["data", "save", "saved", str(tmp_path / "in.h5"), "--merge-pictures", "--out", str(tmp_path / "out.h5")]
    assert main(call) == 2
    assert "the recording must have images" in capsys.readouterr().err
    assert main([*call, "--images", str(tmp_path / "images")]) == 0
    assert load_recording(tmp_path / "out.h5").image_ids.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--regions", "V9"], "roi must be one of"),
        (["--window", "0", "1"], "'time' must be known"),
        (["--window", "0", "x"], "argument --window: invalid float value: 'x'"),
        (["--where", "split"], "--where must be COLUMN=VALUE with one of image, "),
        (["--where", "day=1"], "--where must be COLUMN=VALUE with one of image, "),
        (["--where", "session=7"], "no presentations are left"),
        (["--out", "no/x.h5"], "path must lie in a folder that exists"),
        (["--delay", "5"], "nsd does not take --delay"),
        (["--sessions", "one"], "sessions must be different whole numbers, got ['one']"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    more: list[str], message: str, nsd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call = ["data", "save", "nsd", str(nsd), "--subject", "2", "--atlas", "streams", "--out", "x.h5", *more]
    assert status(call) == 2
    error = capsys.readouterr().err.splitlines()
    assert message in error[-1]
    assert error[-1].startswith("gradkern data")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_nothing(nsd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr(Recording, "blocks", lambda recording: (_ for _ in ()).throw(KeyboardInterrupt))
    call = ["data", "save", "nsd", str(nsd), "--subject", "2", "--out", str(tmp_path / "x.h5")]
    assert main(call) == 130
    assert capsys.readouterr().err == f"gradkern data: stopped; {tmp_path / 'x.h5'} was not written\n"
    assert list(tmp_path.iterdir()) == []


def test_every_option_of_every_reader_is_there_with_its_type(capsys: pytest.CaptureFixture[str]) -> None:
    for action in ("check", "save"):
        with pytest.raises(SystemExit):
            main(["data", action, "--help"])
        text = " ".join(capsys.readouterr().out.split())
        for reader in readers().values():
            for option in reader.options:
                assert f"--{option.replace('_', '-')}" in text
        assert "--sessions SESSIONS [SESSIONS ...]" in text
        assert "--conditions CONDITIONS [CONDITIONS ...] for glmsingle: names of the images, in the order of" in text


def test_an_option_that_nobody_wrote_down_reaches_its_reader(tmp_path: Path) -> None:
    made = FakeGLMsingle(tmp_path, "npy")
    count = len(set(made.conditions)) if hasattr(made, "conditions") else 5
    words = [f"picture {number}" for number in range(count)]
    call = ["data", "save", "glmsingle", str(tmp_path), "--allow-pickle", "--out", str(tmp_path / "g.h5")]
    assert main([*call, "--conditions", *words]) == 0
    assert load_recording(tmp_path / "g.h5").image_names == tuple(words)
