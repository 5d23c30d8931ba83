"""Preprocessed runs of a BIDS data set, in the layout of fMRIPrep (any version) and DeepPrep."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gradkern._excluded import Excluded
from gradkern._places import side_of
from gradkern.errors import naming
from gradkern.recordings._formats.bids_names import (
    entities,
    inherited,
    levels,
    number_in,
    run_of,
    sidecar,
    suffixes,
)
from gradkern.recordings._formats.files import Folder, existing_file
from gradkern.recordings._formats.names import natural
from gradkern.recordings._formats.timeseries import TIME_TOLERANCE
from gradkern.recordings._readers.fmri import numbered, read_events, sampled_recording
from gradkern.recordings._readers.sampling import Run, Sampling, sample_runs
from gradkern.recordings._recording import Recording

_SOURCE = "the data set (events) or a run of fMRIPrep or DeepPrep (derivatives)"
_VOLUMES, _GRAYORDINATES = (".nii.gz", ".nii", ".nii.bz2"), ".dtseries.nii"
_SURFACES = (".func.gii", ".func.gii.gz")
_MASK_SUFFIXES = (("mask",), ("bold", "brainmask"))  # new and old; the new ones have desc-brain
_Key = tuple[str | None, ...]


class _Request(NamedTuple):
    """The data set, the derivatives in it, and the labels of subject, task and space."""

    data: Folder
    home: Path
    subject: str
    task: str
    space: str


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
    repetition_time: float | None = None,
    start_time: float | None = None,
    dummy_scans: int | None = None,
    confounds: Sequence[str] = (),
    affine: str | None = None,
) -> Recording:
    """All runs of a task, sampled at a delay after each onset: see `load_bold`.

    Parameters
    ----------
    folder : the data set, with the raw events in `sub-<subject>`, or above it where they are those of all runs
    subject, task : labels, without "sub-" and "task-"
    image : column of the events that names the image
    space : of the preprocessed files: "T1w" or a template such as "MNI152NLin2009cAsym" for volumes, "fsaverage" and
        the like for surfaces, "fsLR" for grayordinates; with further entities, as in "MNI152NLin2009cAsym:res-2"
    derivatives : folder of the preprocessed files inside the data set
    mask : for volumes, path of a NIfTI file; by default the voxels in the brain masks of all runs
    delay : seconds after onset
    repetition_time : in s; by default that of headers and sidecars, which must agree
    start_time : time in s that the first volume stands for; by default "StartTime" of the sidecars, which must agree
    dummy_scans : volumes at the beginning of each run that are not in steady state; by default those that the table of
        confounds flags
    confounds : columns of that table, or patterns such as "cosine*", that are regressed out
    affine : whose affine holds if mask and data differ, "mask" or "data"; by default that is an error

    Returns
    -------
    Recording : "run" is the label of the run, and "session" that of the session if all are numbers, else its place in
        the order of the labels. `excluded` counts runs without events.

    Raises
    ------
    FileNotFoundError : there are no events, or a run has no preprocessed file
    ValueError : a run has several preprocessed files, or runs have different start times
    """
    data = Folder(folder, _SOURCE)
    request = _Request(data, data.root / derivatives, subject, task, space)
    series, events, left_out = _matched(request)
    if not events:
        raise FileNotFoundError(
            f"sub-{subject}/[ses-*/]func/sub-{subject}_[ses-*_]task-{task}_[run-*_]events.tsv is missing in "
            f"{data.root}, which has {_content(data.root)}; get it from {_SOURCE}"
        )
    keys = sorted(events, key=lambda key: [natural(label or "") for label in key])
    sessions, numbers = _labels(keys)
    runs = []
    for key in keys:
        table, path, rows = read_events(events[key], image)
        stated = _raw_repetition_time(data.root, key)
        runs.append(Run(series[key], table, path, sessions[key], numbers[key], rows, stated, request.home))
    if mask is None and all(isinstance(run.source, Path) and _kind(run.source.name) == "volume" for run in runs):
        mask = [_mask(run.source) for run in runs]
    if start_time is None:
        start_time = _start_time(runs)
    settings = Sampling(delay, repetition_time, start_time, dummy_scans, confounds, affine)
    sampled = sample_runs(numbered(runs), mask, settings)
    sampled = sampled._replace(excluded=(*left_out, *sampled.excluded))
    return sampled_recording(sampled, subject=f"sub-{subject}", space=space)


def _matched(request: _Request) -> tuple[dict[_Key, Any], dict[_Key, Path], tuple[Excluded, ...]]:
    """The preprocessed file, or pair, and the events of every run that has events, and the runs that have none."""
    series = _preprocessed(request)
    raw = request.data.root / f"sub-{request.subject}"
    raw_events = sorted(
        path for path in raw.glob(f"**/func/*_task-{request.task}_*events.tsv") if _is_run(path, request)
    )
    keys = list(dict.fromkeys([*map(_key, raw_events), *series]))
    events, without = {}, []
    for key in keys:
        home = _raw_folder(request.data.root, key)
        stem = _stem(key)
        tables = inherited(f"{stem}_events.tsv", levels(home, request.data.root), ("events.tsv",))
        if not tables:  # events of single echoes
            tables = [path for path in raw_events if _key(path) == key]
        if tables:
            events[key] = _nearest(tables)
        else:
            without.append(stem)
    missing = [key for key in events if key not in series]
    if missing:
        raise FileNotFoundError(_missing(request, missing[0]))
    names = f"without events: {', '.join(without)}"
    return series, events, (Excluded("runs", len(without), names),) if without else ()


def _is_run(path: Path, request: _Request) -> bool:
    pairs = entities(path.name)
    return pairs.get("sub") == request.subject and pairs.get("task") == request.task


def _key(path: Path) -> _Key:
    return run_of(path.name)


def _stem(key: _Key) -> str:
    names = ("sub", "ses", "task", "acq", "ce", "rec", "dir", "run")
    return "_".join(f"{name}-{label}" for name, label in zip(names, key, strict=True) if label is not None)


def _raw_folder(root: Path, key: _Key) -> Path:
    home = root / f"sub-{key[0]}"
    return (home if key[1] is None else home / f"ses-{key[1]}") / "func"


def _nearest(tables: Sequence[Path]) -> Path:
    """The events nearest to a run; several in one folder must be the same, as those of single echoes are."""
    near = [path for path in tables if path.parent == tables[0].parent]
    best = [path for path in near if len(entities(path.name)) == len(entities(near[0].name))]
    for path in best[1:]:
        if existing_file(path).read_bytes() != existing_file(best[0]).read_bytes():
            raise ValueError(f"a run must have one table of events, got {best[0].name} and {path.name}, which differ")
    return existing_file(best[0])


def _preprocessed(request: _Request) -> dict[_Key, Any]:
    """The preprocessed file of every run in the space (volume or grayordinates), or those of both hemispheres."""
    files: dict[_Key, dict[str, list[Path]]] = {}
    for path in sorted((request.home / f"sub-{request.subject}").glob("**/func/*")):
        kind = _kind(path.name)
        if kind and _is_run(path, request) and _in_space(path.name, request.space):
            files.setdefault(_key(path), {}).setdefault(kind, []).append(path)
    return {key: _series_of_run(_stem(key), kinds, request) for key, kinds in files.items()}


def _kind(name: str) -> str:
    """What a preprocessed file holds: "volume", "grayordinates", "left", "right", or "" for anything else."""
    words, pairs = suffixes(name), entities(name)
    if name.endswith(_GRAYORDINATES):
        return "grayordinates" if words == ("bold",) else ""
    if name.endswith(_VOLUMES) and "hemi" not in pairs:
        new = words == ("bold",) and pairs.get("desc") == "preproc"
        return "volume" if new or words == ("bold", "preproc") else ""
    ending = next((ending for ending in _SURFACES if name.endswith(ending)), None)
    if ending is None or words not in ((), ("bold",)):
        return ""
    return side_of(pairs.get("hemi") or name.removesuffix(ending).rpartition(".")[2]) or ""


def _in_space(name: str, space: str) -> bool:
    """Whether a file lies in the space, and has the further entities of "name:res-2"."""
    label, *further = space.split(":")
    pairs = entities(name)
    return pairs.get("space") == label and all(
        pairs.get(word.partition("-")[0]) == word.partition("-")[2] for word in further
    )


def _series_of_run(stem: str, kinds: dict[str, list[Path]], request: _Request) -> Any:
    """The one file, or pair, of a run; echoes that stand beside their combination are passed over."""
    every = [path for paths in kinds.values() for path in paths]
    joint = {kind: [p for p in paths if "echo" not in entities(p.name)] for kind, paths in kinds.items()}
    joint = {kind: paths for kind, paths in joint.items() if paths}
    names = [path.name for path in every]
    if not joint:
        raise ValueError(
            f"{stem} must have one series of all echoes, got only single ones, {names}; combine them first"
        )
    if any(len(paths) > 1 for paths in joint.values()) or len(set(joint) - {"right"}) > 1:
        raise ValueError(
            f"{stem} must have one preprocessed file in space {request.space!r}, got {names}; an entity after the "
            f"space chooses, as in {request.space.partition(':')[0]}:res-2"
        )
    if set(joint) == {"left", "right"}:
        return joint["left"][0], joint["right"][0]
    if set(joint) <= {"left", "right"}:
        raise FileNotFoundError(f"{stem} must have a file for both hemispheres, got {names}; get it from {_SOURCE}")
    return next(iter(joint.values()))[0]


def _missing(request: _Request, key: _Key) -> str:
    folder = _raw_folder(request.home, key)
    spaces = {entities(path.name).get("space") for path in folder.glob(f"{_stem(key)}_*") if _kind(path.name)}
    there = ", ".join(sorted(space for space in spaces if space)) or "none"
    return (
        f"{folder} must hold {_stem(key)}_space-{request.space}_*desc-preproc_bold.nii.gz, "
        f"*_hemi-L|R_space-{request.space}_*bold.func.gii or *_space-{request.space}_*bold.dtseries.nii, got the "
        f"spaces: {there}; get it from {_SOURCE}"
    )


def _labels(keys: Sequence[_Key]) -> tuple[dict[_Key, int], dict[_Key, Any]]:
    """The session and the run of every key; where runs differ in other entities too, the run has them all."""
    names = list(dict.fromkeys(key[1] or "" for key in keys))
    whole = all(name.isdecimal() for name in names) and len({int(name) for name in names}) == len(names)
    sessions = {key: int(key[1] or "") if whole else names.index(key[1] or "") + 1 for key in keys}
    runs = {key: int(key[7]) if key[7] and key[7].isdecimal() else key[7] or 1 for key in keys}
    if len({(sessions[key], runs[key]) for key in keys}) < len(keys):
        runs = {key: _stem(("", None, None, *key[3:])).removeprefix("sub-_") or "1" for key in keys}
    elif any(isinstance(run, str) for run in runs.values()):
        runs = {key: str(run) for key, run in runs.items()}
    return sessions, runs


def _raw_repetition_time(root: Path, key: _Key) -> dict[str, float]:
    """What the sidecar of the raw run states, by source."""
    folder = _raw_folder(root, key)
    number = number_in(sidecar(folder / f"{_stem(key)}_bold.nii.gz", root), "RepetitionTime")
    return {} if number is None else {f"raw sidecar of {number[1]}": number[0]}


def _start_time(runs: Iterable[Run]) -> float:
    """The time in s that the first volume of every run stands for; 0 if no sidecar says it."""
    starts: dict[float, None] = {}
    for run in runs:
        for path in run.source if isinstance(run.source, tuple) else (run.source,):
            number = number_in(sidecar(path, run.root), "StartTime")
            starts[0.0 if number is None else number[0]] = None
    if max(starts) - min(starts) > TIME_TOLERANCE:
        raise ValueError(f"runs must have one StartTime, got {sorted(starts)}; start_time decides")
    return next(iter(starts))


def _content(root: Path) -> str:
    """Subjects and tasks of a data set, in words."""
    pairs = [entities(path.name) for path in root.glob("sub-*/**/func/*_events.tsv")]
    subjects, tasks = (
        ", ".join(sorted({pair[key] for pair in pairs if key in pair})) or "none" for key in ("sub", "task")
    )
    return f"events of the subjects {subjects} and the tasks {tasks}"


def _mask(path: Path) -> Path:
    """The brain mask beside a preprocessed volume."""
    wanted = {key: label for key, label in entities(path.name).items() if key != "desc"}
    masks = [
        file
        for file in sorted(path.parent.iterdir())
        if suffixes(file.name) in _MASK_SUFFIXES
        and file.name.endswith(_VOLUMES)
        and {key: label for key, label in entities(file.name).items() if key != "desc"} == wanted
        and entities(file.name).get("desc", "brain") == "brain"
    ]
    if not masks:
        name = path.name.replace("desc-preproc_bold", "desc-brain_mask").replace("_preproc.", "_brainmask.")
        raise FileNotFoundError(f"{path.with_name(name)} is missing; give mask=, or get it from {_SOURCE}")
    return existing_file(masks[0])
