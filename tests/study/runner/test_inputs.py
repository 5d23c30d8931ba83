"""Results are of the files that they name, also where these are replaced while a study runs."""

import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gradkern.encoding import score
from gradkern.models import CATALOGUE
from gradkern.recordings import load_recording
from gradkern.study.runner import Store, make_plan, read_run, run
from tests.small_studies import IMAGES, picture, save_subject, scores_of, small_study, toy, write_picture

ONE_FIT = "fit/toy/none/first/*"
LITE = type(CATALOGUE["efficientnet-lite0"].builder)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return small_study(tmp_path / "lab")


def new_recording(study: Path) -> None:
    save_subject(study.parent / "first.h5", range(IMAGES), 3)


def new_picture(study: Path) -> None:
    write_picture(study.parent / "pictures" / "003.png", picture(3, seed=1))


@pytest.mark.parametrize(
    ("change", "failing", "file"),
    [(new_recording, "fit/", "first.h5"), (new_picture, "capture/toy/none/pictures/0-12", "003.png")],
    ids=["recording", "picture"],
)
def test_a_file_that_is_replaced_while_a_study_runs(
    study: Path, change: Callable[[Path], None], failing: str, file: str
) -> None:
    replaced = study.parent / file if file == "first.h5" else study.parent / "pictures" / file
    before = replaced.read_bytes()
    said: list[str] = []

    def change_once(line: str) -> None:
        if not said:  # planned, and nothing computed yet
            change(study)
        said.append(line)

    result = run(study, models={"toy": toy()}, only=ONE_FIT, say=change_once)
    errors = [error for name, error in result.failed.items() if name.startswith(failing)]
    assert errors
    assert f"{file} was changed while the study ran" in errors[0]
    assert scores_of(result.folder) == {}
    assert not run(study, models={"toy": toy()}, only=ONE_FIT, say=said.append).failed
    of_new = scores_of(result.folder)[ONE_FIT.replace("*", "0-12")]["r"]
    replaced.write_bytes(before)  # what it held first was never scored
    plan = make_plan(read_run(study), {"toy": toy()}).only(ONE_FIT)
    assert any(task.kind == "fit" for task in plan.missing)
    fresh = run(study, models={"toy": toy()}, only=ONE_FIT, folder=study.parent / "fresh", say=said.append)
    assert not run(study, models={"toy": toy()}, only=ONE_FIT, say=said.append).failed
    of_old = scores_of(fresh.folder)[ONE_FIT.replace("*", "0-12")]["r"]
    assert not np.array_equal(of_old, of_new)
    both = [json.loads(path.read_text())["id"] for path in (result.folder / "results/fit").glob("*/manifest.json")]
    assert len(both) == 2


def test_a_file_that_is_written_again_with_the_same_bytes_is_no_other_one(study: Path) -> None:
    first = study.parent / "first.h5"

    def touch(line: str) -> None:
        os.utime(first)

    assert not run(study, models={"toy": toy()}, only=ONE_FIT, say=touch).failed


def test_published_weights_are_part_of_the_identity(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study.write_text(study.read_text().replace('weights = "random", ', ""))
    weights = study.parent / "weights.pth"
    weights.write_bytes(b"first")
    monkeypatch.setattr(LITE, "published_files", lambda self: [weights])
    of_first = {task.id for task in make_plan(read_run(study)).missing}
    weights.write_bytes(b"second")
    of_second = {task.id for task in make_plan(read_run(study)).missing}
    assert of_first.isdisjoint(of_second)
    weights.write_bytes(b"first")
    assert {task.id for task in make_plan(read_run(study)).missing} == of_first
    monkeypatch.setattr(LITE, "published_files", lambda self: [])
    assert make_plan(read_run(study)).missing  # a plan needs no weights
    with pytest.raises(FileNotFoundError, match=r"models\.toy must have its published weights on this machine"):
        run(study, say=lambda line: None)


def test_images_of_other_names_are_refused_before_any_work(study: Path) -> None:
    (study.parent / "pictures" / "007.png").rename(study.parent / "pictures" / "seven.png")
    labels = study.parent / "labels.csv"
    labels.write_text(labels.read_text().replace("007.png", "seven.png"))
    with pytest.raises(ValueError, match=r"recordings\.first: .*007\.png"):
        make_plan(read_run(study), {"toy": toy()})
    assert not study.with_suffix("").exists()


@pytest.mark.parametrize("debug", [False, True])
def test_a_set_in_deeper_folders_is_matched_by_the_ends_of_names(study: Path, debug: bool) -> None:
    deeper = study.parent / "pictures" / "all"
    deeper.mkdir()
    for path in (study.parent / "pictures").glob("*.png"):
        path.rename(deeper / f"n{path.name}")
    labels = study.parent / "labels.csv"
    labels.write_text(labels.read_text().replace("\n0", "\nn0"))
    for name, shown in (("first", range(IMAGES)), ("second", range(4, IMAGES))):
        save_subject(study.parent / f"{name}.h5", shown, 1, images=tuple(f"n{i:03}.png" for i in range(IMAGES)))
    result = run(study, models={"toy": toy()}, only="fit/toy/none/first/*", debug=debug, say=lambda line: None)
    assert [name for name in result.done if name.startswith("fit/")]


def test_who_is_waited_for_is_said(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(step=100)  # s
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    plan = make_plan(read_run(study), {"toy": toy()})
    store, said = Store(study.with_suffix("")), []

    def until_it_waits(line: str) -> None:
        said.append(line)
        if line.startswith("waiting"):
            raise KeyboardInterrupt

    task = plan.only("capture/toy/none/pictures/0-12").missing[0]
    with store.claimed(task), pytest.raises(KeyboardInterrupt):
        run(study, models={"toy": toy()}, only=task.name, say=until_it_waits)
    assert f"waiting for {task.name}, which process {os.getpid()} on" in said[-1]


def test_the_manifest_has_what_the_rounding_depends_on(study: Path) -> None:
    folder = run(study, models={"toy": toy()}, only=ONE_FIT, say=lambda line: None).folder
    stored = json.loads(next((folder / "results" / "fit").glob("*/manifest.json")).read_text())["provenance"]
    assert {"gradkern", "torch", "numpy", "python", "threads", "machine"} <= stored.keys()


def test_a_fit_that_does_not_fit_into_memory_is_refused_before_any_work(study: Path) -> None:
    with pytest.raises(MemoryError, match=r"fit/toy/\S+ must fit into memory, got [\d,]+ bytes .* are granted"):
        run(study, models={"toy": toy()}, memory="1M", say=lambda line: None)
    assert not (study.with_suffix("") / "results").exists()
    with pytest.raises(ValueError, match="memory must be a whole number with a unit, such as 16G, got '16'"):
        run(study, models={"toy": toy()}, memory="16")


def test_the_memory_of_a_fit_changes_no_number(study: Path) -> None:
    recording = load_recording(study.parent / "first.h5")
    random = np.random.default_rng(0)
    features = {name: random.standard_normal((IMAGES, 5)).astype(np.float32) for name in "abc"}
    at_once, one_by_one = score(features, recording), score(features, recording, memory=1)
    assert np.array_equal(at_once["r"], one_by_one["r"])
