"""The examples that the help of every command ends with, run as they stand, on small stand-ins for what they name."""

import argparse
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradkern import Recording
from gradkern.cli import main
from gradkern.recordings import load_recording, save_recording
from tests.fake_datasets.captures_and_recordings import write as write_study
from tests.fake_datasets.nsd import FakeNSD
from tests.fake_datasets.photographs import write as write_photographs
from tests.fake_datasets.small_study import write as write_small_study
from tests.fake_datasets.things_meg import FOLDER, fake_epochs, fake_trials

FAST = {  # what makes an example small enough for its stand-ins, and changes nothing that it shows
    "encode": ["--folds", "2", "--permutations", "19"],
    "similarity": ["--permutations", "19", "--distance", "euclidean"],
}


def commands() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command with its parser, by asking argparse; actions of `data` are commands too."""
    found: dict[str, argparse.ArgumentParser] = {}
    parse = argparse.ArgumentParser.parse_args

    def caught(parser: argparse.ArgumentParser, arguments: object = None) -> None:
        listed = [("", parser)]
        while listed:
            name, each = listed.pop(0)
            for action in each._actions:
                if isinstance(action, argparse._SubParsersAction):
                    listed += [(f"{name} {word}".strip(), below) for word, below in action.choices.items()]
                    break
            else:
                found[name] = each
        raise KeyboardInterrupt

    argparse.ArgumentParser.parse_args = caught  # type: ignore[method-assign]
    try:
        main([])
    except KeyboardInterrupt:
        pass
    finally:
        argparse.ArgumentParser.parse_args = parse  # type: ignore[method-assign]
    yield from found.items()


EXAMPLES = [
    (name, line.strip())
    for name, parser in commands()
    for line in str(parser.epilog).partition("example:\n")[2].splitlines()
]


def test_every_command_has_an_example_of_itself() -> None:
    named = {name for name, _ in EXAMPLES}
    assert named == {name for name, _ in commands()}
    assert {"capture", "data check", "data save", "encode", "verdict"} <= named
    for name, example in EXAMPLES:
        assert example.startswith(f"gradkern {name}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the examples name: photographs, captures, recordings, data sets and a study."""
    home = write_photographs(tmp_path_factory.mktemp("examples"), count=4)
    write_study(home / "made")
    for number in (1, 2):
        (home / "made" / f"s{number}.h5").rename(home / f"subject-{number}.h5")
        shown = load_recording(home / f"subject-{number}.h5")
        targets = pd.DataFrame({"label": list("abcd"), "time": [0.0, 0.0, 0.1, 0.1]})
        responses = np.asarray(shown.responses)[:, :4]
        meg = Recording(responses, shown.presentations, targets, shown.subject, "z")
        save_recording(meg, home / f"meg-{number}.h5")
    (home / "captures").mkdir()
    (home / "made" / "cube").rename(home / "captures" / "dinov2")
    (home / "path/to").mkdir(parents=True)
    FakeNSD(home / "path/to/nsd")
    (home / "path/to/things-meg" / FOLDER).mkdir(parents=True)
    fake_epochs(fake_trials()).save(home / "path/to/things-meg" / FOLDER / "preprocessed_P1-epo.fif", verbose="error")
    write_small_study(home)
    return home


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=[example for _, example in EXAMPLES])
def test_it_runs(
    name: str,
    example: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(folder, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    words = shlex.split(example)[1:]
    if "--scores" in words:
        made = ["encode", "--features", "captures/dinov2", "--recordings", "meg-1.h5", "meg-2.h5", "--folds", "2"]
        assert main([*made, "--output", words[words.index("--scores") + 1]]) == 0
    if name == "demo":  # which test_demo.py runs, on 24 images
        monkeypatch.setattr("gradkern.study._demo.run_demo", lambda output, **options: print(output, options))
    if "--unique" in words:
        words += ["--components", "2"]
    if name == "data save":
        Path(words[words.index("--out") + 1]).unlink()
    assert main([*words, *FAST.get(name, [])]) == 0
    assert capsys.readouterr().out.strip()
