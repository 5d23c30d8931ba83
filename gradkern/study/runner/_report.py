"""Tables of a whole study from the results of its tasks: rows of feature spaces and recordings, and of claims."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from gradkern._files import folder_written_whole, written_whole
from gradkern.encoding._score_values import with_normalised
from gradkern.study.runner._joined_scores import REFUSED, SCORES, joined_scores, with_scores
from gradkern.study.runner._plan import DONE, Plan
from gradkern.study.runner._tasks import (
    FiguresOrder,
    FitOrder,
    MapsOrder,
    PermutationsOrder,
    TargetsOrder,
    Task,
    UniqueOrder,
    VerdictOrder,
)

SCORE_TABLE, CLAIM_TABLE = "scores.csv", "claims.csv"
TEST_TABLES: dict[type[TargetsOrder], str] = {UniqueOrder: "unique.csv", PermutationsOrder: "permutations.csv"}
_FOLDERS = {VerdictOrder: "verdicts", MapsOrder: "maps", FiguresOrder: "figures"}
_LEVEL = 0.05
_SCORES = ("r", "r2", "r_normalised")


def write_tables(plan: Plan) -> None:
    """Write the tables and the folders of verdicts, maps and figures, of all results that are done; each appears whole.

    Raises
    ------
    Damaged : a result is not what was written
    """
    folder = plan.store.folder
    folder.mkdir(parents=True, exist_ok=True)
    tables = {SCORE_TABLE: score_table(plan), CLAIM_TABLE: claim_table(plan)}
    tables |= {name: test_table(plan, kind) for kind, name in TEST_TABLES.items()}
    for name, table in tables.items():
        if len(table):
            with written_whole(folder / name) as aside:
                table.to_csv(aside, index=False)
    for kind, name in _FOLDERS.items():
        tasks = [task for task in _done(plan) if isinstance(task.order, kind)]
        if tasks:
            with folder_written_whole(folder / name) as aside:
                for task in tasks:
                    plan.store.check(task.place, whole=True)
                    shutil.copytree(plan.store.path(task.place), aside / task.name.partition("/")[2])


def _done(plan: Plan) -> list[Task]:
    return [planned.task for planned in plan.tasks if planned.state == DONE]


def test_table(plan: Plan, kind: type[TargetsOrder]) -> pd.DataFrame:
    """A test of each model, objective, kind, layer and recording whose blocks of targets are all done.

    Means of what is of targets; p of the mean over all targets; how many targets have a p over all targets of at most
    .05. Blocks whose test the data could not carry are left out, with a row that has the reason alone.

    Raises
    ------
    Damaged : scores are not those that were written
    """
    places: dict[tuple[str, str, str], list[str]] = {}
    undone = set()
    for planned in plan.tasks:
        order = planned.task.order
        if isinstance(order, kind):
            key = (order.spaces.model, order.spaces.objective, order.recording)
            places.setdefault(key, []).append(planned.task.place)
            undone |= {key} if planned.state != DONE else set()
    rows: list[dict[str, Any]] = []
    for (model, objective, recording), of_blocks in places.items():
        if (model, objective, recording) in undone:
            continue
        named = {"model": model, "objective": objective, "recording": recording}
        tested, reasons = with_scores(plan.store, of_blocks)
        if tested:
            rows += [{**named, **row} for row in _rows_of_test(joined_scores(plan.store, tested))]
        rows += [{**named, "why": reason} for reason in dict.fromkeys(reasons)]
    return pd.DataFrame(rows)


def _rows_of_test(scores: xr.Dataset) -> list[dict[str, Any]]:
    rows = []
    for place in range(scores.sizes["feature"]):
        one = scores.isel(feature=place).drop_dims("permutation")
        row: dict[str, Any] = {name: one[name].item() for name in ("kind", "layer", "depth")}
        row["targets"] = one.sizes["target"]
        for name in map(str, one.data_vars):
            if one[name].ndim == 0:
                row[name] = one[name].item()
            elif name.endswith("_p_max"):
                row[f"targets with {name} <= {_LEVEL}"] = int((one[name] <= _LEVEL).sum())
            elif not name.endswith("_p"):
                row[name] = float(one[name].mean())
        rows.append(row)
    return rows


def score_table(plan: Plan) -> pd.DataFrame:
    """Means over targets and folds: a row for each model, objective, kind, layer and recording.

    Columns are model, objective, kind, layer, depth, recording, subject, modality, targets, and for each score its mean
    over the targets where it is a number.

    Raises
    ------
    Damaged : scores are not those that were written
    """
    rows: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for planned in plan.tasks:
        order = planned.task.order
        if planned.state == DONE and isinstance(order, FitOrder):
            plan.store.check(planned.task.place, whole=True)
            for row in _rows_of(plan.store.path(planned.task.place) / SCORES, order):
                key = tuple(row[name] for name in ("model", "objective", "kind", "layer", "recording"))
                rows.setdefault(key, []).append(row)
    modality = {name: recording.modality for name, recording in plan.parts.recordings.items()}
    return pd.DataFrame([{**_joined(blocks), "modality": modality[key[4]]} for key, blocks in rows.items()])


def _rows_of(path: Path, order: FitOrder) -> list[dict[str, Any]]:
    """Sums over the targets of a block; names are those of the study, whatever they were when it was computed."""
    with with_normalised(xr.open_dataset(path, engine="h5netcdf")) as scores:
        means = {name: scores[name].mean("fold").values for name in _SCORES}  # [feature, target]
        kinds, layers, depth = (scores[name].values for name in ("kind", "layer", "depth"))
        subject = str(scores.attrs["subject"])
    rows = []
    for place, (kind, layer) in enumerate(zip(kinds, layers, strict=True)):
        row = {"model": order.spaces.model, "objective": order.spaces.objective, "kind": str(kind),
               "layer": str(layer), "depth": float(depth[place]), "recording": order.recording,
               "subject": subject, "targets": order.stop - order.start}  # fmt: skip
        for name, values in means.items():
            good = values[place][np.isfinite(values[place])]
            row[name] = (float(good.sum()), len(good))
        rows.append(row)
    return rows


def _joined(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    row = {**blocks[0], "targets": sum(block["targets"] for block in blocks)}
    for name in _SCORES:
        count = sum(block[name][1] for block in blocks)
        row[name] = sum(block[name][0] for block in blocks) / count if count else np.nan
    return row


def claim_table(plan: Plan) -> pd.DataFrame:
    """The claims of all models and objectives; what the data could not carry has the reason alone."""
    tables = []
    for planned in plan.tasks:
        order = planned.task.order
        if planned.state != DONE or not isinstance(order, VerdictOrder):
            continue
        plan.store.check(planned.task.place, whole=True)
        place = plan.store.path(planned.task.place)
        if (place / REFUSED).is_file():
            reason = (place / REFUSED).read_text(encoding="utf-8").strip()
            table = pd.DataFrame([{"conclusion": "not tested", "why": reason}])
        else:
            table = pd.read_csv(place / "verdict.csv")
        for position, (name, value) in enumerate(
            {"model": order.model, "objective": order.objective, "image set": order.images}.items()
        ):
            table.insert(position, name, value)
        tables.append(table)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def counts(plan: Plan) -> Mapping[str, Mapping[str, int]]:
    """Kind of task -> state -> how many."""
    found: dict[str, dict[str, int]] = {}
    for planned in plan.tasks:
        of_kind = found.setdefault(planned.task.kind, {})
        of_kind[planned.state] = of_kind.get(planned.state, 0) + 1
    return found
