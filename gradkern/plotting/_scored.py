"""Scores as figures need them: by subject and kind, [layer, target], averaged over folds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from gradkern.plotting._style import counted

_NO_OBJECTIVE = "none"


@dataclass(frozen=True, eq=False)
class Subject:
    """Scores of one subject: kind -> `values` [l, v] and `depth` [l]; names of the layers; ceiling [v], NaN where it is
    not known; the Dataset that they are from."""

    name: str
    values: dict[str, NDArray[np.float64]]
    depth: dict[str, NDArray[np.float64]]
    layers: dict[str, list[str]]
    ceiling: NDArray[np.float64]
    scores: xr.Dataset


def subjects_of(scores: Any, variable: str) -> list[Subject]:
    """The subjects of scores, or of several, one a subject.

    Raises
    ------
    TypeError : something else than Datasets
    ValueError : none; a variable or a coordinate is missing; several models or objectives, of which one must be
        selected; NaN everywhere; subjects with different kinds or layers
    """
    datasets = [scores] if isinstance(scores, xr.Dataset) else list(scores) if isinstance(scores, Sequence) else scores
    if not isinstance(datasets, list) or not all(isinstance(entry, xr.Dataset) for entry in datasets):
        raise TypeError(f"scores must be a Dataset, or a list of one for each subject, got {type(scores).__name__}")
    if not datasets:
        raise ValueError("scores must be of at least one subject, got none")
    subjects = [_subject(entry, variable, number) for number, entry in enumerate(datasets, 1)]
    for subject in subjects[1:]:
        if subject.layers != subjects[0].layers:
            raise ValueError(
                f"scores must be of the same kinds and layers in all subjects, got {subjects[0].layers} of "
                f"{subjects[0].name} and {subject.layers} of {subject.name}"
            )
    return subjects


def _subject(scores: xr.Dataset, variable: str, number: int) -> Subject:
    missing = [name for name in ("kind", "layer") if name not in scores.coords]
    if variable not in scores or missing:
        raise ValueError(f"scores must have {[variable, *missing]}, got {[*scores.data_vars, *scores.coords]}")
    for name in ("model", "objective"):
        here = sorted(set(map(str, np.atleast_1d(scores[name].values))) - {_NO_OBJECTIVE}) if name in scores else []
        if len(here) > 1:
            raise ValueError(f"scores must be of one {name}, got {here}: select one along 'feature' first")
    values = scores[variable].mean("fold") if "fold" in scores[variable].dims else scores[variable]
    if values.isnull().all():
        raise ValueError(f"{variable} must have a number, got NaN everywhere")
    kinds = list(dict.fromkeys(map(str, scores.kind.values)))
    of_kind = {kind: _ordered(scores, kind) for kind in kinds}
    ceiling = scores["noise_ceiling"].values if "noise_ceiling" in scores else np.full(scores.sizes["target"], np.nan)
    return Subject(
        str(scores.attrs.get("subject", f"subject {number}")),
        {kind: values.transpose("feature", "target").values[rows] for kind, (rows, _) in of_kind.items()},
        {kind: depth for kind, (_, depth) in of_kind.items()},
        {kind: [str(scores.layer.values[row]) for row in rows] for kind, (rows, _) in of_kind.items()},
        np.asarray(ceiling, dtype=np.float64),
        scores,
    )


def _ordered(scores: xr.Dataset, kind: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows of a kind from shallow to deep, and their depth; in the order that they have where depth is not known."""
    rows = np.flatnonzero(scores.kind.values.astype(str) == kind)
    depth = scores.depth.values[rows].astype(float) if "depth" in scores.coords else np.full(len(rows), np.nan)
    if np.isnan(depth).any():
        return rows, np.linspace(0, 1, len(rows)) if len(rows) > 1 else np.zeros(1)
    order = np.argsort(depth, kind="stable")
    return rows[order], depth[order]


def mean_over(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Mean of what is not NaN; NaN where nothing is left, without a warning."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def sizes_in_words(subjects: Sequence[Subject]) -> str:
    """Subjects, images and targets of scores: "n = 4 subjects, 750 images, 400 targets each"."""
    words = [counted(len(subjects), "subject")]
    for noun, counts in (
        ("image", {str(subject.scores.attrs.get("images", "")) for subject in subjects}),
        ("target", {str(subject.scores.sizes["target"]) for subject in subjects}),
    ):
        numbers = sorted(int(count) for count in counts if count.isdigit())
        if numbers:
            low, high = numbers[0], numbers[-1]
            words.append(counted(high, noun) if low == high else f"{low:,} to {high:,} {noun}s")
    return f"n = {', '.join(words)}{' each' if len(subjects) > 1 else ''}"


def units_of(variable: str) -> str:
    """What a variable of scores is, for an axis."""
    names = {"r": "held-out r", "r2": "held-out R²", "r_normalised": "r / noise ceiling"}
    return names.get(variable, variable.replace("_", " "))


def grid_of(count: int) -> tuple[int, int]:
    """Rows and columns of so many panels."""
    columns = min(count, 3)
    return math.ceil(count / columns), columns
