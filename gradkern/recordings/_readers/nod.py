"""Natural Object Dataset (NOD): fMRI, MEG and EEG of the same 30 people on the same ImageNet images.

Gong, Z. et al. A large-scale fMRI dataset for the visual processing of naturalistic scenes. Scientific Data 10:559
(2023), OpenNeuro ds004496; Zhang, G. et al. A large-scale MEG and EEG dataset for object recognition in naturalistic
scenes. Scientific Data 12:857 (2025), OpenNeuro ds005810 (MEG) and ds005811 (EEG).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._image_names import canonical
from gradkern.errors import naming
from gradkern.recordings._formats.bids_names import entities
from gradkern.recordings._formats.files import Folder, read_lines
from gradkern.recordings._formats.names import is_missing, natural
from gradkern.recordings._formats.tables import read_table
from gradkern.recordings._formats.timeseries import grayordinate_targets, same_targets
from gradkern.recordings._formats.volumes import strict_nibabel
from gradkern.recordings._maps.geometry import Geometry
from gradkern.recordings._maps.grayordinates import Grayordinates
from gradkern.recordings._readers.dataset import PUBLIC_DATA, DataSet, check_choice, measured_targets, sorted_sessions
from gradkern.recordings._readers.mne_epochs import load_epochs
from gradkern.recordings._recording import Recording
from gradkern.recordings._responses.lazy import Responses, Scaled, Stacked
from gradkern.recordings._responses.out_of_core import FileColumns
from gradkern.recordings._stimuli import FileImages

_MODALITIES = {"fmri": "ds004496", "meg": "ds005810", "eeg": "ds005811"}
_UNITS = {"meg": "T", "eeg": "V"}
_NOD = DataSet(
    name="Natural Object Dataset",
    citation="Gong et al. (2023), Scientific Data 10:559; Zhang et al. (2025), Scientific Data 12:857",
    license=PUBLIC_DATA,
    source="OpenNeuro ds004496 (fMRI), ds005810 (MEG), ds005811 (EEG)",
    subjects=range(1, 31),
)
_CLASSES = 1000
_SYNSET = re.compile(r"(n\d{8})_")
_SESSION = re.compile(r"(\d+)$")
_TRUTH = {"True": True, "False": False, "1": True, "0": False}


class _Run(NamedTuple):
    """Betas of a run: the responses, the targets, and the image of every map."""

    path: Path
    responses: Responses
    targets: pd.DataFrame
    names: list[str]
    session: int
    number: int
    geometry: Geometry


@naming("load_nod")
def load_nod(
    folder: Any,
    subject: int,
    modality: str = "fmri",
    *,
    sessions: Sequence[int] | None = None,
    images: Any = None,
) -> Recording:
    """Responses to the ImageNet images: betas of every trial on the fsLR surface, or epochs of MEG or EEG.

    Parameters
    ----------
    folder : a folder with copies of ds004496, ds005810 and ds005811, or of some of them, or one of these. Images have
        the same ids in all modalities that are in the folder
    subject : 1 to 30
    modality : "fmri" (betas in `derivatives/ciftify`), "meg" or "eeg" (epochs in `derivatives/preprocessed/epochs`)
    sessions : their numbers; by default those that are there
    images : folder of the stimuli; by default `stimuli` of ds004496 if it is there

    Returns
    -------
    Recording : `image_names` are ImageNet's, such as "n01440764_10026"; presentations have "session", "run", "concept"
        (the synset) and, if the subject saw images of all 1,000 classes, "class", the index of the synset, 0 to 999,
        that classifiers trained on ImageNet use. Images were shown once, so there is no noise ceiling

    Raises
    ------
    FileNotFoundError : a file is missing; the message names it and says where to get it
    ValueError : a file does not hold what it should; labels, names of maps and events name different images; runs have
        other targets than the first; or a modality has other images than another
    """
    check_choice("modality", modality, _MODALITIES)
    homes = _homes(folder, subject)
    if modality not in homes:
        _NOD.open(folder, subject).file(_example(modality, subject))  # raises the error that names the missing file
    data = homes[modality]
    recording = _betas(data, subject, sessions) if modality == "fmri" else _epochs(data, subject, modality, sessions)
    names = _all_names(homes, subject, modality, recording)
    stimuli = _stimuli(homes, images, names)
    return replace(
        _numbered(recording, names),
        images=stimuli,
        subject=f"sub-{subject:02d}",
        provenance={**_NOD.provenance(data), "modality": modality, "images of": sorted(homes)},
    )


def _homes(folder: Any, subject: int) -> dict[str, Folder]:
    """The data sets in the folder that have the subject, by modality."""
    root = _NOD.open(folder, subject).root
    places = {modality: (root / name, root) for modality, name in _MODALITIES.items()}
    homes = {}
    for modality, folders in places.items():
        for place in folders:
            home = place / _place(modality, subject)
            if home.is_dir() if modality == "fmri" else home.is_file() or home.is_symlink():
                homes[modality] = Folder(place, _NOD.source)
                break
    return homes


def _place(modality: str, subject: int) -> str:
    """The folder of the betas, or the file of the epochs."""
    if modality == "fmri":
        return f"derivatives/ciftify/sub-{subject:02d}/results"
    return f"derivatives/preprocessed/epochs/sub-{subject:02d}_{modality}_epo.fif"


def _example(modality: str, subject: int) -> str:
    run = "ses-imagenet01_task-imagenet_run-1"
    ending = f"/{run}/{run}_beta.dscalar.nii" if modality == "fmri" else ""
    return f"{_MODALITIES[modality]}/{_place(modality, subject)}{ending}"


def _betas(data: Folder, subject: int, sessions: Sequence[int] | None) -> Recording:
    """Betas of all runs of the ImageNet task."""
    runs = [_run(data, subject, path) for path in _files_of_runs(data, subject, sessions)]
    labels = runs[0].targets["label"].tolist()
    for run in runs[1:]:
        same_targets(labels, run.targets["label"].tolist(), run.path)
    rows = [pd.DataFrame({"name": run.names, "session": run.session, "run": run.number}) for run in runs]
    table = pd.concat(rows, ignore_index=True)
    measured = np.all([np.isfinite(run.responses[0]) for run in runs], axis=0)
    names, ids = np.unique(np.array(table["name"], dtype=object), return_inverse=True)
    return Recording(
        **measured_targets(Stacked([run.responses for run in runs]), runs[0].targets, measured),
        presentations=table.drop(columns="name").assign(image=ids),
        subject="",
        units="beta of the authors' GLM",
        space="fsLR",
        image_names=tuple(names.tolist()),
        history=(f"betas of {len(runs)} runs in {table['session'].nunique()} sessions",),
        geometry=runs[0].geometry,
    )


def _files_of_runs(data: Folder, subject: int, sessions: Sequence[int] | None) -> list[Path]:
    pattern = "ses-imagenet*_task-imagenet_run-*/ses-imagenet*_task-imagenet_run-*_beta.dscalar.nii"
    paths = sorted((data.root / _place("fmri", subject)).glob(pattern), key=lambda path: natural(path.name))
    numbers = {path: _session(entities(path.name)["ses"], path) for path in paths}
    if sessions is not None:
        chosen = sorted_sessions(sessions)
        absent = sorted(set(chosen) - set(numbers.values()))
        if absent:
            data.file(_example("fmri", subject).partition("/")[2].replace("imagenet01", f"imagenet{absent[0]:02d}"))
        paths = [path for path in paths if numbers[path] in chosen]
    if not paths:
        data.file(_example("fmri", subject).partition("/")[2])
    return [data.file(path.relative_to(data.root).as_posix()) for path in paths]


def _session(label: str, source: Any) -> int:
    """The number of a session such as "imagenet03"."""
    match = _SESSION.search(label)
    if match is None:
        raise ValueError(f"{source} must have sessions such as ImageNet03, got {label!r}")
    return int(match.group(1))


def _run(data: Folder, subject: int, path: Path) -> _Run:
    import nibabel

    try:
        with strict_nibabel():
            image: Any = nibabel.load(path)
        maps, models = image.header.get_axis(0), image.header.get_axis(1)
        named, targets, stored = [str(name) for name in maps.name], grayordinate_targets(models), image.dataobj
        shape, start, dtype = (len(targets), len(named)), int(stored.offset), stored.dtype
        slope, offset = float(stored.slope), float(stored.inter)
    except Exception as error:
        raise ValueError(f"{path} cannot be read as CIFTI scalars: {error} (is it cut short?)") from error
    expected, size = start + int(np.prod(shape)) * dtype.itemsize, path.stat().st_size
    if size != expected or dtype.kind != "f":
        raise ValueError(f"{path} must be {expected} bytes of floats {list(shape)}, got {size} of {dtype}")
    labels = data.file(path.relative_to(data.root).as_posix().replace("_beta.dscalar.nii", "_label.txt"))
    names = [_stem(line) for line in read_lines(labels)]
    if len(names) != len(named):
        raise ValueError(f"{labels} must name the images of {len(named)} maps in {path.name}, got {len(names)}")
    _compare(names, [_stem(name) for name in named], labels, path)
    pairs = entities(path.name)
    _compare_with_events(data, subject, pairs, names, labels)
    columns: Responses = FileColumns(np.memmap(path, dtype, "r", start, shape))
    if slope != 1 or offset:
        columns = Scaled(columns, slope, offset)
    session, number = _session(pairs["ses"], path), int(pairs["run"])
    return _Run(path, columns, targets, names, session, number, Grayordinates.from_axis(models))


def _stem(name: str) -> str:
    """ImageNet's name of an image, without folders and ending."""
    return PurePosixPath(canonical(name.strip().replace("\\", "/"))).stem


