"""Preprocessed runs of a BIDS data set, in the layout of fMRIPrep and DeepPrep, or of fMRIPrep before 2018."""

import json
import re
from pathlib import Path
from typing import Any

from gradkern.errors import naming
from gradkern.recordings._formats.files import Folder
from gradkern.recordings._readers.fmri import load_bold
from gradkern.recordings._recording import Recording

_SOURCE = "the data set (events) or a run of fMRIPrep or DeepPrep (derivatives)"
_MASKS = (  # endings of a preprocessed volume and of its brain mask; the second pair is older
    ("_desc-preproc_bold.nii.gz", "_desc-brain_mask.nii.gz"),
    ("_preproc.nii.gz", "_brainmask.nii.gz"),
)
_LABELS = re.compile(r"sub-([^_]+)_.*?task-([^_]+)_")
_SESSION = re.compile(r"_ses-([^_]+)_")


@naming("load_bids")
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
    """All runs of a task, sampled at a delay after each onset: see `load_bold`.

    Parameters
    ----------
    folder : the data set, with the raw events in `sub-<subject>`
    subject, task : labels, without "sub-" and "task-"
    image : column of the events that names the image
    space : of the preprocessed files: "T1w" or a template such as "MNI152NLin2009cAsym" for volumes, "fsaverage" and
        the like for surfaces, "fsLR" for grayordinates
    derivatives : folder of the preprocessed files inside the data set
    mask : for volumes, path of a NIfTI file; by default the brain mask of the first run
    delay : seconds after onset

    Returns
    -------
    Recording : sessions are numbered in the order of their names. The first volume stands for the time that slices
        were corrected to ("StartTime" in the file beside the run).

    Raises
    ------
    FileNotFoundError : there are no events, or a run has no preprocessed file
    ValueError : a run has several preprocessed files, or runs have different start times
    """
    data = Folder(folder, _SOURCE)
    events = sorted((data.root / f"sub-{subject}").glob(f"**/func/*_task-{task}_*events.tsv"))
    if not events:
        raise FileNotFoundError(
            f"sub-{subject}/[ses-*/]func/sub-{subject}_[ses-*_]task-{task}_[run-*_]events.tsv is missing in "
            f"{data.root}, which has {_content(data.root)}; get it from {_SOURCE}"
        )
    home = data.root / derivatives / f"sub-{subject}"
    series = [_preprocessed(home, path, space) for path in events]
    starts = {_start_time(run) for run in series}
    if len(starts) > 1:
        raise ValueError(f"runs must have one StartTime, got {sorted(starts)}")
    if mask is None and not isinstance(series[0], tuple) and not series[0].name.endswith(".dtseries.nii"):
        mask = _mask(series[0])
    names = [match.group(1) if (match := _SESSION.search(path.name)) else "" for path in events]
    order = sorted(set(names))
    return load_bold(
        list(zip(series, events, strict=True)),
        image,
        subject=f"sub-{subject}",
        mask=mask,
        delay=delay,
        start_time=starts.pop(),
        sessions=[order.index(name) + 1 for name in names],
    )


def _preprocessed(home: Path, events: Path, space: str) -> Path | tuple[Path, Path]:
    """The preprocessed file of a run (volume or grayordinates), or those of both hemispheres."""
    stem, folder = events.name.removesuffix("_events.tsv"), home / events.relative_to(_subject(events)).parent
    volumes = sorted(folder.glob(f"{stem}_space-{space}_*desc-preproc_bold.nii.gz"))
    volumes += sorted(folder.glob(f"{stem}_space-{space}_*bold.dtseries.nii"))
    volumes += sorted(folder.glob(f"{stem}_bold_space-{space}_preproc.nii.gz"))
    sides = [
        sorted(folder.glob(f"{stem}_*hemi-{side}_*space-{space}_*bold.func.gii"))
        + sorted(folder.glob(f"{stem}_bold_space-{space}.{side}.func.gii"))
        for side in "LR"
    ]
    if len(volumes) > 1 or any(len(paths) > 1 for paths in sides):
        names = [path.name for path in (*volumes, *sides[0], *sides[1])]
        raise ValueError(f"{stem} must have one preprocessed file in space {space!r}, got {names}")
    if volumes:
        return volumes[0]
    if sides[0] and sides[1]:
        return sides[0][0], sides[1][0]
    raise FileNotFoundError(
        f"{folder} must hold {stem}_space-{space}_*desc-preproc_bold.nii.gz, "
        f"*_hemi-L|R_space-{space}_*bold.func.gii or *_space-{space}_*bold.dtseries.nii; get it from {_SOURCE}"
    )


def _content(root: Path) -> str:
    """Subjects and tasks of a data set, in words."""
    matches = [match for path in root.glob("sub-*/**/func/*_events.tsv") if (match := _LABELS.match(path.name))]
    subjects, tasks = (", ".join(sorted({match.group(i) for match in matches})) or "none" for i in (1, 2))
    return f"events of the subjects {subjects} and the tasks {tasks}"


def _subject(events: Path) -> Path:
    return next(parent for parent in events.parents if parent.name.startswith("sub-"))


def _start_time(run: Path | tuple[Path, Path]) -> float:
    """Time in s that the first volume stands for; 0 if the run does not say, as without slice timing correction."""
    path = run[0] if isinstance(run, tuple) else run
    sidecar = path.with_name(path.name.partition(".")[0] + ".json")
    if not sidecar.is_file():
        return 0.0
    try:
        return float(json.loads(sidecar.read_text()).get("StartTime", 0.0))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{sidecar} must be JSON with a number as StartTime: {error}") from error


def _mask(path: Path) -> Path:
    """The brain mask beside a preprocessed volume."""
    ending, mask_ending = next(pair for pair in _MASKS if path.name.endswith(pair[0]))
    mask = path.with_name(path.name.removesuffix(ending) + mask_ending)
    if not mask.is_file():
        raise FileNotFoundError(f"{mask} is missing; give mask=, or get it from {_SOURCE}")
    return mask
