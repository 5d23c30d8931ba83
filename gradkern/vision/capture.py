"""Activations and gradients of any model, sketched layer by layer in one forward and backward per batch."""

import difflib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from gradkern.sketch import Sketch
from gradkern.vision.contract import Batch, Objective, Prepared
from gradkern.vision.features import Features, Key
from gradkern.vision.images import check_images, image_batch
from gradkern.vision.layout import as_matrices
from gradkern.vision.parameters import LayerGradients
from gradkern.vision.taps import KINDS, Pass, Taps

_AUTOCAST = (torch.bfloat16, torch.float16)

# An image alone against the same image in its batch. Kernels differ in rounding; images that mix are far above this.
_MIXED = 1e-2


class CoverageError(RuntimeError):
    """Parameters that have a gradient and no rule to capture it by."""


def capture(
    model: nn.Module,
    images: Tensor | Sequence[Any],
    objective: Objective | None,
    *,
    layers: Sequence[str] | None = None,
    kinds: Sequence[str] = ("activation", "gradient"),
    sketch: Sketch | None = None,
    batch_size: int = 16,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    progress: bool = True,
) -> Features:
    """Sketch a model's activations and gradients at named layers.

    Kinds: "activation" is a layer's output; "gradient" that of the objective with respect to the output;
    "weight_gradient" that of the objective with respect to all parameters under the layer, for each image by itself.
    Of a layer that returns a tuple the first element counts. Parameters are frozen and the model is in eval mode
    while this runs; both are put back.

    Parameters
    ----------
    model : any module whose images do not mix (in eval mode)
    images : [N, 3, h, w], or a sequence of [3, h, w] of one size; preprocessed, floating point
    objective : `objective(output, batch) -> [n]`, a loss per image (see `gradkern.objectives`); `batch` has `images`
        and `index`. The losses are summed, so no image's gradient depends on its batch.
    layers : names as in `model.named_modules()`; None takes the blocks of a model of `load_model`
    kinds : of "activation", "gradient", "weight_gradient"
    sketch : the map to R^k; None is Sketch(1024)
    batch_size : images at a time
    device : where the model is (a model is not moved); images go there batch by batch
    dtype : that the model computes in; bfloat16 or float16 for a float32 model means autocast. None: the model's.
    progress : a bar with images/s and the time left, on a terminal

    Returns
    -------
    Features, a mapping (kind, layer) -> float32 [N, k] on the CPU

    Raises
    ------
    ValueError : before any work: a layer that does not exist (near names are given), mixed image sizes, wrong dtype
        or device; at the first batch: an objective that is not one loss per image
    RuntimeError : a layer ran twice or not at all, the objective's gradient never reached it, values are not finite

    Examples
    --------
    >>> import torch, gradkern
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(1))
    >>> loss = lambda output, batch: output.square().sum(1)
    >>> features = gradkern.capture(model, torch.randn(5, 3, 8, 8), loss, layers=["0"], kinds=["weight_gradient"])
    >>> features["weight_gradient", "0"].shape
    torch.Size([5, 1024])
    """
    names = _check_layers(model, layers)
    wanted = _check_kinds(kinds)
    place = _check_device(model, device)
    compute, autocast = _check_dtype(model, dtype)
    count = check_images(images)
    if batch_size < 1:
        raise ValueError(f"capture: batch_size must be at least 1, got {batch_size}")
    if objective is None and set(wanted) != {"activation"}:
        raise ValueError(f"capture: objective must be given for {[k for k in wanted if k != 'activation']}, got None")
    sketch = sketch if sketch is not None else Sketch(1024)
    arrays: dict[Key, Tensor] = {(kind, name): torch.empty(count, sketch.k) for kind in wanted for name in names}
    losses = torch.full((count,), float("nan"))
    gradients = LayerGradients({name: model.get_submodule(name) for name in names}, sketch)
    taps = Taps(model, names, wanted, gradients, lambda x: sketch(as_matrices(x)))
    taps.stop_early = objective is None
    batches = Batches(model, images, objective, place, compute)
    with _frozen(model), taps, autocast(place.type), _progress(count, progress) as advance:
        alone = batches.alone(taps, 0)
        for start in range(0, count, batch_size):
            stop = min(start + batch_size, count)
            if stop - start == 1:
                done = alone if start == 0 else batches.alone(taps, start)
            else:
                done = batches.run(taps, start, stop)
            if start == 0:
                _check_covered(alone, done, gradients)
                _check_same(alone, done)
            for key, values in done.sketches.items():
                _check_finite(values, key, start)
                arrays[key][start:stop] = values
            if done.losses is not None:
                losses[start:stop] = done.losses
            advance(stop - start)
    return Features(arrays, losses, _name(objective), sketch, str(dtype or compute).removeprefix("torch."))


@dataclass(frozen=True)
class Batches:
    """Images, batch by batch, through the model and its objective."""

    model: nn.Module
    images: Tensor | Sequence[Any]
    objective: Objective | None
    place: torch.device
    dtype: torch.dtype

    def alone(self, taps: Taps, number: int) -> Pass:
        return taps.alone(self._forward(taps, number, number + 1), self.place)

    def run(self, taps: Taps, start: int, stop: int) -> Pass:
        return taps.together(self._forward(taps, start, stop), stop - start, self.place)

    def _forward(self, taps: Taps, start: int, stop: int) -> Callable[[nn.Module], Tensor]:
        images = image_batch(self.images, start, stop).detach().to(self.place, self.dtype)
        batch = Batch(images, torch.arange(start, stop))
        prepare = getattr(self.objective, "prepare", None)
        prepared = Prepared()
        if prepare is not None:
            with taps.off(), torch.no_grad():
                prepared = prepare(self.model, batch)
            batch = replace(batch, context=prepared.context)

        def forward(model: nn.Module) -> Tensor:
            output = model(images, **prepared.inputs)
            return images.new_zeros(len(images)) if self.objective is None else _losses(self.objective, batch, output)

        return forward


