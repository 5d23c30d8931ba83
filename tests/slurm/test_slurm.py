"""Studies on a real SLURM, which the tests start and stop; where it cannot start they say so.

Most cases take more time than each run of all tests has: GRADKERN_SLURM=all runs them too.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from gradkern.study.runner import run
from tests.slurm.cluster import Cluster, running, why_not
from tests.small_disk import small_disk
from tests.small_studies import scores_of, small_study

pytest.importorskip("submitit", reason="needs submitit (pip install 'gradkern[cluster]')")
pytestmark = pytest.mark.skipif(bool(why_not()), reason=f"no SLURM was started: {why_not()}")
SMALL = ["recordings={first='first.h5'}", "objectives={norm='FeatureNorm'}", "encode.block=6"]
WORKERS = [*SMALL, "executor={kind='slurm', workers=2, minutes=5, max_jobs=2}"]
_SECONDS = int(os.environ.get("GRADKERN_SLURM_SECONDS", "150"))  # that something may take
only_with_all = pytest.mark.skipif(
    os.environ.get("GRADKERN_SLURM") != "all", reason="GRADKERN_SLURM=all runs all cases of SLURM, in some minutes"
)
MANY = ["encode.block=2"]  # 4 captures and 24 fits


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("slurm")) as cluster:
        cluster.environment["OMP_NUM_THREADS"] = "1"
        yield cluster


def undisturbed(folder: Path, changes: list[str]) -> Path:
    """A study that ran undisturbed, in one process, with as many threads as the workers."""
    path = small_study(folder / "lab")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            assert not run(path, changes=changes, say=lambda line: None).failed
    finally:
        torch.set_num_threads(before)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return undisturbed(tmp_path_factory.mktemp("undisturbed"), SMALL)


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    lab = shutil.copytree(finished.parent, tmp_path / "lab", ignore=shutil.ignore_patterns("study"))
    return lab / "study.toml"


def submitted(study: Path, cluster: Cluster, *more: str, folder: Path | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gradkern", "run", str(study)]
    for change in [*WORKERS, *more]:
        command += ["--set", change]
    command += [] if folder is None else ["--folder", str(folder)]
    return subprocess.Popen(
        command, env=cluster.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def until(condition: Callable[[], bool]) -> None:
    stop = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < stop, "nothing happened"
        time.sleep(0.02)


def said_by(process: subprocess.Popen[str], status: int = 0) -> str:
    """What a run printed, once it ended with a status."""
    said, _ = process.communicate(timeout=_SECONDS)
    assert process.returncode == status, said
    return said


def holders(folder: Path, kind: str = "") -> list[int]:
    """Processes that compute a task of a kind."""
    found = []
    for lock in folder.glob("work/*/.writer.lock"):
        is_capture = any((lock.parent / "new").glob("capture.json"))
        try:
            number = int(json.loads(lock.read_text())["process"])
        except (OSError, ValueError):
            continue
        if not kind or is_capture == (kind == "capture"):
            found.append(number)
    return found


def entries(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def same_scores(folder: Path, finished: Path) -> None:
    """Scores to the last bit as those of the undisturbed run."""
    now, wanted = scores_of(folder), scores_of(finished.with_suffix(""))
    assert now.keys() == wanted.keys()
    for task, scores in wanted.items():
        for name, values in scores.items():
            assert np.array_equal(now[task][name], values, equal_nan=True), (task, name)


def check(folder: Path, finished: Path) -> None:
    """The same scores, every task done once, and the log of every task says where."""
    same_scores(folder, finished)
    done = Counter(entry["task"] for entry in entries(folder) if entry["state"] == "done")
    assert set(done.values()) == {1}
    for task in done:
        text = (folder / "logs" / f"{task.replace('/', '.')}.log").read_text()
        assert "begins in job" in text
        assert "is done in" in text


def test_slurmd_that_is_killed_and_started_again_and_a_worker_that_is_killed_in_a_fit(
    study: Path, finished: Path, cluster: Cluster
) -> None:
    folder = study.with_suffix("")
    process = submitted(study, cluster)
    until(lambda: bool(holders(folder, "capture")))
    cluster.kill_slurmd()
    text = study.read_text()
    study.write_text(text.replace("folds = 3", "folds = 4").replace("sketch = 64", "sketch = 65"))
    cluster.start_slurmd()
    until(lambda: len(list(folder.glob("results/capture/*/*"))) == 4 and bool(holders(folder, "fit")))
    os.kill(holders(folder, "fit")[0], signal.SIGKILL)
    said_by(process)  # of the study file as it was when it was submitted
    study.write_text(text)
    check(folder, finished)
    scripts = {path.parent.name.partition("-")[0]: path.read_text() for path in folder.glob("workers/*/*/*.sh")}
    assert "--job-name=gradkern-fit" in scripts["fit"]
    assert "--array=0-1%2" in scripts["capture"]
    assert "--dependency=afterany:" in scripts["fit"]


def test_jobs_that_are_killed_and_cancelled_are_submitted_again(study: Path, finished: Path, cluster: Cluster) -> None:
    folder = study.with_suffix("")
    process = submitted(study, cluster)
    until(lambda: bool(holders(folder)))
    os.kill(holders(folder)[0], signal.SIGKILL)  # a worker, in a capture
    until(lambda: any(folder.glob("results/capture/*/*")))
    cluster.asked("scancel", "--name=gradkern-fit")
    assert "they are submitted again" in said_by(process)
    check(folder, finished)


def test_the_submitting_process_may_be_killed(study: Path, finished: Path, cluster: Cluster) -> None:
    folder = study.with_suffix("")
    process = submitted(study, cluster)
    until(lambda: bool(holders(folder)))
    process.kill()
    process.communicate()
    until(lambda: len(list(folder.glob("results/fit/*"))) == len(list(finished.with_suffix("").glob("results/fit/*"))))
    check(folder, finished)


@only_with_all
def test_jobs_that_are_preempted_or_out_of_time_are_put_back(study: Path, finished: Path, cluster: Cluster) -> None:
    folder = study.with_suffix("")
    process = submitted(study, cluster)
    until(lambda: bool(holders(folder)))
    cluster.asked("sbatch", "--partition=urgent", "--cpus-per-task=4", "--output=/dev/null", "--wrap=sleep 1")
    until(lambda: "PD" in cluster.asked("squeue", "--noheader", "--name=gradkern-capture", "--format=%t"))
    until(lambda: bool(holders(folder, "fit")))
    cluster.asked("scancel", "--signal=USR2", "--name=gradkern-fit", "--state=RUNNING")  # as before the limit of time
    said_by(process)
    check(folder, finished)
    printed = "".join(path.read_text() for path in folder.glob("workers/*/*/*_log.err"))
    assert "DUE TO PREEMPTION" in printed


@only_with_all
def test_24_fits_on_2_workers_of_which_one_is_a_day_ahead_and_two_runs_at_once(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = [SMALL[1], *MANY]
    wanted = undisturbed(tmp_path / "undisturbed", changes)
    lab = shutil.copytree(wanted.parent, tmp_path / "lab", ignore=shutil.ignore_patterns("study"))
    (lab / "sitecustomize.py").write_text(
        "import os, time\n"
        "if os.environ.get('SLURM_ARRAY_TASK_ID') == '1':\n"
        "    now, ns = time.time, time.time_ns\n"
        "    time.time, time.time_ns = lambda: now() + 86400, lambda: ns() + 86400 * 10**9\n"
    )
    monkeypatch.setitem(cluster.environment, "PYTHONPATH", f"{lab}:{os.environ.get('PYTHONPATH', '')}")
    both = "recordings={first='first.h5', second='second.h5'}"
    runs = [submitted(lab / "study.toml", cluster, *MANY, both) for _ in range(2)]
    for process in runs:
        said_by(process)
    check(lab / "study", wanted)
    assert sum(entry["state"] == "done" for entry in entries(lab / "study")) == 28


@only_with_all
def test_files_that_are_damaged_between_runs_are_made_anew(study: Path, finished: Path, cluster: Cluster) -> None:
    folder = study.with_suffix("")
    said_by(submitted(study, cluster))
    check(folder, finished)
    flipped, cut, unreadable = (path for path in sorted(folder.glob("results/capture/*/*"))[:3])
    content = bytearray(next(flipped.glob("*.npy")).read_bytes())
    content[-3] ^= 4
    next(flipped.glob("*.npy")).write_bytes(content)
    os.truncate(next(cut.glob("*.npy")), 100)
    file = next(unreadable.glob("*.npy"))
    file.unlink()
    file.mkdir()
    for fit in folder.glob("results/fit/*"):
        shutil.rmtree(fit)
    said = said_by(submitted(study, cluster))
    same_scores(folder, finished)
    assert said.count("it is set aside and made anew") == 3
    assert len([entry for entry in entries(folder) if entry["state"] == "damaged"]) == 3


@only_with_all
def test_a_full_disk_fails_tasks_and_a_larger_one_goes_on(
    study: Path, finished: Path, cluster: Cluster, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        process = submitted(study, cluster, folder=disk / "study")
        said, _ = process.communicate(timeout=_SECONDS)
        assert process.returncode != 0, said
        assert "No space left" in said or "must have room" in said or "its worker ended" in said
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        said_by(submitted(study, cluster, folder=disk / "study"))
        same_scores(disk / "study", finished)
