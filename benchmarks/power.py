"""How often every test finds something in simulated brains, with and without it: python -m benchmarks.power

Makes a brain of each organisation under many seeds and every test on each (`gradkern.study.power.simulated_tests`), or
with --verdict its verdict (`gradkern.study.power.simulated_verdict`), then forward-then-backward brains of other
ceilings, numbers of images and of subjects. Seeds go round all of these, so that a run that is cut short
(--minutes) has the same share of each. What ran is kept in results/power.jsonl with the request that it was made from:
a later call with the same request (commit, brain and settings) goes on from there. results/power.json holds the rates
of what ran, and nothing else. For verdicts both are called power-verdict, and gradkern/study/power/power-verdict.csv
holds the same rates for `gradkern.study.power.simulated_rates`. Nothing is timed.
"""

import argparse
import json
import sys
import time
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
from gradkern.recordings import ORGANISATIONS, Brain
from gradkern.study.power import (
    VERDICT_SETTINGS,
    Outcome,
    PowerSettings,
    rates,
    simulated_tests,
    simulated_verdict,
    toy_features,
)

TEST_SETTINGS = PowerSettings()
BASE = Brain(
    subjects=5, repeats=1, ceiling=0.5, vertices=120, silent=10, times=tuple(0.03 * step for step in range(15))
)
IMAGES = 500  # NSD has 515 that all its subjects saw three times
CURVES: dict[str, tuple[float, ...]] = {"ceiling": (0.2, 0.35, 0.7), "images": (200, 300, 1000), "subjects": (2, 4, 8)}
WEAK_AND_MANY = {"images": 2000, "subjects": 4, "ceiling": 0.35}  # as THINGS-MEG, with a tenth of its images
IN_PACKAGE = Path(gradkern.__file__).parent / "study" / "power" / "power-verdict.csv"

TESTS, VERDICT = "power", "power-verdict"

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


def one(name: str, setting: Setting, seed: int) -> Outcome:
    organisation, images, subjects, ceiling = setting
    brain = replace(BASE, organisation=organisation, subjects=subjects, ceiling=ceiling)
    if name == VERDICT:
        return simulated_verdict(brain, features(images), VERDICT_SETTINGS, seed)
    return simulated_tests(brain, features(images), TEST_SETTINGS, seed)


def setting_of(outcome: Outcome) -> Setting:
    return (outcome.organisation, outcome.images, outcome.subjects, outcome.ceiling)


def wanted(runs: int, planted_runs: int, curve_runs: int) -> list[tuple[Setting, int]]:
    """All brains, in an order that is through with the same share of each setting's seeds at any time."""
    main, curves = settings()
    seeds = {setting: runs if setting[0] == "none" else planted_runs for setting in main}
    seeds |= dict.fromkeys(curves, curve_runs)
    brains = [(seed / count, setting, seed) for setting, count in seeds.items() for seed in range(count)]
    return [(setting, seed) for _, setting, seed in sorted(brains, key=lambda each: each[0])]


def request_of(name: str) -> dict[str, Any]:
    """Everything that decides an outcome but the brain's own setting and seed, as it is read back from JSON."""
    brain = {key: value for key, value in asdict(BASE).items() if key not in ("organisation", "seed")}
    settings = asdict(VERDICT_SETTINGS if name == VERDICT else TEST_SETTINGS)
    request = {"commit": commit(), "base": {**brain, "images": IMAGES}, "how": settings}
    result: dict[str, Any] = json.loads(json.dumps(request))
    return result


def kept(name: str, request: dict[str, Any]) -> list[Outcome]:
    """What an earlier call with the same request ran."""
    path = RESULTS / f"{name}.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return [Outcome(**row["outcome"]) for row in rows if row.get("made_from") == request]


def run(
    name: str, todo: list[tuple[Setting, int]], processes: int, minutes: float, request: dict[str, Any]
) -> list[Outcome]:
    """Make what is left to do, until it is done or the time is up."""
    outcomes: list[Outcome] = []
    stop = time.monotonic() + 60 * minutes
    waiting = iter(todo)
    pool = ProcessPoolExecutor(
        processes, get_context("spawn"), single_threaded
    )  # torch's threads do not survive a fork
    with pool, (RESULTS / f"{name}.jsonl").open("a") as file:
        running: set[Future[Outcome]] = set()
        while True:
            while len(running) < processes and time.monotonic() < stop:
                following = next(waiting, None)
                if following is None:
                    break
                running.add(pool.submit(one, name, *following))
            if not running:
                return outcomes
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for each in done:
                outcomes.append(each.result())
                file.write(json.dumps({"made_from": request, "outcome": asdict(outcomes[-1])}) + "\n")
                file.flush()
                print(f"{len(outcomes)} of {len(todo)}", file=sys.stderr, flush=True)


def record(name: str, outcomes: list[Outcome], request: dict[str, Any]) -> None:
    table = rates(outcomes)
    rounded = table.round({"rate": 4, "low": 4, "high": 4})
    rows = json.loads(rounded.to_json(orient="records"))
    made = datetime.now(UTC).isoformat(timespec="minutes")
    head = {"op": "power", "device": device_name("cpu"), "brains": len(outcomes), "made": made}
    write(name, head | request, rows)
    if name == VERDICT:
        rounded.to_csv(IN_PACKAGE, index=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verdict", action="store_true", help="of verdicts, instead of tests")
    parser.add_argument("--runs", type=int, default=200, help="seeds of the organisation 'none'")
    parser.add_argument("--planted-runs", type=int, default=200, help="seeds of each other organisation")
    parser.add_argument("--curve-runs", type=int, default=10, help="seeds of each point of the curves")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start nothing after so many")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    name = VERDICT if asked.verdict else TESTS
    request = request_of(name)
    before = kept(name, request)
    have = {(setting_of(each), each.seed) for each in before}
    todo = [each for each in wanted(asked.runs, asked.planted_runs, asked.curve_runs) if each not in have]
    outcomes = before + run(name, todo, asked.processes, asked.minutes, request)
    if not outcomes:
        raise SystemExit("power: nothing ran")
    record(name, outcomes, request)
    print(section(RESULTS / f"{name}.json"))


if __name__ == "__main__":
    main()
