"""What a task computes, into a folder of its own."""

import shutil
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from gradkern._device import computing_on
from gradkern.encoding._control_spaces import control_spaces
from gradkern.encoding._permutation_scores import PermutationSettings, permutation_scores
from gradkern.encoding._score import score
from gradkern.encoding._score_values import without_normalised
from gradkern.encoding._spaces import unit_gradients
from gradkern.encoding._unique_scores import UniqueVarianceSettings, unique_scores
from gradkern.errors import Refused
from gradkern.features._capture import capture
from gradkern.kernels._sketch import Sketch
from gradkern.recordings._recording import Recording
from gradkern.study._study_file import load_study
from gradkern.study.runner._claims import description_of, folder_name
from gradkern.study.runner._features import Blocks
from gradkern.study.runner._image_sets import ChosenImages
from gradkern.study.runner._joined_scores import REFUSED, SCORES
from gradkern.study.runner._memory import SHARE, fit_of, resident
from gradkern.study.runner._parts import StudyParts
from gradkern.study.runner._sections import NO_OBJECTIVE
from gradkern.study.runner._store import Store
from gradkern.study.runner._tasks import (
    CaptureOrder,
    FiguresOrder,
    FitOrder,
    MapsOrder,
    PermutationsOrder,
    TargetsOrder,
    Task,
    UniqueOrder,
    VerdictOrder,
)


