"""Encoding of many layers beside the script with himalaya that a lab would write, at NSD's shape.

    python -m benchmarks.encode            # some minutes of one core; writes results/<device>-encode.json

Both score the same layers, outer folds, inner folds (the other outer folds) and penalties, in float32, and must give
the same held-out r. The script is a loop over layers and outer folds around himalaya's RidgeCV (torch backend, targets
in batches, an R2 score), as its documentation advises. All 24 layers of 20,000 targets would take the script days, so
that both are timed at few layers and targets: seconds = layers x (fixed + targets x each), and the script at one of the
five outer folds, which are alike: seconds = folds x .... At a small shape both are checked against twice the layers
and five folds. Every measurement is a process of its own with one thread; times are CPU
seconds of that process, so that what else the machine does hardly counts, and the two take turns.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.conftest import commit, device_name, write
from benchmarks.inputs import features, responses, signal
from benchmarks.memory import peak_resident

NSD = {"layers": 24, "targets": 20_000}
ALPHAS = 10
FOLDS = 5


@dataclass(frozen=True)
class Shape:
    """What one measurement encodes."""

    images: int
    features: int
    layers: int
    targets: int
    held_out: int = FOLDS  # outer folds that the script computes

    def inputs(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Layers [images, features], and responses [images, targets] to the first."""
        generator = torch.Generator().manual_seed(0)
        layers = [features(self.images, self.features, generator) for _ in range(self.layers)]
        scaled = [x / x.square().sum(1).mean().sqrt() for x in layers]
        y = responses(signal(layers[0], self.targets, generator), generator)
        return {str(number): x.numpy() for number, x in enumerate(scaled)}, y.numpy()


