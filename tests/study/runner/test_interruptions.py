"""Whatever happens to a run, the next one gives the scores of an undisturbed one, to the last bit."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from gradkern.encoding import FeatureSpace, score, unit_gradients
from gradkern.features import capture
from gradkern.kernels import Sketch
from gradkern.objectives import FeatureNorm
from gradkern.recordings import load_recording
from gradkern.ridge import CrossValidation
from gradkern.study.runner import Damaged, Store, run
from tests.small_disk import small_disk
from tests.small_studies import IMAGES, picture, scores_of, small_study, toy

FORK = multiprocessing.get_context("fork") if hasattr(os, "fork") else None
needs_fork = pytest.mark.skipif(FORK is None, reason="processes are forked here")
Scores = dict[str, dict[str, np.ndarray]]


def quiet(path: Path, **options: object) -> object:
    return run(path, models={"toy": toy()}, say=lambda line: None, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = small_study(tmp_path_factory.mktemp("undisturbed") / "lab")
    quiet(path)
    return path


@pytest.fixture(scope="module")
def undisturbed(finished: Path) -> Scores:
    return scores_of(finished.with_suffix(""))


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """The same study, before anything ran."""
    lab = shutil.copytree(finished.parent, tmp_path / "lab", ignore=shutil.ignore_patterns("study"))
    return lab / "study.toml"


@pytest.fixture
def done(finished: Path, tmp_path: Path) -> Path:
    """The same study, finished."""
    return shutil.copytree(finished.parent, tmp_path / "lab") / "study.toml"


def same(folder: Path, wanted: Scores) -> bool:
    now = scores_of(folder)
    assert now.keys() == wanted.keys()
    return all(np.array_equal(now[task][name], wanted[task][name], equal_nan=True) for task in wanted
               for name in wanted[task])  # fmt: skip


def finished_tasks(folder: Path) -> Counter[str]:
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return Counter(entry["task"] for entry in entries if entry["state"] == "done")


@contextmanager
def child(path: Path, **options: object) -> Iterator[multiprocessing.Process]:
    process = FORK.Process(target=quiet, args=(path,), kwargs=options)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def until(condition: Callable[[], bool], process: multiprocessing.Process) -> None:
    while not condition():
        assert process.is_alive(), "the process ended before it could be disturbed"
        time.sleep(0.002)


def test_scores_are_those_of_the_functions_that_a_lab_would_call(finished: Path, undisturbed: Scores) -> None:
    model = toy()
    images = model.spec.preprocess([picture(number) for number in range(IMAGES)])
    layers = ["blocks.0", "blocks.2"]
    captured = capture(model, images, FeatureNorm(), layers=layers, sketch=Sketch(64), progress=False)
    spaces = {
        FeatureSpace("toy", "norm", kind, layer): captured[kind, layer] for kind in ("activation", "gradient")
        for layer in layers
    }  # fmt: skip
    cv = CrossValidation(folds=3, alphas=(0.1, 10.0))
    scores = score(unit_gradients(spaces), load_recording(finished.parent / "second.h5"), cv)
    for task, rows in (("none", slice(0, 2)), ("norm", slice(2, 4))):
        now = undisturbed[f"fit/toy/{task}/second/0-12"]["r"]
        assert np.allclose(now, scores.r.values[rows], rtol=0, atol=1e-3)
    table = (finished.with_suffix("") / "scores.csv").read_text().splitlines()
    assert len(table) == 1 + 2 * 3 * 2  # layers x (activations and two objectives) x recordings


@needs_fork
def test_a_process_that_is_killed_in_a_capture_leaves_nothing_that_counts(study: Path, undisturbed: Scores) -> None:
    folder = study.with_suffix("")

    def is_capturing() -> bool:
        for state in folder.glob("work/*/new/capture.json"):
            try:
                stored = json.loads(state.read_text())
            except (OSError, ValueError):
                continue
            if 0 < stored["done"] < stored["images"]:
                return True
        return False

    with child(study) as process:
        until(is_capturing, process)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert list(folder.glob("work/*/new/capture.json"))
    quiet(study)
    assert same(folder, undisturbed)
    assert set(finished_tasks(folder).values()) == {1}


@needs_fork
def test_a_process_that_is_killed_in_a_fit_leaves_nothing_that_counts(study: Path, undisturbed: Scores) -> None:
    folder = study.with_suffix("")
    with child(study) as process:
        until(lambda: any(not (new / "capture.json").exists() for new in folder.glob("work/*/new"))
              and len(list(folder.glob("results/capture/*/*"))) == 6, process)  # fmt: skip
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    quiet(study)
    assert same(folder, undisturbed)


@needs_fork
def test_two_runs_at_once_do_every_task_once(study: Path, undisturbed: Scores) -> None:
    with child(study, shard=(0, 2)) as first, child(study, shard=(1, 2)) as second:
        first.join()
        second.join()
        assert (first.exitcode, second.exitcode) == (0, 0)
    folder = study.with_suffix("")
    assert same(folder, undisturbed)
    assert set(finished_tasks(folder).values()) == {1}
    assert not list((folder / "work").iterdir())


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)


def flip_unseen(path: Path) -> None:
    """A bit that changes on the disk, which no time of a file tells."""
    stat = path.stat()
    flip(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def make_unreadable(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "which"),
    [*((damage, "*.npy") for damage in (flip, flip_unseen, truncate, make_unreadable, Path.unlink)),
     (flip, "manifest.json"), (Path.unlink, "manifest.json")],
)  # fmt: skip
def test_damaged_features_are_made_anew(done: Path, undisturbed: Scores, damage: Callable, which: str) -> None:
    folder = done.with_suffix("")
    file = next(folder.glob(f"results/capture/*/*/{'activation' if 'npy' in which else ''}{which}"))
    damage(file)
    for fit in folder.glob("results/fit/*"):
        shutil.rmtree(fit)  # so that the features are read again
    said: list[str] = []
    result = run(done, models={"toy": toy()}, say=said.append)
    assert not result.failed
    assert same(folder, undisturbed)
    assert any("damaged" in line for line in said)
    assert len(list((folder / "damaged").iterdir())) == 1
    assert sum(name.startswith("capture/") for name in result.done) == 1


def test_damaged_scores_are_made_anew_and_verify_sees_what_no_time_tells(done: Path, undisturbed: Scores) -> None:
    from gradkern.cli import main

    folder = done.with_suffix("")
    flip_unseen(next(folder.glob("results/fit/*/scores.nc")))
    assert main(["store", "verify", str(done)]) == 3
    assert len(quiet(done).done) == 1
    flip_unseen(next(folder.glob("results/fit/*/scores.nc")))  # the tables read all scores
    assert len(quiet(done).done) == 1
    assert same(folder, undisturbed)
    assert main(["store", "verify", str(done)]) == 0


def test_a_result_is_whole_or_damaged(done: Path) -> None:
    folder = done.with_suffix("")
    store = Store(folder)
    for place in store.places():
        store.check(place, whole=True)
    (place,) = store.places("fit")[:1]
    truncate(store.path(place) / "scores.nc")
    with pytest.raises(Damaged, match=r"scores\.nc has \d+ bytes, \d+ were written"):
        store.check(place)
    with pytest.raises(FileNotFoundError):
        store.check("fit/none")


def test_a_task_that_fails_is_said_last_with_the_command_that_repeats_it(
    study: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Scores
) -> None:
    original = Store.put

    def put(store: Store, task: object, aside: Path, provenance: object) -> None:
        if task.name == "capture/toy/norm/pictures/0-12":
            raise OSError(28, "No space left on device")
        original(store, task, aside, provenance)

    monkeypatch.setattr(Store, "put", put)
    said: list[str] = []
    result = run(study, models={"toy": toy()}, say=said.append)
    assert set(result.failed) == {"capture/toy/norm/pictures/0-12", *(f"fit/toy/norm/{name}/0-12" for name in
                                                                      ("first", "second"))}  # fmt: skip
    assert said[-3].strip() == f"gradkern run {study} --only capture/toy/norm/pictures/0-12"
    assert "No space left" in said[-4]
    assert len(result.done) == 9
    monkeypatch.undo()
    quiet(study)
    assert same(study.with_suffix(""), undisturbed)


def test_a_full_disk_ends_a_task_and_corrupts_nothing(study: Path, tmp_path: Path, undisturbed: Scores) -> None:
    with small_disk(tmp_path / "disk") as disk:
        with pytest.raises(OSError, match=r"must have room for [\d,]+ bytes \([\d,]+ of features"):
            quiet(study, folder=disk / "study", changes=["capture.sketch=4096"])
        result = quiet(study, folder=disk / "study")  # small files take more of a disk than their bytes
        assert result.failed
        assert any("No space left" in error or "must have room" in error for error in result.failed.values())
        for place in Store(disk / "study").places():
            Store(disk / "study").check(place, whole=True)
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        assert not quiet(study, folder=disk / "study").failed
        assert same(disk / "study", undisturbed)


def test_a_worker_process_that_is_killed_is_started_again(study: Path) -> None:
    changes = ["recordings={first='first.h5'}", "objectives={norm='FeatureNorm'}", "executor.workers=1"]
    folder = study.with_suffix("")
    said: list[str] = []

    def kill_once(line: str) -> None:
        said.append(line)
        if len(said) == 2:  # the first is what is to run, the second the first task
            os.kill(json.loads((folder / "log.jsonl").read_text().splitlines()[0])["process"], signal.SIGKILL)

    result = run(study, executor="processes", changes=changes, say=kill_once)
    assert not result.failed
    assert len(result.done) == 6
    assert "worker-1 was killed by signal 9; it is started again" in said
    assert set(finished_tasks(folder).values()) == {1}


def test_hashes_that_cannot_be_kept_end_nothing(study: Path, undisturbed: Scores) -> None:
    (study.with_suffix("") / "contents.json").mkdir(parents=True)  # no file can take the name of a folder
    with pytest.warns(UserWarning, match="hashes of files are not kept, and will be computed again"):
        quiet(study)
    assert same(study.with_suffix(""), undisturbed)
