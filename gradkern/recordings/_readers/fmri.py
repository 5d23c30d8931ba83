"""fMRI files as recordings: betas with one volume per presentation, or time series sampled after each onset."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern._image_names import canonical
from gradkern.errors import naming
from gradkern.recordings._formats.agreement import Agreements
from gradkern.recordings._formats.bids_names import entities
from gradkern.recordings._formats.files import existing_file, fingerprint, read_lines
from gradkern.recordings._formats.names import names_or_numbers, numbered_images
from gradkern.recordings._formats.nifti import open_volumes, with_data
from gradkern.recordings._formats.tables import read_table
from gradkern.recordings._formats.timeseries import Mask, voxels
from gradkern.recordings._formats.volumes import agree_on_grid, grid_of, open_image
from gradkern.recordings._maps.known import volume_grid
from gradkern.recordings._readers.dataset import measured_targets
from gradkern.recordings._readers.sampling import Run, Sampled, Sampling, sample_runs
from gradkern.recordings._recording import Recording
from gradkern.recordings._responses.lazy import Responses, Stacked, Whole
from gradkern.recordings._targets import with_positions

_STATISTICS = ("correlation", "t test", "f test", "z score", "chi2", "p value", "log p value", "label", "neuronames")
_PERCENT = "percent signal change"


@naming("load_betas")
def load_betas(
    paths: Any,
    images: Any = None,
    *,
    mask: Any,
    subject: str,
    units: str | None = None,
    scale: float = 1.0,
    scratch: Any = None,
    affine: str | None = None,
) -> Recording:
    """Estimated responses, with one volume per presentation.

    Voxels of the mask are held in memory, in the stored type, unless the files are .nii or there is a `scratch` folder.
    All voxels are read once to find those with data.

    Parameters
    ----------
    paths : one file per session, [x, y, z, presentations]: .nii, .mgh, or packed (.nii.gz, .nii.bz2, .mgz). A path is
        that of the only session, or of a table (.tsv) with a row per session and the columns "betas" and "images",
        which name the file and a text file with an image a line, beside the table
    images : for each session, the image of every presentation: names, or 0-based numbers in the image source; of one
        path, those of its presentations. None for a table, which names them
    mask : path of a volume on the same grid; its voxels that are neither 0 nor NaN are the targets. Of several paths,
        the voxels that all have in common
    subject : a word
    units : in words, percent signal change by default; must be said of files whose intent is a statistic
    scale : factor for stored numbers, such as 1 / 300 for NSD's integers
    scratch : folder where the mask's voxels of .nii.gz files are kept unpacked, instead of in memory
    affine : whose affine holds if mask and data differ, "mask" or "data"; by default that is an error

    Returns
    -------
    Recording : without the targets that are NaN in a presentation, or 0 throughout a session, which are counted in
        `excluded`

    Raises
    ------
    FileNotFoundError : a file is missing
    ValueError : a file has another grid, has another number of volumes than images, or cannot be read
    """
    if isinstance(paths, str | os.PathLike):
        paths, images = _listed_betas(Path(paths), images)
    if images is None or len(paths) != len(images) or not len(paths):
        raise ValueError(
            f"images must be given for each of {len(paths)} paths, got {0 if images is None else len(images)}"
        )
    files = [existing_file(path) for path in paths]
    agreements = Agreements()
    chosen = voxels(mask, agreements, affine)
    parts = [open_volumes(path, chosen.inside, scratch, scale) for path in files]
    chosen = on_one_grid(agreements, chosen, files, affine)
    recording = stack_sessions(files, parts, images, chosen.targets)
    return replace(
        recording,
        subject=subject,
        units=_units(agreements, files, units),
        space=_space(files),
        history=(*recording.history, *chosen.notes),
        provenance={**recording.provenance, "agreed": agreements.provenance()},
        geometry=volume_grid(chosen.grid),
    )


def _listed_betas(path: Path, images: Any) -> tuple[list[Path], list[Any]]:
    """The files and the images of every session of a table, or of one file."""
    if path.suffix != ".tsv":
        return [path], [] if images is None else [images]
    if images is not None:
        raise ValueError(f"images must be None, since {path} names those of every session, got others")
    rows = _listed(path, ("betas", "images"))
    return [row["betas"] for row in rows], [names_or_numbers(read_lines(row["images"])) for row in rows]


def _listed(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows of a table of files, whose paths are beside the table unless they begin with "/".

    Raises
    ------
    ValueError : a row lacks a file, or names one that another row names too
    """
    table = read_table(existing_file(path), columns, "\t", names=(*columns, *optional))
    if not len(table):
        raise ValueError(f"{path} must have a row for each file, got none")
    first = columns[0]
    twice = table[first][table[first].duplicated()].tolist()
    if twice:
        raise ValueError(f"{path} must name a file once, got {twice[0]} in two rows")
    rows: list[dict[str, Any]] = []
    for row in table.to_dict("records"):
        lacking = [name for name in columns if row[name] is None]
        if lacking:
            raise ValueError(f"{path} must name {lacking[0]!r} in every row, got none in row {len(rows) + 1}")
        places = {name: existing_file(path.parent / row[name]) for name in columns}
        rows.append(row | places)
    return rows