class Worker:
    """Computes tasks of a study, one after another; the model of the last capture is kept."""

    def __init__(self, parts: StudyParts, store: Store, device: str = "cpu", memory: int | None = None) -> None:
        self.parts, self.store, self._device, self._memory = parts, store, device, memory
        self._model: tuple[str, Any] | None = None

    def compute(self, task: Task, aside: Path) -> dict[str, Any]:
        """Compute a task into a folder; what is worth knowing beside the result is returned.

        Raises
        ------
        Damaged : a result that it reads is not what its manifest says
        Exception : whatever the computation raises
        """
        order = task.order
        if isinstance(order, CaptureOrder):
            return self._capture(order, aside)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        device = self.parts.description.executor.devices.get(task.kind)
        with computing_on(device):
            done = self._computed(task, aside)
        return done if device is None else {"device": device, **done}

    def _computed(self, task: Task, aside: Path) -> dict[str, Any]:
        """Compute a task that is no capture."""
        order = task.order
        if isinstance(order, FitOrder):
            return self._fit(task, order, aside)
        if isinstance(order, UniqueOrder | PermutationsOrder):
            return self._test(task, order, aside)
        if isinstance(order, MapsOrder | FiguresOrder):
            from gradkern.study.runner._drawn import write_figures, write_maps  # which need more packages

            write: Any = write_maps if isinstance(order, MapsOrder) else write_figures
            return dict(write(self.parts, self.store, order, aside))
        if isinstance(order, VerdictOrder):
            return self._verdict(order, aside)
        raise TypeError(f"task must be of a kind that is known, got {task.kind!r}")

    def _capture(self, order: CaptureOrder, aside: Path) -> dict[str, Any]:
        opened, images = self.parts.models[order.model], self.parts.images[order.images]
        settings = opened.entry.capture
        if self._model is None or self._model[0] != order.model:
            self._model = None  # two models are not in memory at once
            self._model = order.model, opened.load(self.parts.description.path).to(self._device)
        model = self._model[1]
        source = model.spec.prepared(
            ChosenImages(images.source, tuple(range(order.start, order.stop))), whole=settings.whole
        )
        goal: Any = None
        if order.objective != NO_OBJECTIVE:
            goal = self.parts.objectives[order.objective, order.images].make(order.start, order.stop)
        arguments: dict[str, Any] = {
            "layers": order.layers,
            "kinds": order.kinds,
            "tokens": settings.tokens,
            "sketch": "raw" if settings.sketch == "raw" else Sketch(int(settings.sketch)),
            "batch_size": settings.batch_size,
            "dtype": None if settings.dtype is None else getattr(torch, settings.dtype),
            "control_seed": self.parts.description.controls.seed,
            "first_index": 0 if goal is None else order.start,
            "out": aside,
            "progress": False,
        }
        try:
            captured = capture(model, source, goal, **arguments)
        except FileExistsError:  # what was left was stopped before it said what it is of, or is damaged
            shutil.rmtree(aside)
            captured = capture(model, source, goal, **arguments)
        for path in aside.glob(".*"):  # what a process left that was killed
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        return {"device": self._device, **_plain(captured.facts)}

    def _targets(self, task: Task, order: TargetsOrder) -> tuple[dict[Any, Any], Any, Recording]:
        """Chosen feature spaces of a task, what is known beside them, and the responses of its targets."""
        opened = self.parts.recordings[order.recording]
        names, depth = opened.images.names, self.parts.models[order.spaces.model].depth
        recording = opened.load().select_targets(
            np.arange(order.start, order.stop), f"targets {order.start} to {order.stop - 1}"
        )
        captured = Blocks(self.store, order.spaces).spaces(names, depth)
        chosen: Any = captured if self.parts.description.encode.raw_gradients else unit_gradients(captured)
        known: Any = captured
        if order.covariates is not None:
            known = Blocks(self.store, order.covariates).spaces(names, depth) | captured
        return chosen, known, recording

    def _fit(self, task: Task, order: FitOrder, aside: Path) -> dict[str, Any]:
        description = self.parts.description
        chosen, known, recording = self._targets(task, order)
        controls = description.controls.encode if order.spaces.objective != NO_OBJECTIVE else ()
        spaces = chosen | control_spaces(chosen, known, controls, description.controls.seed)
        scores = score(spaces, recording, description.encode.cv, memory=self._share(order))
        _write_scores(without_normalised(scores), task, aside)
        return {"targets": order.stop - order.start, "features": len(spaces)}

    def _test(self, task: Task, order: UniqueOrder | PermutationsOrder, aside: Path) -> dict[str, Any]:
        """A test of gradients beside activations, or of scores against those of permuted responses."""
        description = self.parts.description
        chosen, known, recording = self._targets(task, order)
        try:
            if isinstance(order, UniqueOrder):
                unique = UniqueVarianceSettings(cv=description.encode.cv, **vars(description.analyses.unique))
                scores = unique_scores(chosen, known, recording, unique, keep_null=True)
            else:
                how = PermutationSettings(description.encode.cv, **vars(description.analyses.permutations))
                scores = permutation_scores(chosen, recording, how)
        except Refused as error:
            return _refused(error, aside)
        _write_scores(scores, task, aside)
        return {"targets": order.stop - order.start, "features": len(chosen)}

    def _share(self, order: FitOrder) -> int:
        """Bytes of feature rows that a fit may hold at once, beside what this process has."""
        fit = fit_of(self.parts, order)
        available = None if self._memory is None else self._memory - resident()
        return SHARE if fit is None else fit.share(available)

    def _verdict(self, order: VerdictOrder, aside: Path) -> dict[str, Any]:
        names = self.parts.images[order.images].names
        activations = Blocks(self.store, order.activations)
        captures = {
            folder_name(order.model, order.objective): Blocks(self.store, order.gradients).features(names, activations)
        }
        if order.untrained is not None:
            place = folder_name(order.untrained.model, order.objective)
            captures[place] = Blocks(self.store, order.untrained).features(names)
        from gradkern.study._run_verdict import write_whole_verdict  # figures need matplotlib, which captures do not

        try:
            table = write_whole_verdict(load_study(description_of(self.parts, order), captures), aside)
        except Refused as error:
            return _refused(error, aside)
        return {"claims": len(table)}


def _write_scores(scores: xr.Dataset, task: Task, aside: Path) -> None:
    stored = BytesIO()  # HDF5 ends the process where a disk is full
    scores.assign_attrs(task=task.name, identity=task.id).to_netcdf(stored, engine="h5netcdf")
    (aside / SCORES).write_bytes(stored.getbuffer())


def _refused(error: Refused, aside: Path) -> dict[str, Any]:
    """What the data cannot carry is a result: the reason."""
    (aside / REFUSED).write_text(f"{error}\n", encoding="utf-8")
    return {"refused": str(error)}


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts about a capture that are short."""
    return {name: value for name, value in facts.items() if isinstance(value, str | int | float | bool | None)}
