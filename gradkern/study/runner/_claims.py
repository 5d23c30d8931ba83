"""The verdict of a model and an objective as a task: what it depends on, and the study that it is of."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradkern.study._study_description import StudyDescription, described_study
from gradkern.study._toml import Table
from gradkern.study.runner._contents import Contents, hash_facts
from gradkern.study.runner._image_sets import folder_of
from gradkern.study.runner._inputs import tables_of
from gradkern.study.runner._parts import StudyParts
from gradkern.study.runner._tasks import VerdictOrder


def description_of(parts: StudyParts, order: VerdictOrder) -> StudyDescription:
    """The study of one model and objective, as `gradkern verdict` reads it."""
    description, images = parts.description, parts.images[order.images]
    seen = [recording for recording in parts.recordings.values() if recording.entry.images == order.images]
    capture: dict[str, Any] = {"folder": folder_name(order.model, order.objective)}
    if order.untrained is not None:
        capture["untrained"] = folder_name(order.untrained.model, order.objective)
    if description.encode.raw_gradients:
        capture["raw"] = True
    values = {**description.verdict_values, "features": {order.objective: capture}}
    for modality in ("fmri", "meg"):
        files = [recording.entry.file for recording in seen if recording.modality == modality]
        if files:
            values[modality] = {"recordings": files}
    if folder_of(images):
        values["images"] = folder_of(images)
    return described_study(Table(description.path, "", values))


def hierarchy_column(values: Mapping[str, Any]) -> str:
    """The column of targets that figures are ordered by; "" where it is derived, which a verdict does."""
    value = values.get("hierarchy", values.get("axis", ""))
    return value if isinstance(value, str) else ""


def folder_name(model: str, objective: str) -> str:
    """What stands for the folder of a capture."""
    return f"{model}/{objective}"


def verdict_facts(parts: StudyParts, order: VerdictOrder, contents: Contents) -> dict[str, Any]:
    """Everything that decides a verdict, beside the features.

    Raises
    ------
    FileNotFoundError, ValueError : a table is missing, or the settings are not those of a verdict
    """
    described = description_of(parts, order)  # checks the settings
    names = parts.images[order.images].names
    seen = [recording for recording in parts.recordings.values() if recording.entry.images == order.images]
    return {
        "recordings": {recording.entry.name: [recording.hash, recording.modality] for recording in seen},
        "names": None if names is None else hash_facts(names),
        "raw_gradients": parts.description.encode.raw_gradients,
        "settings": {**_plain(vars(described.settings)), "layer": described.layer},
        "values": {key: value for key, value in parts.description.verdict_values.items() if key != "settings"},
        "tables": _tables(parts.description.path, parts.description.verdict_values, contents),
        "pictures": bool(folder_of(parts.images[order.images])),
    }


def _tables(study: Path, values: Any, contents: Contents) -> dict[str, str]:
    """Hashes of all tables that the values name."""
    found = {}
    for name in tables_of(values):
        place = study.parent / Path(name).expanduser()
        if not place.is_file():
            raise FileNotFoundError(f"{study} names {name!r}, but there is no such file")
        found[name] = contents.hash_of(place)
    return found


def _plain(value: Any) -> Any:
    """Settings as JSON can hold them."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
