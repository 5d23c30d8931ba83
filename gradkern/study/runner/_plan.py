"""From a study to its tasks, and which of them are done, new, changed or damaged."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import nn

from gradkern._files import as_json, differences, written_whole
from gradkern.errors import Refused
from gradkern.study.runner._claims import hierarchy_column, verdict_facts
from gradkern.study.runner._contents import Contents, hash_facts
from gradkern.study.runner._executor_entry import STAGES
from gradkern.study.runner._parts import OpenedRecording, StudyParts, open_parts
from gradkern.study.runner._sections import NO_OBJECTIVE, RunDescription
from gradkern.study.runner._store import Damaged, Store
from gradkern.study.runner._tasks import (
    CaptureOrder,
    FiguresOrder,
    FitOrder,
    MapsOrder,
    Order,
    PermutationsOrder,
    ScoresOrder,
    SpacesOrder,
    TargetsOrder,
    Task,
    UniqueOrder,
    VerdictOrder,
    unit_of,
)

DONE, NEW, CHANGED, DAMAGED = "done", "new", "changed", "damaged"
_PLAN_FILE = "plan.json"
_LEAST = 2  # images that a fold must test
_SHOWN = 3  # differences that are named
_SHUFFLED = "gradient/target-shuffled"
KIND_OF: dict[type[TargetsOrder], str] = {FitOrder: "fit", UniqueOrder: "unique", PermutationsOrder: "permutations"}
LEAST_ROWS = 20  # that a test beyond activations must have left: see `partial_permutation_test`


@dataclass(frozen=True)
class PlannedTask:
    """A task and its state: "done", or why it is to be run: "new", "changed" or "damaged", with the reason."""

    task: Task
    state: str
    why: str = ""


@dataclass(frozen=True, eq=False)
class Plan:
    """The tasks of a study, those that others need before these.

    Attributes
    ----------
    damaged : places of results that are not what their manifests say, and why
    notes : what is left out, in words
    """

    parts: StudyParts
    store: Store
    tasks: tuple[PlannedTask, ...]
    damaged: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def missing(self) -> list[Task]:
        """The tasks that are to be run."""
        return [planned.task for planned in self.tasks if planned.state != DONE]

    def only(self, pattern: str) -> "Plan":
        """The tasks whose names a pattern fits, and those that these need.

        Raises
        ------
        ValueError : the pattern fits no name
        """
        by_id = {planned.task.id: planned for planned in self.tasks}
        wanted = {planned.task.id for planned in self.tasks if fnmatchcase(planned.task.name, pattern)}
        if not wanted:
            raise ValueError(f"only must fit the name of a task, such as {self.tasks[0].task.name!r}, got {pattern!r}")
        open_ids = list(wanted)
        while open_ids:
            for need in by_id[open_ids.pop()].task.needs:
                if need in by_id and need not in wanted:
                    wanted.add(need)
                    open_ids.append(need)
        chosen = tuple(planned for planned in self.tasks if planned.task.id in wanted)
        return Plan(self.parts, self.store, chosen, self.damaged, self.notes)

    def save(self) -> None:
        """Keep what the tasks were made from, so that a later plan can say what changed."""
        stored = {planned.task.name: [planned.task.id, planned.task.facts] for planned in self.tasks}
        path = self.store.folder / _PLAN_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        before = _saved(path)
        if before != (now := as_json(stored)):
            with written_whole(path) as aside:
                aside.write_text(json.dumps({**before, **now}), encoding="utf-8")


def make_plan(description: RunDescription, modules: Mapping[str, nn.Module] | None = None) -> Plan:
    """The tasks of a study and their states; what the study names is compared by its contents.

    Raises
    ------
    FileNotFoundError, ValueError : something is missing or does not fit
    Refused : a recording has too few images for the folds
    """
    contents = Contents(description.folder)
    parts = open_parts(description, contents, modules)
    planner = _Planner(parts, Store(description.folder), contents)
    tasks = tuple(planner.tasks())
    contents.save()
    return Plan(parts, planner.store, tasks, planner.damaged, tuple(dict.fromkeys(planner.notes)))


class _Planner:
    def __init__(self, parts: StudyParts, store: Store, contents: Contents) -> None:
        self.parts, self.store, self.contents = parts, store, contents
        self.damaged: dict[str, str] = {}
        self.notes: list[str] = []
        self._before = _saved(store.folder / _PLAN_FILE)
        self._spaces: dict[tuple[str, str, str], tuple[SpacesOrder, tuple[str, ...]]] = {}
        self._cv = asdict(parts.description.encode.cv)
        self._present = {place for kind in STAGES if kind != "capture" for place in store.places(kind)}
        self._blocks: dict[tuple[str, str, str, str], list[Task]] = {}  # kind, recording, model, objective
        self._units = set(store.units())

    def tasks(self) -> Iterator[PlannedTask]:
        description = self.parts.description
        for images in self.parts.images:
            for model in self.parts.models_at(images):
                for objective in self._objectives(model.entry.name, images):
                    yield from self._captures(model.entry.name, objective, images)
        for recording in self.parts.recordings.values():
            if self._has_enough_images(recording):
                yield from self._of_recording(recording)
        if "figures" in description.analyses:
            yield from self._figures()
        if "verdict" in description.analyses:
            yield from self._verdicts()

    def _objectives(self, model: str, images: str) -> list[str]:
        """The objectives of a model, that of activations first."""
        return [NO_OBJECTIVE, *(entry.name for entry in self.parts.description.objectives_of(model, images))]

    # Captures.

    def _captures(self, model: str, objective: str, images: str) -> Iterator[PlannedTask]:
        opened, source = self.parts.models[model], self.parts.images[images]
        kinds, layers = self._kinds(objective, images), opened.layers
        units, needs = [], []
        for start, stop in source.blocks(opened.entry.capture.block):
            facts = self._capture_facts(model, objective, images, start, stop)
            unit = unit_of(facts)
            units.append(unit)
            lacking, why = self._lacking(unit, kinds, layers)
            order = CaptureOrder(model, objective, images, start, stop, *(lacking or (kinds, layers)))
            name = f"capture/{model}/{objective}/{images}/{start}-{stop}"
            task = _task("capture", name, {**facts, "kinds": order.kinds, "layers": order.layers}, order, unit=unit)
            if lacking is None:
                yield PlannedTask(task, DONE)
            else:
                yield self._judged(task, why)
            needs.append(task.id)
        self._spaces[model, objective, images] = (
            SpacesOrder(model, objective, tuple(units), kinds, layers),
            tuple(needs),
        )

    def _kinds(self, objective: str, images: str) -> tuple[str, ...]:
        if objective == NO_OBJECTIVE:
            return ("activation",)
        controls = self.parts.description.controls.capture
        if _SHUFFLED in controls and not self.parts.objectives[objective, images].has_targets:
            self.notes.append(f"objectives.{objective}: no {_SHUFFLED}, as it compares nothing with a target")
            controls = tuple(kind for kind in controls if kind != _SHUFFLED)
        return ("gradient", *controls)

    def _capture_facts(self, model: str, objective: str, images: str, start: int, stop: int) -> dict[str, Any]:
        opened, source = self.parts.models[model], self.parts.images[images]
        settings = opened.entry.capture
        facts: dict[str, Any] = {
            "model": opened.facts,
            "images": [stop - start, hash_facts(source.hashes[start:stop])],
            "tokens": settings.tokens,
            "sketch": settings.sketch,
            "dtype": settings.dtype,
            "batch_size": settings.batch_size,
            "whole": settings.whole,
        }
        if objective == NO_OBJECTIVE:
            return facts
        goal = self.parts.objectives[objective, images]
        labels = goal.labels_of(start, stop)
        facts |= {"objective": goal.facts, "labels": labels and hash_facts(labels), "first_index": start}
        controls = self.parts.description.controls
        return {**facts, "control_seed": controls.seed} if controls.capture else facts

    def _lacking(
        self, unit: str, kinds: Sequence[str], layers: Sequence[str]
    ) -> tuple[tuple[tuple[str, ...], tuple[str, ...]] | None, str]:
        """Kinds and layers of a unit that no whole result has (None: there is none), and what is damaged."""
        have, why = set(), ""
        for part in self.store.parts_of(unit) if unit in self._units else ():
            place = f"capture/{unit}/{part}"
            try:
                facts = self.store.check(place).facts
                have |= {(kind, layer) for kind in facts["kinds"] for layer in facts["layers"]}
            except Damaged as error:
                self.damaged[place] = why = error.why
        missing = [(kind, layer) for kind in kinds for layer in layers if (kind, layer) not in have]
        if not missing:
            return None, ""
        of_kinds = tuple(kind for kind in kinds if any(kind == pair[0] for pair in missing))
        return (of_kinds, tuple(layer for layer in layers if any(layer == pair[1] for pair in missing))), why

    # What is computed from features and a recording.

    def _has_enough_images(self, recording: OpenedRecording) -> bool:
        description, folds = self.parts.description, self.parts.description.encode.cv.folds
        if recording.shown >= _LEAST * folds or not {"encode", *KIND_OF.values()} & {*description.analyses.wanted}:
            return True
        least = f"{_LEAST} images for each of {folds} folds, got {recording.shown} images"
        if not description.debug:
            raise Refused(f"{description.path}: {recording.entry.key} must be of {least}")
        self.notes.append(f"{recording.entry.key} is left out: wanted {least}")
        return False

    def _of_recording(self, recording: OpenedRecording) -> Iterator[PlannedTask]:
        analyses, images = self.parts.description.analyses, recording.entry.images
        if "maps" in analyses and not recording.has_geometry:
            self.notes.append(f"{recording.entry.key}: no maps, as it has no geometry (a grid, a mesh or sensors)")
        for model in self.parts.models_at(images):
            name = model.entry.name
            for objective in self._objectives(name, images):
                if "encode" in analyses:
                    yield from self._targets(FitOrder, recording, name, objective)
                if "permutations" in analyses:
                    yield from self._targets(PermutationsOrder, recording, name, objective)
                if "unique" in analyses and objective != NO_OBJECTIVE:
                    self._check_rows_left(recording, name)
                    yield from self._targets(UniqueOrder, recording, name, objective)
                if "maps" in analyses and recording.has_geometry:
                    yield self._map(recording, name, objective)

    def _targets(
        self, kind: type[TargetsOrder], recording: OpenedRecording, model: str, objective: str
    ) -> Iterator[PlannedTask]:
        """Tasks of a kind for all blocks of targets."""
        word, block = KIND_OF[kind], self.parts.description.encode.block
        for start in range(0, recording.targets, block):
            targets = (start, min(start + block, recording.targets))
            spaces, needs = self._spaces[model, objective, recording.entry.images]
            facts = self._facts_of_targets(recording, spaces, targets)
            covariates = self._beside(kind, model, objective, recording.entry.images)
            if covariates is not None:
                facts |= _facts_of_spaces("covariates", covariates[0])
                needs = (*needs, *covariates[1])
            facts |= self._settings_of(kind, objective)
            order = kind(recording.entry.name, *targets, spaces, None if covariates is None else covariates[0])
            name = f"{word}/{model}/{objective}/{recording.entry.name}/{targets[0]}-{targets[1]}"
            planned = self._judged(_task(word, name, facts, order, needs))
            self._blocks.setdefault((word, recording.entry.name, model, objective), []).append(planned.task)
            yield planned

    def _beside(
        self, kind: type[TargetsOrder], model: str, objective: str, images: str
    ) -> tuple[SpacesOrder, tuple[str, ...]] | None:
        """The activations that a task needs beside its features."""
        residuals = any(control.startswith("residuali") for control in self._encode_controls(objective))
        if kind is UniqueOrder or (kind is FitOrder and residuals):
            return self._spaces[model, NO_OBJECTIVE, images]
        return None

    def _facts_of_targets(
        self, recording: OpenedRecording, spaces: SpacesOrder, targets: tuple[int, int]
    ) -> dict[str, Any]:
        images = recording.images
        facts = {
            "recording": recording.hash,
            "roi": recording.entry.roi,
            "targets": targets,
            "chosen": images.chosen,
            "names": hash_facts(images.names) if recording.has_names and images.names is not None else None,
            **_facts_of_spaces("spaces", spaces),
            "cv": self._cv,
        }
        if spaces.objective != NO_OBJECTIVE:
            facts["raw_gradients"] = self.parts.description.encode.raw_gradients
        return facts

    def _settings_of(self, kind: type[TargetsOrder], objective: str) -> dict[str, Any]:
        description = self.parts.description
        if kind is UniqueOrder:
            return {"unique": asdict(description.analyses.unique)}
        if kind is PermutationsOrder:
            return {"permutations": asdict(description.analyses.permutations)}
        controls = self._encode_controls(objective)
        return {"controls": controls, "control_seed": description.controls.seed} if controls else {}

    def _encode_controls(self, objective: str) -> tuple[str, ...]:
        return () if objective == NO_OBJECTIVE else self.parts.description.controls.encode

    def _check_rows_left(self, recording: OpenedRecording, model: str) -> None:
        """Refuse a test that leaves too few rows, and say of which this depends on the rank of the activations."""
        unique, opened = self.parts.description.analyses.unique, self.parts.models[model]
        most = recording.shown - 1 - LEAST_ROWS
        least = f"at least {LEAST_ROWS} rows left of {recording.shown} images"
        if unique.n_components is not None and unique.n_components > most:
            raise Refused(
                f"{self.parts.description.path}: analyses.unique must have {least} of {recording.entry.key}, got "
                f"n_components {unique.n_components}; up to {max(most, 0)} leave them"
            )
        width = opened.entry.capture.sketch
        if width == "raw" or unique.n_components is not None:
            return
        columns = int(width) * (1 if unique.covariates == "same-layer" else len(opened.layers))
        if columns > most:
            self.notes.append(
                f"analyses.unique: {columns} columns of activations of {model} leave no {least} of "
                f"{recording.entry.key} unless their rank is lower, so that the test is refused; n_components up to "
                f"{max(most, 0)} removes fewer"
            )

    # What is made of scores.

    def _scores(self, recording: str, model: str, objective: str, *, beside: bool) -> tuple[ScoresOrder, list[Task]]:
        """Scores of a recording that are put together, and the tasks that give them."""
        parts = [
            self._blocks.get(("fit", recording, model, NO_OBJECTIVE), []) if beside else [],
            self._blocks.get(("fit", recording, model, objective), []),
            self._blocks.get(("unique", recording, model, objective), []),
        ]
        order = ScoresOrder(recording, *(tuple(task.place for task in tasks) for tasks in parts))
        return order, [task for tasks in parts for task in tasks]

    def _map(self, recording: OpenedRecording, model: str, objective: str) -> PlannedTask:
        name = recording.entry.name
        scores, needs = self._scores(name, model, objective, beside=False)
        facts = {
            "recording": recording.hash,
            "roi": recording.entry.roi,
            "scores": [task.id for task in needs],
            "stats": self.parts.description.analyses.maps,
            "names": [model, objective],  # which the files have in their names
        }
        task = _task("maps", f"maps/{model}/{objective}/{name}", facts, MapsOrder(model, objective, scores),
                     [task.id for task in needs])  # fmt: skip
        return self._judged(task)

    def _figures(self) -> Iterator[PlannedTask]:
        for images in self.parts.images:
            seen = [entry.entry.name for entry in self.parts.recordings.values() if entry.entry.images == images]
            for model in self.parts.models_at(images):
                name = model.entry.name
                for objective in self._objectives(name, images):
                    scored = [seen_by for seen_by in seen if ("fit", seen_by, name, objective) in self._blocks]
                    if objective != NO_OBJECTIVE and scored:
                        yield self._figure(scored, name, objective, images)

    def _figure(self, recordings: Sequence[str], model: str, objective: str, images: str) -> PlannedTask:
        scores = [self._scores(name, model, objective, beside=True) for name in recordings]
        needs = [task.id for _, tasks in scores for task in tasks]
        facts = {
            "scores": [[task.id for task in tasks] for _, tasks in scores],
            "modalities": [self.parts.recordings[name].modality for name in recordings],
            "hierarchy": hierarchy_column(self.parts.description.verdict_values),
            "names": [model, objective],
        }
        order = FiguresOrder(model, objective, images, tuple(order for order, _ in scores))
        return self._judged(_task("figures", f"figures/{model}/{objective}/{images}", facts, order, needs))

    # Verdicts.

    def _verdicts(self) -> Iterator[PlannedTask]:
        for images in self.parts.images:
            if not any(recording.entry.images == images for recording in self.parts.recordings.values()):
                continue
            for model in self.parts.models_at(images):
                if model.entry.untrained is not None:
                    continue
                for entry in self.parts.description.objectives_of(model.entry.name, images):
                    yield self._verdict(model.entry.name, entry.name, images)

    def _verdict(self, model: str, objective: str, images: str) -> PlannedTask:
        activations, needs = self._spaces[model, NO_OBJECTIVE, images]
        gradients, more = self._spaces[model, objective, images]
        untrained, last = self._spaces.get((self._untrained(model), objective, images), (None, ()))
        order = VerdictOrder(model, objective, images, activations, gradients, untrained)
        facts = {
            **_facts_of_spaces("activations", activations),
            **_facts_of_spaces("gradients", gradients),
            **({} if untrained is None else _facts_of_spaces("untrained", untrained)),
            **verdict_facts(self.parts, order, self.contents),
        }
        name = f"verdict/{model}/{objective}/{images}"
        return self._judged(_task("verdict", name, facts, order, (*needs, *more, *last)))

    def _untrained(self, model: str) -> str:
        """The model of the study that is the same one before training; "" for none."""
        trained = self.parts.models[model].facts
        for name, other in self.parts.models.items():
            same = {key: value for key, value in other.facts.items() if key != "untrained"}
            if "untrained" in other.facts and same == trained:
                return name
        return ""

    # States.

    def _judged(self, task: Task, damage: str = "") -> PlannedTask:
        if task.kind != "capture" and task.place in self._present:
            try:
                self.store.check(task.place)
                return PlannedTask(task, DONE)
            except Damaged as error:
                self.damaged[task.place] = damage = error.why
        if damage:
            return PlannedTask(task, DAMAGED, damage)
        before = self._before.get(task.name)
        if before is None or before[0] == task.id:
            return PlannedTask(task, NEW)
        changed = differences(before[1], as_json(task.facts))
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        return PlannedTask(task, CHANGED, "; ".join(changed[:_SHOWN]) + more)


def _task(kind: str, name: str, facts: Any, order: Order, needs: Sequence[str] = (), unit: str = "") -> Task:
    return Task(kind, name, facts, order, tuple(dict.fromkeys(needs)), unit)


def _facts_of_spaces(role: str, spaces: SpacesOrder) -> dict[str, Any]:
    return {role: {"units": spaces.units, "kinds": spaces.kinds, "layers": spaces.layers}}


def _saved(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
