"""Preprocessed runs of a BIDS data set, as fMRIPrep and DeepPrep lay them out, or fMRIPrep before 2018 (ds001499)."""

import json
import re
from pathlib import Path
from typing import Any

from gradkern.recordings._formats.files import Folder
from gradkern.recordings._readers.fmri import load_bold
from gradkern.recordings._recording import Recording

_SOURCE = "the data set (events) or a run of fMRIPrep or DeepPrep (derivatives)"
_MASKS = (("_desc-preproc_bold.nii.gz", "_desc-brain_mask.nii.gz"), ("_preproc.nii.gz", "_brainmask.nii.gz"))
_LABELS = re.compile(r"sub-([^_]+)_.*?task-([^_]+)_")
_SESSION = re.compile(r"_ses-([^_]+)_")


def load_bids(
    folder: Any,
    subject: str,
    task: str,
    image: str,
    *,
    space: str,
    derivatives: str = "derivatives/fmriprep",
    mask: Any = None,
    delay: float = 5.5,
) -> Recording:
    """All runs of a task, some seconds after each onset: see `load_bold`.

    Parameters
    ----------
    folder : the data set's, with the raw events in `sub-<subject>`
    subject, task : labels, without "sub-" and "task-"
    image : the column of the events that names the image
    space : of the preprocessed files: "T1w", "MNI152NLin2009cAsym" and the like, "fsaverage" and the like (surfaces),
        or "fsLR" (grayordinates)
    derivatives : folder of the preprocessed files inside the data set's
    mask : for volumes; by default the brain mask of the first run
    delay : in s after onset

    Returns
    -------
    Recording : sessions are numbered in the order of their names. Times are those that slices were brought to
        ("StartTime" beside the run).

    Raises
    ------
    FileNotFoundError : no events, or no preprocessed file for one
    ValueError : several files for one run, or runs that stand for different times
    """
    op = "load_bids"
    data = Folder(op, folder, _SOURCE)
    events = sorted((data.root / f"sub-{subject}").glob(f"**/func/*_task-{task}_*events.tsv"))
    if not events:
        raise FileNotFoundError(
            f"{op}: sub-{subject}/[ses-*/]func/sub-{subject}_[ses-*_]task-{task}_[run-*_]events.tsv is missing in "
            f"{data.root}, which has {_there(data.root)}; get it from {_SOURCE}"
        )
    home = data.root / derivatives / f"sub-{subject}"
    found = [_preprocessed(op, home, path, space) for path in events]
    starts = {_start_time(op, each) for each in found}
    if len(starts) > 1:
        raise ValueError(f"{op}: runs must have one StartTime, got {sorted(starts)}")
    if mask is None and not isinstance(found[0], tuple) and not found[0].name.endswith(".dtseries.nii"):
        mask = _mask(op, found[0])
    names = [match.group(1) if (match := _SESSION.search(path.name)) else "" for path in events]
    order = sorted(set(names))
    return load_bold(
        list(zip(found, events, strict=True)),
        image,
        subject=f"sub-{subject}",
        mask=mask,
        delay=delay,
        start_time=starts.pop(),
        sessions=[order.index(name) + 1 for name in names],
    )


def _preprocessed(op: str, home: Path, events: Path, space: str) -> Path | tuple[Path, Path]:
    """The file of a run: a volume, both hemispheres, or grayordinates."""
    stem, folder = events.name.removesuffix("_events.tsv"), home / events.relative_to(_subject(events)).parent
    volumes = sorted(folder.glob(f"{stem}_space-{space}_*desc-preproc_bold.nii.gz"))
    volumes += sorted(folder.glob(f"{stem}_space-{space}_*bold.dtseries.nii"))
    volumes += sorted(folder.glob(f"{stem}_bold_space-{space}_preproc.nii.gz"))
    sides = [
        sorted(folder.glob(f"{stem}_*hemi-{side}_*space-{space}_*bold.func.gii"))
        + sorted(folder.glob(f"{stem}_bold_space-{space}.{side}.func.gii"))
        for side in "LR"
    ]
    if len(volumes) > 1 or any(len(each) > 1 for each in sides):
        names = [path.name for path in (*volumes, *sides[0], *sides[1])]
        raise ValueError(f"{op}: {stem} must have one preprocessed file in space {space!r}, got {names}")
    if volumes:
        return volumes[0]
    if sides[0] and sides[1]:
        return sides[0][0], sides[1][0]
    raise FileNotFoundError(
        f"{op}: {folder} must hold {stem}_space-{space}_*desc-preproc_bold.nii.gz, "
        f"*_hemi-L|R_space-{space}_*bold.func.gii or *_space-{space}_*bold.dtseries.nii; get it from {_SOURCE}"
    )


def _there(root: Path) -> str:
    """Subjects and tasks of a data set, in words."""
    names = [match for path in root.glob("sub-*/**/func/*_events.tsv") if (match := _LABELS.match(path.name))]
    subjects, tasks = (", ".join(sorted({match.group(i) for match in names})) or "none" for i in (1, 2))
    return f"events of the subjects {subjects} and the tasks {tasks}"


def _subject(events: Path) -> Path:
    return next(parent for parent in events.parents if parent.name.startswith("sub-"))


def _start_time(op: str, found: Path | tuple[Path, Path]) -> float:
    """In s; 0 where it is not said, as where slices were not corrected."""
    path = found[0] if isinstance(found, tuple) else found
    sidecar = path.with_name(path.name.partition(".")[0] + ".json")
    if not sidecar.is_file():
        return 0.0
    try:
        return float(json.loads(sidecar.read_text()).get("StartTime", 0.0))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{op}: {sidecar} must be JSON with a number as StartTime: {error}") from error


def _mask(op: str, path: Path) -> Path:
    """The brain's, beside a preprocessed volume."""
    ending, other = next(pair for pair in _MASKS if path.name.endswith(pair[0]))
    found = path.with_name(path.name.removesuffix(ending) + other)
    if not found.is_file():
        raise FileNotFoundError(f"{op}: {found} is missing; give mask=, or get it from {_SOURCE}")
    return found
