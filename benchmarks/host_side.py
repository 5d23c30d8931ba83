"""What a call costs beside the kernel: python -m benchmarks.host_side EARLIER

EARLIER is a folder that holds an earlier gradkern, built. Both are called in turns, each in a process of its own, on
arrays of a few numbers, where the kernel takes under 2 us: what is left is Python. On "meta" arrays no kernel runs. The
time of a round is that of the fastest 20 calls in a row, because other processes only add to it.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROUNDS, CHUNKS, CALLS = 5, 60, 20
ROOT = Path(__file__).parents[1]


def calls(device: str) -> dict[str, Callable[[], Any]]:
    import gradkern
    from gradkern.kernels import ops

    a, g, x, y = (torch.ones(shape, device=device) for shape in ((1, 1, 8), (1, 1, 8), (1, 1, 3, 3), (1, 1, 1, 1)))
    B, S = torch.ones(2, 2, device=device), torch.ones(1, 2, dtype=torch.float64, device=device)
    group = torch.zeros(2, dtype=torch.int32, device=device)
    return {
        "x.sum()": lambda: a.sum(),
        "sketch": lambda: gradkern.sketch(a, 64),
        "sketch_outer": lambda: gradkern.sketch_outer(a, g, 64),
        "sketch_conv": lambda: gradkern.sketch_conv(x, y, 64, kernel_size=3),
        "column_moments": lambda: ops.column_moments(B, group, 1),
        "fold_scores": lambda: ops.fold_scores(B, B, B.double(), B, S, S, S),
        "select_scale": lambda: ops.select_scale(B, S[0], S[0]),
    }


def measured() -> dict[str, float]:
    """Seconds of a call, by op and device."""
    torch.set_num_threads(1)
    times = {}
    for device in ("cpu", "meta"):
        for name, call in calls(device).items():
            chunks = []
            for _ in range(CHUNKS):
                start = time.perf_counter()
                for _ in range(CALLS):
                    call()
                chunks.append((time.perf_counter() - start) / CALLS)
            times[f"{name}, {device}"] = min(chunks)
    return times


def of(tree: Path) -> dict[str, float]:
    """What the gradkern in this folder takes."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--measure"]
    done = subprocess.run(command, env=environment, cwd=tree, capture_output=True, text=True, check=True)
    times: dict[str, float] = json.loads(done.stdout)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.host_side")
    parser.add_argument("earlier", type=Path, nargs="?")
    parser.add_argument("--measure", action="store_true", help="print the times of the gradkern that is imported")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measured()))
        return
    from benchmarks.conftest import commit, device_name, others_seconds, write

    def others_alone() -> float:
        """Without the two that are measured, which are processes of their own."""
        own = os.times()
        return others_seconds() - own.children_user - own.children_system

    rounds, start, others = [], time.perf_counter(), others_alone()
    for _ in range(ROUNDS):
        rounds.append((of(ROOT), of(arguments.earlier.resolve())))
    share = (others_alone() - others) / ((time.perf_counter() - start) * (os.cpu_count() or 1))

    def quartiles(values: list[float]) -> list[float]:
        return [float(f"{value:.4g}") for value in np.quantile(values, (0.25, 0.5, 0.75))]

    rows = []
    for case in rounds[0][0]:
        now, before = [one[case] for one, _ in rounds], [other[case] for _, other in rounds]
        ratios = [a / b for a, b in zip(now, before, strict=True)]
        rows.append({
            "case": case, "impl": "gradkern", "rival": "gradkern before", "threads": 1, "seconds": quartiles(now),
            "rival_seconds": quartiles(before), "ratio": quartiles(ratios), "others_share": round(share, 2),
        })  # fmt: skip
    name = device_name("cpu")
    write("host-side", {"op": "host-side", "device": name, "commit": commit()}, rows)


if __name__ == "__main__":
    main()
