"""What `gradkern run`, `status`, `estimate`, `report` and `store` print and return."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradkern._files import written_whole
from gradkern._lock import held_by
from gradkern.study.runner._housekeeping import prune, verify
from gradkern.study.runner._loop import facts_of_outcome
from gradkern.study.runner._overrides import read_run
from gradkern.study.runner._plan import DONE, Plan, make_plan
from gradkern.study.runner._report import counts, score_table, write_tables
from gradkern.study.runner._run import run as run_study
from gradkern.study.runner._store import Store

_FAILED, _FINE = 3, 0
_LAST = 5  # failures that status prints


def _plan(options: argparse.Namespace) -> Plan:
    return make_plan(read_run(options.study, options.set, debug=options.debug, folder=options.folder))


def run(options: argparse.Namespace) -> int:
    """Run a study; the status is 3 where a task failed."""
    if options.dry_run:
        plan = _plan(options)
        for line in _dry_run(plan.only(options.only) if options.only else plan):
            print(line)
        return _FINE
    result = run_study(
        options.study,
        executor=options.executor,
        only=options.only,
        changes=options.set,
        shard=options.shard,
        debug=options.debug,
        folder=options.folder,
        device=options.device,
        memory=options.memory,
        stages=options.stages,
        stored=options.stored,
        say=lambda line: print(line, flush=True),
    )
    if options.outcome is not None:
        with written_whole(options.outcome) as aside:
            aside.write_text(json.dumps(facts_of_outcome(result.outcome)), encoding="utf-8")
    print(f"{len(result.done)} tasks done now, {result.kept} before, {len(result.failed)} not, in {result.folder}")
    return _FAILED if result.failed else _FINE


def _dry_run(plan: Plan) -> Iterator[str]:
    for planned in plan.tasks:
        if planned.state != DONE:
            yield f"{planned.state:<8} {planned.task.name}{f': {planned.why}' if planned.why else ''}"
    yield from plan.notes
    yield f"{len(plan.missing)} of {len(plan.tasks)} tasks would run; {len(plan.tasks) - len(plan.missing)} are done"


def status(options: argparse.Namespace) -> int:
    """Print how many tasks are in which state."""
    plan = _plan(options)
    for kind, states in counts(plan).items():
        total = sum(states.values())
        rest = ", ".join(f"{count} {state}" for state, count in states.items() if state != DONE)
        print(f"{kind:<8} {states.get(DONE, 0):>6} of {total} done{f' ({rest})' if rest else ''}")
    names = {task.id: task.name for task in plan.missing}
    for name, holder in _running(plan.store, names):
        print(f"running  {name}, {holder}")
    for entry in _failures(plan.store, set(names.values())):
        print(f"failed   {entry['task']} at {entry['time']}: {entry['error']}")
    return _FINE


def _running(store: Store, names: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Tasks that processes hold, and who."""
    work = store.folder / "work"
    for folder in sorted(work.iterdir()) if work.is_dir() else []:
        holder = held_by(folder)
        if holder:
            yield names.get(folder.name, folder.name), holder


def _failures(store: Store, missing: set[str]) -> list[dict[str, Any]]:
    """The last failure of each task that is not done, the newest last."""
    last: dict[str, dict[str, Any]] = {}
    for entry in log_entries(store.folder):
        if entry.get("state") == "failed" and entry.get("task") in missing:
            last.pop(str(entry["task"]), None)
            last[str(entry["task"])] = entry
    return list(last.values())[-_LAST:]


def log_entries(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of the log of a study; a line that was cut short is left out."""
    path = folder / "log.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield entry


def estimate(options: argparse.Namespace) -> int:
    """Print what the missing tasks will take; the status is 3 where the disk has no room."""
    from gradkern.study.runner._estimate import estimate_lines

    lines, fits = estimate_lines(_plan(options))
    for line in lines:
        print(line)
    return _FINE if fits else _FAILED


def report(options: argparse.Namespace) -> int:
    """Write the tables of a study, and print the best layer of each model, objective, kind and recording."""
    plan = _plan(options)
    write_tables(plan)
    table = score_table(plan)
    if len(table):
        for (model, objective, kind, recording), rows in table.groupby(
            ["model", "objective", "kind", "recording"], sort=False
        ):
            best = rows.loc[rows["r"].idxmax()] if rows["r"].notna().any() else rows.iloc[0]
            what = f"{model}, {kind}" if kind == "activation" else f"{model}, {kind} of {objective}"
            print(f"{recording:<12} {what:<50} r {best['r']:6.3f} at {best['layer']}, of {len(rows)} layers")
    undone = len(plan.missing)
    print(
        f"tables of {len(plan.tasks) - undone} tasks in {plan.store.folder}{f'; {undone} are not done' * bool(undone)}"
    )
    return _FINE


def store(options: argparse.Namespace) -> int:
    """List, verify or clean the results of a study."""
    description = read_run(options.study, options.set, debug=options.debug, folder=options.folder)
    results = Store(description.folder)
    if options.action == "ls":
        for place in results.places():
            manifest = results.manifest(place)
            size = sum(size for size, _, _ in manifest.files.values())
            print(f"{size:>14,} bytes  {manifest.provenance.get('made', '')}  {manifest.task}  {place}")
        return _FINE
    if options.action == "verify":
        damaged = verify(results)
        for place, why in damaged.items():
            print(f"damaged {place}: {why}")
        print(f"{len(results.places())} results, {len(damaged)} damaged{' (run makes them anew)' if damaged else ''}")
        return _FAILED if damaged else _FINE
    for line in prune(make_plan(description), remove=options.yes):
        print(line)
    return _FINE
