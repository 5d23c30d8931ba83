"""The examples that the help of every command ends with, run as they stand, on small stand-ins for what they name."""

import argparse
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch

from gradkern import Recording, Sketch, capture, load_model
from gradkern.cli import main
from gradkern.objectives import FeatureNorm
from gradkern.recordings import VolumeGrid, load_recording, save_recording
from tests.fake_datasets.captures_and_recordings import IMAGES
from tests.fake_datasets.captures_and_recordings import write as write_study
from tests.fake_datasets.geometries import AFFINE
from tests.fake_datasets.nsd import FakeNSD
from tests.fake_datasets.photographs import CONFIGURATION, MODEL, names
from tests.fake_datasets.photographs import write as write_photographs
from tests.fake_datasets.small_study import write as write_small_study
from tests.fake_datasets.things_meg import FOLDER, fake_epochs, fake_trials

FAST = {  # what makes an example small enough for its stand-ins, and changes nothing that it shows
    "encode": ["--folds", "2", "--permutations", "19"],
    "similarity": ["--permutations", "19", "--distance", "euclidean"],
}
VOXELS = pd.DataFrame({"i": [0, 1, 2, 2, 0], "j": [0, 2, 1, 0, 0], "k": [0, 0, 0, 2, 2]})
STUDIES = ("run", "status", "estimate", "report", "store ls", "store verify", "store prune")  # of a whole study
STUDY = """\
[images]
pictures = "photographs"

[models]
tiny = {name = "%s", weights = "random", config = {%s}}

[capture]
sketch = 64

[objectives]
norm = "FeatureNorm"

[recordings]
sub-01 = "named.h5"

[encode]
folds = 2
inner_folds = 2
"""


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
        grid, targets = VolumeGrid((3, 3, 3), AFFINE, 1), shown.targets.join(VOXELS)
        placed = replace(shown, targets=targets, space="T1w", geometry=grid)
        save_recording(placed, home / f"subject-{number}.h5", overwrite=True)
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 3, 3), np.uint8), AFFINE), home / "brainmask.nii.gz")
    _write_capture(home / "captures" / "dinov2")
    (home / "path/to").mkdir(parents=True)
    FakeNSD(home / "path/to/nsd")
    (home / "path/to/things-meg" / FOLDER).mkdir(parents=True)
    fake_epochs(fake_trials()).save(home / "path/to/things-meg" / FOLDER / "preprocessed_P1-epo.fif", verbose="error")
    write_small_study(home)
    _write_lab(home / "lab")
    return home


def _write_capture(out: Path) -> None:
    """Of a model whose layers have depths, and of the images of the recordings."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(1))
    sizes = {"resolution": 8, "mean": (127.0,) * 3, "std": (64.0,) * 3, "layers": ("0", "1")}
    known, images = load_model(model, config=sizes), torch.randn(IMAGES, 3, 8, 8)
    capture(known, images, FeatureNorm(), sketch=Sketch(64), out=out, progress=False)


def _write_lab(lab: Path) -> None:
    """The study file of `gradkern run`, 24 photographs and a recording of them."""
    write_photographs(lab, count=24)
    responses = np.random.default_rng(0).standard_normal((24, 3))
    table, targets = pd.DataFrame({"image": range(24)}), pd.DataFrame({"label": list("abc")})
    recording = Recording(responses, table, targets, "sub-01", "z", image_names=tuple(names(24)))
    save_recording(recording, lab / "named.h5")
    sizes = ", ".join(f"{key} = {value}" for key, value in CONFIGURATION.items())
    (lab / "study.toml").write_text(STUDY % (MODEL, sizes))


def _write_report(output: Path, **options: Any) -> Path:
    output.mkdir()
    print(output, options)
    return output / "report.html"


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
    monkeypatch.chdir(tmp_path / "here" / ("lab" if name in STUDIES else "."))
    words = shlex.split(example)[1:]
    if "--scores" in words:
        made = ["encode", "--features", "captures/dinov2", "--recordings", "meg-1.h5", "meg-2.h5", "--folds", "2"]
        assert main([*made, "--output", words[words.index("--scores") + 1]]) == 0
    if name == "demo":  # which test_demo.py runs, on 24 images
        monkeypatch.setattr("gradkern.study._demo.run_demo", _write_report)
    if "processes" in words:  # whose workers the tests of the runner start
        words[words.index("processes")] = "local"
    if "--unique" in words:
        words += ["--components", "2"]
    if name == "maps":
        made = [
            "encode",
            "--features",
            "captures/dinov2",
            "--recordings",
            "subject-1.h5",
            "subject-2.h5",
            "--folds",
            "2",
        ]
        assert main(made) == 0
    if name == "report" or name.startswith("store"):
        assert main(["run", "study.toml"]) == 0
    if name == "data save":
        Path(words[words.index("--out") + 1]).unlink()
    assert main([*words, *FAST.get(name, [])]) == 0
    assert capsys.readouterr().out.strip()