def splits(images: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Outer folds of consecutive images."""
    tests = np.array_split(np.arange(images), FOLDS)
    return [(np.concatenate([test for other, test in enumerate(tests) if other != held]), tests[held])
            for held in range(FOLDS)]  # fmt: skip


def alphas() -> np.ndarray:
    return np.logspace(-4, 5, ALPHAS)


def by_gradkern(layers: dict[str, np.ndarray], y: np.ndarray, **choice: Any) -> dict[str, np.ndarray]:
    import gradkern

    scores: dict[str, np.ndarray] = gradkern.cross_val_score(layers, y, alphas(), cv=splits(len(y)), **choice)
    return scores


def inner_outer(layers: dict[str, np.ndarray], y: np.ndarray) -> dict[str, np.ndarray]:
    return by_gradkern(layers, y, inner_cv="outer")


def gcv(layers: dict[str, np.ndarray], y: np.ndarray) -> dict[str, np.ndarray]:
    """As `gradkern encode` does where every image has one row."""
    return by_gradkern(layers, y, selection="gcv")


def single_fit(layers: dict[str, np.ndarray], y: np.ndarray) -> dict[str, np.ndarray]:
    """One RidgeCV, which is not nested: it has no held-out score."""
    import gradkern

    return {name: gradkern.RidgeCV(alphas(), cv=FOLDS).fit(x, y).alpha_ for name, x in layers.items()}


def by_himalaya(layers: dict[str, np.ndarray], y: np.ndarray, held_out: int = FOLDS) -> dict[str, np.ndarray]:
    from himalaya.backend import set_backend
    from himalaya.ridge import RidgeCV
    from himalaya.scoring import correlation_score, r2_score

    set_backend("torch")
    outer = splits(len(y))
    params = {"score_func": r2_score, "n_targets_batch": 1000, "n_targets_batch_refit": 1000, "warn": False}
    result = {}
    for name, x in layers.items():
        of_folds = []
        for held, (train, test) in enumerate(outer[:held_out]):
            position = np.full(len(y), -1)
            position[train] = np.arange(len(train))
            others = [position[tested] for number, (_, tested) in enumerate(outer) if number != held]
            inner = [(np.setdiff1d(np.arange(len(train)), tested), tested) for tested in others]
            model = RidgeCV(alphas=alphas(), fit_intercept=True, cv=inner, solver_params=params)
            model.fit(torch.from_numpy(x[train]), torch.from_numpy(y[train]))
            predicted = model.predict(torch.from_numpy(x[test]))
            of_folds.append(correlation_score(torch.from_numpy(y[test]), predicted).numpy())
        result[name] = np.stack(of_folds)
    return result


WAYS: dict[str, Callable[..., dict[str, np.ndarray]]] = {
    "himalaya": by_himalaya,
    "gradkern": inner_outer,
    "gradkern, gcv": gcv,
    "gradkern, one RidgeCV": single_fit,
}


def measure(way: str, shape: Shape, out: Path) -> None:
    """In this process: CPU and wall seconds, bytes above the inputs, and the scores, into a file."""
    torch.set_num_threads(1)
    WAYS[way](*Shape(200, 32, 1, 8).inputs())  # what a process loads once
    layers, y = shape.inputs()
    only = {"held_out": shape.held_out} if way == "himalaya" else {}
    scores: dict[str, np.ndarray] = {}
    start, cpu = time.perf_counter(), time.process_time()
    peak = peak_resident(lambda: scores.update(WAYS[way](layers, y, **only)))
    times = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - start}
    np.savez(out, r=np.stack(list(scores.values())), facts=json.dumps({**times, "peak": peak}))


def measured(way: str, shape: Shape, folder: Path) -> tuple[dict[str, float], np.ndarray]:
    """The same in a process of its own."""
    out = folder / "measured.npz"
    command = [sys.executable, "-m", "benchmarks.encode", "--way", way, "--shape", json.dumps(asdict(shape))]
    subprocess.run([*command, "--out", str(out)], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    with np.load(out) as stored:
        facts = json.loads(str(stored["facts"]))
        print(f"{way:<24} {shape}: {facts}", flush=True)
        return facts, stored["r"]


def rows_of(images: int, width: int, targets: dict[str, tuple[int, int]], folder: Path) -> list[dict[str, Any]]:
    """A row for each way, measured in turns, and compared with himalaya's scores."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in targets}
    scores: dict[str, np.ndarray] = {}
    for number in range(2):
        for way, counts in targets.items():
            facts, r = measured(way, Shape(images, width, 1, counts[number], 1 if way == "himalaya" else FOLDS), folder)
            found[way].append(facts)
            scores.setdefault(way, r)
    rows = []
    for way, (few, many) in targets.items():
        folds = FOLDS if way == "himalaya" else 1
        first, second = (facts["cpu"] for facts in found[way])
        each = (second - first) / (many - few)
        fixed = first - each * few
        whole = NSD["layers"] * folds * (fixed + each * NSD["targets"])
        row: dict[str, Any] = {"case": f"{images}x{width}", "impl": way, "threads": 1, "alphas": ALPHAS}
        row |= {"targets": [few, many], "outer_folds": 1 if folds > 1 else FOLDS, "cpu_seconds": [first, second]}
        row |= {"fixed_seconds": round(folds * fixed, 3), "ms_a_target": round(1e3 * folds * each, 4)}
        row |= {"nsd_block_hours": round(whole / 3600, 4), "peak_mb": [round(f["peak"] / 1e6) for f in found[way]]}
        if "himalaya" in scores and way in ("gradkern", "gradkern, gcv"):
            known = scores["himalaya"].shape[1]
            apart = np.abs(scores[way][:, :known] - scores["himalaya"])
            row["r_apart_at"] = f"{images}x{width}, {scores[way].shape[2]} targets"
            row |= {"r_apart_largest": float(apart.max()), "r_apart_mean": float(apart.mean())}
        rows.append(row)
    base = {row["impl"]: row["nsd_block_hours"] for row in rows}
    for row in rows:
        if "himalaya" in base and row["impl"] in ("gradkern", "gradkern, gcv"):
            row["times_faster_than_himalaya"] = round(base["himalaya"] / row["nsd_block_hours"], 2)
        if row["impl"] in ("gradkern", "gradkern, gcv"):
            row["of_one_ridgecv"] = round(row["nsd_block_hours"] / base["gradkern, one RidgeCV"], 3)
    return rows


def check_linear(folder: Path) -> dict[str, Any]:
    """How far seconds are from linear in layers and outer folds, at a small shape."""
    row: dict[str, Any] = {"case": "1000x128", "impl": "linear"}
    for way in ("himalaya", "gradkern, gcv"):
        one, two = (measured(way, Shape(1000, 128, layers, 256), folder)[0]["cpu"] for layers in (4, 8))
        row[f"{way}, twice the layers"] = round(two / one, 3)
    few = measured("himalaya", Shape(1000, 128, 4, 256, 1), folder)[0]["cpu"]
    row["himalaya, 5 folds for 1"] = round(measured("himalaya", Shape(1000, 128, 4, 256), folder)[0]["cpu"] / few, 3)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--shape")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--folder", type=Path, default=Path(), help="where intermediate files are put")
    parser.add_argument("--small", action="store_true", help="a small shape; nothing is written")
    options = parser.parse_args()
    if options.way:
        measure(options.way, Shape(**json.loads(options.shape)), options.out)
        return
    images, width = (1_000, 128) if options.small else (10_000, 1_024)
    targets = {"himalaya": (64, 320), "gradkern": (64, 3136), "gradkern, gcv": (64, 3136),
               "gradkern, one RidgeCV": (64, 3136)}  # fmt: skip
    rows = rows_of(images, width, targets, options.folder)
    rows.append(check_linear(options.folder))
    for row in rows:
        print(json.dumps(row))
    if not options.small:
        device = device_name("cpu")
        slug = "".join(c if c.isalnum() else "-" for c in device.lower())
        slug = "-".join(part for part in slug.split("-") if part)
        write(f"{slug}-encode", {"op": "encode", "device": device, "commit": commit()}, rows)


if __name__ == "__main__":
    main()