def on_one_grid(agreements: Agreements, mask: Mask, files: Sequence[Path], affine: str | None = None) -> Mask:
    """The mask, whose targets have the positions of the affine that holds, once files lie on its grid.

    Raises
    ------
    ValueError : a file has another shape or affine than the mask
    """
    grids = {f"data of {path}": grid_of(path) for path in files}
    for source, grid in grids.items():
        agreed = agree_on_grid(agreements, {mask.source: mask.grid, source: grid}, affine)
        if agreed.affine is not None:
            mask = mask._replace(grid=agreed, targets=with_positions(mask.targets, agreed.affine))
    return mask


def _units(agreements: Agreements, files: Sequence[Path], units: str | None) -> str:
    """The units, which the intents of the headers must not contradict unless the caller says them."""
    if units is not None:
        return units
    intents = {}
    for path in files:
        header = open_image(path).header
        kind = header.get_intent()[0] if "intent_code" in header else "none"
        intents[f"header of {path}"] = kind if kind in _STATISTICS else None
    agreements.same("units", {"default of load_betas": _PERCENT, **intents}, option="units")
    return _PERCENT


def _space(files: Sequence[Path]) -> str:
    """The space that the names of the files state, else "voxels"."""
    spaces = {entities(path.name).get("space") for path in files}
    space = spaces.pop() if len(spaces) == 1 else None
    return space or "voxels"


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
    return _recording(
        Stacked(parts),
        pd.concat(rows),
        targets,
        measured,
        about={
            "units": _PERCENT,
            "space": "voxels",
            "history": (f"{len(files)} sessions",),
            "provenance": {"files": hashes(files)},
        },
    )


@naming("load_bold")
def load_bold(
    runs: Any,
    image: str,
    *,
    subject: str,
    mask: Any = None,
    delay: float = 5.5,
    repetition_time: float | None = None,
    start_time: float | None = None,
    sessions: Sequence[Any] | None = None,
    dummy_scans: int | None = None,
    confounds: Sequence[str] = (),
    affine: str | None = None,
) -> Recording:
    """Time series sampled at a delay after each onset, in percent of the run's mean about its linear trend.

    Values between volumes are interpolated linearly. Presentations whose sample lies outside the run are left out and
    counted in `excluded`, as are rows of the events without an image, a second row for the same image at the same
    onset, and volumes before the steady state.

    Parameters
    ----------
    runs : for each run its time series and its events. A time series is a 4-D volume [x, y, z, volumes] (.nii, .nii.gz,
        .nii.bz2, .mgz), a pair of GIFTI files (left, right), or a CIFTI file (.dtseries.nii). Events are a table (.tsv)
        with "onset" in s. Or the path of a table (.tsv) with a row per run and the columns "bold" and "events", which
        name files beside it; "bold_right", the second of a pair of GIFTI files; and "session"
    image : column of the events that names the image; rows where it is empty or "n/a" are not presentations. Whole
        numbers are ids; with any other word among them, or leading zeros, all are names
    subject : a word
    mask : for volumes, path of a file on the same grid; its voxels that are neither 0 nor NaN are the targets. Of
        several paths, the voxels that all have in common
    delay : seconds after onset
    repetition_time : in s; by default that of the header and the sidecar, which must agree
    start_time : time in s that the first volume stands for: half a repetition time if slice timing was corrected to
        the middle of a volume; by default "StartTime" of the sidecar, or 0
    sessions : the session of each run; all are one session by default
    dummy_scans : volumes at the beginning of each run that are not in steady state; by default those that fMRIPrep's
        table of confounds beside the run flags
    confounds : columns of that table, or patterns such as "cosine*", that are regressed out with the linear trend
    affine : whose affine holds if mask and data differ, "mask" or "data"; by default that is an error

    Raises
    ------
    FileNotFoundError : a file is missing
    ValueError : a file has another grid or cannot be read, header and sidecar differ, events lack a column or have two
        images at one onset, or no presentation is left
    """
    if isinstance(runs, str | os.PathLike):
        runs, sessions = _listed_runs(Path(runs), sessions)
    if not len(runs) or (sessions is not None and len(sessions) != len(runs)):
        raise ValueError(f"runs must be given, and a session for each, got {len(runs)} runs")
    opened = []
    for number, (source, events) in enumerate(runs):
        session = 1 if sessions is None else sessions[number]
        table, path, left_out = read_events(existing_file(events), image)
        opened.append(Run(source, table, path, session, number + 1, left_out))
    settings = Sampling(delay, repetition_time, start_time, dummy_scans, confounds, affine)
    return sampled_recording(sample_runs(numbered(opened), mask, settings), subject=subject)


