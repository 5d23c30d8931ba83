"""Activations and gradients of any model, sketched layer by layer in one forward and backward per batch."""

import difflib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gradkern.features._engine.batches import Batches, Runner
from gradkern.features._engine.feedback_alignment import Feedback
from gradkern.features._engine.fingerprint import fingerprint
from gradkern.features._engine.gradient_controls import FEEDBACK, SIGN_SYMMETRIC, make_controls
from gradkern.features._engine.hooks import KINDS, Taps
from gradkern.features._engine.weight_gradients import LayerGradients
from gradkern.features._features import Features
from gradkern.features._images import check_images, image_batch
from gradkern.features._store import Arrays
from gradkern.features._tokens import check_reduction
from gradkern.kernels._sketch import Sketch
from gradkern.objectives._base import facts_of
from gradkern.objectives._interface import Objective

_AUTOCAST = (torch.bfloat16, torch.float16)


def capture(
    model: nn.Module,
    images: Tensor | Sequence[Any],
    objective: Objective | None,
    *,
    layers: Sequence[str] | None = None,
    kinds: Sequence[str] = ("activation", "gradient"),
    tokens: str | Sequence[str] = "all",
    sketch: Sketch | Literal["raw"] | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    out: str | Path | None = None,
    uncovered: str = "error",
    compile: bool = False,
    progress: bool = True,
    control_seed: int = 0,
) -> Features:
    """Sketch a model's activations and gradients at named layers.

    Kinds: "activation" is a layer's output; "gradient" that of the objective with respect to the output;
    "weight_gradient" that of the objective with respect to all parameters under the layer, for each image by itself.
    Controls are null versions of "gradient" (`gradkern.features._engine.gradient_controls`):
    "gradient/target-shuffled", by another
    image's target; "gradient/random-cotangent", from a random vector at the model's output, as long as the true one;
    "gradient/feedback-alignment" and "gradient/sign-symmetric", through random weights on the way back.
    Of a layer that returns a tuple the first element counts. Parameters are frozen and the model is in eval mode
    while this runs; both are put back.

    Parameters
    ----------
    model : any module whose images do not mix (in eval mode)
    images : [N, 3, h, w], or a sequence of [3, h, w] of one size; preprocessed, floating point
    objective : `objective(output, batch) -> [n]`, a loss per image (see `gradkern.objectives`); `batch` has `images`
        and `index`. The losses are summed, so no image's gradient depends on its batch. None, for activations alone,
        stops the forward pass at the deepest layer.
    layers : names as in `model.named_modules()`; None takes the blocks of a model of `load_model`
    kinds : of "activation", "gradient", "weight_gradient" and the controls
    tokens : of "all", "class", "registers", "patches", "mean", "rms" (root mean square over positions): what of a
        layer's output, and of its gradient, is taken; several of them make an axis of the features
    sketch : the map to R^k; None is Sketch(1024); "raw" leaves pooled tokens ("class", "mean", "rms") as they are
    batch_size : images at a time; None takes what fits into memory, at most 16 on a CPU and 128 on a GPU
    device : where the model is (a model is not moved); images go there batch by batch
    dtype : that the model computes in; bfloat16 or float16 for a float32 model means autocast. None: the model's, or
        that of an autocast around the call.
    out : a folder for the features, written batch by batch; the same call goes on where an earlier one stopped (all
        images, the model and the objective are compared; what its own code calls in other packages is not)
    uncovered : "error" for parameters whose gradient no rule captures, or "warn" (they are left out and recorded)
    compile : run each layer through `torch.compile`; not with weight_gradient and with random weights on the way
        back, which watch the calls inside
    progress : a bar with images/s and the time left, on a terminal
    control_seed : of all that controls draw

    Returns
    -------
    Features, a mapping (kind, layer) -> float32 [N, k] on the CPU, or [N, tokens, k] if several tokens were asked for

    Raises
    ------
    ValueError : before any work: a layer that does not exist (near names are given), mixed image sizes, wrong dtype
        or device; at the first batch: an objective that is not one loss per image
    CoverageError : no rule captures the gradient of a parameter
    MemoryError : the batch does not fit
    FileExistsError : `out` holds something else
    RuntimeError : a layer ran twice or not at all, the objective's gradient never reached it, values are not finite,
        images mix

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
    own, dtype, autocast = _check_dtype(model, dtype, place)
    count = check_images(images)
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"capture: batch_size must be an integer of at least 1, got {batch_size!r}")
    if objective is None and set(wanted) != {"activation"}:
        raise ValueError(f"capture: objective must be given for {[k for k in wanted if k != 'activation']}, got None")
    if uncovered not in ("error", "warn"):
        raise ValueError(f'capture: uncovered must be "error" or "warn", got {uncovered!r}')
    watching = [kind for kind in wanted if kind in ("weight_gradient", *FEEDBACK)]
    if compile and watching:
        raise ValueError(f"capture: compile must be False for {watching[0]}, which watches the calls inside a layer")
    controls = make_controls(wanted, objective, control_seed, count)
    reduction = check_reduction(tokens, sketch, wanted, getattr(model, "spec", None), image_batch(images, 0, 1))
    tap = LayerGradients({name: model.get_submodule(name) for name in names}, reduction.map)
    taps = Taps(model, names, wanted, tap, reduction)
    taps.stop_early = objective is None
    for kind in (kind for kind in wanted if kind in FEEDBACK):
        taps.feedback[kind] = Feedback(model, control_seed, sign_symmetric=kind == SIGN_SYMMETRIC)
    runner = Runner(taps, Batches(model, images, objective, place, own, controls), half=dtype == torch.float16)
    about: dict[str, Any] = dict(facts_of(objective)) if objective else {"name": "none", "exact": True}
    asked = {
        "layers": list(names), "kinds": list(wanted), "tokens": reduction.tokens, **reduction.facts(),
        "dtype": str(dtype).removeprefix("torch."), "objective": about,
        **controls.facts(),
    }  # fmt: skip
    compiled = _compiled(taps.layers if compile else {})
    with torch.inference_mode(False), _frozen(model), taps, runner, autocast, compiled:
        files = None if out is None else runner.files(Path(out), {**asked, "objective": _told_apart(objective)}, count)
        start = files.done if files is not None else 0
        if start < count:
            runner.first(batch_size, uncovered)
        store = files or Arrays(count)
        store.open(runner.shapes, runner.facts)
        with _progress(count, start, progress) as advance:
            while start < count:
                stop = min(start + runner.batch_size, count)
                values = runner.batch(start, stop)
                store.facts["loss_scale"] = taps.scale
                store.write(start, values)
                advance(stop - start)
                start = stop
    arrays = store.tensors()
    losses, entropy = arrays.pop(("losses", "")), arrays.pop(("entropy", ""), None)
    name, exact = str(about["name"]), about["exact"]
    return Features(
        arrays, losses, name, reduction.sketch, asked["dtype"], reduction.tokens, store.facts, exact, entropy
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


def _check_dtype(
    model: nn.Module, dtype: torch.dtype | None, place: torch.device
) -> tuple[torch.dtype, torch.dtype, AbstractContextManager[Any]]:
    """The model's dtype, that it computes in, and the autocast for it; one that is on already counts."""
    own = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    if dtype is None:
        outside = torch.is_autocast_enabled(place.type)
        return own, torch.get_autocast_dtype(place.type) if outside else own, nullcontext()
    if dtype == own:
        return own, own, torch.autocast(place.type, enabled=False)
    if own == torch.float32 and dtype in _AUTOCAST:
        return own, dtype, torch.autocast(place.type, dtype=dtype)
    raise ValueError(f"capture: dtype must be {own} (the model's) or a half type for autocast, got {dtype}")


