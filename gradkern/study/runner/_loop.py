"""One process that works at a study: it takes tasks that nobody has, until all are done or have failed.

Several such processes may work at one study, whoever started them: a task is locked by the one that computes it, and
the lock of a process that died is free.
"""

import os
import resource
import shlex
import shutil
import socket
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from gradkern._lock import held_by
from gradkern.study._output import made_by
from gradkern.study.runner._compute import Worker
from gradkern.study.runner._inputs import Replaced, check_inputs
from gradkern.study.runner._plan import Plan
from gradkern.study.runner._store import Damaged, Store
from gradkern.study.runner._tasks import Task

_LONGEST_WAIT = 5.0  # s between looks at what other processes have done
_SILENT_WAIT = 60.0  # s of waiting for other processes, before it is said for which
Say = Callable[[str], None]


@dataclass
class Outcome:
    """What a process did at a study.

    Attributes
    ----------
    done : names of tasks that it computed
    elsewhere : names of tasks that other processes computed meanwhile
    failed : name -> the error
    skipped : name -> the failed task that it needs
    damaged : places of results that were not what their manifests say
    """

    done: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Share:
    """Which tasks a process takes first, and of which kinds it takes any.

    Attributes
    ----------
    number, of : 0-based place among the processes that work together
    stages : kinds of tasks; () for all
    """

    number: int = 0
    of: int = 1
    stages: tuple[str, ...] = ()


def work(plan: Plan, share: Share, worker: Worker, say: Say, repeat: str) -> Outcome:
    """Compute the missing tasks of a plan.

    Parameters
    ----------
    say : is told of every task that ends
    repeat : the command that runs the study, for messages about failures
    """
    loop = _Loop(plan, share, worker, say, repeat)
    loop.run()
    return loop.outcome


