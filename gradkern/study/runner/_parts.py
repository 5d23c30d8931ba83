"""What a study file names, opened: image sets, models, objectives and recordings, by their contents."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from gradkern.encoding._matching import matched_rows, rows_by_name
from gradkern.encoding._spaces import CapturedSpaces
from gradkern.errors import Refused
from gradkern.features._features import CapturedImages
from gradkern.recordings._maps.known import known_geometry
from gradkern.recordings._recording import Recording
from gradkern.recordings._saved import load_recording
from gradkern.study._image_tables import StudyImages
from gradkern.study._toml import Table, located
from gradkern.study.runner._contents import Contents, hash_facts
from gradkern.study.runner._image_sets import ImageSet, open_images
from gradkern.study.runner._opened import OpenedModel, OpenedObjective, open_model, open_objective
from gradkern.study.runner._sections import RecordingEntry, RunDescription, fits

DEBUG_IMAGES, DEBUG_LAYERS, DEBUG_TARGETS = 8, 2, 100


@dataclass(frozen=True, eq=False)
class OpenedRecording:
    """A recording of a study, by what its tables say.

    Attributes
    ----------
    hash : of the file
    targets, presentations : of the chosen regions; `shown` different images
    columns : how many of the table of targets are numbers, and words
    modality : "fmri" or "meg"
    images : that its subject saw
    """

    entry: RecordingEntry
    path: Path
    hash: str
    targets: int
    presentations: int
    shown: int
    columns: tuple[int, int]
    has_names: bool
    has_geometry: bool
    modality: str
    images: ImageSet

    def load(self) -> Recording:
        """The recording; responses are read when they are needed."""
        recording = _loaded(self.path, self.entry)
        chosen = self.images.chosen
        return recording if chosen is None else _of_images(recording, self.images, chosen)


@dataclass(frozen=True, eq=False)
class StudyParts:
    """What a study file names, opened."""

    description: RunDescription
    images: Mapping[str, ImageSet]
    models: Mapping[str, OpenedModel]
    objectives: Mapping[tuple[str, str], OpenedObjective]  # by name and image set
    recordings: Mapping[str, OpenedRecording]
    contents: Contents

    def models_at(self, images: str) -> list[OpenedModel]:
        """The models that go with an image set."""
        return [model for model in self.models.values() if fits(images, model.entry.images)]


def open_parts(
    description: RunDescription, contents: Contents, modules: Mapping[str, nn.Module] | None = None
) -> StudyParts:
    """Open what a study file names; no pixel is decoded and no response is read.

    Parameters
    ----------
    modules : models of `load_model` that take the place of those of the catalogue, by their names in the file

    Raises
    ------
    FileNotFoundError, ValueError : something is missing or does not fit; the file and the key are named
    """
    path, given = description.path, modules or {}
    for name in given:
        if name not in description.models:
            raise ValueError(f"models must be those of the study, {', '.join(description.models)}, got {name!r}")
    sets = {name: open_images(path, entry, contents) for name, entry in description.images.items()}
    whole = sets
    if description.debug:
        sets = {name: images.some(_few(description, images)) for name, images in sets.items()}
    models = {name: open_model(path, entry, contents, given.get(name)) for name, entry in description.models.items()}
    if description.debug:
        models = {name: replace(model, layers=_ends(model.layers)) for name, model in models.items()}
    objectives: dict[tuple[str, str], OpenedObjective] = {}
    for name, entry in description.objectives.items():
        for place, images in sets.items():
            if fits(place, entry.images):
                known = StudyImages(path, len(whole[place]), whole[place].names)
                objectives[name, place] = open_objective(path, entry, known, contents).at(images.chosen)
    recordings = {
        name: _open_recording(path, entry, sets[entry.images], contents)
        for name, entry in description.recordings.items()
    }
    return StudyParts(description, sets, models, objectives, recordings, contents)


def _open_recording(study: Path, entry: RecordingEntry, images: ImageSet, contents: Contents) -> OpenedRecording:
    place = _existing(study, entry)
    with located(study, entry.key):
        digest = contents.hash_of(place)
        facts = contents.facts(f"facts of recording {digest} {list(entry.roi)}", lambda: _facts(_loaded(place, entry)))
        modality = entry.modality or ("meg" if facts["has_times"] else "fmri")
        targets = facts["targets"]
        if images.chosen is None and not facts["has_names"] and facts["last_image"] >= len(images):
            got = f"image {facts['last_image']} of {len(images)}"
            raise Table(study, entry.key, {}).wrong("file", "of images of its set, counted from 0", got)
        if images.chosen is None:
            key = f"match {digest} {len(images)} {hash_facts(images.names)}"
            contents.facts(key, lambda: _check_match(_loaded(place, entry), images))
        found = OpenedRecording(
            entry,
            place,
            digest,
            targets=targets,
            presentations=facts["presentations"],
            shown=facts["shown"],
            columns=(facts["columns"][0], facts["columns"][1]),
            has_names=facts["has_names"],
            has_geometry=facts["has_geometry"],
            modality=modality,
            images=images,
        )
        if images.chosen is not None:
            rows = _rows_of(_loaded(place, entry), images, images.chosen)
            seen = rows[rows >= 0]
            shown, targets = len(np.unique(seen)), min(targets, DEBUG_TARGETS)
            found = replace(found, targets=targets, presentations=len(seen), shown=shown)
    return found


def _facts(recording: Recording) -> dict[str, Any]:
    words = [name for name, column in recording.targets.items() if column.dtype.kind not in "biuf"]
    return {
        "targets": len(recording.targets),
        "presentations": len(recording.presentations),
        "has_names": recording.image_names is not None,
        "has_times": "time" in recording.targets,
        "has_geometry": _has_geometry(recording),
        "columns": [sum(column.dtype.kind in "biuf" for _, column in recording.targets.items()), len(words)],
        "shown": len(np.unique(recording.image_ids)),
        "last_image": int(recording.image_ids.max()),
    }


def _has_geometry(recording: Recording) -> bool:
    try:
        known_geometry(recording)
    except Refused:
        return False
    return True


def _check_match(recording: Recording, images: ImageSet) -> bool:
    """Raise before any work what a fit would raise after it: images that were shown and are not in the set."""
    rows: Any = {"": np.empty((len(images), 0), np.float32)}
    matched_rows(CapturedSpaces(rows, CapturedImages(images.names)), recording)
    return True


def _existing(study: Path, entry: RecordingEntry) -> Path:
    place = study.parent / Path(entry.file).expanduser()
    if not place.is_file():
        raise FileNotFoundError(f"{study}: {entry.key} must be there, but there is no {entry.file!r}")
    return place


def _loaded(path: Path, entry: RecordingEntry) -> Recording:
    recording: Recording = load_recording(path)
    return recording.roi(*entry.roi) if entry.roi else recording


def _few(description: RunDescription, images: ImageSet) -> list[int]:
    """Numbers of the first images that a subject saw, or the first of all where nobody saw one."""
    for entry in description.recordings.values():
        if entry.images != images.entry.name:
            continue
        recording = _loaded(_existing(description.path, entry), entry)
        shown = np.unique(recording.image_ids)[:DEBUG_IMAGES].tolist()
        if recording.image_names is None or images.names is None:
            return [number for number in shown if number < len(images)]
        rows = rows_by_name(images.names, recording.image_names)[shown]
        return [int(row) for row in rows if row >= 0]
    return list(range(min(DEBUG_IMAGES, len(images))))


def _of_images(recording: Recording, images: ImageSet, chosen: tuple[int, ...]) -> Recording:
    """The presentations of a few images, whose ids are their places among these."""
    ids = _rows_of(recording, images, chosen)
    few = recording.select_presentations(ids >= 0, f"of the first {len(chosen)} images")
    presentations = few.presentations.assign(image=ids[ids >= 0])
    return replace(few, presentations=presentations, images=None, image_names=images.names)


def _rows_of(recording: Recording, images: ImageSet, chosen: tuple[int, ...]) -> NDArray[np.int64]:
    """For each presentation the place of its image among a few; -1 where it is none of them."""
    if recording.image_names is not None and images.names is not None:
        rows = rows_by_name(images.names, recording.image_names)
    else:
        rows = np.full(int(max(*chosen, recording.image_ids.max())) + 1, -1, np.int64)
        rows[list(chosen)] = np.arange(len(chosen))
    found: NDArray[np.int64] = rows[recording.image_ids]
    return found


def _ends(layers: tuple[str, ...]) -> tuple[str, ...]:
    """The first and the last layer."""
    return layers if len(layers) <= DEBUG_LAYERS else (layers[0], layers[-1])
