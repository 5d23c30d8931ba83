"""fMRI files as recordings: betas with one volume per presentation, or time series sampled after each onset."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern.errors import naming
from gradkern.recordings._formats.files import existing_file, fingerprint, read_table
from gradkern.recordings._formats.nifti import open_volumes, with_data
from gradkern.recordings._formats.timeseries import open_series, voxels
from gradkern.recordings._readers.dataset import measured_targets, numbered_images
from gradkern.recordings._recording import Recording
from gradkern.recordings._responses.lazy import Responses, Stacked, Whole

_SHORTEST, _LONGEST = 0.05, 60  # s: a repetition time beyond these means that the header's units are wrong


class Run(NamedTuple):
    """A time series, its presentations ("name", "onset" in s), the file that lists them, and session and run."""

    source: Any
    presentations: pd.DataFrame
    events: Path
    session: int
    number: int


@naming("load_betas")
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
    """Estimated responses, with one volume per presentation.

    Voxels of the mask are held in memory, in the stored type, unless the files are .nii or there is a `scratch` folder.
    All voxels are read once to find those with data.

    Parameters
    ----------
    paths : one 4-D NIfTI file per session, [x, y, z, presentations]
    images : for each session, the image of every presentation: names, or 0-based numbers in the image source
    mask : path of a NIfTI file on the same grid; its nonzero voxels are the targets
    subject, units : words
    scale : factor for stored numbers, such as 1 / 300 for NSD's integers
    scratch : folder where the mask's voxels of .nii.gz files are kept unpacked, instead of in memory

    Returns
    -------
    Recording : without the targets that are NaN in a presentation, or 0 throughout a session, which are counted in
        `excluded`

    Raises
    ------
    FileNotFoundError : a file is missing
    ValueError : a file has another grid, has another number of volumes than images, or cannot be read
    """
    if len(paths) != len(images) or not len(paths):
        raise ValueError(f"images must be given for each of {len(paths)} paths, got {len(images)}")
    files = [existing_file(path) for path in paths]
    inside, targets = voxels(mask)
    parts = [open_volumes(path, inside, scratch, scale) for path in files]
    recording = stack_sessions(files, parts, images, targets)
    return replace(recording, subject=subject, units=units)


def stack_sessions(
    files: Sequence[Path],
    parts: Sequence[Responses],
    images: Sequence[Sequence[Any]],
    targets: pd.DataFrame,
    sessions: Sequence[int] | None = None,
) -> Recording:
    """One recording from the files, responses and images of each session.

    Targets are left out as in `load_betas`. The subject is "" and the units are percent signal change; `replace` them.

    Raises
    ------
    ValueError : a session has another number of images than responses
    """
    numbers = range(1, len(parts) + 1) if sessions is None else sessions
    rows = []
    for number, path, values, shown in zip(numbers, files, parts, images, strict=True):
        if len(values) != len(shown):
            raise ValueError(f"{path} must hold a volume for each of {len(shown)} images, got {len(values)}")
        rows.append(pd.DataFrame({"name": list(shown), "session": number}))
    measured = np.all([with_data(part) for part in parts], axis=0)
    units, history = "percent signal change", (f"{len(files)} sessions",)
    return _recording(Stacked(parts), pd.concat(rows), targets, measured, files=files, units=units, history=history)


@naming("load_bold")
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
    """Time series sampled at a delay after each onset, in percent of the run's mean about its linear trend.

    Values between volumes are interpolated linearly. Presentations whose sample lies outside the run are left out and
    counted in `excluded`.

    Parameters
    ----------
    runs : for each run its time series and its events. A time series is a 4-D NIfTI file [x, y, z, volumes], a pair of
        GIFTI files (left, right), or a CIFTI file (.dtseries.nii). Events are a table (.tsv) with "onset" in s
    image : column of the events that names the image; rows where it is empty or "n/a" are not presentations
    subject : a word
    mask : for volumes, path of a NIfTI file on the same grid; its nonzero voxels are the targets
    delay : seconds after onset
    repetition_time : in s; read from the header by default
    start_time : time in s that the first volume stands for: half a repetition time if slice timing was corrected to
        the middle of a volume
    sessions : the session of each run; all are one session by default

    Raises
    ------
    FileNotFoundError : a file is missing
    ValueError : a file has another grid or cannot be read, events lack a column, or no presentation is left
    """
    if not len(runs) or (sessions is not None and len(sessions) != len(runs)):
        raise ValueError(f"runs must be given, and a session for each, got {len(runs)} runs")
    opened = []
    for number, (source, events) in enumerate(runs):
        path = existing_file(events)
        session = 1 if sessions is None else sessions[number]
        opened.append(Run(source, _events(path, image), path, session, number + 1))
    sampled = sample_runs(opened, mask, delay=delay, repetition_time=repetition_time, start_time=start_time)
    return replace(sampled, subject=subject)


def sample_runs(
    runs: Sequence[Run],
    mask: Any,
    *,
    delay: float,
    repetition_time: float | None = None,
    start_time: float = 0.0,
) -> Recording:
    """Time series of runs sampled at a delay after each onset: see `load_bold`."""
    inside, targets = (None, None) if mask is None else voxels(mask)
    parts, rows, files, outside = [], [], [], 0
    for run in runs:
        series, table, header_step, paths = open_series(run.source, inside)
        targets = table if targets is None else targets
        if series.shape[1] != len(targets):
            raise ValueError(f"{paths[0]} must have {len(targets)} targets as run 1 has, got {series.shape[1]}")
        step = header_step if repetition_time is None else repetition_time
        if step is None or not _SHORTEST < step < _LONGEST:
            raise ValueError(f"{paths[0]} says that a volume takes {step} s; give repetition_time in s")
        at = (run.presentations["onset"].to_numpy() + delay - start_time) / step
        within = (at >= 0) & (at <= len(series) - 1)
        outside += int((~within).sum())
        parts.append(_between(_percent(series), at[within]))
        rows.append(run.presentations[within].assign(session=run.session, run=run.number))
        files += [*paths, run.events]
    if not sum(map(len, parts)):
        raise ValueError(f"presentations must lie inside the runs, got {outside} outside and none inside")
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
    return recording.leave_out(Excluded("presentations", outside, "outside the run")) if outside else recording


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
    """A recording of a subject that the caller names; image names are numbered in their order."""
    ids, names = numbered_images(rows["name"].to_numpy())
    return Recording(
        **measured_targets(responses, targets, measured),
        presentations=rows.assign(image=ids).drop(columns="name"),
        subject="",
        units=units,
        space="voxels",
        image_names=names,
        history=history,
        provenance={"files": _hashes(files)},
    )


def _hashes(files: Iterable[Path]) -> dict[str, str]:
    """Fingerprints by the paths below the folder that the files have in common; names alone may occur twice."""
    paths = list(dict.fromkeys(path.absolute() for path in files))
    root = os.path.commonpath([path.parent for path in paths])
    return {path.relative_to(root).as_posix(): fingerprint(path) for path in paths}


def _events(path: Path, image: str) -> pd.DataFrame:
    table = read_table(path, ("onset", image), "\t")
    if not len(table):
        raise ValueError(f"{path} must have a row for every event, got only column names")
    shown = table[table[image].notna() & (table[image].astype(str) != "n/a")]
    if shown["onset"].dtype.kind not in "iuf" or not np.isfinite(shown["onset"]).all():
        raise ValueError(f"onsets in {path} must be numbers, in s")
    names = shown[image].to_numpy()
    if names.dtype.kind == "f" and (names == np.round(names)).all():
        names = names.astype(np.int64)  # pandas reads whole numbers as floats if there are empty cells
    return pd.DataFrame({"name": names, "onset": shown["onset"].to_numpy(dtype=np.float64)})


def _percent(series: NDArray[np.float32]) -> NDArray[np.float32]:
    """Percent of the mean over the run, about the linear trend; NaN where the mean is NaN or not positive."""
    from scipy.signal import detrend

    mean = series.mean(0, dtype=np.float64)
    defined = np.isfinite(mean) & (mean > 0)  # medial walls are NaN
    percent = np.full(series.shape, np.nan, np.float32)
    percent[:, defined] = 100 * detrend(series[:, defined].astype(np.float64), axis=0) / mean[defined]
    return percent


def _between(series: NDArray[np.float32], at: NDArray[np.float64]) -> NDArray[np.float32]:
    """A series [times, targets] interpolated linearly at fractional row numbers."""
    before = np.minimum(np.floor(at).astype(int), len(series) - 2)
    share = (at - before)[:, None].astype(np.float32)
    between: NDArray[np.float32] = (1 - share) * series[before] + share * series[before + 1]
    return between