class _Loop:
    def __init__(self, plan: Plan, share: Share, worker: Worker, say: Say, repeat: str) -> None:
        self.store, self.worker, self.say, self.repeat = plan.store, worker, say, repeat
        missing = plan.missing
        self.missing = {task.id: task for task in missing}
        mine = [task for task in missing if not share.stages or task.kind in share.stages]
        first = len(mine) * share.number // share.of
        self.pending = mine[first:] + mine[:first]
        self.stages = share.stages
        self.outcome = Outcome()
        self._failed: set[str] = set()
        self._seconds: dict[str, list[float]] = {}
        self._workers, self._total = share.of, len(mine)

    def run(self) -> None:
        wait, since = 0.05, time.monotonic()
        while self.pending:
            before = len(self.pending)
            for task in list(self.pending):
                self._look_at(task)
            if len(self.pending) < before:
                wait, since = 0.05, time.monotonic()
            elif self.pending:
                if time.monotonic() - since > _SILENT_WAIT:
                    self._say_who_is_waited_for()
                    since = time.monotonic()
                time.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT)

    def _say_who_is_waited_for(self) -> None:
        """Name the processes that hold tasks; one on a machine that died may have to be removed by hand."""
        for task in self.missing.values():
            folder = self.store.folder / "work" / task.id
            holder = held_by(folder)
            if holder:
                self.say(f"waiting for {task.name}, which {holder} computes; if it is no more, remove {folder}")

    def _look_at(self, task: Task) -> None:
        """Compute a task if it can be, or note that it is done or never will be."""
        if _is_there(self.store, task):
            self.outcome.elsewhere.append(task.name)
            self.pending.remove(task)
            return
        needs = [self.missing[need] for need in task.needs if need in self.missing]
        broken = next((need for need in needs if need.id in self._failed), None)
        if broken is not None:
            self._failed.add(task.id)
            self.outcome.skipped[task.name] = broken.name
            self.pending.remove(task)
            return
        absent = [need for need in needs if not _is_there(self.store, need)]
        if absent:
            self._give_up(task, absent)
            return
        try:
            with self.store.claimed(task) as aside:
                if not _is_there(self.store, task):
                    self._compute(task, aside)
                    self.pending.remove(task)
        except BlockingIOError:
            return
        except OSError as error:  # no room for its folder, or no right to write there
            self._note_failure(task, f"{type(error).__name__}: {error}")
            self.pending = [other for other in self.pending if other is not task]

    def _give_up(self, task: Task, absent: Sequence[Task]) -> None:
        """Skip a task that needs one of another stage which nobody computes."""
        for need in absent:
            if not self.stages or need.kind in self.stages:
                if need not in self.pending:  # it was done, and was set aside since
                    self.pending.append(need)
                continue
            with suppress(BlockingIOError), self.store.claimed(need):
                if not _is_there(self.store, need):
                    self._failed.add(task.id)
                    self.outcome.skipped[task.name] = need.name
                    self.pending.remove(task)
                    return

    def _compute(self, task: Task, aside: Path) -> None:
        start, stated = time.monotonic(), {"task": task.name, "id": task.id, "inputs": task.inputs}
        _reset_peak()
        self._note(task, f"begins{_job()}")
        try:
            found = self.worker.compute(task, aside)
            check_inputs(self.worker.parts, task.order)
            used = {"seconds": round(time.monotonic() - start, 3), "peak_memory": peak_memory()}
            here = {"machine": socket.gethostname(), "threads": torch.get_num_threads()}
            self.store.put(task, aside, {**made_by(), **here, **used, **found, "inputs": task.inputs})
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            if isinstance(error, Damaged):
                if error.is_there:
                    self.store.set_aside(error.place)
                self.outcome.damaged.append(error.place)
                text = f"{text}; it is made anew"
            if isinstance(error, Replaced):
                shutil.rmtree(aside, ignore_errors=True)  # or a capture would go on from it
            self._note(task, f"failed\n{''.join(traceback.format_exception(error))}")
            self._note_failure(task, text)
            return
        self._note(task, f"is done in {used['seconds']:.1f} s, {used['peak_memory']:,} bytes at most")
        with suppress(OSError):  # the result is there, whether the disk has room for its line or not
            self.store.log({**stated, "state": "done", **used})
        self.outcome.done.append(task.name)
        self._seconds.setdefault(task.kind, []).append(float(used["seconds"]))
        self.say(f"{self._count()} {task.name}: {used['seconds']:.1f} s{self._left(task)}")

    def _note(self, task: Task, text: str) -> None:
        """A line in the log of the task, or a traceback."""
        with suppress(OSError):  # on a full disk
            self.store.note(task, text)

    def _note_failure(self, task: Task, text: str) -> None:
        self._failed.add(task.id)
        self.outcome.failed[task.name] = text
        with suppress(OSError):  # a full disk has no room for the line either
            self.store.log({"task": task.name, "id": task.id, "state": "failed", "error": text})
        self.say(f"failed {task.name}: {text}")

    def _count(self) -> str:
        return f"[{self._total - len(self.pending) + 1}/{self._total}]"

    def _left(self, last: Task) -> str:
        """How long the rest will take, by the mean of each kind so far."""
        rest = [task for task in self.pending if task is not last]
        every = [seconds for of_kind in self._seconds.values() for seconds in of_kind]
        means = {kind: sum(of_kind) / len(of_kind) for kind, of_kind in self._seconds.items()}
        seconds = sum(means.get(task.kind, sum(every) / len(every)) for task in rest) / self._workers
        return f", about {words_of(seconds)} left" if rest else ""


def words_of(seconds: float) -> str:
    """A time in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def failures(outcomes: Iterable[Outcome], repeat: str) -> list[str]:
    """Lines about what failed, each with the command that repeats it alone."""
    lines = []
    failed: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for outcome in outcomes:
        failed |= outcome.failed
        skipped |= outcome.skipped
    for name, error in failed.items():
        lines += [f"failed {name}: {error}", f"  {repeat} --only {shlex.quote(name)}"]
    lines += [f"not run {name}, which needs {need}" for name, need in skipped.items()]
    return lines


def _is_there(store: Store, task: Task) -> bool:
    return store.path(task.place).is_dir()


def _job() -> str:
    """The job of SLURM that this process is, in words."""
    numbers = [os.environ.get(name, "") for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")]
    return f" in job {'_'.join(numbers)} of SLURM" if all(numbers) else ""


def peak_memory() -> int:
    """Bytes of memory that this process had at most, since `_reset_peak` where the system can tell."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _reset_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def facts_of_outcome(outcome: Outcome) -> Mapping[str, Sequence[str] | Mapping[str, str]]:
    """An outcome as JSON has it."""
    return dict(vars(outcome))