def _listed_runs(path: Path, sessions: Sequence[Any] | None) -> tuple[list[tuple[Any, Path]], Sequence[Any] | None]:
    """The runs of a table of files, and the session of each if the table or the argument says it."""
    rows = _listed(path, ("bold", "events"), ("bold_right",))
    runs: list[tuple[Any, Path]] = []
    for row in rows:
        right = row.get("bold_right")
        runs.append(((row["bold"], path.parent / right) if right is not None else row["bold"], row["events"]))
    if "session" not in rows[0]:
        return runs, sessions
    if sessions is not None:
        raise ValueError(f"sessions must be None, since {path} names that of every run, got {sessions!r}")
    return runs, [row["session"] for row in rows]


def numbered(runs: Sequence[Run]) -> list[Run]:
    """Runs whose images are numbers if they are in all runs, else names."""
    names = names_or_numbers(name for run in runs for name in run.presentations["name"])
    ends = np.cumsum([len(run.presentations) for run in runs])
    parts = np.split(names, ends[:-1])
    return [
        replace(run, presentations=run.presentations.assign(name=part)) for run, part in zip(runs, parts, strict=True)
    ]


def sampled_recording(sampled: Sampled, *, subject: str, space: str = "") -> Recording:
    """A recording of what `sample_runs` read."""
    measured: NDArray[np.bool_] = np.asarray(np.isfinite(sampled.responses).all(0))
    surfaces = "hemisphere" in sampled.targets
    named = _space([path for path in sampled.files if path.suffix != ".tsv"])
    recording = _recording(
        Whole(sampled.responses),
        sampled.presentations,
        sampled.targets,
        measured,
        about={
            "units": "percent of the run's mean",
            "space": space or ("vertices" if surfaces and named == "voxels" else named),
            "history": sampled.history,
            "provenance": {"files": hashes(sampled.files), "agreed": sampled.agreements.provenance()},
            "geometry": sampled.geometry,
        },
    )
    return replace(recording, subject=subject, excluded=(*recording.excluded, *sampled.excluded))


def _recording(
    responses: Responses,
    rows: pd.DataFrame,
    targets: pd.DataFrame,
    measured: NDArray[np.bool_],
    about: Mapping[str, Any],
) -> Recording:
    """A recording of a subject that the caller names; image names are numbered in their order."""
    ids, names = numbered_images(rows["name"].to_numpy())
    return Recording(
        **measured_targets(responses, targets, measured),
        presentations=rows.assign(image=ids).drop(columns="name"),
        subject="",
        image_names=names,
        **about,
    )


def hashes(files: Iterable[Path]) -> dict[str, str]:
    """Fingerprints by the paths below the folder that the files have in common; names alone may occur twice."""
    paths = list(dict.fromkeys(path.absolute() for path in files))
    root = os.path.commonpath([path.parent for path in paths])
    return {path.relative_to(root).as_posix(): fingerprint(path) for path in paths}


def read_events(path: Path, image: str) -> tuple[pd.DataFrame, Path, tuple[Excluded, ...]]:
    """The presentations of a run, "name" and "onset" in s, the file, and the rows that are no presentations.

    Raises
    ------
    ValueError : no such columns, no rows, onsets that are no numbers, or two images at one onset
    """
    table = read_table(path, ("onset", image), "\t", names=(image,))
    if not len(table):
        raise ValueError(f"{path} must have a row for every event, got only column names")
    shown = table[table[image].notna()]
    if shown["onset"].dtype.kind not in "iuf" or not np.isfinite(shown["onset"]).all():
        raise ValueError(f"onsets in {path} must be numbers, in s")
    names = [canonical(name) for name in shown[image]]
    every = pd.DataFrame({"name": np.array(names, dtype=object), "onset": shown["onset"].to_numpy(dtype=np.float64)})
    once = every.drop_duplicates(ignore_index=True)
    twice = once[once["onset"].duplicated(keep=False)]
    if len(twice):
        a, b = twice["name"].iloc[0], twice[twice["onset"] == twice["onset"].iloc[0]]["name"].iloc[1]
        raise ValueError(
            f"{path} must show one image at a time, got {a!r} and {b!r} at {twice['onset'].iloc[0]:g} s; leave all "
            f"rows but one without a name in {image!r} (n/a)"
        )
    counts = {
        f"no image in {image!r}": len(table) - len(shown),
        "the same image again at its onset": len(every) - len(once),
    }
    left_out = tuple(Excluded("events", count, reason) for reason, count in counts.items() if count)
    return once, path, left_out
