"""Workers elsewhere: local processes, and jobs of SLURM.

Every worker is `gradkern run --shard i/n` of the same study, so that one that dies leaves nothing behind but a free
lock, and another one goes on with its task.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradkern._files import written_whole
from gradkern.study.runner._executor_entry import STAGE_NEEDS, STAGES, ExecutorEntry, StageResources
from gradkern.study.runner._loop import Outcome, facts_of_outcome
from gradkern.study.runner._plan import Plan
from gradkern.study.runner._tasks import Task

_STARTS = 4  # of a worker that is killed
_POLL = 0.2  # s
_SLURM_POLL = 2.0
_TIMEOUTS = 100  # after which a job is put back no more
_ROUNDS = 4  # in which jobs are submitted for what is not done

Say = Callable[[str], None]


def run_elsewhere(kind: str, plan: Plan, options: Mapping[str, Any], say: Say) -> list[Outcome]:
    """Have workers compute the missing tasks of a plan, and wait for them.

    Parameters
    ----------
    kind : "processes" or "slurm"
    options : of `run`, for the workers
    """
    logs = plan.store.folder / "workers" / time.strftime("%Y%m%d-%H%M%S")
    number = 0
    while logs.exists():
        number += 1
        logs = logs.with_name(f"{logs.name}-{number}")
    logs.mkdir(parents=True)
    watch = _Watch(plan, say)
    stored = logs / "study.toml"  # workers read what the study file says now, whatever it says when they start
    shutil.copyfile(plan.parts.description.path, stored)
    options = {**options, "executor": "local", "stored": stored.absolute()}
    if kind == "processes":
        outcomes = _in_processes(plan.parts.description.executor.workers, _arguments(plan, options), logs, watch)
    else:
        outcomes = _in_slurm(plan, options, logs, watch)
    watch.look()
    known = {name for outcome in outcomes for name in (*outcome.failed, *outcome.skipped)}
    lost = [task for task in plan.missing if task.name not in known and not _is_there(plan, task)]
    done = [task.name for task in plan.missing if _is_there(plan, task)]
    lines = {task.name: f"its worker ended before it was done; see {logs}" for task in lost}
    return [*outcomes, Outcome(done=_not_in(done, outcomes), failed=lines)]


def _arguments(plan: Plan, options: Mapping[str, Any]) -> list[str]:
    """The arguments of a worker's command line."""
    words = ["run", str(plan.parts.description.path), "--executor", "local", "--device", str(options["device"])]
    words += ["--stored", str(options["stored"])]
    for change in options["changes"]:
        words += ["--set", change]
    words += ["--memory", str(options["memory"])] if options["memory"] else []
    words += ["--debug"] if options["debug"] else []
    words += ["--folder", str(options["folder"])] if options["folder"] is not None else []
    return [*words, "--only", str(options["only"])] if options["only"] else words


def _not_in(names: Sequence[str], outcomes: Sequence[Outcome]) -> list[str]:
    """Tasks that are done though the worker that did them told nothing."""
    told = {name for outcome in outcomes for name in outcome.done}
    return [name for name in names if name not in told]


def _is_there(plan: Plan, task: Task) -> bool:
    return plan.store.path(task.place).is_dir()


