"""What the claims of a study exclude: everything that it knows of its images beside the gradients."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr

from gradkern.encoding._confounds import Confounds, confounds
from gradkern.features._features import Features
from gradkern.study._settings import KINDS, Study

CONTROLS = "controls"
_ROWS = {  # parts of `confounds` that a row excludes beside activations: the row's name, and the part
    "outputs": "outputs",
    "labels": "labels",
    "image-statistics": "image statistics",
    "difficulty": "difficulty",
    "controls": CONTROLS,
}
_ACTIVATIONS = ("activations", "scaled activations")


def confounds_of(study: Study) -> Confounds:
    """All that a claim about the study's gradients excludes, for all images of the features.

    Captured controls of gradients are a part of their own.
    """
    captured = study.captured if study.captured is not None else _as_capture(study)
    excluded = confounds(
        captured,
        images=_table(study.image_statistics),
        labels=study.labels,
        nuisances=None if study.nuisances is None else np.asarray(study.nuisances, dtype=np.float64),
        outputs=study.outputs,
    )
    controls = {
        f"{kind}, layer {number}": np.asarray(layer)
        for kind in study.controls
        for number, layer in enumerate(study.features[kind])
    }
    if not controls:
        return excluded
    return replace(excluded, parts={**excluded.parts, CONTROLS: controls})


def parts_of(row: str, excluded: Confounds) -> Confounds:
    """The parts that a row excludes: activations and one other, or everything.

    Raises
    ------
    KeyError : the study has no such part
    """
    if row == "everything":
        return excluded
    wanted = [*_ACTIVATIONS, *([_ROWS[row]] if row != "activations" else [])]
    names = [name for name in wanted if name in excluded.parts or name not in _ACTIVATIONS]
    return replace(excluded, parts={name: excluded.parts[name] for name in names}, missing={})


def rows_of(study: Study) -> tuple[str, ...]:
    """Rows that the study has the parts for."""
    outputs = study.outputs is not None or (study.captured is not None and "logits" in study.captured.outputs)
    present = {
        "outputs": outputs,
        "labels": study.labels is not None or outputs,
        "image-statistics": study.image_statistics is not None,
        "difficulty": study.nuisances is not None or outputs,
        "controls": bool(study.controls),
    }
    return ("activations", *(row for row, there in present.items() if there), "everything")


def _table(statistics: Any) -> xr.DataArray | None:
    """Image statistics as `confounds` tells them from images."""
    if statistics is None or isinstance(statistics, xr.DataArray):
        return statistics
    return xr.DataArray(np.asarray(statistics), dims=("image", "statistic"))


def _as_capture(study: Study) -> Features:
    """The study's activations as a capture whose objective is not known."""
    kind = KINDS[0]
    layers = {
        (kind, f"layer {number}"): torch.from_numpy(np.array(layer, dtype=np.float64))
        for number, layer in enumerate(study.features[kind])
    }
    images = len(study.features[kind][0])
    return Features(layers, torch.zeros(images), "unknown", "raw", "unknown")
