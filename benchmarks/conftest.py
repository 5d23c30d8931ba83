"""Timing beside a rival, and the record of it.

A call and its rival take turns, round by round, so that what else the machine does hits both. What is quoted is the
median of the pairwise ratios. Turns do not save a measurement with several threads when another process holds a
core: both calls then wait for the scheduler, and their ratio is near 1 whatever they do. So every row also says which
share of the machine other processes took meanwhile. Every run writes `results/<device>-<op>.json`.
"""

import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gradkern

RESULTS = Path(__file__).parent / "results"
Compare = Callable[..., None]


def device_name(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    model = found.group(1) if found else platform.processor() or platform.machine()
    return f"{model} {os.cpu_count()} cores"


def commit() -> str:
    """Of the checkout, "-dirty" if more than the recordings differ from it."""
    name = git("describe", "--always", "--abbrev=12")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", f":(exclude){RESULTS.resolve()}")
    return f"{name}-dirty" if name and changed else name or "unknown"


def git(*arguments: str) -> str:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    done = subprocess.run(["git", *arguments], cwd=RESULTS.parent, env=environment, capture_output=True, text=True)
    return done.stdout.strip()


def write(name: str, head: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """results/<name>.json: one line a row, so that two recordings can be compared by eye."""
    versions = {"torch": torch.__version__, "gradkern": gradkern.__version__, "python": platform.python_version()}
    lines = ",\n  ".join(json.dumps(row) for row in rows)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(f'{json.dumps({**head, **versions})[:-1]}, "rows": [\n  {lines}\n]}}\n')


def seconds(call: Callable[[], Any], device: str) -> float:
    start = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def others_seconds() -> float:
    """CPU seconds that all processes but this one have used, and that a hypervisor has taken from the machine."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return float("nan")
    user, nice, system, _, _, irq, softirq, steal = map(int, stat.read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK") - time.process_time()


def quartiles(values: list[float]) -> list[float]:
    return [float(f"{value:.4g}") for value in np.quantile(values, [0.25, 0.5, 0.75])]


def settle_malloc() -> None:
    """Free 31 MB, and glibc keeps freed memory instead of returning it: as in a process that has run for a while.

    Otherwise, by what was freed before, each result may be fresh pages from the kernel, which a rival without a large
    result does not need. With two threads they took a third of the time of a sketch.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


@pytest.fixture
def compare(benchmark: Any, records: list[dict[str, Any]]) -> Iterator[Compare]:
    """compare(op, what, call, rival, rounds=..., device=...): time both in turns; `what` names the row."""
    threads = torch.get_num_threads()

    def measure(
        op: str, what: dict[str, Any], call: Callable[[], Any], rival: Callable[[], Any], *, rounds: int, device: str
    ) -> None:
        ours: list[float] = []
        theirs: list[float] = []
        before = time.perf_counter(), others_seconds()
        settle_malloc()
        benchmark.group = f"{op} {what['case']} threads={what['threads']}"
        benchmark.pedantic(
            lambda: ours.append(seconds(call, device)),
            setup=lambda: theirs.append(seconds(rival, device)),  # before every round
            rounds=rounds,
            warmup_rounds=0 if rounds < 10 else 2,
        )
        ours, theirs = ours[-rounds:], theirs[-rounds:]
        row: dict[str, Any] = {"seconds": quartiles(ours), "rival_seconds": quartiles(theirs)}
        row["ratio"] = quartiles([a / b for a, b in zip(ours, theirs, strict=True)])
        wall, others = time.perf_counter() - before[0], others_seconds() - before[1]
        row["others_share"] = round(max(0.0, others) / (wall * (os.cpu_count() or 1)), 3)
        benchmark.extra_info.update(row)
        records.append({"op": op, "device": device, **what, "rounds": rounds, **row})

    yield measure
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def records(request: pytest.FixtureRequest) -> Iterator[list[dict[str, Any]]]:
    """The rows of this run, written at its end; quartiles are [25%, 50%, 75%]. A part (-k) replaces no recording."""
    rows: list[dict[str, Any]] = []
    measured = commit()  # before the recordings themselves make the checkout dirty
    yield rows
    if request.config.getoption("keyword"):
        return
    for op, device in sorted({(row["op"], row["device"]) for row in rows}):
        name = device_name(device)
        chosen = [{k: v for k, v in r.items() if k not in ("op", "device")} for r in rows if r["op"] == op]
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        write(f"{slug}-{op}", {"op": op, "device": name, "commit": measured}, chosen)
