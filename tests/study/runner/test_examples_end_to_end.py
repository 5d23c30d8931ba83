"""The examples of the page about studies, from the files of a data set to scores, on small ones of the same form."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from gradkern.cli import main
from gradkern.recordings import load_recording
from gradkern.study.runner import make_plan, read_run, run
from tests.fake_datasets.bids import write_bids
from tests.fake_datasets.nod import NAMES, FakeNOD
from tests.fake_datasets.nsd import FakeNSD
from tests.fake_datasets.things_meg import FOLDER, fake_epochs, fake_trials
from tests.small_studies import IMAGES, SIDE, picture, save_subject, small_study, toy, write_picture

ROOT = Path(__file__).parents[3]
NSD_IMAGES = 73_000


def example(name: str, changes: Mapping[str, str]) -> tuple[list[list[str]], str]:
    """Calls of gradkern and the study file of an example, with other words in the place of some."""
    section = (ROOT / "docs" / "studies.md").read_text().partition("## Examples\n")[2].partition("\n## ")[0]
    found = re.search(rf"\*\*{name}\.?\*\*.*?```sh\n(.*?)```\n\n```toml\n(.*?)```", section, re.DOTALL)
    shell, text = found[1], found[2]
    for before, after in changes.items():
        assert before in shell + text, before
        shell, text = shell.replace(before, after), text.replace(before, after)
    return [shlex.split(line)[1:] for line in shell.splitlines() if line.startswith("gradkern")], text


def scores_of(folder: Path, name: str, changes: Mapping[str, str], drop: str = "#", **options: object) -> pd.DataFrame:
    """Run an example in a folder, without lines of its study file that begin with a word; its table of scores."""
    calls, text = example(name, changes)
    path = folder / "study.toml"
    path.write_text("\n".join(line for line in text.splitlines() if not line.startswith(drop)))
    kept = [line for line in path.read_text().splitlines() if ".h5" in line]
    for words in calls:
        if any(words[words.index("--out") + 1] in line for line in kept):
            assert main(words) == 0
    description = read_run(path)
    toys = {model: toy() for model in description.models}
    result = run(path, models=toys, changes=["analyses.verdict=false"], say=lambda line: None, **options)
    assert not result.failed
    return pd.read_csv(result.folder / "scores.csv")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_nsd(tmp_path: Path) -> None:
    FakeNSD(tmp_path / "nsd")
    stimuli = tmp_path / "nsd" / "nsddata_stimuli" / "stimuli" / "nsd" / "nsd_stimuli.hdf5"
    stimuli.parent.mkdir(parents=True)
    with h5py.File(stimuli, "w") as file:
        pixels = np.random.default_rng(0).integers(0, 256, (NSD_IMAGES, SIDE, SIDE, 3), dtype=np.uint8)
        file.create_dataset("imgBrick", data=pixels)
    changes = {"/data/nsd": str(tmp_path / "nsd"), "HCP_MMP1": "streams", "--subject 2": "--subject 9"}
    changes |= {"--subject 1": "--subject 2"}
    table = scores_of(tmp_path, "NSD", changes, "sub-02", debug=True)
    assert set(table["model"]) == {"dino", "dino-untrained"}
    assert set(table["kind"]) == {"activation", "gradient", "gradient/random-cotangent"}
    assert table["r"].notna().any()


def test_things_meg(tmp_path: Path) -> None:
    epochs = tmp_path / "meg" / FOLDER
    epochs.mkdir(parents=True)
    for subject in (1, 2):
        fake_epochs(fake_trials()).save(epochs / f"preprocessed_P{subject}-epo.fif", verbose="error")
    calls, _ = example("THINGS-MEG", {"/data/things-meg": str(tmp_path / "meg")})
    assert main(calls[0]) == 0
    for number, name in enumerate(load_recording(tmp_path / "meg-1.h5").image_names):
        path = (tmp_path / "things" / name).with_suffix(".jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picture(path, picture(number))
    (tmp_path / "meg-1.h5").unlink()
    table = scores_of(tmp_path, "THINGS-MEG", {"/data/things-meg": str(tmp_path / "meg")}, debug=True)
    assert set(table["modality"]) == {"meg"}
    assert set(table["recording"]) == {"meg-01", "meg-02"}


def test_nod(tmp_path: Path) -> None:
    FakeNOD(tmp_path / "nod", subject=1)
    for number, name in enumerate(NAMES):
        path = tmp_path / "nod" / "ds004496" / "stimuli" / "imagenet" / name[:9] / f"{name}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picture(path, picture(number))
    table = scores_of(tmp_path, "NOD", {"/data/nod": str(tmp_path / "nod")})
    assert dict(zip(table["recording"], table["modality"], strict=True)) == {"sub-01": "fmri", "sub-01-meg": "meg"}


def test_own_nifti(tmp_path: Path) -> None:
    write_bids(tmp_path / "bids-folder")
    names = [f"p{i:02}.png" for i in range(12)]
    for events in (tmp_path / "bids-folder").glob("sub-*/*/func/*task-images*_events.tsv"):
        pd.DataFrame({"onset": np.arange(1.0, 25, 2), "stim_file": names}).to_csv(events, sep="\t", index=False)
    (tmp_path / "bids-folder" / "stimuli").mkdir()
    for number, name in enumerate(names):
        write_picture(tmp_path / "bids-folder" / "stimuli" / name, picture(number))
    changes = {"--subject 01": "--subject 07", "--task pictures": "--task images"}
    table = scores_of(tmp_path, "Your own NIfTI", changes)
    assert set(table["kind"]) == {"activation", "gradient"}


def test_the_design_of_the_paper(tmp_path: Path) -> None:
    """Its plan is whole; one model of it is run."""
    lab = small_study(tmp_path / "lab").parent
    with h5py.File(lab / "nsd.h5", "w") as file:
        file["imgBrick"] = np.stack([picture(number) for number in range(IMAGES)])
    for subject in range(1, 9):
        save_subject(lab / f"nsd-{subject}.h5", range(IMAGES), subject, names=False)
    for subject in range(1, 5):
        save_subject(lab / f"meg-{subject}.h5", range(IMAGES), 10 + subject)
    for name in ("coco-clip.npy", "coco-siglip.npy"):
        np.save(lab / name, np.ones((5, 4), np.float32))
    np.save(lab / "coco-which.npy", np.arange(IMAGES) % 5)
    stimuli = "/data/nsd/nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    _, text = example("The paper's design", {stimuli: "nsd.h5", 'things = "things"': 'things = "pictures"'})
    path = lab / "paper.toml"
    path.write_text(text.replace('images = "things"}', 'images = "things", modality = "meg"}'))
    changes = ["encode.folds=3", "capture.sketch=64", "executor.kind='local'", "executor.device='cpu'"]
    toys = {name: toy(number) for number, name in enumerate(read_run(path).models)}
    tasks = make_plan(read_run(path, changes), toys).tasks
    kinds = {kind: [planned.task.name for planned in tasks if planned.task.kind == kind] for kind in ("fit", "verdict")}
    of_nsd = 10 + 10 + 3 + 3 + 1 + 4 + 2  # activations, norm, then each objective's models
    of_meg = of_nsd - 2
    assert len(kinds["fit"]) == 8 * of_nsd + 4 * of_meg
    assert len(kinds["verdict"]) == of_nsd - 10 - 2 + of_meg - 10 - 2  # but not of the untrained model
    done = run(path, models=toys, changes=changes, only="fit/dinov2/norm/*-1/*", say=lambda line: None)
    assert not done.failed
    table = pd.read_csv(done.folder / "scores.csv")
    assert set(table["recording"]) == {"nsd-1", "meg-1"}
    assert set(table["modality"]) == {"fmri", "meg"}
    controls = ("", "/image-permuted", "/layer-permuted", "/random-cotangent", "/feedback-alignment")
    assert {f"gradient{name}" for name in controls} <= set(table["kind"])
