"""Natural Scenes Dataset: preprocessed time series of one subject, sampled some seconds after each image."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.errors import naming
from gradkern.recordings._formats.agreement import Agreements
from gradkern.recordings._formats.files import Folder, existing_file
from gradkern.recordings._formats.nifti import volume_shape
from gradkern.recordings._formats.volumes import agree_on_grid, grid_of
from gradkern.recordings._readers.dataset import check_choice
from gradkern.recordings._readers.fmri import sampled_recording
from gradkern.recordings._readers.nsd_experiment import (
    IMAGES,
    NSD,
    choose_sessions,
    ranges,
    read_design,
    read_images,
    read_regions,
)
from gradkern.recordings._readers.sampling import Run, Sampling, sample_runs
from gradkern.recordings._recording import Recording

_STEPS = {"func1pt8mm": 4 / 3, "func1mm": 1.0}  # s per volume, after correction of slice timing
_RUNS, _WITH_REST = 12, 14  # of 14 runs the first and the last are rest
_SERIES = tuple(f"timeseries/timeseries_session{{:02d}}_run{run:02d}.nii.gz" for run in range(1, _WITH_REST + 1))
_RUN = re.compile(r"_run(\d\d)\.nii\.gz$")


@naming("load_nsd_timeseries")
def load_nsd_timeseries(
    folder: Any,
    subject: int,
    *,
    space: str = "func1pt8mm",
    sessions: Sequence[int] | None = None,
    atlas: str | None = None,
    mask: Any = None,
    delay: float = 5.5,
    repetition_time: float | None = None,
    affine: str | None = None,
) -> Recording:
    """Time series sampled at a delay after each image, in percent of the run's mean about its trend: see `load_bold`.

    Responses are held in memory, in float32: 2 GB for all sessions of a subject and 15,000 voxels of visual cortex, 30
    GB for a whole brain. Runs are unpacked whole, one after another.

    Parameters
    ----------
    folder : a copy of the bucket, or of a part of it: holds `nsddata`, `nsddata_timeseries` and, for the images,
        `nsddata_stimuli`
    subject : 1 to 8
    space : "func1pt8mm" (a volume every 4/3 s) or "func1mm" (a volume every second)
    sessions : 1-based; by default those with a run in the folder
    atlas : a parcellation that gives the targets their "roi"; "" where a target is in no region
    mask : path of a NIfTI file on the same grid; the subject's brain mask by default
    delay : seconds after onset
    repetition_time : in s; by default that of the data set, which the headers must agree with
    affine : whose affine holds if mask and data differ, "mask" or "data"; by default that is an error

    Returns
    -------
    Recording : image ids are 0-based among the 73,000; "run" counts the runs with images, 1 to 12

    Raises
    ------
    FileNotFoundError : a file is missing; the message names it and says where to get it
    ValueError : a file does not hold what it should, or the runs show other images than the subject's experiment
    """
    check_choice("space", space, _STEPS)
    data, name = NSD.open(folder, subject), f"subj{subject:02d}"
    parts = f"nsddata_timeseries/ppdata/{name}/{space}"
    chosen = choose_sessions(data, parts, subject, sessions, _SERIES)
    design = read_design(data, subject, chosen)
    runs = [run for session in chosen.tolist() for run in _runs(data, parts, session, _STEPS[space])]
    _check_design(runs, design)
    inside = data.file(f"nsddata/ppdata/{name}/{space}/brainmask.nii.gz") if mask is None else mask
    sampled = sample_runs(runs, inside, Sampling(delay, repetition_time, 0.0, 0, affine=affine))
    recording = sampled_recording(sampled, subject=name, space=space)
    place = existing_file(inside[0] if isinstance(inside, list | tuple) else inside), sampled.agreements, affine
    tested = design["image"][design["split"] == "test"]
    targets = recording.targets
    return replace(
        recording,
        presentations=recording.presentations.assign(
            split=np.where(np.isin(recording.image_ids, tested), "test", "train"),
        ),
        targets=targets if atlas is None else _with_regions(data, targets, (name, space, atlas), place),
        images=read_images(data),
        history=(f"{len(runs)} runs of sessions {ranges(chosen)}, {delay:g} s after onset", *recording.history[1:]),
        provenance=NSD.provenance(data, sessions=chosen.tolist(), agreed=sampled.agreements.provenance()),
    )


def _runs(data: Folder, parts: str, session: int, step: float) -> list[Run]:
    """The runs of a session that show images."""
    stem = f"_session{session:02d}_run"
    matches = [_RUN.search(path.name) for path in (data.root / parts / "timeseries").glob(f"timeseries{stem}*.nii.gz")]
    numbers = {int(match.group(1)) for match in matches if match is not None}
    shown = range(2, _WITH_REST) if max(numbers, default=0) > _RUNS else range(1, _RUNS + 1)
    runs = []
    for count, number in enumerate(shown, 1):
        series = data.file(f"{parts}/timeseries/timeseries{stem}{number:02d}.nii.gz")
        events = data.file(f"{parts}/design/design{stem}{number:02d}.tsv")
        stated = {f"data set of {series.parent}": step}
        runs.append(Run(series, _events(series, events, step), events, session, count, stated=stated))
    return runs


def _events(series: Path, path: Path, step: float) -> pd.DataFrame:
    """Names and onsets of a run's images.

    The design has one row per volume, but for the last: the number of the image that begins there, or 0.
    """
    try:
        design = np.loadtxt(path, dtype=np.int64, ndmin=1)
    except ValueError as error:
        raise ValueError(f"{path} must hold a whole number per row: {error}") from error
    _, volumes = volume_shape(series)
    if design.ndim != 1 or volumes - len(design) not in (0, 1):
        raise ValueError(
            f"{path} must have a row for each of {volumes} volumes of {series.name}, the last excepted, "
            f"got {list(design.shape)}"
        )
    if design.min() < 0 or design.max() > IMAGES:
        raise ValueError(
            f"{path} must hold numbers from 1 to {IMAGES}, 0 for none, got {design.min()} to {design.max()}"
        )
    at = np.flatnonzero(design)
    return pd.DataFrame({"name": design[at] - 1, "onset": at * step})


def _check_design(runs: Sequence[Run], design: pd.DataFrame) -> None:
    """Raise a ValueError unless the runs show the images of the experiment."""
    for session, expected in design.groupby("session")["image"]:
        of_session = [run for run in runs if run.session == session]
        shown = np.concatenate([run.presentations["name"].to_numpy() for run in of_session])
        folder = of_session[0].events.parent
        if len(shown) != len(expected):
            raise ValueError(
                f"runs of session {session} in {folder} show {len(shown)} images, {len(expected)} expected"
            )
        wrong = np.flatnonzero(shown != expected.to_numpy())
        if len(wrong):
            raise ValueError(
                f"runs of session {session} in {folder} and the experiment's design disagree on {len(wrong)} of "
                f"{len(shown)} images, first on trial {wrong[0]} (are they another subject's?)"
            )


def _with_regions(
    data: Folder,
    targets: pd.DataFrame,
    parcellation: tuple[str, str, str],
    place: tuple[Path, Agreements, str | None],
) -> pd.DataFrame:
    """Targets with the "roi" of an atlas, whose grid must be that of the mask."""
    name, space, atlas = parcellation
    mask, agreements, affine = place
    labels = f"nsddata/ppdata/{name}/{space}/roi/{atlas}.nii.gz"
    grid = grid_of(mask)
    i, j, k = targets[["i", "j", "k"]].to_numpy().T
    regions, of_labels = read_regions(data, labels, f"nsddata/freesurfer/{name}/label/{atlas}.mgz.ctab", grid.shape)
    agree_on_grid(agreements, {f"mask of {mask}": grid, f"atlas of {labels}": of_labels}, affine)
    places: NDArray[np.int64] = np.ravel_multi_index((i, j, k), grid.shape, order="F")
    return targets.assign(roi=[regions[place] for place in places.tolist()])