def _told_apart(objective: Objective | None) -> dict[str, Any] | None:
    """What a later call must have the same of: an objective's facts, or the code and the values of a user's own."""
    if objective is None or hasattr(objective, "facts"):
        return dict(facts_of(objective)) if objective else None
    try:
        return {**facts_of(objective), "sha256": fingerprint(objective)}
    except TypeError as error:
        raise ValueError(
            "capture: objective must have `facts`, a dict that tells it from others, for files (out=): a later call "
            f"could not know it again by {error}"
        ) from error


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
def _compiled(layers: Mapping[str, nn.Module]) -> Iterator[None]:
    """Layers that hold no other one run compiled; their hooks stay outside."""
    leaves = [layers[name] for name in layers if not any(other.startswith(f"{name}.") for other in layers)]
    own = [(layer, layer.__dict__.get("forward")) for layer in leaves]
    try:
        for layer in leaves:
            layer.forward = torch.compile(layer.forward)
        yield
    finally:
        for layer, forward in own:
            if forward is None:
                layer.__dict__.pop("forward", None)
            else:
                layer.forward = forward


@contextmanager
def _progress(total: int, done: int, wanted: bool) -> Iterator[Callable[[int], None]]:
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
        task = bar.add_task("capture", total=total, completed=done, rate="–")

        def advance(images: int) -> None:
            bar.update(task, advance=images)
            speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
            bar.update(task, rate=f"{speed:.1f}" if speed else "–")

        yield advance
