"""Level and power of claims in brains without gradients: python -m benchmarks.alternatives --images FOLDER

Brains are made of features of EfficientNet-Lite0 for photographs and crops of these: linear and nonlinear readouts of
activations, the network's softmax, categories, low-level image statistics, the loss, and noise that grows with the
loss; and, for power, gradients at some strengths. Every brain of every seed has the verdict's main claims tested.
Seeds go round all brains, so that a run that is cut short (--minutes) has the same share of each; what ran is kept in
results/alternatives.jsonl with the request that it was made from, and a later call with the same request goes on.
results/alternatives.json has the rates of what ran, and nothing else.
"""

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from PIL import Image

import gradkern
from benchmarks.conftest import RESULTS, commit, device_name, write
from benchmarks.power import IN_PACKAGE, single_threaded
from gradkern import objectives
from gradkern.encoding import image_statistics, unit_length
from gradkern.recordings import Brain
from gradkern.study import VerdictSettings
from gradkern.study.power import Outcome, rates, simulated_verdict, variant_of

NAME = "alternatives"
SETTINGS = VerdictSettings(permutations=99, bootstraps=60, max_targets=150, max_locations=120, subject_checks=False)
BASE = Brain(subjects=2, repeats=1, vertices=100, silent=10, spread=0.1, times=tuple(0.04 * step for step in range(12)))
OBJECTIVES = {
    "cross-entropy": objectives.CrossEntropy,
    "feature norm": objectives.FeatureNorm,
    "entropy": objectives.Entropy,
    "self-distillation": objectives.SelfDistillationSurrogate,
}
LAYERS = (0, 3, 6, 9, 12, 15)
SKETCH = 512
CEILINGS = (0.55, 0.85)
READS = [  # without gradients
    Brain("none"),
    *(Brain("forward", readout=readout) for readout in ("linear", "rectified", "energy", "normalized")),
    *(Brain(name) for name in ("softmax", "category and image statistics", "image statistics", "difficulty")),
    *(Brain(name, noise="grows with the loss") for name in ("none", "forward")),
    Brain("forward", unresponsive=200),
]
PLANTED = [
    *(Brain("gradient-misplaced", strength=strength) for strength in (1.0, 0.5, 0.25)),
    Brain("forward-then-backward"),
]
FEW = [  # of large studies
    *(Brain("forward", readout=readout) for readout in ("linear", "energy")),
    *(Brain("gradient-misplaced", strength=strength) for strength in (1.0, 0.5, 0.25)),
    Brain("forward-then-backward"),
]
OF_OBJECTIVES = [  # that are asked for by name
    *(Brain("forward", readout=readout) for readout in ("linear", "rectified", "energy", "normalized")),
    Brain("gradient-misplaced"),
]
BEYOND = ("gradient-predicts-fmri-beyond:everything",)
CLAIMS = (
    "activation-maps-hierarchy",
    *BEYOND,
    *(claim.replace("fmri", "meg") for claim in BEYOND),
    "gradient-predicts-higher-areas-more",
    "gradient-later-than-activation",
    "gradient-has-spatial-order",
    "gradient-has-temporal-order",
)

Case = tuple[str, Brain, int, int]  # objective, brain, images, seed


