"""fMRI files as recordings: a volume a presentation (betas), or a time series sampled some seconds after each onset."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern.recordings._formats.files import fingerprint, read_table
from gradkern.recordings._formats.nifti import open_volumes, with_data
from gradkern.recordings._formats.timeseries import existing, open_series, voxels
from gradkern.recordings._lazy import ChosenTargets, Responses, Stacked, Whole
from gradkern.recordings._recording import Recording

_SHORTEST = 0.05  # s: no scanner repeats so fast; a header that says less means other units than it says


class Run(NamedTuple):
    """A time series, its presentations ("name", "onset" in s), the file they are from, and the run's numbers."""

    source: Any
    presentations: pd.DataFrame
    events: Path
    session: int
    number: int


def load_betas(
    paths: Sequence[Any],
    images: Sequence[Sequence[Any]],
    *,
    mask: Any,
    subject: str,
    units: str = "percent signal change",
    scale: float = 1.0,
    scratch: Any = None,
) -> Recording:
    """Files of estimated responses, a volume a presentation.

    Voxels of the mask are held in memory, in the stored type, unless the files are .nii or there is a `scratch`. All of
    them are read once, to tell which have data.

    Parameters
    ----------
    paths : a 4-D NIfTI file a session, [x, y, z, presentations]
    images : of each session, the image of every presentation: names, or 0-based numbers in the image source
    mask : path of a NIfTI file on the same grid; voxels that are not 0 are targets
    subject, units : words
    scale : what stored numbers are multiplied by, 1 / 300 for NSD's integers
    scratch : a folder where the mask's voxels of .nii.gz files are kept, unpacked, instead of in memory

    Returns
    -------
    Recording : a target that is NaN in a presentation, or 0 throughout a session, is left out and counted

    Raises
    ------
    FileNotFoundError : a file is not there
    ValueError : another grid, another number of volumes than images, or a file that cannot be read
    """
    op = "load_betas"
    if len(paths) != len(images) or not len(paths):
        raise ValueError(f"{op}: images must be given for each of {len(paths)} paths, got {len(images)}")
    files = [existing(op, path) for path in paths]
    inside, targets = voxels(op, mask)
    parts = [open_volumes(op, path, inside, scratch, scale) for path in files]
    found = stack_sessions(op, files, parts, images, targets)
    return replace(found, subject=subject, units=units)


def stack_sessions(
    op: str,
    files: Sequence[Path],
    parts: Sequence[Responses],
    images: Sequence[Sequence[Any]],
    targets: pd.DataFrame,
    sessions: Sequence[int] | None = None,
) -> Recording:
    """Responses of each session and their images as one recording; see `load_betas` for what is left out."""
    numbers = range(1, len(parts) + 1) if sessions is None else sessions
    rows = []
    for number, path, values, shown in zip(numbers, files, parts, images, strict=True):
        if len(values) != len(shown):
            raise ValueError(f"{op}: {path} must hold a volume for each of {len(shown)} images, got {len(values)}")
        rows.append(pd.DataFrame({"name": list(shown), "session": number}))
    measured = np.all([with_data(part) for part in parts], axis=0)
    units, history = "percent signal change", (f"{len(files)} sessions",)
    return _recording(Stacked(parts), pd.concat(rows), targets, measured, files=files, units=units, history=history)


def load_bold(
    runs: Sequence[tuple[Any, Any]],
    image: str,
    *,
    subject: str,
    mask: Any = None,
    delay: float = 5.5,
    repetition_time: float | None = None,
    start_time: float = 0.0,
    sessions: Sequence[int] | None = None,
) -> Recording:
    """Time series, in percent of each run's mean after a linear trend is taken out, at a time after each onset.

    Between volumes it is interpolated linearly. Presentations whose time lies outside the run are left out and counted.

    Parameters
    ----------
    runs : of each the time series and its events. A time series is a 4-D NIfTI file [x, y, z, volumes], a pair of GIFTI
        files (left, right), or a CIFTI file (.dtseries.nii); events are a table (.tsv) with "onset" in s
    image : the column of the events that names the image; rows where it is empty or "n/a" are not presentations
    subject : a word
    mask : for volumes, path of a NIfTI file on the same grid; voxels that are not 0 are targets
    delay : in s after onset
    repetition_time : in s; by default what the header says
    start_time : in s, when the first volume stands for: half a repetition time where slices were brought to its middle
    sessions : of each run; by default all are of one

    Raises
    ------
    FileNotFoundError : a file is not there
    ValueError : another grid, events without these columns, no presentation left, or a file that cannot be read
    """
    op = "load_bold"
    if not len(runs) or (sessions is not None and len(sessions) != len(runs)):
        raise ValueError(f"{op}: runs must be given, and a session for each, got {len(runs)} runs")
    found = []
    for number, (source, events) in enumerate(runs):
        path = existing(op, events)
        session = 1 if sessions is None else sessions[number]
        found.append(Run(source, _events(op, path, image), path, session, number + 1))
    sampled = sample_runs(op, found, mask, delay=delay, repetition_time=repetition_time, start_time=start_time)
    return replace(sampled, subject=subject)


