"""Models and objectives that a study file names: what their numbers depend on, and the objects themselves."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gradkern import objectives
from gradkern.features._engine.fingerprint import fingerprint_of_model
from gradkern.models._catalogue import CATALOGUE
from gradkern.models._load import architecture, load_model
from gradkern.models._untrained import untrained
from gradkern.objectives._base import Objective, TargetObjective
from gradkern.study._image_tables import StudyImages, TableEntry
from gradkern.study._toml import Table, located
from gradkern.study.runner._contents import Contents
from gradkern.study.runner._sections import ModelEntry, ObjectiveEntry

_WEIGHTS = ("pretrained", "random")


@dataclass(frozen=True, eq=False)
class OpenedModel:
    """A model of a study: what its features depend on, its layers, and where it comes from.

    Attributes
    ----------
    facts : identity of architecture and weights
    layers : that are captured, shallow to deep; `depth` of those that have one
    module : given from Python; None: of the catalogue
    files : of its weights
    """

    entry: ModelEntry
    facts: Mapping[str, Any]
    layers: tuple[str, ...]
    depth: Mapping[str, float]
    module: nn.Module | None = None
    files: tuple[Path, ...] = ()

    @property
    def lacks_weights(self) -> bool:
        """Whether published weights are wanted that are not on this machine, so that nobody knows which they are."""
        return self.facts.get("weights") == "pretrained"

    def load(self, study: Path) -> Any:
        """The model itself, in eval mode."""
        entry = self.entry
        if self.module is not None:
            loaded: Any = self.module
        else:
            weights = entry.weights if entry.weights in _WEIGHTS else _weights_path(study, entry)
            with located(study, entry.key):
                config = dict(entry.config) or None
                loaded = load_model(entry.model, weights, seed=entry.seed, config=config)
        return loaded if entry.untrained is None else untrained(loaded, entry.untrained)


def open_model(study: Path, entry: ModelEntry, contents: Contents, module: nn.Module | None) -> OpenedModel:
    """A model that a study file names; its weights are hashed, not loaded.

    Raises
    ------
    FileNotFoundError, ValueError : the model is not known, its weights are missing, or a layer does not exist
    """
    table = Table(study, entry.key, {})
    files: list[Path] = []
    if module is not None:
        facts: dict[str, Any] = {"module": fingerprint_of_model(module)}
        spec = _described(getattr(module, "spec", None), [name for name, _ in module.named_modules()])
    else:
        if entry.model not in CATALOGUE:
            raise table.wrong("name", f"one of {', '.join(CATALOGUE)}", f"{entry.model!r}{_near(entry.model)}")
        facts = {"name": entry.model, "config": dict(entry.config), "weights": entry.weights}
        if entry.weights == "random":
            facts["seed"] = entry.seed
        else:
            files = _files_of_weights(study, entry)
            facts["weights"] = _hash_of_weights(study, entry, files, contents)
        key = f"layers of {entry.model} {sorted(entry.config.items())}"
        spec = contents.facts(key, lambda: _of_architecture(study, entry))
    if entry.untrained is not None:
        facts["untrained"] = entry.untrained
    wanted = entry.capture.layers or tuple(spec["layers"])
    for layer in wanted:
        if layer not in spec["modules"]:
            near = get_close_matches(layer, spec["modules"], 3)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise table.wrong("layers", "names of layers, see `gradkern layers`", f"{layer!r}{hint}")
    if not wanted:
        raise table.wrong("layers", "names of layers, as the model has no blocks", "none")
    return OpenedModel(entry, facts, tuple(wanted), dict(spec["depth"]), module, tuple(files))


def _of_architecture(study: Path, entry: ModelEntry) -> dict[str, Any]:
    with located(study, entry.key):
        if not entry.config:
            model = architecture(entry.model)
        else:
            with torch.device("meta"):
                model = load_model(entry.model, "random", config=dict(entry.config))
    return _described(model.spec, [name for name, _ in model.named_modules()])


def _described(spec: Any, modules: list[str]) -> dict[str, Any]:
    if spec is None:
        return {"layers": [], "modules": modules, "depth": {}}
    depth = {layer: spec.depth(layer) for layer in (*spec.layers, *spec.branches)}
    return {"layers": list(spec.layers), "modules": modules, "depth": depth}


def _near(name: str) -> str:
    nearest = get_close_matches(name, list(CATALOGUE), 1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def _weights_path(study: Path, entry: ModelEntry) -> Path:
    place = study.parent / Path(entry.weights).expanduser()
    if not place.exists():
        raise FileNotFoundError(f"{study}: {entry.key}.weights must be there, but there is no {entry.weights!r}")
    return place


def _files_of_weights(study: Path, entry: ModelEntry) -> list[Path]:
    """The files that hold the weights of a model; none where published ones are not on this machine."""
    if entry.weights == "pretrained":
        return CATALOGUE[entry.model].builder.published_files()
    place = _weights_path(study, entry)
    return [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())


def _hash_of_weights(study: Path, entry: ModelEntry, files: Sequence[Path], contents: Contents) -> Any:
    if entry.weights == "pretrained":
        return [contents.hash_of(path) for path in files] or "pretrained"
    place = _weights_path(study, entry)
    if place.is_file():
        return contents.hash_of(place)
    return {path.relative_to(place).as_posix(): contents.hash_of(path) for path in files}


@dataclass(frozen=True, eq=False)
class OpenedObjective:
    """An objective of a study at an image set.

    Attributes
    ----------
    facts : identity of the objective, without the labels
    labels : int64 [images]; None: the objective is given none
    tables : argument -> what it is given
    """

    entry: ObjectiveEntry
    kind: type[Objective]
    facts: Mapping[str, Any]
    labels: NDArray[np.int64] | None
    tables: Mapping[str, Path]

    @property
    def has_targets(self) -> bool:
        """Whether it compares the output with a target, which the control "gradient/target-shuffled" needs."""
        return issubclass(self.kind, TargetObjective)

    def at(self, chosen: Sequence[int] | None) -> "OpenedObjective":
        """The objective at some images; None: at all."""
        if chosen is None or self.labels is None:
            return self
        return replace(self, labels=self.labels[list(chosen)])

    def labels_of(self, start: int, stop: int) -> list[int] | None:
        """Labels of images [start, stop), on which their gradients depend."""
        return None if self.labels is None else self.labels[start:stop].tolist()

    def make(self, start: int, stop: int) -> Objective:
        """The objective for images [start, stop); labels of other images are not given."""
        arguments: dict[str, Any] = {name: _as_argument(value) for name, value in self.entry.settings.items()}
        for name, path in self.tables.items():
            arguments[name] = torch.from_numpy(np.load(path, allow_pickle=False))
        if self.labels is not None:
            given = np.full_like(self.labels, self.labels[start])
            given[start:stop] = self.labels[start:stop]
            arguments["labels"] = torch.from_numpy(given)
        return self.kind(**arguments)


def open_objective(study: Path, entry: ObjectiveEntry, images: StudyImages, contents: Contents) -> OpenedObjective:
    """An objective that a study file names, with the labels of the images of a set.

    Raises
    ------
    FileNotFoundError, ValueError : the objective or an argument is not known, a table is missing or has no label for an
        image
    """
    table = Table(study, entry.key, {})
    known = [name for name in objectives.__all__ if _is_objective(name)]
    if entry.objective not in known:
        near = get_close_matches(entry.objective, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise table.wrong("name", f"one of {', '.join(known)}", f"{entry.objective!r}{hint}")
    kind = getattr(objectives, entry.objective)
    arguments = [field.name for field in fields(kind) if field.name != "name"]
    for name in (*entry.settings, *entry.tables):
        if name not in arguments:
            near = get_close_matches(name, arguments, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise table.wrong("settings", f"arguments of {entry.objective}, {', '.join(arguments)}", f"{name!r}{hint}")
    tables = {name: study.parent / Path(file).expanduser() for name, file in entry.tables.items()}
    for name, path in tables.items():
        if not path.is_file():
            raise FileNotFoundError(f"{study}: {entry.key}.tables.{name} must be there, but there is no {path.name!r}")
    facts = {
        "objective": entry.objective,
        "settings": dict(entry.settings),
        "tables": {name: contents.hash_of(path) for name, path in tables.items()},
    }
    labels = None
    if entry.labels:
        if "labels" not in arguments:
            raise table.wrong("labels", f"left out, as {entry.objective} takes none", repr(entry.labels))
        found = images.labels(TableEntry(f"{entry.key}.labels", entry.labels))
        if found.dtype.kind not in "iu":
            raise table.wrong("labels", "whole numbers, the classes of the model", f"words such as {str(found[0])!r}")
        labels = found.astype(np.int64)
    return OpenedObjective(entry, kind, facts, labels, tables)


def _is_objective(name: str) -> bool:
    value = getattr(objectives, name)
    is_class = inspect.isclass(value) and issubclass(value, Objective)
    return is_class and value not in (Objective, TargetObjective)


def _as_argument(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
