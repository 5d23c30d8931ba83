"""Runs the batches: the first one is checked against one of its images alone, and sets how the others are run."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradkern.features._engine.fingerprint import fingerprint, fingerprint_of_model
from gradkern.features._engine.gradient_controls import (
    RANDOM_COTANGENT,
    TARGET_SHUFFLED,
    Controls,
    Judged,
    Loss,
    entropy_of,
)
from gradkern.features._engine.hooks import Pass, Taps
from gradkern.features._engine.memory import Meter, choose_batch_size
from gradkern.features._features import Key
from gradkern.features._images import image_batch, images_at
from gradkern.features._store import FeatureFiles
from gradkern.models._spec import known_of
from gradkern.objectives._interface import Batch, Objective, Prepared

# An image alone against the same image in its batch. Kernels differ in rounding; images that mix are far above this.
_MIXED = 1e-2
_SAME = 1e-5  # in float32: what gradkern promises

_LARGEST_SCALE = 2.0**16  # of losses in float16, as torch.amp begins with


class CoverageError(RuntimeError):
    """Parameters that have a gradient and no rule to capture it by."""


@dataclass
class Batches:
    """Images, batch by batch, through the model and its objective.

    `overwritten` says whether the model writes into its input: it is then given a copy. None: not known yet.
    """

    model: nn.Module
    images: Tensor | Sequence[Any]
    objective: Objective | None
    place: torch.device
    dtype: torch.dtype
    controls: Controls = field(default_factory=Controls)
    overwritten: bool | None = None

    def forward(self, taps: Taps, start: int, stop: int) -> Callable[[nn.Module], Judged]:
        """Run images [start, stop) and ask the objective."""
        batch = Batch(self._to_model(image_batch(self.images, start, stop)), torch.arange(start, stop))
        with taps.off(), torch.no_grad():
            batch, prepared = self._prepare(batch)
            asked = self._controls(batch)

        def forward(model: nn.Module) -> Judged:
            output = self._run(model, batch.images, prepared)
            n = len(batch.images)
            if self.objective is None:
                return Judged(batch.images.new_zeros(n), output, batch)
            taps.leave_model()
            losses = self.objective(output, batch)
            if not isinstance(losses, Tensor) or losses.shape != (n,):
                got = list(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
                raise ValueError(f"capture: objective must return one loss per image, [{n}], got {got}")
            return Judged(losses, output, batch, self.controls.seed, asked, entropy_of(output, n))

        return forward

    def _to_model(self, images: Tensor) -> Tensor:
        images = images.detach().to(self.place, self.dtype)
        return images.clone() if images.is_inference() else images

    def _prepare(self, batch: Batch) -> tuple[Batch, Prepared]:
        """The batch with its context, and what else the model is to be given."""
        prepare = getattr(self.objective, "prepare", None)
        if prepare is None:
            return batch, Prepared()
        prepared: Prepared = prepare(self.model, replace(batch, images=batch.images.clone()))
        return replace(batch, context=prepared.context), prepared

    def _controls(self, batch: Batch) -> dict[str, Loss]:
        """The losses that other cotangents are of."""
        objective: Any = self.objective
        asked: dict[str, Loss] = {}
        if RANDOM_COTANGENT in self.controls.kinds:
            asked[RANDOM_COTANGENT] = lambda output: objective(output, batch)
        if self.controls.others is not None:
            index = self.controls.others[batch.index]
            others, prepared = self._prepare(Batch(self._to_model(images_at(self.images, index.tolist())), index))
            reads_output = getattr(objective, "reads_output", True)
            output = self._run(self.model, others.images, prepared) if reads_output else None
            targets = objective.targets(output, others)
            asked[TARGET_SHUFFLED] = lambda output: objective.against(output, batch, targets)
        return asked

    def _run(self, model: nn.Module, images: Tensor, prepared: Prepared) -> Any:
        if self.overwritten is False:
            return model(images, **prepared.inputs)
        copy = images.clone()
        version = copy._version
        try:
            return model(copy, **prepared.inputs)
        finally:
            self.overwritten = bool(self.overwritten) or copy._version != version


class Runner:
    """A context in which the batches run. `first` comes first; then `batch_size`, `shapes`, `facts` are known."""

    def __init__(self, taps: Taps, batches: Batches, *, half: bool):
        self.taps, self.batches = taps, batches
        self.batch_size = 0
        self.shapes: dict[Key, tuple[int, ...]] = {}
        self.facts: dict[str, Any] = {}
        self._kept: dict[tuple[int, int], Pass] = {}  # passes that the checks made already
        self._how = ExitStack()
        taps.scale = _LARGEST_SCALE if half else 1.0

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *exception: object) -> None:
        self._how.close()

    def files(self, folder: Path, asked: Mapping[str, Any], count: int) -> FeatureFiles:
        """Where the features go, with a fingerprint of all that decides them."""
        images = (image_batch(self.batches.images, i, i + 1) for i in range(count))
        request = {
            "model": fingerprint_of_model(self.batches.model),
            "images": {"count": count, "sha256": fingerprint(images)},
        }
        return FeatureFiles(folder, {**asked, **request}, count)

    def first(self, batch_size: int | None, uncovered: str) -> None:
        """Run one image alone, choose the batch size, run the first batch, compare."""
        meter, batches = Meter(), self.batches
        with meter.counting(batches.model):
            alone = self._run(0, 1)
        count = len(batches.images)
        self.batch_size = min(choose_batch_size(batch_size, meter.needed, batches.place), count)
        stop = min(self.batch_size, count)
        self.facts = {
            **known_of(batches.model, self.taps.layers),
            "batch_size": self.batch_size,
            "bytes_per_image": meter.needed,
            "attention": "as the model has it",
            **batches.controls.facts(),
        }
        self._kept = {(0, 1): alone}
        if stop > 1:
            done = self._run(0, stop)
            if self._check_covered(alone, done, uncovered):
                alone, done = self._run(0, 1), self._run(0, stop)
            self._kept = {(0, stop): self._compare(alone, done, stop)}
        self.facts["loss_scale"] = self.taps.scale
        shapes = {key: tuple(value.shape[1:]) for key, value in self._kept[0, stop].sketches.items()}
        order = [(kind, layer) for kind in self.taps.kinds for layer in self.taps.layers]
        self.shapes = {key: shapes[key] for key in order} | {("losses", ""): ()}
        if self._kept[0, stop].entropy is not None:
            self.shapes["entropy", ""] = ()

    def _compare(self, first: Pass, done: Pass, stop: int) -> Pass:
        """The first and the last image of a batch, alone and in it; gives the batch, by other attention if need be."""
        batches = self.batches
        ends = {0: first, stop - 1: self._run(stop - 1, stop)}
        deviation = _deviation(ends, done)
        if batches.dtype == torch.float32 and not torch.is_autocast_enabled(batches.place.type) and deviation > _SAME:
            ends, done, deviation = self._switch_attention(ends, done, deviation, stop)
            if _SAME < deviation <= _MIXED:
                warnings.warn(
                    f"capture: an image's features differ by {deviation:.1e} between batches: the model's own "
                    "rounding depends on the batch",
                    stacklevel=4,
                )
        _check_same(ends, done)
        self.facts["alone_against_batch"] = deviation
        return done

    def batch(self, start: int, stop: int) -> dict[Key, Tensor]:
        """Features and losses of images [start, stop)."""
        done = self._kept.pop((start, stop), None) or self._run(start, stop)
        for key, values in done.sketches.items():
            bad = (~values.isfinite()).flatten(1).any(1).nonzero()
            if len(bad) > 0:
                raise RuntimeError(
                    f"capture: {key[0]} of layer {key[1]!r} is not finite for image {start + int(bad[0])}"
                )
        losses = done.losses if done.losses is not None else torch.full((stop - start,), float("nan"))
        entropy: dict[Key, Tensor] = {} if done.entropy is None else {("entropy", ""): done.entropy}
        return {**done.sketches, ("losses", ""): losses, **entropy}

    def _run(self, start: int, stop: int) -> Pass:
        """In float16, again with a smaller scale until no gradient overflows."""
        while True:
            forward = self.batches.forward(self.taps, start, stop)
            place = self.batches.place
            if stop - start == 1:
                done = self.taps.alone(forward, place)
            else:
                done = self.taps.together(forward, stop - start, place)
            gradients = [value for key, value in done.sketches.items() if key[0] != "activation"]
            if self.taps.scale <= 1 or all(bool(value.isfinite().all()) for value in gradients):
                return done
            self.taps.scale = max(1.0, self.taps.scale / 4)

    def _check_covered(self, alone: Pass, done: Pass, uncovered: str) -> bool:
        """Every parameter that has a gradient for one image has been seen in the batch; or some are now left out."""
        gradients = self.taps.gradients
        wanted = {gradients.names[key] for key in alone.reached}
        missing = sorted((wanted - {gradients.names[key] for key in done.reached}) | (wanted & set(done.uncovered)))
        if not missing:
            return False
        listed = ", ".join(f"{name} (used by {done.uncovered.get(name, 'no call seen')})" for name in missing)
        message = f"capture: no rule gives each image's gradient of {listed}; batch_size=1 is exact for any model"
        if uncovered == "error":
            raise CoverageError(message)
        warnings.warn(f"{message}; their part is missing from weight_gradient", stacklevel=4)
        self.facts["uncovered"] = missing
        gradients.leave_out(missing)
        return True

    def _switch_attention(
        self, ends: dict[int, Pass], done: Pass, before: float, stop: int
    ) -> tuple[dict[int, Pass], Pass, float]:
        """Fused attention may sum in an order that depends on the batch; the plain products do so less."""
        with ExitStack() as plain:
            plain.enter_context(sdpa_kernel(SDPBackend.MATH))
            again_ends, again = {i: self._run(i, i + 1) for i in ends}, self._run(0, stop)
            after = _deviation(again_ends, again)
            if not after < before:
                return ends, done, before
            self._how.push(plain.pop_all())
        warnings.warn(
            f"capture: with fused attention an image's features differ by {before:.1e} between batches; attention is "
            f"computed by plain products instead, with which they differ by {after:.1e}",
            stacklevel=6,
        )
        self.facts["attention"] = "math"
        return again_ends, again, after


def _pairs(ends: Mapping[int, Pass], done: Pass) -> Iterator[tuple[Key, Tensor, Tensor]]:
    """What images alone and in the batch have in common: features and losses."""
    for row, alone in ends.items():
        for key, values in alone.sketches.items():
            yield key, values[0], done.sketches[key][row]
        if alone.losses is not None and done.losses is not None:
            yield ("losses", ""), alone.losses[0], done.losses[row]


def _deviation(ends: Mapping[int, Pass], done: Pass) -> float:
    """The greatest relative difference between an image alone and in its batch."""
    errors = [float((a - b).norm() / a.norm().clamp_min(1e-30)) for key, a, b in _pairs(ends, done) if key[1]]
    return max(errors, default=0.0)


def _check_same(ends: Mapping[int, Pass], done: Pass) -> None:
    tolerance = 8 * _MIXED if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda") else _MIXED
    for (kind, layer), alone, together in _pairs(ends, done):
        if not alone.isfinite().all():
            continue  # said with the image's number
        if (alone - together).norm() <= tolerance * alone.norm() + torch.finfo(torch.float32).tiny:
            continue
        if kind == "losses":
            raise RuntimeError(
                f"capture: the objective gives an image the loss {float(alone):.6g} alone and {float(together):.6g} "
                "in its batch (does it mix images, or take rows of a table without batch.index?)"
            )
        raise RuntimeError(
            f"capture: layer {layer!r}: run on one image alone, the model gives another {kind} than in the "
            "batch, so an image has none of its own (does the model mix images, or draw random numbers?)"
        )
