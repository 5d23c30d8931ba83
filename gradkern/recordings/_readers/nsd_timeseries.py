"""Natural Scenes Dataset: preprocessed time series of one subject, sampled some seconds after each image."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.recordings._formats.files import Folder, read_volume
from gradkern.recordings._formats.nifti import volume_shape
from gradkern.recordings._readers.fmri import Run, sample_runs
from gradkern.recordings._readers.nsd import (
    IMAGES,
    SESSIONS,
    SOURCE,
    choose_sessions,
    provenance,
    ranges,
    read_design,
    read_regions,
)
from gradkern.recordings._recording import Recording
from gradkern.recordings._stimuli import HDF5Images

STEPS = {"func1pt8mm": 4 / 3, "func1mm": 1.0}  # s a volume, once slices were brought to one time
_RUNS, _WITH_REST = 12, 14  # where there are 14, the first and the last are rest
_SERIES = tuple(f"timeseries/timeseries_session{{:02d}}_run{run:02d}.nii.gz" for run in range(1, _WITH_REST + 1))
_RUN = re.compile(r"_run(\d\d)\.nii\.gz$")


def load_nsd_timeseries(
    folder: Any,
    subject: int,
    *,
    space: str = "func1pt8mm",
    sessions: Sequence[int] | None = None,
    atlas: str | None = None,
    mask: Any = None,
    delay: float = 5.5,
) -> Recording:
    """Time series, in percent of each run's mean about its trend, some seconds after each image: see `load_bold`.

    Responses are held in memory, in float32: 2 GB for all sessions of a subject and 15,000 voxels of visual cortex, 30
    GB for a whole brain. Every run is unpacked, whole, one after another.

    Parameters
    ----------
    folder : what corresponds to the bucket: holds `nsddata`, `nsddata_timeseries` and, for images, `nsddata_stimuli`
    subject : 1 to 8
    space : "func1pt8mm" (a volume each 4/3 s) or "func1mm" (each second)
    sessions : 1-based; by default those of which a run is there
    atlas : name of a parcellation that labels the targets' "roi"; "" where a target has none
    mask : path of a NIfTI file on the same grid; by default the subject's brain mask
    delay : in s after onset

    Returns
    -------
    Recording : image ids are 0-based among the 73,000; "run" counts the runs with images, 1 to 12

    Raises
    ------
    FileNotFoundError : a file is missing; it is named, and where to get it
    ValueError : a file does not hold what it should; the runs' designs are not those of the subject's experiment
    """
    op = "load_nsd_timeseries"
    if space not in STEPS:
        raise ValueError(f"{op}: space must be one of {tuple(STEPS)}, got {space!r}")
    if subject not in range(1, len(SESSIONS) + 1):
        raise ValueError(f"{op}: subject must be 1 to {len(SESSIONS)}, got {subject!r}")
    data, name = Folder(op, folder, SOURCE), f"subj{subject:02d}"
    parts = f"nsddata_timeseries/ppdata/{name}/{space}"
    chosen = choose_sessions(data, parts, subject, sessions, _SERIES)
    design = read_design(data, subject, chosen)
    runs = [run for session in chosen.tolist() for run in _runs(data, parts, session, STEPS[space])]
    _check_design(op, runs, design)
    inside = data.file(f"nsddata/ppdata/{name}/{space}/brainmask.nii.gz") if mask is None else mask
    found = sample_runs(op, runs, inside, delay=delay, repetition_time=STEPS[space])
    tested = design["image"][design["split"] == "test"]
    stimuli = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    return replace(
        found,
        presentations=found.presentations.assign(
            split=np.where(np.isin(found.image_ids, tested), "test", "train"),
        ),
        targets=found.targets if atlas is None else _with_regions(data, found.targets, inside, (name, space, atlas)),
        subject=name,
        space=space,
        images=HDF5Images(data.file(stimuli), "imgBrick") if data.has(stimuli) else None,
        history=(f"{len(runs)} runs of sessions {ranges(chosen)}, {delay:g} s after onset",),
        provenance=provenance(data, chosen),
    )


def _runs(data: Folder, parts: str, session: int, step: float) -> list[Run]:
    """The runs of a session in which images were shown."""
    stem = f"_session{session:02d}_run"
    there = [_RUN.search(path.name) for path in (data.root / parts / "timeseries").glob(f"timeseries{stem}*.nii.gz")]
    numbers = {int(match.group(1)) for match in there if match is not None}
    shown = range(2, _WITH_REST) if max(numbers, default=0) > _RUNS else range(1, _RUNS + 1)
    runs = []
    for place, number in enumerate(shown, 1):
        series = data.file(f"{parts}/timeseries/timeseries{stem}{number:02d}.nii.gz")
        events = data.file(f"{parts}/design/design{stem}{number:02d}.tsv")
        runs.append(Run(series, _events(data.op, series, events, step), events, session, place))
    return runs


def _events(op: str, series: Path, path: Path, step: float) -> pd.DataFrame:
    """Of a design with a row a volume, the number of the image that begins there or 0; the last volume has no row."""
    try:
        design = np.loadtxt(path, dtype=np.int64, ndmin=1)
    except ValueError as error:
        raise ValueError(f"{op}: {path} must hold a whole number a row: {error}") from error
    _, volumes = volume_shape(op, series)
    if design.ndim != 1 or volumes - len(design) not in (0, 1):
        raise ValueError(
            f"{op}: {path} must have a row for each of {volumes} volumes of {series.name}, or but for the last, "
            f"got {list(design.shape)}"
        )
    if design.min() < 0 or design.max() > IMAGES:
        raise ValueError(
            f"{op}: {path} must hold numbers from 1 to {IMAGES}, 0 for none, got {design.min()} to {design.max()}"
        )
    at = np.flatnonzero(design)
    return pd.DataFrame({"name": design[at] - 1, "onset": at * step})


def _check_design(op: str, runs: Sequence[Run], design: pd.DataFrame) -> None:
    """The images of the runs against those of the experiment."""
    for session, expected in design.groupby("session")["image"]:
        of_session = [run for run in runs if run.session == session]
        shown = np.concatenate([run.presentations["name"].to_numpy() for run in of_session])
        folder = of_session[0].events.parent
        if len(shown) != len(expected):
            raise ValueError(
                f"{op}: runs of session {session} in {folder} show {len(shown)} images, {len(expected)} expected"
            )
        wrong = np.flatnonzero(shown != expected.to_numpy())
        if len(wrong):
            raise ValueError(
                f"{op}: runs of session {session} in {folder} and the experiment's design disagree on {len(wrong)} of "
                f"{len(shown)} images, first on trial {wrong[0]} (are they another subject's?)"
            )


def _with_regions(data: Folder, targets: pd.DataFrame, mask: Any, which: tuple[str, str, str]) -> pd.DataFrame:
    name, space, atlas = which
    labels = f"nsddata/ppdata/{name}/{space}/roi/{atlas}.nii.gz"
    grid = read_volume(data.op, Path(mask))[0].shape
    i, j, k = targets[["i", "j", "k"]].to_numpy().T
    every = read_regions(data, labels, f"nsddata/freesurfer/{name}/label/{atlas}.mgz.ctab", grid)
    place: NDArray[np.int64] = np.ravel_multi_index((i, j, k), grid, order="F")
    return targets.assign(roi=[every[at] for at in place.tolist()])
