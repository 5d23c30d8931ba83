"""Scores of a recording, put together from the results of its blocks of targets."""

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from gradkern.encoding._permutation_scores import join_targets
from gradkern.encoding._score_values import with_normalised
from gradkern.study.runner._store import Store
from gradkern.study.runner._tasks import ScoresOrder

SCORES = "scores.nc"
REFUSED = "refused.txt"


def with_scores(store: Store, places: Sequence[str]) -> tuple[list[str], list[str]]:
    """Places of the blocks that have scores, and why others have none: what the data could not carry.

    Raises
    ------
    Damaged : a result is not what was written
    """
    scored, reasons = [], []
    for place in places:
        store.check(place, whole=True)
        reason = store.path(place) / REFUSED
        if reason.is_file():
            reasons.append(reason.read_text(encoding="utf-8").strip())
        else:
            scored.append(place)
    return scored, reasons


def joined_scores(store: Store, places: Sequence[str]) -> xr.Dataset:
    """Scores of the targets of blocks that have some.

    Raises
    ------
    Damaged : a result is not what was written
    """
    return join_targets([_read(store, place) for place in places])


def scores_of(store: Store, order: ScoresOrder) -> xr.Dataset:
    """Scores of gradients and activations, with the unique variance of gradients; NaN where there is none."""
    parts = [joined_scores(store, places) for places in (order.activations, order.gradients) if places]
    scores = parts[0]
    if len(parts) > 1:
        scores = xr.concat(parts, "feature", data_vars="minimal", coords="minimal", compat="override", join="outer")
    if tested := with_scores(store, order.unique)[0]:
        unique = joined_scores(store, tested)
        scores = scores.merge(unique.drop_dims("permutation"), compat="override", join="left")
    return scores


def _read(store: Store, place: str) -> xr.Dataset:
    store.check(place, whole=True)
    path: Path = store.path(place) / SCORES
    with xr.open_dataset(path, engine="h5netcdf") as scores:
        return with_normalised(scores).load()
