"""Run a study: plan it, compute what is missing, and write its tables."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from gradkern.errors import naming
from gradkern.models._catalogue import CATALOGUE
from gradkern.study.runner._compute import Worker
from gradkern.study.runner._estimate import check_room
from gradkern.study.runner._executor_entry import EXECUTORS
from gradkern.study.runner._loop import Outcome, Share, failures, work
from gradkern.study.runner._memory import budget_of, check_memory
from gradkern.study.runner._overrides import read_run
from gradkern.study.runner._plan import DONE, Plan, make_plan
from gradkern.study.runner._report import write_tables
from gradkern.study.runner._store import Damaged
from gradkern.study.runner._tasks import CaptureOrder

_ROUNDS = 4  # in which damaged results are made anew


@dataclass(frozen=True)
class RunResult:
    """What a run of a study did.

    Attributes
    ----------
    folder : of the study
    done : names of the tasks that were computed
    kept : how many were done before
    failed : name of a task -> its error, or the failed task that it needs
    damaged : places of results that were set aside and made anew
    outcome : the same, task by task
    """

    folder: Path
    done: tuple[str, ...]
    kept: int
    failed: Mapping[str, str]
    damaged: tuple[str, ...]
    outcome: Outcome


@naming("run")
def run(
    study: Any,
    *,
    executor: str | None = None,
    only: str | None = None,
    changes: Sequence[str] = (),
    shard: tuple[int, int] = (0, 1),
    debug: bool = False,
    folder: Any = None,
    device: str | None = None,
    memory: str | None = None,
    models: Mapping[str, nn.Module] | None = None,
    stages: Sequence[str] = (),
    stored: Any = None,
    say: Callable[[str], None] = print,
) -> RunResult:
    """Capture, encode and judge what a study file says; what is done and was made from the same is kept.

    Parameters
    ----------
    study : path of the study file
    executor : "local" (in this process), "processes" or "slurm"; None: as the file says
    only : a pattern of names of tasks, such as "fit/*"; what these need is computed too
    changes : of values of the file, "encode.folds=3" each
    shard : (i, n), this process is the i-th of n, from 0, that do the study together
    debug : 8 images, the first and the last layer and 100 targets, into a folder of its own
    folder : of tasks and results; None: beside the file, with its name
    device : that captures run on, "cpu", "cuda" or "cuda:1"; None: as the file says
    memory : that each process may take in all, such as "16G"; None: what the job, the cgroup or the machine grants,
        shared by local processes
    models : of `load_model`, in the place of those of the file with these names; in this process only
    stages : kinds of tasks that this process takes; () for all
    stored : a copy of the study file that is read in its place, as workers do whose study file may change before they
        start
    say : is told what happens, a line at a time

    Returns
    -------
    RunResult; scores.csv and claims.csv are in the study's folder

    Raises
    ------
    FileNotFoundError, ValueError : the file is wrong, or something that it names is missing or does not fit
    OSError : the disk has no room for what is missing; the message has the arithmetic
    MemoryError : a fit needs more memory than there is; the message has the arithmetic and what to change

    Examples
    --------
    >>> run("missing.toml")
    Traceback (most recent call last):
    FileNotFoundError: run: missing.toml must be a study file, but there is no such file
    """
    path = Path(study).expanduser()
    place = None if folder is None else Path(folder).expanduser()
    copy = None if stored is None else Path(stored)
    description = read_run(path, changes, debug=debug, folder=place, stored=copy)
    kind = executor or description.executor.kind
    if kind not in EXECUTORS:
        raise ValueError(f"executor must be one of {', '.join(EXECUTORS)}, got {kind!r}")
    budget = budget_of(description.executor, kind, memory)
    device = device or description.executor.devices.get("capture", description.executor.device)
    if models and kind != "local":
        raise ValueError(f"executor must be 'local' where models are given, got {kind!r}")
    if not 0 <= shard[0] < shard[1]:
        raise ValueError(f"shard must be (i, n) with 0 <= i < n, got {shard}")
    repeat = command(path, changes, debug=debug, folder=place)
    plan = make_plan(description, models)
    kept = sum(planned.state == DONE for planned in plan.tasks)
    outcomes: list[Outcome] = []
    is_whole = shard == (0, 1) and not stages
    for _ in range(_ROUNDS):
        chosen = plan.only(only) if only else plan
        _set_damaged_aside(plan, say)
        plan.save()
        if chosen.missing:
            _check_and_say(chosen, budget, is_first=not outcomes, say=say)
            if kind == "local":
                worker = Worker(chosen.parts, chosen.store, device, budget)
                new = [work(chosen, Share(*shard, tuple(stages)), worker, say, repeat)]
            else:
                from gradkern.study.runner._executors import run_elsewhere

                told = {"changes": list(changes), "debug": debug, "folder": place, "device": device, "only": only}
                if kind == "processes" and budget is not None:
                    memory = f"{budget >> 10}K"  # a job of SLURM looks at what it is granted
                told["memory"] = memory
                new = run_elsewhere(kind, chosen, told, say)
            outcomes += new
            plan = make_plan(description, models)
            if any(outcome.damaged for outcome in new):
                continue
        if not is_whole or _has_tables(plan, say):
            break
        plan = make_plan(description, models)
    result = _result(description.folder, outcomes, kept)
    for line in failures([result.outcome], repeat):
        say(line)
    return result


def _check_and_say(chosen: Plan, budget: int | None, *, is_first: bool, say: Callable[[str], None]) -> None:
    """Refuse what disk or memory have no room for, and say what is to be run."""
    if is_first:
        _check_weights(chosen)
        check_room(chosen)
        check_memory(chosen, budget)
        for note in chosen.notes:
            say(note)
        say(f"{len(chosen.missing)} of {len(chosen.tasks)} tasks to run in {chosen.store.folder}")


def _check_weights(chosen: Plan) -> None:
    """Refuse to capture a model whose published weights are not here: the identity of a result says which they are."""
    for task in chosen.missing:
        opened = chosen.parts.models[task.order.model] if isinstance(task.order, CaptureOrder) else None
        if opened is not None and opened.lacks_weights:
            origin = CATALOGUE[opened.entry.model].builder.origin
            raise FileNotFoundError(
                f"{chosen.parts.description.path}: {opened.entry.key} must have its published weights on this machine "
                f"before the study runs, as results name their hash, but there are none of {origin}; "
                f"`hf download {origin}` where there is a network, or weights = PATH in the file"
            )


def _has_tables(plan: Plan, say: Callable[[str], None]) -> bool:
    """Write the tables; False where a result that they are of is damaged, which is set aside."""
    try:
        write_tables(plan)
    except Damaged as error:
        say(f"damaged {error.place}: {error.why}; it is set aside and made anew")
        plan.store.log({"task": error.place, "state": "damaged", "error": error.why})
        plan.store.set_aside(error.place)
        return False
    return True


def command(path: Path, changes: Sequence[str], *, debug: bool, folder: Path | None) -> str:
    """The command line that runs a study in this way."""
    words = ["gradkern", "run", str(path)]
    for change in changes:
        words += ["--set", change]
    words += ["--debug"] if debug else []
    words += ["--folder", str(folder)] if folder is not None else []
    return shlex.join(words)


def _set_damaged_aside(plan: Plan, say: Callable[[str], None]) -> None:
    for place, why in plan.damaged.items():
        try:
            plan.store.check(place)
            continue  # another process has made it anew
        except FileNotFoundError:
            continue  # another process has set it aside
        except Damaged:
            pass
        say(f"damaged {place}: {why}; it is set aside and made anew")
        plan.store.log({"task": place, "state": "damaged", "error": why})
        plan.store.set_aside(place)


def _result(folder: Path, outcomes: Sequence[Outcome], kept: int) -> RunResult:
    done = [name for outcome in outcomes for name in outcome.done]
    there = {*done, *(name for outcome in outcomes for name in outcome.elsewhere)}
    failed = {
        name: why
        for outcome in outcomes
        for name, why in {**outcome.failed, **outcome.skipped}.items()
        if name not in there
    }
    damaged = [place for outcome in outcomes for place in outcome.damaged]
    whole = Outcome(
        done,
        [name for outcome in outcomes for name in outcome.elsewhere],
        {name: error for outcome in outcomes for name, error in outcome.failed.items() if name in failed},
        {name: need for outcome in outcomes for name, need in outcome.skipped.items() if name in failed},
        damaged,
    )
    return RunResult(folder, tuple(done), kept, failed, tuple(damaged), whole)
