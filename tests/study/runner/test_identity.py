"""What decides which tasks run: everything that changes a number, and nothing else."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradkern.study.runner import Contents, Store, make_plan, read_run, run
from tests.small_studies import IMAGES, Toy, picture, save_subject, scores_of, small_study, toy, write_picture

CAPTURES = {f"capture/toy/{objective}/pictures/{block}" for objective in ("none", "norm", "labelled")
            for block in ("0-12", "12-24")}  # fmt: skip
FITS = {
    f"fit/toy/{objective}/{name}/0-12" for objective in ("none", "norm", "labelled") for name in ("first", "second")
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = small_study(tmp_path_factory.mktemp("identity") / "lab")
    result = run(path, models={"toy": toy()}, say=lambda line: None)
    assert set(result.done) == CAPTURES | FITS
    assert not result.failed
    return path.parent


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "lab") / "study.toml"


def to_run(path: Path, *changes: str, model: Toy | None = None) -> set[str]:
    plan = make_plan(read_run(path, changes), {"toy": model or toy()})
    return {task.name for task in plan.missing}


def of(*words: str) -> set[str]:
    return {name for name in CAPTURES | FITS if all(word in name for word in words)}


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def repaint(path: Path) -> None:
    write_picture(path.parent / "pictures" / "003.png", picture(3, seed=1))


def relabel(path: Path) -> None:
    table = pd.read_csv(path.parent / "labels.csv")
    table.loc[20, "label"] = (table.loc[20, "label"] + 1) % 5
    table.to_csv(path.parent / "labels.csv", index=False)


def rename_picture(path: Path) -> None:
    folder = path.parent / "pictures"
    (folder / "003.png").rename(folder / "0030.png")
    edit(path.parent / "labels.csv", "003.png", "0030.png")
    names = tuple("0030.png" if i == 3 else f"{i:03}.png" for i in range(IMAGES))
    save_subject(path.parent / "first.h5", range(IMAGES), 1, images=names)
    save_subject(path.parent / "second.h5", range(4, IMAGES), 2, images=names)


def touch_all(path: Path) -> None:
    for file in path.parent.rglob("*"):
        os.utime(file)


def add_picture(path: Path) -> None:
    write_picture(path.parent / "pictures" / "024.png", picture(24))
    with (path.parent / "labels.csv").open("a") as file:
        file.write("024.png,1\n")


NOTHING: list[tuple[str, Callable[[Path], None]]] = [
    ("times of files", touch_all),
    ("the executor", lambda path: path.write_text(path.read_text() + "[executor]\nkind = 'processes'\nworkers = 7\n")),
    ("the order of sections", lambda path: path.write_text("\n\n".join(reversed(path.read_text().split("\n\n"))))),
    ("a table that holds the same", lambda path: edit(path.parent / "labels.csv", "name,", "file,")),
]
SOMETHING: list[tuple[str, Callable[[Path], None], set[str]]] = [
    ("pixels", repaint, of("capture", "0-12") | FITS),
    ("a label", relabel, of("capture", "labelled", "12-24") | of("fit", "labelled")),
    ("a name of an image", rename_picture, FITS),
    ("a recording", lambda path: save_subject(path.parent / "first.h5", range(IMAGES), 3), of("fit", "first")),
    ("the sketch", lambda path: edit(path, "sketch = 64", "sketch = 65"), CAPTURES | FITS),
    ("batches", lambda path: edit(path, "batch_size = 4", "batch_size = 5"), CAPTURES | FITS),
    ("folds", lambda path: edit(path, "folds = 3", "folds = 4"), FITS),
    ("penalties", lambda path: edit(path, "10.0]", "11.0]"), FITS),
    ("the seed of folds", lambda path: edit(path, "folds = 3", "folds = 3\nseed = 1"), FITS),
    ("raw gradients", lambda path: edit(path, "folds = 3", "folds = 3\nraw_gradients = true"), FITS - of("none")),
    ("a region", lambda path: edit(path, '"second.h5"', '{file = "second.h5", roi = ["V1", "V2", "V4"]}'),
     of("second")),
    ("a layer fewer", lambda path: edit(path, '"blocks.0", ', ""), FITS),
]  # fmt: skip


@pytest.mark.parametrize("change", [change for _, change in NOTHING], ids=[name for name, _ in NOTHING])
def test_what_changes_no_number_runs_nothing(study: Path, change: Callable[[Path], None]) -> None:
    change(study)
    assert to_run(study) == set()


@pytest.mark.parametrize(("change", "wanted"), [case[1:] for case in SOMETHING], ids=[name for name, _, _ in SOMETHING])
def test_what_changes_a_number_runs_what_it_changes(
    study: Path, change: Callable[[Path], None], wanted: set[str]
) -> None:
    change(study)
    assert to_run(study) == wanted


def test_another_place_another_name_and_another_model(study: Path) -> None:
    assert to_run(study, model=toy(1)) == CAPTURES | FITS
    moved = study.parent.rename(study.parent.with_name("elsewhere"))
    assert to_run(moved / "study.toml") == set()
    edit(moved / "study.toml", "first =", "other =")
    edit(moved / "study.toml", "labelled =", "classes =")
    assert to_run(moved / "study.toml") == set()


def test_what_is_added_is_added_to_what_is_done(study: Path) -> None:
    before = scores_of(study.with_suffix(""))
    edit(study, '["blocks.0", "blocks.2"]', '["blocks.0", "blocks.1", "blocks.2"]')
    plan = make_plan(read_run(study), {"toy": toy()})
    assert {task.name for task in plan.missing} == CAPTURES | FITS
    assert {task.order.layers for task in plan.missing if task.kind == "capture"} == {("blocks.1",)}
    result = run(study, models={"toy": toy()}, only="fit/toy/norm/first/*", say=lambda line: None)
    assert set(result.done) == of("capture", "norm") | of("fit", "norm", "first")
    after = scores_of(study.with_suffix(""))
    name = "fit/toy/norm/first/0-12"
    assert after[name]["r"].shape[0] == 3
    assert np.array_equal(after[name]["r"][[0, 2]], before[name]["r"])
    add_picture(study)
    assert {name for name in to_run(study) if "norm" in name and "capture" in name} == {
        "capture/toy/norm/pictures/12-25"
    }


def test_changes_of_the_command_line_are_those_of_the_file(study: Path) -> None:
    assert to_run(study, "encode.folds=4") == FITS
    assert to_run(study, "objectives.more.name=FeatureNorm") == set()  # the same objective under another name
    assert to_run(study, "objectives.more='Entropy'") == {
        *(f"capture/toy/more/pictures/{block}" for block in ("0-12", "12-24")),
        *(f"fit/toy/more/{name}/0-12" for name in ("first", "second")),
    }
    with pytest.raises(ValueError, match=r"did you mean 'folds'"):
        read_run(study, ["encode.fold=4"])
    with pytest.raises(ValueError, match=r"set must be of the form"):
        read_run(study, ["encode.folds"])


def test_why_a_task_is_needed_is_said(study: Path) -> None:
    plan = make_plan(read_run(study, ["encode.folds=4"]), {"toy": toy()})
    changed = [planned for planned in plan.tasks if planned.state == "changed"]
    assert {planned.task.name for planned in changed} == FITS
    assert all("cv.folds: 3, now 4" in planned.why for planned in changed)
    place = next(planned.task.place for planned in plan.tasks if planned.state == "done")
    next(Store(study.with_suffix("")).path(place).glob("*.npy")).write_bytes(b"")
    again = make_plan(read_run(study), {"toy": toy()})
    assert [planned.state for planned in again.tasks if planned.state != "done"] == ["damaged"]


def test_a_plan_of_3000_tasks_and_its_state_are_there_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small_study(tmp_path / "lab")
    save_subject(path.parent / "first.h5", range(IMAGES), 1, targets=1500)
    changes = ["encode.block=1", "objectives={norm='FeatureNorm'}", "recordings={first='first.h5'}"]
    description, models = read_run(path, changes), {"toy": toy()}
    start = time.process_time()  # others may compute on the same cores
    plan = make_plan(description, models)
    assert time.process_time() - start < 5
    assert len(plan.tasks) == 3004
    monkeypatch.setattr(os, "fsync", lambda number: None)
    for task in plan.missing:
        with plan.store.claimed(task) as aside:
            aside.mkdir()
            (aside / "scores.nc").write_bytes(b"x")
            plan.store.put(task, aside, {})
    start = time.process_time()
    after = make_plan(description, models)
    assert time.process_time() - start < 1
    assert not after.missing


def test_a_file_that_is_written_again_at_the_same_time_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"one")
    contents = Contents(tmp_path / "store")
    first = contents.hash_of(file)
    time_before = file.stat().st_mtime_ns
    file.write_bytes(b"two")
    os.utime(file, ns=(time_before, time_before))
    assert contents.hash_of(file) != first
