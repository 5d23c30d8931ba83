"""How often every test finds something in simulated brains, with and without it: python -m benchmarks.power

Makes a brain of each organisation under so many seeds and every test on each (`gradkern.analysis.power.study_once`),
then forward-then-backward brains of other ceilings, numbers of images and of subjects. Seeds go round all of these, so
that a run that is cut short (--minutes) has as many of each. What ran is kept in results/power.jsonl, from which the
same commit goes on; results/power.json holds the rates of what ran, and nothing else, and gradkern/analysis/power.csv
the same rates for `gradkern.analysis.rates.simulated_rates`. Nothing is timed.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

import gradkern
from benchmarks.conftest import RESULTS, commit, device_name, write
from benchmarks.table import section
from gradkern.analysis.power import How, study_once, toy_features
from gradkern.analysis.rates import Outcome, rates
from gradkern.recordings.simulation import ORGANISATIONS, Brain

HOW = How()
BASE = Brain(
    subjects=5, repeats=1, ceiling=0.5, vertices=120, silent=10, times=tuple(0.03 * step for step in range(15))
)
IMAGES = 500  # NSD has 515 that all its subjects saw three times
CURVES: dict[str, tuple[float, ...]] = {"ceiling": (0.2, 0.35, 0.7), "images": (200, 300, 1000), "subjects": (2, 4, 8)}
WEAK_AND_MANY = {"images": 2000, "subjects": 4, "ceiling": 0.35}  # as THINGS-MEG, with a tenth of its images
KEPT = RESULTS / "power.jsonl"
IN_PACKAGE = Path(gradkern.__file__).parent / "analysis" / "power.csv"

Setting = tuple[str, int, int, float]  # organisation, images, subjects, ceiling


@lru_cache
def features(images: int) -> Any:
    return toy_features(images)


def settings() -> tuple[list[Setting], list[Setting]]:
    """The four organisations, and the points of the curves beside them."""
    organisation = "forward-then-backward"
    base: dict[str, Any] = {"images": IMAGES, "subjects": BASE.subjects, "ceiling": BASE.ceiling}
    points = [{**base, axis: value} for axis, values in CURVES.items() for value in values] + [WEAK_AND_MANY]
    curves = [(organisation, point["images"], point["subjects"], point["ceiling"]) for point in points]
    return [(each, IMAGES, BASE.subjects, BASE.ceiling) for each in ORGANISATIONS], curves


def single_threaded() -> None:
    torch.set_num_threads(1)
    threadpool_limits(1)


def one(setting: Setting, seed: int) -> Outcome:
    organisation, images, subjects, ceiling = setting
    brain = replace(BASE, organisation=organisation, subjects=subjects, ceiling=ceiling)
    return study_once(brain, features(images), HOW, seed)


def setting_of(outcome: Outcome) -> Setting:
    return (outcome.organisation, outcome.images, outcome.subjects, outcome.ceiling)


def wanted(runs: int, curve_runs: int) -> Iterator[tuple[Setting, int]]:
    """All brains, seed by seed; the curves' are spread evenly over the others."""
    main, curves = settings()
    for seed in range(max(runs, curve_runs)):
        yield from ((setting, seed) for setting in main if seed < runs)
        yield from ((setting, seed) for setting in curves if seed < curve_runs)


def kept(now: str) -> list[Outcome]:
    """What the same commit ran before."""
    lines = KEPT.read_text().splitlines() if KEPT.exists() else []
    rows = [json.loads(line) for line in lines]
    return [Outcome(**row["outcome"]) for row in rows if row["commit"] == now]


def run(todo: list[tuple[Setting, int]], processes: int, minutes: float, now: str) -> list[Outcome]:
    """Make what is left to do, until it is done or the time is up."""
    outcomes: list[Outcome] = []
    stop = time.monotonic() + 60 * minutes
    waiting = iter(todo)
    pool = ProcessPoolExecutor(
        processes, get_context("spawn"), single_threaded
    )  # torch's threads do not survive a fork
    with pool, KEPT.open("a") as file:
        running: set[Future[Outcome]] = set()
        while True:
            while len(running) < processes and time.monotonic() < stop:
                following = next(waiting, None)
                if following is None:
                    break
                running.add(pool.submit(one, *following))
            if not running:
                return outcomes
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for each in done:
                outcomes.append(each.result())
                file.write(json.dumps({"commit": now, "outcome": asdict(outcomes[-1])}) + "\n")
                file.flush()
                print(f"{len(outcomes)} of {len(todo)}", file=sys.stderr, flush=True)


def record(outcomes: list[Outcome], now: str) -> None:
    table = rates(outcomes)
    rounded = table.round({"rate": 4, "low": 4, "high": 4})
    rows = json.loads(rounded.to_json(orient="records"))
    head = {"op": "power", "device": device_name("cpu"), "commit": now, "brains": len(outcomes)}
    brain = {key: value for key, value in asdict(BASE).items() if key not in ("organisation", "seed")}
    made = datetime.now(UTC).isoformat(timespec="minutes")
    write("power", {**head, "made": made, "base": {**brain, "images": IMAGES}, "how": asdict(HOW)}, rows)
    rounded.to_csv(IN_PACKAGE, index=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200, help="seeds of each organisation")
    parser.add_argument("--curve-runs", type=int, default=10, help="seeds of each point of the curves")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start nothing after so many")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    now = commit()
    before = kept(now)
    have = {(setting_of(each), each.seed) for each in before}
    todo = [each for each in wanted(asked.runs, asked.curve_runs) if each not in have]
    outcomes = before + run(todo, asked.processes, asked.minutes, now)
    if not outcomes:
        raise SystemExit("power: nothing ran")
    record(outcomes, now)
    print(section(RESULTS / "power.json"))


if __name__ == "__main__":
    main()