def _compare(names: list[str], named: list[str], labels: Path, path: Path) -> None:
    """Raise a ValueError if the maps have names of images, and others than the labels."""
    if not all(_SYNSET.match(name) for name in named):
        return
    wrong = next((i for i, pair in enumerate(zip(names, named, strict=True)) if pair[0] != pair[1]), None)
    if wrong is not None:
        raise ValueError(
            f"{labels} must name the maps of {path.name}, got {names[wrong]!r} for map {wrong}, {named[wrong]!r}"
        )


def _compare_with_events(data: Folder, subject: int, pairs: Mapping[str, str], names: list[str], labels: Path) -> None:
    """Raise a ValueError if the run's raw events are there, and show other images than the labels name."""
    home = f"sub-{subject:02d}/ses-{pairs['ses']}/func"
    stem = f"{home}/sub-{subject:02d}_ses-{pairs['ses']}_task-imagenet_run-"
    events = next(
        (
            f"{stem}{run}_events.tsv"
            for run in (pairs["run"].zfill(2), pairs["run"])
            if data.has(f"{stem}{run}_events.tsv")
        ),
        None,
    )
    if events is None:
        return
    table = read_table(data.file(events), ("stim_file",), "\t", names=("stim_file",))
    shown = {_stem(name) for name in table["stim_file"] if not is_missing(name)}
    if shown != set(names):
        other = sorted(shown ^ set(names))
        raise ValueError(
            f"{labels} and {events} must name the same images, got {len(other)} in one alone, first {other[0]!r}"
        )