def photographs(folder: Path, images: int) -> np.ndarray:
    """Photographs [images, 224, 224, 3] as they are, then crops of them, the smaller the more are needed."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    random = np.random.default_rng(0)
    pictures = []
    for number in range(images):
        with Image.open(files[number % len(files)]) as opened:
            picture = opened.convert("RGB")
        side = int(min(picture.size) * 0.72 ** (number // len(files)))
        x, y = (random.integers(0, length - side + 1) for length in picture.size)
        pictures.append(np.asarray(picture.crop((x, y, x + side, y + side)).resize((224, 224))))
    return np.stack(pictures)


def captured(objective: str, folder: str, work: str, images: int) -> Any:
    """Features of unit-length gradients; they are captured once."""
    pictures = photographs(Path(folder), images)
    model = gradkern.load_model("efficientnet-lite0")
    prepared = model.spec.preprocess([Image.fromarray(picture) for picture in pictures])
    layers = [model.spec.layers[number] for number in LAYERS]
    out = Path(work) / f"{objective.replace(' ', '-')}-{images}"
    gradkern.capture(
        model, prepared, OBJECTIVES[objective](), layers=layers, kinds=("activation", "gradient"),
        sketch=gradkern.Sketch(SKETCH), batch_size=25, out=out, progress=False,
    )  # fmt: skip
    statistics = Path(work) / f"statistics-{images}.nc"
    if not statistics.exists():
        image_statistics(pictures).to_netcdf(statistics)
    return out


@lru_cache
def loaded(objective: str, work: str, images: int) -> tuple[Any, xr.DataArray]:
    features = gradkern.load_features(Path(work) / f"{objective.replace(' ', '-')}-{images}")
    arrays = {
        (kind, layer): values if kind == "activation" else torch.from_numpy(unit_length(values.numpy()))
        for (kind, layer), values in features.arrays.items()
    }
    return replace(features, arrays=arrays), xr.load_dataarray(Path(work) / f"statistics-{images}.nc")


def one(case: Case, work: str, claims: tuple[str, ...]) -> tuple[str, Outcome]:
    objective, brain, images, seed = case
    features, statistics = loaded(objective, work, images)
    started = time.perf_counter()
    outcome = simulated_verdict(
        brain, features, SETTINGS, seed, regions="O", every=4, image_statistics=statistics, only=claims
    )
    return f"{time.perf_counter() - started:.1f} s", replace(
        outcome, organisation=f"{outcome.organisation}{silent(brain)}, {objective}"
    )


def silent(brain: Brain) -> str:
    return f", {brain.unresponsive} silent" if brain.unresponsive else ""


def wanted(
    seeds: int, images: int, subjects: int, ceilings: Sequence[float], few: bool, named: Sequence[str] = ()
) -> list[Case]:
    base, chosen = replace(BASE, subjects=subjects), FEW if few else OF_OBJECTIVES if named else READS + PLANTED
    brains = [replace(base, **changes(brain), ceiling=ceiling) for ceiling in ceilings for brain in chosen]
    if named:
        cases = [(objective, brain) for objective in named for brain in brains]
    else:
        cases = [("cross-entropy", brain) for brain in brains]
        cases += [("feature norm", brain) for brain in brains if not few and brain.readout in ("rectified", "energy")]
    return [  # no two brains share noise, so that rates of several brains can be added up
        (objective, brain, images, seed * len(cases) + number)
        for seed in range(seeds)
        for number, (objective, brain) in enumerate(cases)
    ]


def changes(brain: Brain) -> dict[str, Any]:
    names = ("organisation", "readout", "noise", "unresponsive", "strength")
    return {name: getattr(brain, name) for name in names}


def key(outcome: Outcome) -> tuple[Any, ...]:
    return (outcome.organisation, outcome.images, outcome.ceiling, outcome.seed)


def case_key(case: Case) -> tuple[Any, ...]:
    objective, brain, images, seed = case
    return (f"{variant_of(brain)}{silent(brain)}, {objective}", images, brain.ceiling, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--work", type=Path, default=Path("alternatives"), help="folder for captures")
    parser.add_argument("--count", type=int, default=200, help="images of a study")
    parser.add_argument("--subjects", type=int, default=BASE.subjects, help="who saw the same images")
    parser.add_argument("--ceilings", type=float, nargs="+", default=CEILINGS)
    parser.add_argument("--few", action="store_true", help="only a few brains, for large studies")
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=[], help="a few brains of these")
    parser.add_argument("--name", default=NAME, help="of the file of results")
    parser.add_argument("--orders", action="store_true", help="test claims about MEG, areas and orders too")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start nothing after so many")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    for objective in asked.objectives or ["cross-entropy", "feature norm"]:
        captured(objective, str(asked.images), str(asked.work), asked.count)
    claims = CLAIMS if asked.orders else BEYOND
    made_from = {"commit": commit(), "base": asdict(BASE), "settings": asdict(SETTINGS), "claims": claims}
    request = json.loads(json.dumps(made_from))
    path = RESULTS / f"{asked.name}.jsonl"
    rows = [json.loads(line) for line in (path.read_text().splitlines() if path.exists() else [])]
    outcomes = [Outcome(**row["outcome"]) for row in rows if row["made_from"] == request]
    have = {key(outcome) for outcome in outcomes}
    cases = wanted(asked.seeds, asked.count, asked.subjects, asked.ceilings, asked.few, asked.objectives)
    todo = iter([case for case in cases if case_key(case) not in have])
    stop = time.monotonic() + 60 * asked.minutes
    pool = ProcessPoolExecutor(asked.processes, get_context("spawn"), single_threaded)
    with pool, path.open("a") as file:
        running: set[Future[tuple[str, Outcome]]] = set()
        while True:
            while len(running) < asked.processes and time.monotonic() < stop:
                case = next(todo, None)
                if case is None:
                    break
                running.add(pool.submit(one, case, str(asked.work), claims))
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                seconds, outcome = future.result()
                outcomes.append(outcome)
                file.write(json.dumps({"made_from": request, "outcome": asdict(outcome)}) + "\n")
                file.flush()
                print(len(outcomes), outcome, seconds, flush=True)
    table = rates(outcomes).round({"rate": 4, "low": 4, "high": 4})
    head = {"op": NAME, "device": device_name("cpu"), "brains": len(outcomes)}
    head |= {"made": datetime.now(UTC).isoformat(timespec="minutes")}
    write(asked.name, head | request, json.loads(table.to_json(orient="records")))
    packaged, measured = (
        pd.read_csv(IN_PACKAGE, dtype=str, keep_default_na=False),
        table.astype(str).replace("None", ""),
    )
    studies = ["organisation", "images", "subjects", "ceiling"]
    is_old = packaged[studies].apply(tuple, axis=1).isin(set(measured[studies].apply(tuple, axis=1)))
    pd.concat([packaged[~is_old], measured]).to_csv(IN_PACKAGE, index=False)


if __name__ == "__main__":
    main()