def sample_runs(
    op: str,
    runs: Sequence[Run],
    mask: Any,
    *,
    delay: float,
    repetition_time: float | None = None,
    start_time: float = 0.0,
) -> Recording:
    """The time series of runs at a time after each onset: see `load_bold`."""
    inside, targets = (None, None) if mask is None else voxels(op, mask)
    parts, rows, files, lost = [], [], [], 0
    for run in runs:
        series, found, header_step, paths = open_series(op, run.source, inside)
        targets = found if targets is None else targets
        if series.shape[1] != len(targets):
            raise ValueError(f"{op}: {paths[0]} must have {len(targets)} targets as run 1 has, got {series.shape[1]}")
        step = header_step if repetition_time is None else repetition_time
        if step is None or not _SHORTEST < step < 60:
            raise ValueError(f"{op}: {paths[0]} says that a volume takes {step} s; give repetition_time in s")
        at = (run.presentations["onset"].to_numpy() + delay - start_time) / step
        within = (at >= 0) & (at <= len(series) - 1)
        lost += int((~within).sum())
        parts.append(_between(_percent(series), at[within]))
        rows.append(run.presentations[within].assign(session=run.session, run=run.number))
        files += [*paths, run.events]
    if not sum(map(len, parts)):
        raise ValueError(f"{op}: presentations must lie inside the runs, got {lost} outside and none inside")
    responses = np.concatenate(parts)
    measured: NDArray[np.bool_] = np.asarray(np.isfinite(responses).all(0))
    recording = _recording(
        Whole(responses),
        pd.concat(rows),
        targets,
        measured,
        files=files,
        units="percent of the run's mean",
        history=(f"{len(runs)} runs, {delay:g} s after onset",),
    )
    return recording.leave_out(Excluded("presentations", lost, "outside the run")) if lost else recording


def _recording(
    responses: Responses,
    rows: pd.DataFrame,
    targets: pd.DataFrame,
    measured: NDArray[np.bool_],
    *,
    files: Iterable[Path],
    units: str,
    history: tuple[str, ...],
) -> Recording:
    """Of a subject that the caller names; images by name are numbered in the order of their names."""
    shown, left = rows["name"].to_numpy(), int((~measured).sum())
    if shown.dtype.kind in "iu":
        names, ids = None, shown
    else:
        names, ids = np.unique(shown.astype(str), return_inverse=True)
    return Recording(
        responses=ChosenTargets(responses, np.flatnonzero(measured)) if left else responses,
        presentations=rows.assign(image=ids).drop(columns="name"),
        targets=targets[measured],
        subject="",
        units=units,
        space="voxels",
        image_names=None if names is None else tuple(map(str, names)),
        excluded=(Excluded("targets", left, "without data in some session"),) if left else (),
        history=history,
        provenance={"files": _hashes(files)},
    )


def _hashes(files: Iterable[Path]) -> dict[str, str]:
    """Fingerprints by the paths inside the folder that all are in: names alone may be the same in several sessions."""
    paths = list(dict.fromkeys(path.absolute() for path in files))
    home = os.path.commonpath([path.parent for path in paths])
    return {path.relative_to(home).as_posix(): fingerprint(path) for path in paths}


def _events(op: str, path: Path, image: str) -> pd.DataFrame:
    table = read_table(op, path, ("onset", image), "\t")
    if not len(table):
        raise ValueError(f"{op}: {path} must have a row for every event, got only column names")
    shown = table[table[image].notna() & (table[image].astype(str) != "n/a")]
    if shown["onset"].dtype.kind not in "iuf" or not np.isfinite(shown["onset"]).all():
        raise ValueError(f"{op}: onsets in {path} must be numbers, in s")
    names = shown[image].to_numpy()
    if names.dtype.kind == "f" and (names == np.round(names)).all():
        names = names.astype(np.int64)  # numbers beside empty cells, which pandas reads as floats
    return pd.DataFrame({"name": names, "onset": shown["onset"].to_numpy(dtype=np.float64)})


def _percent(series: NDArray[np.float32]) -> NDArray[np.float32]:
    """Percent of the mean over the run, about its linear trend; NaN where the mean is not positive, or not known."""
    from scipy.signal import detrend

    mean = series.mean(0, dtype=np.float64)
    known = np.isfinite(mean) & (mean > 0)  # medial walls are NaN
    percent = np.full(series.shape, np.nan, np.float32)
    percent[:, known] = 100 * detrend(series[:, known].astype(np.float64), axis=0) / mean[known]
    return percent


def _between(series: NDArray[np.float32], at: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows of a series at places between them."""
    before = np.minimum(np.floor(at).astype(int), len(series) - 2)
    share = (at - before)[:, None].astype(np.float32)
    between: NDArray[np.float32] = (1 - share) * series[before] + share * series[before + 1]
    return between