@dataclass
class _Watch:
    """Says what workers write into the log of the study."""

    plan: Plan
    say: Say
    place: int = field(init=False, default=0)
    ended: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.missing = {task.id for task in self.plan.missing}
        self.start = time.monotonic()
        self.path = self.plan.store.folder / "log.jsonl"
        self.place = self.path.stat().st_size if self.path.is_file() else 0

    def look(self) -> None:
        """Say what is new."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            file.seek(self.place)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self.place += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry.get("id") not in self.missing:
                continue
            if entry["state"] == "done":
                self.ended += 1
                rest = len(self.missing) - self.ended
                left = (time.monotonic() - self.start) / self.ended * rest
                self.say(
                    f"[{self.ended}/{len(self.missing)}] {entry['task']}: {entry['seconds']:.1f} s on "
                    f"{entry['machine']}{f', about {left:.0f} s left' if rest > 0 else ''}"
                )
            elif entry["state"] == "failed":
                self.say(f"failed {entry['task']}: {entry['error']}")


# Local processes.


def _in_processes(count: int, arguments: list[str], logs: Path, watch: _Watch) -> list[Outcome]:
    count = min(count, max(1, len(watch.missing)))
    workers = [_Process(number, count, arguments, logs) for number in range(count)]
    try:
        while any(worker.is_running(watch.say) for worker in workers):
            watch.look()
            time.sleep(_POLL)
    finally:
        for worker in workers:
            worker.stop()
    return [outcome for number in range(count) for outcome in _outcomes(logs / f"worker-{number + 1}.json")]


class _Process:
    """A worker in a process of its own, which is started again where it is killed."""

    def __init__(self, number: int, of: int, arguments: list[str], logs: Path) -> None:
        self.name = f"worker-{number + 1}"
        self.logs = logs
        outcome = ["--outcome", str(logs / f"{self.name}.json")]
        self.command = [sys.executable, "-m", "gradkern", *arguments, "--shard", f"{number + 1}/{of}", *outcome]
        threads = max(1, available_cores() // of)  # or each worker takes all cores
        self.environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
        self.starts = 0
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        with (self.logs / f"{self.name}.log").open("ab") as log:
            return subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment
            )

    def is_running(self, say: Say) -> bool:
        status = self.process.poll()
        if status is None:
            return True
        if status >= 0 or self.starts >= _STARTS:
            return False
        say(f"{self.name} was killed by signal {-status}; it is started again")
        self.process = self._started()
        return True

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _outcomes(path: Path) -> Iterator[Outcome]:
    """What a worker told; nothing where it was killed."""
    if path.is_file():
        yield Outcome(**json.loads(path.read_text(encoding="utf-8")))


# SLURM.


class SlurmWorker:
    """A job of an array: a worker of one stage, which begins again where the job is preempted or runs out of time.

    Parameters
    ----------
    study : path of the study file
    options : of `run`
    told : the file that says what the worker did
    """

    def __init__(self, study: Path, options: Mapping[str, Any], told: Path) -> None:
        self.study, self.options, self.told = study, dict(options), told

    def __call__(self) -> None:
        from gradkern.study.runner._run import run

        result = run(self.study, **self.options)
        with written_whole(self.told) as aside:
            aside.write_text(json.dumps(facts_of_outcome(result.outcome)), encoding="utf-8")

    def checkpoint(self) -> Any:
        """What submitit puts back into the queue: the same, because what is done is kept."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def _in_slurm(plan: Plan, options: Mapping[str, Any], logs: Path, watch: _Watch) -> list[Outcome]:
    """Submit an array for each stage, after those whose results it reads; again for what is not done."""
    entry, study = plan.parts.description.executor, plan.parts.description.path.absolute()
    asked = entry.stages["capture"].gres if "capture" in entry.stages else ""
    if asked.startswith("gpu") and options["device"] == "cpu" and any(task.kind == "capture" for task in plan.missing):
        watch.say(f"jobs of capture ask for {asked}, but compute on the CPU; executor.device = 'cuda' uses it")
    outcomes: list[Outcome] = []
    for round_number in range(_ROUNDS):
        known = {name for outcome in outcomes for name in (*outcome.failed, *outcome.skipped)}
        missing = [task for task in plan.missing if task.name not in known and not _is_there(plan, task)]
        if not missing:
            break
        if round_number:
            watch.say(f"jobs ended before {len(missing)} tasks were done; they are submitted again")
        files: list[Path] = []
        ids: dict[str, str] = {}  # of the arrays by their stages
        for stage in STAGES:
            count = min(entry.workers, sum(task.kind == stage for task in missing))
            if not count:
                continue
            told = [logs / f"round-{round_number + 1}-{stage}-{number + 1}.json" for number in range(count)]
            workers = [
                SlurmWorker(study, {**options, "stages": [stage], "shard": (number, count)}, file)
                for number, file in enumerate(told)
            ]
            with _refusals(stage, list(ids.values())):
                ids[stage] = _submitted(entry, stage, workers, logs, _submitted_before(stage, ids))
            watch.say(f"submitted {count} jobs for {stage} as {ids[stage]}")
            files += told
        while _are_queued(list(ids.values())):
            watch.look()
            time.sleep(_SLURM_POLL)
        outcomes += [outcome for file in files for outcome in _outcomes(file)]
    return outcomes


@contextmanager
def _refusals(stage: str, ids: Sequence[str]) -> Iterator[None]:
    """Say in words what SLURM does not take: it is of the section [executor], not of this program."""
    import submitit

    try:
        yield
    except (submitit.core.utils.FailedJobError, RuntimeError) as error:
        going = f"; jobs {', '.join(ids)} were submitted and go on" if ids else ""
        raise OSError(
            f"executor must be what this cluster takes, got for {stage}: {' '.join(str(error).split())}{going}"
        ) from error


def _submitted_before(stage: str, ids: Mapping[str, str]) -> list[str]:
    """Arrays that a stage waits for: those of the stages whose results it reads; of what is done, those before it."""
    found: list[str] = []
    for need in STAGE_NEEDS[stage]:
        found += [ids[need]] if need in ids else _submitted_before(need, ids)
    return list(dict.fromkeys(found))


def _submitted(
    entry: ExecutorEntry, stage: str, workers: Sequence[SlurmWorker], logs: Path, before: Sequence[str]
) -> str:
    """Submit an array of jobs; its number."""
    import submitit

    wanted = entry.stages.get(stage, StageResources())
    executor = submitit.SlurmExecutor(
        folder=logs / f"{stage}-%j", max_num_timeout=_TIMEOUTS, python=entry.python or sys.executable
    )
    more = {"constraint": wanted.constraint, "gres": wanted.gres, "account": wanted.account, "qos": wanted.qos}
    extra = {name: value for name, value in more.items() if value}
    if before:
        extra["dependency"] = f"afterany:{':'.join(before)}"
    parameters: dict[str, Any] = {
        "job_name": f"gradkern-{stage}",
        "time": wanted.minutes,
        "cpus_per_task": wanted.cpus,
        "array_parallelism": entry.max_jobs or len(workers),
        "additional_parameters": extra,
    }
    if wanted.partition:
        parameters["partition"] = wanted.partition
    if wanted.memory:
        parameters["mem"] = wanted.memory
    executor.update_parameters(**parameters)
    jobs = [*executor.map_array(_called, workers)]
    return str(jobs[0].job_id).partition("_")[0]


def _called(worker: SlurmWorker) -> None:
    worker()


def _are_queued(ids: Sequence[str]) -> bool:
    """Whether SLURM still has a job of one of these numbers; where it does not answer, it is asked again."""
    for number in ids:
        asked = subprocess.run(
            ["squeue", "--noheader", "--jobs", number, "--format", "%i"], capture_output=True, text=True, check=False
        )
        if asked.returncode == 0 and asked.stdout.strip():
            return True
        if asked.returncode != 0 and "Invalid job id" not in asked.stderr:
            return True
    return False