def _epochs(data: Folder, subject: int, modality: str, sessions: Sequence[int] | None) -> Recording:
    """Epochs as the authors preprocessed them."""
    path = data.file(_place(modality, subject))
    epochs = load_epochs(path, "image_id", subject="", units=_UNITS[modality])
    table = epochs.presentations
    for column in ("session", "run"):
        if column not in table:
            raise ValueError(f"the metadata of {path} must have the column {column!r}, got {list(table.columns)}")
    if epochs.image_names is None:
        raise ValueError(f"image_id in {path} must be names of images, got numbers")
    stems = [_stem(name) for name in epochs.image_names]
    names, places = np.unique(np.array(stems, dtype=object), return_inverse=True)
    changed: dict[str, Any] = {
        "image": places[table["image"].to_numpy()],
        "session": [_session(str(label), path) for label in table["session"]],
        "run": pd.to_numeric(table["run"]),
    }
    if "stim_is_animate" in table:  # words in one subject, truth values in the others
        changed["stim_is_animate"] = [_TRUTH.get(str(value), value) for value in table["stim_is_animate"]]
    recording = replace(epochs, presentations=table.assign(**changed), image_names=tuple(names.tolist()))
    if sessions is None:
        return recording
    chosen = sorted_sessions(sessions)
    kept = recording.presentations["session"].isin(chosen).to_numpy()
    return recording.select_presentations(kept, f"of sessions {', '.join(map(str, chosen))}")


