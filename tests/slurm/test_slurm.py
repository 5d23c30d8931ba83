"""Studies on a real SLURM, which the tests start and stop; where it cannot start they say so."""

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
from tests.slurm.cluster import running, why_not
from tests.small_studies import scores_of, small_study

pytest.importorskip("submitit", reason="needs submitit (pip install 'gradkern[cluster]')")
pytestmark = pytest.mark.skipif(bool(why_not()), reason=f"no SLURM was started: {why_not()}")
SMALL = ["recordings={first='first.h5'}", "objectives={norm='FeatureNorm'}", "encode.block=6"]
WORKERS = [*SMALL, "executor={kind='slurm', workers=2, minutes=5, max_jobs=2}"]
_SECONDS = 150


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with running(tmp_path_factory.mktemp("slurm")) as environment:
        yield {**environment, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that ran undisturbed, in one process, with as many threads as the workers."""
    path = small_study(tmp_path_factory.mktemp("undisturbed") / "lab")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            assert not run(path, changes=SMALL, say=lambda line: None).failed
    finally:
        torch.set_num_threads(before)
    return path


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    lab = shutil.copytree(finished.parent, tmp_path / "lab", ignore=shutil.ignore_patterns("study"))
    return lab / "study.toml"


def submitted(study: Path, cluster: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gradkern", "run", str(study)]
    for change in WORKERS:
        command += ["--set", change]
    return subprocess.Popen(command, env=cluster, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until(condition: Callable[[], bool]) -> None:
    stop = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < stop, "nothing happened"
        time.sleep(0.02)


def holders(folder: Path) -> list[int]:
    """Processes that compute a task."""
    found = []
    for lock in folder.glob("work/*/.writer.lock"):
        try:
            found.append(int(json.loads(lock.read_text())["process"]))
        except (OSError, ValueError):
            continue
    return found


def check(folder: Path, finished: Path) -> None:
    """Scores to the last bit as those of the undisturbed run, and every task done once."""
    now, wanted = scores_of(folder), scores_of(finished.with_suffix(""))
    assert now.keys() == wanted.keys()
    for task, scores in wanted.items():
        for name, values in scores.items():
            assert np.array_equal(now[task][name], values, equal_nan=True), (task, name)
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert set(Counter(entry["task"] for entry in entries if entry["state"] == "done").values()) == {1}


def test_jobs_that_are_killed_and_cancelled_are_submitted_again(
    study: Path, finished: Path, cluster: dict[str, str]
) -> None:
    folder = study.with_suffix("")
    process = submitted(study, cluster)
    until(lambda: bool(holders(folder)))
    os.kill(holders(folder)[0], signal.SIGKILL)  # a worker, in a capture
    until(lambda: any(folder.glob("results/capture/*/*")))
    subprocess.run(["scancel", "--name=gradkern-fit"], env=cluster, check=True)
    said, _ = process.communicate(timeout=_SECONDS)
    assert process.returncode == 0, said
    assert "they are submitted again" in said
    check(folder, finished)


def test_the_submitting_process_may_be_killed(study: Path, finished: Path, cluster: dict[str, str]) -> None:
    folder = study.with_suffix("")
    process = submitted(study, cluster)
    until(lambda: bool(holders(folder)))
    process.kill()
    process.communicate()
    until(lambda: len(list(folder.glob("results/fit/*"))) == len(list(finished.with_suffix("").glob("results/fit/*"))))
    check(folder, finished)
