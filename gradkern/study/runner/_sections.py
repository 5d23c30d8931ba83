"""The sections of a study file that `gradkern run` reads: images, models, objectives, recordings and how they are used.

[images]
things = "stimuli"

[models]
dino = {name = "dinov2-base"}

[objectives]
norm = "FeatureNorm"

[recordings]
sub-01 = "sub-01.h5"
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from gradkern.errors import naming
from gradkern.ridge._cross_validation import SCHEMES, SELECTIONS, CrossValidation
from gradkern.ridge._engine.folds import OTHERS
from gradkern.study._toml import Table
from gradkern.study.runner._analyses_entry import AnalysesEntry, parse_analyses
from gradkern.study.runner._executor_entry import ExecutorEntry, parse_executor

RUN_SECTIONS = ("images", "models", "objectives", "recordings", "capture", "splits", "encode", "controls", "analyses",
                "executor")  # fmt: skip
VERDICT_KEYS = ("hierarchy", "axis", "layers", "depth", "nuisances", "labels", "splits", "settings", "judging")
NO_OBJECTIVE = "none"
_IMAGES = ("folder", "file", "dataset")
_CAPTURE = ("tokens", "sketch", "dtype", "batch_size", "block", "layers", "whole")
_MODEL = ("name", "weights", "seed", "config", "untrained", "images", *_CAPTURE)
_OBJECTIVE = ("name", "models", "images", "labels", "settings", "tables")
_RECORDING = ("file", "modality", "images", "roi")
_ENCODE = ("by", "folds", "inner_folds", "gap", "alphas", "selection", "seed", "raw_gradients", "block", "layers")
_CONTROLS = ("capture", "encode", "seed")


@dataclass(frozen=True)
class ImageSetEntry:
    """Images of a study: a folder, or a dataset of an HDF5 file."""

    key: str
    name: str
    place: str
    dataset: str = ""


@dataclass(frozen=True)
class CaptureSettings:
    """How features are captured; `block` images make one task, and change no number but by their batches."""

    layers: tuple[str, ...] | None = None
    tokens: str = "all"
    sketch: int | str = 1024
    dtype: str | None = None
    batch_size: int = 16
    block: int = 1024
    whole: bool = False


@dataclass(frozen=True)
class ModelEntry:
    """A model of the catalogue, and how its features are captured.

    Attributes
    ----------
    untrained : seed of its weights where they are drawn anew; None: as they are
    images : patterns of names of image sets
    """

    key: str
    name: str
    model: str
    weights: str = "pretrained"
    seed: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    untrained: int | None = None
    images: tuple[str, ...] = ("*",)
    capture: CaptureSettings = field(default_factory=CaptureSettings)


@dataclass(frozen=True)
class ObjectiveEntry:
    """An objective of `gradkern.objectives`, and which models and image sets it goes with.

    Attributes
    ----------
    labels : a table of a label for each image; "" for none
    settings : of the objective, numbers and words
    tables : argument -> file of numpy
    """

    key: str
    name: str
    objective: str
    labels: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)
    models: tuple[str, ...] = ("*",)
    images: tuple[str, ...] = ("*",)


@dataclass(frozen=True)
class RecordingEntry:
    """A saved recording, and which images its subject saw."""

    key: str
    name: str
    file: str
    images: str
    modality: str | None = None
    roi: tuple[str, ...] = ()


@dataclass(frozen=True)
class EncodeEntry:
    """How recordings are predicted; `block` targets make one task."""

    cv: CrossValidation = field(default_factory=CrossValidation)
    raw_gradients: bool = False
    block: int = 20000


@dataclass(frozen=True)
class ControlsEntry:
    """Controls that a capture takes, and those made of captured gradients."""

    capture: tuple[str, ...] = ()
    encode: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class RunDescription:
    """A study file for `gradkern run`, parsed; nothing that it names was opened.

    Attributes
    ----------
    folder : of tasks and results
    verdict_values : keys of the file that the verdict reads, as they stand there
    debug : whether the study is cut to a few images, layers and targets
    """

    path: Path
    folder: Path
    images: Mapping[str, ImageSetEntry]
    models: Mapping[str, ModelEntry]
    objectives: Mapping[str, ObjectiveEntry]
    recordings: Mapping[str, RecordingEntry]
    encode: EncodeEntry
    controls: ControlsEntry
    analyses: AnalysesEntry
    executor: ExecutorEntry
    verdict_values: Mapping[str, Any]
    debug: bool = False

    def objectives_of(self, model: str, images: str) -> list[ObjectiveEntry]:
        """The objectives that go with a model and an image set."""
        return [
            entry
            for entry in self.objectives.values()
            if fits(model, entry.models) and fits(images, entry.images) and fits(images, self.models[model].images)
        ]


def fits(name: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns, such as "dino*", is of the name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@naming("study")
def parse_run(file: Table) -> RunDescription:
    """Parse the values of a study file.

    Raises
    ------
    ValueError : unknown keys (the nearest known one is named), values of another type, names of what the file does not
        have
    """
    file.check_keys(tuple(dict.fromkeys((*RUN_SECTIONS, *VERDICT_KEYS[:1], *VERDICT_KEYS[2:-1]))), ("axis", "judging"))
    images = {entry.name: entry for entry in _image_sets(file)}
    usual = _capture(_table(file, "capture"), CaptureSettings())
    models = file.table("models", "a table, name = {name = ...}")
    objectives = file.table("objectives", "a table, name = objective") if "objectives" in file.values else None
    recordings = file.table("recordings", "a table, name = file") if "recordings" in file.values else None
    description = RunDescription(
        path=file.path,
        folder=file.path.with_suffix("") if file.path.suffix else file.path.with_name(f"{file.path.name}-study"),
        images=images,
        models={name: _model(models, name, usual) for name in models.values},
        objectives={} if objectives is None else {name: _objective(objectives, name) for name in objectives.values},
        recordings={} if recordings is None else {n: _recording(recordings, n, images) for n in recordings.values},
        encode=_encode(_table(file, "encode")),
        controls=_controls(_table(file, "controls")),
        analyses=parse_analyses(_table(file, "analyses"), has_recordings=recordings is not None),
        executor=parse_executor(_table(file, "executor")),
        verdict_values={name: file.values[name] for name in VERDICT_KEYS if name in file.values},
    )
    _check_names(file, description)
    return description


def _check_names(file: Table, description: RunDescription) -> None:
    """Every pattern is of something, and names can stand in those of tasks."""
    sections = {"images": description.images, "models": description.models, "objectives": description.objectives,
                "recordings": description.recordings}  # fmt: skip
    for section, entries in sections.items():
        for name in entries:
            if not name or "/" in name or name.startswith(".") or not name.isprintable() or name == NO_OBJECTIVE:
                wanted = f"names without '/' that are not {NO_OBJECTIVE!r} and do not begin with '.'"
                raise file.wrong(section, wanted, repr(name))
    patterns: list[tuple[str, str, Mapping[str, Any], tuple[str, ...]]] = [
        (model.key, "images", description.images, model.images) for model in description.models.values()
    ]
    for entry in description.objectives.values():
        patterns.append((entry.key, "models", description.models, entry.models))
        patterns.append((entry.key, "images", description.images, entry.images))
    for key, what, known, wanted_names in patterns:
        for pattern in wanted_names:
            if not any(fnmatchcase(name, pattern) for name in known):
                raise Table(file.path, key, {}).wrong(what, f"of {', '.join(known)}", repr(pattern))


def _table(file: Table, name: str) -> Table:
    return Table(file.path, file.named(name), file.typed(name, dict, "a table") if name in file.values else {})


def _image_sets(file: Table) -> list[ImageSetEntry]:
    value = file.values.get("images")
    if isinstance(value, str) or (isinstance(value, dict) and {"folder", "file"} & set(value)):
        return [_image_set(Table(file.path, "", {"images": value}), "images")]
    table = file.table("images", "a folder, or a table, name = folder")
    return [_image_set(table, name) for name in table.values]


def _image_set(table: Table, name: str) -> ImageSetEntry:
    value = table.values[name]
    if isinstance(value, str):
        return ImageSetEntry(table.named(name), name, value)
    entry = Table(table.path, table.named(name), table.typed(name, dict, "a folder, or {file = ..., dataset = ...}"))
    entry.check_keys(_IMAGES)
    if "folder" in entry.values:
        if len(entry.values) > 1:
            raise table.wrong(name, "a folder, or {file = ..., dataset = ...}", repr(value))
        return ImageSetEntry(entry.key, name, entry.typed("folder", str, "a folder of images"))
    file = entry.typed("file", str, "an HDF5 file of images")
    return ImageSetEntry(entry.key, name, file, entry.typed("dataset", str, "the name of a dataset of the file"))


def _capture(table: Table, usual: CaptureSettings) -> CaptureSettings:
    if table.key == "capture":
        table.check_keys(_CAPTURE)
    changes: dict[str, Any] = {}
    if "layers" in table.values:
        changes["layers"] = tuple(table.listed("layers", str, "a list of names of layers"))
    for name in ("tokens", "dtype"):
        if name in table.values:
            changes[name] = table.typed(name, str, "a word")
    for name, least in (("batch_size", 1), ("block", 2)):
        if name in table.values:
            changes[name] = table.whole_number(name, least)
    if "whole" in table.values:
        changes["whole"] = table.typed("whole", bool, "true or false")
    if "sketch" in table.values:
        is_raw = table.values["sketch"] == "raw"
        changes["sketch"] = "raw" if is_raw else table.whole_number("sketch", 64)
    return CaptureSettings(**{**vars(usual), **changes})


def _named_entry(table: Table, name: str, what: str, keys: Sequence[str]) -> Table:
    """A table with a "name", for which the name alone may stand."""
    value = table.values[name]
    value = {"name": value} if isinstance(value, str) else value
    if not isinstance(value, dict):
        raise table.wrong(name, f"the name of {what}, or a table with one", repr(value))
    entry = Table(table.path, table.named(name), value)
    entry.check_keys(keys)
    return entry


def _model(table: Table, name: str, usual: CaptureSettings) -> ModelEntry:
    entry = _named_entry(table, name, "a model", _MODEL)
    value = entry.values
    more: dict[str, Any] = {}
    if "weights" in value:
        more["weights"] = entry.typed("weights", str, '"pretrained", "random" or a file')
    for key in ("seed", "untrained"):
        if key in value:
            more[key] = entry.whole_number(key, 0)
    if "config" in value:
        more["config"] = entry.typed("config", dict, "a table")
    if "images" in value:
        more["images"] = _words(entry, "images")
    model = entry.typed("name", str, "the name of a model, see `gradkern models`")
    return ModelEntry(entry.key, name, model, **more, capture=_capture(entry, usual))


def _objective(table: Table, name: str) -> ObjectiveEntry:
    entry = _named_entry(table, name, "an objective", _OBJECTIVE)
    value = entry.values
    more: dict[str, Any] = {key: _words(entry, key) for key in ("models", "images") if key in value}
    if "labels" in value:
        more["labels"] = entry.typed("labels", str, "a table, .csv or .tsv")
    for key in ("settings", "tables"):
        if key in value:
            more[key] = entry.typed(key, dict, "a table")
    bad = [argument for argument, file in more.get("tables", {}).items() if not isinstance(file, str)]
    if bad:
        raise entry.wrong("tables", "argument = file", repr(more["tables"][bad[0]]))
    return ObjectiveEntry(entry.key, name, entry.typed("name", str, "the name of an objective"), **more)


def _recording(table: Table, name: str, images: Mapping[str, ImageSetEntry]) -> RecordingEntry:
    value = table.values[name]
    value = {"file": value} if isinstance(value, str) else value
    if not isinstance(value, dict):
        raise table.wrong(name, "a file that save_recording wrote, or a table with one", repr(value))
    entry = Table(table.path, table.named(name), value)
    entry.check_keys(_RECORDING)
    seen = value.get("images", next(iter(images)) if len(images) == 1 else None)
    if not isinstance(seen, str) or seen not in images:
        raise entry.wrong("images", f"one of {', '.join(images)}", repr(seen))
    modality = entry.word("modality", ("fmri", "meg")) if "modality" in value else None
    roi = tuple(entry.listed("roi", str, "a list of regions")) if "roi" in value else ()
    file = entry.typed("file", str, "a file that save_recording wrote")
    return RecordingEntry(entry.key, name, file, seen, modality, roi)


def _encode(table: Table) -> EncodeEntry:
    table.check_keys(_ENCODE[:-1])
    values = table.values
    changes: dict[str, Any] = {}
    for name, words in (("by", SCHEMES), ("selection", SELECTIONS)):
        if name in values:
            changes[name] = table.word(name, words)
    if values.get("inner_folds") == OTHERS:
        changes["inner_folds"] = OTHERS
    for name, least in (("folds", 2), ("inner_folds", 2), ("seed", 0)):
        if name in values and name not in changes:
            changes[name] = table.whole_number(name, least)
    if "gap" in values:
        changes["gap"] = float(table.typed("gap", int | float, "a number of seconds"))
    if "alphas" in values:
        changes["alphas"] = table.numbers("alphas", "a list of positive numbers", lambda alphas: min(alphas) > 0)
    raw = table.typed("raw_gradients", bool, "true or false") if "raw_gradients" in values else False
    block = table.whole_number("block", 1) if "block" in values else EncodeEntry.block
    return EncodeEntry(CrossValidation(**changes), raw, block)


def _controls(table: Table) -> ControlsEntry:
    from gradkern.encoding._control_spaces import CONTROLS as OF_FEATURES
    from gradkern.features._engine.gradient_controls import CONTROLS as OF_CAPTURES

    table.check_keys(_CONTROLS)
    known = {"capture": OF_CAPTURES, "encode": OF_FEATURES}
    chosen = {name: _words(table, name) for name in known if name in table.values}
    for name, words in chosen.items():
        for word in words:
            if word not in known[name]:
                raise table.wrong(name, f"some of {', '.join(known[name])}", repr(word))
    return ControlsEntry(**chosen, seed=table.whole_number("seed", 0) if "seed" in table.values else 0)


def _words(table: Table, name: str) -> tuple[str, ...]:
    value = table.values[name]
    return (value,) if isinstance(value, str) else tuple(table.listed(name, str, "a word, or a list of words"))