def _check_covered(alone: Pass, done: Pass, gradients: LayerGradients) -> None:
    """Every parameter that has a gradient for one image has been seen in the batch."""
    missing = [gradients.names[key] for key in alone.reached - done.reached]
    missing = sorted(set(missing) | (set(done.uncovered) & {gradients.names[key] for key in alone.reached}))
    if missing:
        listed = ", ".join(f"{name} (used by {done.uncovered.get(name, 'no function seen')})" for name in missing)
        raise CoverageError(
            f"capture: no rule gives each image's gradient of {listed}; batch_size=1 is exact for any model"
        )


def _check_same(alone: Pass, done: Pass) -> None:
    for key, values in alone.sketches.items():
        error = (values[0] - done.sketches[key][0]).norm()
        if not error <= _MIXED * values[0].norm() + torch.finfo(torch.float32).tiny:
            if not values.isfinite().all():
                continue  # said with the image's number
            raise RuntimeError(
                f"capture: layer {key[1]!r}: run on one image alone, the model gives another {key[0]} than in the "
                "batch, so an image has none of its own (does the model mix images, or draw random numbers?)"
            )


def _check_layers(model: nn.Module, layers: Sequence[str] | None) -> tuple[str, ...]:
    if layers is None:
        spec = getattr(model, "spec", None)
        if spec is None:
            raise ValueError("capture: layers must name modules of the model, got None and a model without a spec")
        layers = spec.layers
    if isinstance(layers, str) or len(layers) == 0:
        raise ValueError(f"capture: layers must be a sequence of at least one name, got {layers!r}")
    existing = [name for name, _ in model.named_modules() if name]
    for name in layers:
        if name not in existing:
            near = difflib.get_close_matches(name, existing, n=5, cutoff=0.4)
            hint = f"near names: {', '.join(near)}" if near else f"the first are: {', '.join(existing[:5])}"
            raise ValueError(f"capture: layers must name modules of the model, got {name!r}; {hint}")
    if len(set(layers)) < len(layers):
        raise ValueError(f"capture: layers must not repeat a name, got {list(layers)}")
    return tuple(layers)


def _check_kinds(kinds: Sequence[str]) -> tuple[str, ...]:
    if isinstance(kinds, str) or len(kinds) == 0 or len(set(kinds)) < len(kinds) or not set(kinds) <= set(KINDS):
        raise ValueError(f"capture: kinds must be some of {list(KINDS)}, each once, got {kinds!r}")
    return tuple(kinds)


def _check_device(model: nn.Module, device: torch.device | str | None) -> torch.device:
    tensors = [*model.parameters(), *model.buffers()]
    places = {t.device for t in tensors} or {torch.device("cpu")}
    if len(places) > 1:
        raise ValueError(f"capture: the model must be on one device, got {sorted(map(str, places))}")
    place = places.pop()
    if device is not None and torch.device(device) not in (place, torch.device(place.type)):
        raise ValueError(
            f"capture: device must be where the model is, {place}, got {device}; call model.to({device!r})"
        )
    return place


def _check_dtype(model: nn.Module, dtype: torch.dtype | None) -> tuple[torch.dtype, Callable[[str], Any]]:
    own = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    if dtype is None or dtype == own:
        return own, lambda device: nullcontext()
    if own == torch.float32 and dtype in _AUTOCAST:
        return own, lambda device: torch.autocast(device, dtype=dtype)
    raise ValueError(f"capture: dtype must be {own} (the model's) or a half type for autocast, got {dtype}")


def _losses(objective: Objective, batch: Batch, output: Any) -> Tensor:
    losses = objective(output, batch)
    n = len(batch.images)
    if not isinstance(losses, Tensor) or losses.shape != (n,):
        got = list(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise ValueError(f"capture: objective must return one loss per image, [{n}], got {got}")
    return losses


def _check_finite(values: Tensor, key: Key, start: int) -> None:
    bad = (~values.isfinite()).any(1).nonzero()
    if len(bad) > 0:
        raise RuntimeError(f"capture: {key[0]} of layer {key[1]!r} is not finite for image {start + int(bad[0])}")


def _name(objective: Objective | None) -> str:
    if objective is None:
        return "none"
    return str(getattr(objective, "name", None) or getattr(objective, "__name__", type(objective).__name__))


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Eval mode and no parameter gradients; both as they were afterwards."""
    training = {module: module.training for module in model.modules()}
    trainable = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        model.eval()
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, mode in training.items():
            module.training = mode
        for parameter, requires_grad in trainable.items():
            parameter.requires_grad_(requires_grad)


@contextmanager
def _progress(total: int, wanted: bool) -> Iterator[Callable[[int], None]]:
    if not (wanted and sys.stderr.isatty()):
        yield lambda images: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [
        TextColumn("capture"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]} images/s"),
        TimeRemainingColumn(),
    ]  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("capture", total=total, rate="–")

        def advance(images: int) -> None:
            bar.update(task, advance=images)
            speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
            bar.update(task, rate=f"{speed:.1f}" if speed else "–")

        yield advance
