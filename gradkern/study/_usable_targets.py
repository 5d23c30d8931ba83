"""Targets that can have a score: those that vary, and whose responses are all there."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.recordings._recording import Recording

_ROUNDING = 8  # machine epsilons: means of equal numbers differ by a few


def usable_targets(recording: Recording) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Which targets can have a score, and what is left out, in words.

    A target is left out if it does not vary, or has NaN. Of targets with "sensor" and "time", whole times are left out
    where at least half of the sensors are bad, and whole sensors that are bad at another time, because time courses
    need every sensor at every time. If no target is left, all are kept, and the tests refuse them. Responses are read
    block by block.

    Returns
    -------
    usable : [v]
    notes : a sentence for each reason; none if all are usable
    """
    missing, constant = np.zeros((2, len(recording.targets)), dtype=bool)
    for columns, block in recording.blocks():
        missing[columns], constant[columns] = _missing_and_constant(block)
    bad = missing | constant
    if not bad.any():
        return ~bad, ()
    usable, with_them = ~bad, ""
    if {"sensor", "time"} <= set(recording.targets):
        usable, left_out = _complete(recording.targets, bad)
        with_them = f", as {left_out}"
    if not usable.any():
        return np.ones(len(bad), dtype=bool), ()
    reasons = {"constant targets": constant, "targets with NaN": missing}
    return usable, tuple(
        f"{recording.subject}: {words} left out: {int(lost.sum())} of {len(lost)}{with_them}"
        for words, lost in reasons.items()
        if lost.any()
    )


def _missing_and_constant(Y: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    missing = ~np.isfinite(Y).all(0)
    size = np.abs(Y).max(0, initial=0.0, where=np.isfinite(Y))
    rounding = _ROUNDING * np.finfo(Y.dtype).eps * size.astype(np.float64)
    constant = ~missing & (np.ptp(np.where(missing, 0.0, Y.astype(np.float64)), axis=0) <= rounding)
    return missing, constant


def usable_in_all(
    recordings: Sequence[Recording], usable: Sequence[NDArray[np.bool_]]
) -> tuple[list[NDArray[np.bool_]], list[str]]:
    """What subjects with targets at the same points can all use, so that their maps can still be averaged.

    Returns
    -------
    usable : of each subject; as given if points differ, or if no target is usable in all
    notes : for each subject what is left out because of the others; "" for none
    """
    first, common = recordings[0].targets, np.logical_and.reduce(list(usable)) if _alike(recordings) else None
    if common is None or not common.any():
        return list(usable), [""] * len(recordings)
    lost = [int((own & ~common).sum()) for own in usable]
    notes = [
        f"{recording.subject}: targets without a score in another subject left out: {count} of {len(first)}"
        if count
        else ""
        for recording, count in zip(recordings, lost, strict=True)
    ]
    return [common] * len(recordings), notes


def _alike(recordings: Sequence[Recording]) -> bool:
    """Whether all have targets at the same points."""
    tables = [recording.targets.reindex(columns=["x", "y", "z", "hemisphere"]) for recording in recordings]
    return bool(tables[0]["x"].notna().any()) and all(table.equals(tables[0]) for table in tables[1:])


def _complete(targets: pd.DataFrame, bad: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], str]:
    """Targets of the sensors and times that are kept, and how many sensors and times are not."""
    sensor, names = pd.factorize(targets["sensor"])
    time, moments = pd.factorize(targets["time"])
    share = np.bincount(time, bad) / np.bincount(time)
    lost_times = share >= 0.5 if share.min() < 0.5 else np.zeros(len(share), dtype=bool)
    lost_sensors = np.bincount(sensor, bad & ~lost_times[time], minlength=len(names)) > 0
    lost = {"sensor": (lost_sensors, len(names)), "time": (lost_times, len(moments))}
    words = [f"{int(which.sum())} of {count} {what}s" for what, (which, count) in lost.items() if which.any()]
    return ~(lost_times[time] | lost_sensors[sensor]), " and ".join(words)