def _all_names(homes: Mapping[str, Folder], subject: int, modality: str, recording: Recording) -> tuple[str, ...]:
    """Names of the images of all modalities in the folder, in their order."""
    names = set(recording.image_names or ())
    for other in set(homes) - {modality}:
        seen = _names_of(homes[other], subject, other)
        if seen and not seen & names:
            raise ValueError(
                f"{other} and {modality} of subject {subject} must show the same images, got none of "
                f"{len(seen)} among {len(names)}"
            )
        names |= seen
    return tuple(sorted(names))


def _names_of(data: Folder, subject: int, modality: str) -> set[str]:
    """Names of the images that a modality shows, without its responses."""
    if modality == "fmri":
        files = (data.root / _place("fmri", subject)).glob("ses-imagenet*/ses-imagenet*_label.txt")
        return {_stem(line) for file in files for line in read_lines(file)}
    shown = load_epochs(data.root / _place(modality, subject), "image_id", subject="", units=_UNITS[modality])
    return {_stem(name) for name in shown.image_names or ()}


def _numbered(recording: Recording, names: tuple[str, ...]) -> Recording:
    """The recording with ids among all these names, and the concept of every image."""
    place = {name: number for number, name in enumerate(names)}
    places = np.array([place[name] for name in recording.image_names or ()])
    ids: NDArray[np.int64] = places[recording.image_ids]
    matches = {name: _SYNSET.match(name) for name in names}
    unknown = next((name for name, match in matches.items() if match is None), None)
    if unknown is not None:
        raise ValueError(f"images must have ImageNet's names, such as n01440764_10026, got {unknown!r}")
    concepts = np.array([match.group(1) for match in matches.values() if match is not None])
    table = recording.presentations.assign(image=ids, concept=concepts[ids])
    synsets = np.unique(concepts)
    if len(synsets) == _CLASSES:
        table["class"] = np.searchsorted(synsets, concepts)[ids]
    return replace(recording, presentations=table, image_names=names)


def _stimuli(homes: Mapping[str, Folder], images: Any, names: tuple[str, ...]) -> FileImages | None:
    """The images by their names; None if there is no folder of them."""
    folder = Path(images).expanduser() if images is not None else None
    if folder is None:
        folder = next((data.root / "stimuli" for data in homes.values() if (data.root / "stimuli").is_dir()), None)
    if folder is None:
        return None
    if not folder.is_dir():
        raise FileNotFoundError(f"images must be a folder, got {str(images)!r}")
    files = {_stem(path.name): path for path in sorted(folder.rglob("*")) if _SYNSET.match(path.name)}
    missing = [name for name in names if name not in files]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(names)} images are missing in {folder}, first {missing[0]}; get them from "
            f"{_NOD.source}"
        )
    return FileImages([files[name] for name in names])
