"""Activations and gradients of any model, sketched layer by layer in one forward and backward pass per batch."""

import difflib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gradkern._float32 import convolving_in_tf32, multiplying_at
from gradkern._image_names import checked_names
from gradkern._integers import as_integer
from gradkern._lock import only_writer
from gradkern._progress import showing_progress
from gradkern.errors import naming
from gradkern.features._engine.fingerprint import fingerprint, fingerprint_of_model
from gradkern.features._engine.first_batch import array_shapes, arrays_of, run_batches, run_first_batch
from gradkern.features._engine.gradient_controls import FEEDBACK, make_controls
from gradkern.features._engine.hooks import KINDS
from gradkern.features._engine.images import ImageSource
from gradkern.features._engine.kept import KeptTensors, function_caches, without_tables
from gradkern.features._engine.model_state import compiled, frozen
from gradkern.features._engine.passes import warm_up
from gradkern.features._engine.plan import CapturePlan
from gradkern.features._engine.probe import probe
from gradkern.features._engine.tokens import check_reduction
from gradkern.features._features import CapturedImages, Features, Key, features_from
from gradkern.features._store import FeatureFiles, FeatureMemory, capture_state, check_same, saved_arrays
from gradkern.kernels._sketch import Sketch
from gradkern.objectives._base import check_seed, facts_of
from gradkern.objectives._interface import ObjectiveFunction

_AUTOCAST = (torch.bfloat16, torch.float16)
_Stored = tuple[dict[Key, Tensor], dict[str, Any]]  # arrays and facts
_StoreMaker = Callable[[Mapping[Key, tuple[int, ...]], Mapping[str, Any]], FeatureMemory | FeatureFiles]

_NO_OBJECTIVE = {"name": "none", "exact": True}


def capture(
    model: nn.Module,
    images: Tensor | Sequence[Any],
    objective: ObjectiveFunction | None,
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
    allow_tf32: bool = False,
    names: Sequence[str] | None = None,
    first_index: int = 0,
) -> Features:
    """Sketch a model's activations and gradients at named layers.

    The kinds of features are

    - "activation": a layer's output;
    - "gradient": the gradient of the objective with respect to the layer's output;
    - "weight_gradient": the gradient of the objective with respect to all parameters under the layer, for each image;
    - controls, which are null versions of "gradient": "gradient/target-shuffled" has the target of another image;
      "gradient/random-cotangent" comes from a random vector at the model's output, with the norm of the true gradient
      there; "gradient/feedback-alignment" and "gradient/sign-symmetric" go back through random weights.

    If a layer returns a tuple, its first element is taken. While the capture runs, parameters are frozen and the model
    is in eval mode; both are put back.

    Parameters
    ----------
    model : any module that, in eval mode, does not mix images
    images : [N, 3, h, w], or a sequence of [3, h, w] of one size; preprocessed, floating point
    objective : `objective(output, batch) -> [n]`, a loss per image (see `gradkern.objectives`); `batch` has `images`
        and `index`. The losses are summed, so that no image's gradient depends on its batch. With None, which goes with
        activations alone, the forward pass stops at the deepest layer.
    layers : names as in `model.named_modules()`; None takes the blocks of a model of `load_model`
    kinds : one or several kinds of features
    tokens : the part of a layer's output, and of its gradient, that is taken: "all", "class", "registers", "patches",
        "mean" or "rms" (root mean square) over positions; several of them make an axis of the features
    sketch : the map to R^k; None is Sketch(1024); "raw" leaves pooled tokens ("class", "mean", "rms") as they are
    batch_size : images at a time; None takes what fits into memory, at most 16 on a CPU and 128 on a GPU
    device : the device of the model, which is not moved; images are moved there batch by batch
    dtype : the type that the model computes in; bfloat16 or float16 for a float32 model means autocast. None takes the
        model's, or that of an autocast around the call.
    out : a folder that the features are written to, batch by batch; the same call goes on where an earlier one stopped.
        All images, the model and the objective are compared, but not the code of other packages that they call.
    uncovered : "error" if no rule captures the gradient of a parameter, or "warn" to leave it out and record that
    compile : whether each layer runs through `torch.compile`; not with "weight_gradient" and feedback weights, which
        watch the calls inside a layer
    progress : whether a terminal shows a bar with images/s and the time left, and a log a line a minute
    control_seed : seed of everything that controls draw
    allow_tf32 : whether a GPU may compute float32 convolutions and products in TF32, whose 11 bits move features by up
        to 1e-3. False switches TF32 off for the duration of the call, whatever torch's switches say; torch's default
        is that convolutions use it. `facts["allow_tf32"]` has the answer.
    names : of the images, all different, by which rows are matched with recordings; None takes `images.names` where
        there is such an attribute
    first_index : of image 0 among all images of a study, where these are a part of them: objectives and random
        cotangents draw by it, and tables of an objective are read at it. The targets of other images are those of other
        images of the part

    Returns
    -------
    Features, a mapping (kind, layer) -> float32 [N, k] on the CPU, or [N, tokens, k] if several tokens were asked for

    Raises
    ------
    TypeError : the model is no module, or the objective cannot be called
    ValueError : before any work, for a layer that does not exist (similar names are listed), mixed image sizes, a wrong
        dtype or device; at the first batch, for an objective that does not return one loss per image
    CoverageError : no rule captures the gradient of a parameter
    MemoryError : the batch does not fit
    FileExistsError : `out` holds something else
    RuntimeError : a layer ran twice or not at all, the objective's gradient never reached it, values are not finite, or
        the model mixes images

    Examples
    --------
    >>> import torch, gradkern
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(1))
    >>> loss = lambda output, batch: output.square().sum(1)
    >>> features = gradkern.capture(model, torch.randn(5, 3, 8, 8), loss, layers=["0"], kinds=["weight_gradient"])
    >>> features["weight_gradient", "0"].shape
    torch.Size([5, 1024])
    """
    with naming("capture"):
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {_kind_of(model)}")
        batch_size = _check_options(batch_size, uncovered)
        wanted = _check_kinds(kinds, objective, is_compiled=compile)
        _check_not_compiled(model)
        chosen = _check_layers(model, layers)
        precision = _check_precision(model, dtype, _check_device(model, device))
        source = ImageSource(images)
        own = None if isinstance(images, Tensor) else getattr(images, "names", None)
        asked = own if names is None else names
        named = None if asked is None else checked_names(asked, len(source))
        plan = CapturePlan(
            model=model,
            images=source,
            objective=objective,
            layers={name: model.get_submodule(name) for name in chosen},
            kinds=wanted,
            reduction=check_reduction(tokens, sketch, wanted, getattr(model, "spec", None), source.batch(0, 1)),
            controls=make_controls(wanted, objective, control_seed, len(source)),
            device=precision.device,
            dtype=precision.model,
            first_index=check_seed(first_index, "first_index"),
        )
        described = facts_of(objective) if objective else _NO_OBJECTIVE
        with (
            torch.inference_mode(False),
            frozen(model),
            precision.autocast(),
            convolving_in_tf32(allow_tf32),
            multiplying_at("high" if allow_tf32 else "highest"),
            compiled(plan.layers if compile else {}),
        ):
            plan = _with_tables(plan)
            run = _Capture(plan, precision, batch_size, uncovered, progress, allow_tf32, named)
            arrays, facts = run.in_memory() if out is None else run.into(Path(out).expanduser())
        return features_from(
            arrays,
            objective=described,
            sketch=plan.reduction.sketch,
            dtype=precision.name,
            tokens=plan.reduction.tokens,
            facts=facts,
            images=CapturedImages(named, tuple(source.hashes[i] for i in range(len(source))), source.hashes_are_of),
        )


def _with_tables(plan: CapturePlan) -> CapturePlan:
    """The plan, with what the model keeps beside its parameters; tables that it computes when it runs are emptied."""
    functions = function_caches(plan.model)
    for function in functions:
        function.cache_clear()
    tables = without_tables(plan.model, lambda: warm_up(plan))
    return replace(plan, kept=KeptTensors(plan.model, functions) if plan.watches_calls else None, tables=tables)


@dataclass(frozen=True)
class _Precision:
    """Where and in what types the model computes."""

    device: torch.device
    model: torch.dtype  # of the model's parameters
    computed: torch.dtype  # that it computes in
    autocast: Callable[[], AbstractContextManager[Any]]

    @property
    def name(self) -> str:
        return str(self.computed).removeprefix("torch.")


@dataclass(frozen=True)
class _Capture:
    plan: CapturePlan
    precision: _Precision
    batch_size: int | None
    uncovered: str
    progress: bool
    allow_tf32: bool
    names: tuple[str, ...] | None

    def in_memory(self) -> _Stored:
        return self._run(0, lambda shapes, facts: FeatureMemory(self._count, shapes, facts))

    def into(self, folder: Path) -> _Stored:
        """Write the features into a folder, going on where an earlier call stopped."""
        if folder.exists() and not folder.is_dir():
            raise FileExistsError(f"out must be a new folder or an earlier capture, got the file {folder}")
        with only_writer(folder):
            self.plan.images.hash_stream()
            state = capture_state(folder, self._request(), self.plan.images)
            now = probe(self.plan)
            check_same(folder, state, self.plan.images, now)
            if state.is_finished:
                return saved_arrays(folder, state), dict(state.facts)
            state = replace(state, probe=state.probe or now)
            return self._run(state.done, lambda shapes, facts: FeatureFiles(folder, state, shapes, facts, self.names))

    def _run(self, start: int, make_store: _StoreMaker) -> _Stored:
        plan = self.plan
        first = run_first_batch(
            plan, self.batch_size, uncovered=self.uncovered, is_float16=self.precision.computed == torch.float16
        )
        for message in first.warnings:
            warnings.warn(message, stacklevel=4)
        store = make_store(array_shapes(plan, first), {**first.facts, "allow_tf32": self.allow_tf32})
        with showing_progress("capture", self._count, "images", start, self.progress) as advance:
            for begin, end, result in run_batches(plan, first, start, self._count):
                hashes = [plan.images.hashes[i] for i in range(begin, end)]
                store.write(begin, arrays_of(result, begin, end), result.loss_scale, hashes)
                advance(end - begin)
        if isinstance(store, FeatureFiles):
            store.note({"images": {"sha256": plan.images.sha256()}})
        not_finite = (~store.result()[0]["losses", ""].isfinite()).nonzero()[:, 0]
        if plan.objective is not None and len(not_finite) > 0:
            store.note({"losses_not_finite": len(not_finite)})
            warnings.warn(
                f"capture: the objective is not finite for {len(not_finite)} of {self._count} images, the first of "
                f"them image {int(not_finite[0])}",
                stacklevel=4,
            )
        return store.result()

    @property
    def _count(self) -> int:
        return len(self.plan.images)

    def _request(self) -> dict[str, Any]:
        """Everything that decides the features, beside the images: a later call goes on if it has the same."""
        plan = self.plan
        return {
            "layers": list(plan.layers), "kinds": list(plan.kinds), "tokens": plan.reduction.tokens,
            **plan.reduction.facts(), "dtype": self.precision.name, "objective": _identity(plan.objective),
            **plan.controls.facts(), "model": fingerprint_of_model(plan.model),
            **({"allow_tf32": True} if self.allow_tf32 else {}),
            **({"first_index": plan.first_index} if plan.first_index else {}),
            **({"names_sha256": fingerprint(self.names)} if self.names else {}),
        }  # fmt: skip


def _check_options(batch_size: int | None, uncovered: str) -> int | None:
    try:
        size = None if batch_size is None else as_integer("batch_size", batch_size)
    except TypeError:
        size = 0
    if size is not None and size < 1:
        raise ValueError(f"batch_size must be an integer of at least 1, got {batch_size!r}")
    if uncovered not in ("error", "warn"):
        raise ValueError(f'uncovered must be "error" or "warn", got {uncovered!r}')
    return size


def _check_not_compiled(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if type(module).__name__ == "OptimizedModule":
            raise ValueError(
                f"model must not be compiled, got {f'{name!r} compiled' if name else 'a compiled one'}: its calls and "
                "hooks are hidden; give the module that it was made of (._orig_mod), and compile=True if need be"
            )
        if getattr(module, "_compiled_call_impl", None) is not None:
            raise ValueError(
                f"model must not be compiled, got {name or 'a model'!r} on which .compile() was called; build it anew"
            )


def _kind_of(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"{value!r} ({type(value).__name__})"


def _check_layers(model: nn.Module, layers: Sequence[str] | None) -> tuple[str, ...]:
    if layers is None:
        spec = getattr(model, "spec", None)
        if spec is None:
            raise ValueError("layers must name modules of the model, got None and a model without a spec")
        layers = spec.layers
    layers = tuple(layers) if isinstance(layers, Iterable) and not isinstance(layers, str) else layers
    if not isinstance(layers, tuple) or len(layers) == 0:
        raise ValueError(f"layers must be a sequence of at least one name, got {layers!r}")
    existing = [name for name, _ in model.named_modules() if name]
    for name in layers:
        if not isinstance(name, str):
            raise ValueError(f"layers must be names of modules, got {_kind_of(name)}")
        if name not in existing:
            near = difflib.get_close_matches(name, existing, n=5, cutoff=0.4)
            hint = f"near names: {', '.join(near)}" if near else f"the first are: {', '.join(existing[:5])}"
            raise ValueError(f"layers must name modules of the model, got {name!r}; {hint}")
    if len(set(layers)) < len(layers):
        raise ValueError(f"layers must not repeat a name, got {list(layers)}")
    return tuple(layers)


def _check_kinds(kinds: Sequence[str], objective: ObjectiveFunction | None, *, is_compiled: bool) -> tuple[str, ...]:
    if isinstance(kinds, str) or len(kinds) == 0 or len(set(kinds)) < len(kinds) or not set(kinds) <= set(KINDS):
        raise ValueError(f"kinds must be some of {list(KINDS)}, each once, got {kinds!r}")
    if objective is not None and (isinstance(objective, type) or not callable(objective)):
        raise TypeError(f"objective must be None, an objective or objective(output, batch), got {_kind_of(objective)}")
    if objective is None and set(kinds) != {"activation"}:
        raise ValueError(f"objective must be given for {[k for k in kinds if k != 'activation']}, got None")
    watching = [kind for kind in kinds if kind in ("weight_gradient", *FEEDBACK)]
    if is_compiled and watching:
        raise ValueError(f"compile must be False for {watching[0]}, which watches the calls inside a layer")
    return tuple(kinds)


def _check_device(model: nn.Module, device: torch.device | str | None) -> torch.device:
    tensors = [*model.parameters(), *model.buffers()]
    devices = {t.device for t in tensors} or {torch.device("cpu")}
    if len(devices) > 1 and any(device.type == "meta" for device in devices):
        raise ValueError(
            "the model must be on one device, got parts on the meta device: it is offloaded (by accelerate); "
            "load it whole"
        )
    if len(devices) > 1:
        raise ValueError(f"the model must be on one device, got {sorted(map(str, devices))}")
    own = devices.pop()
    if own.type == "meta":
        raise ValueError(
            "the model must hold its weights, got parameters on the meta device (is it offloaded, or not loaded yet?)"
        )
    try:
        wanted = own if device is None else torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"device must be a torch device such as 'cpu' or 'cuda:0', got {device!r}") from None
    if wanted not in (own, torch.device(own.type)):
        raise ValueError(f"device must be where the model is, {own}, got {device}; call model.to({device!r})")
    return own


def _check_precision(model: nn.Module, dtype: torch.dtype | None, device: torch.device) -> _Precision:
    """The types that the model has and computes in; an autocast around the call counts."""
    own = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    if dtype is None:
        is_outside = torch.is_autocast_enabled(device.type)
        return _Precision(device, own, torch.get_autocast_dtype(device.type) if is_outside else own, nullcontext)
    if dtype == own:
        return _Precision(device, own, own, lambda: torch.autocast(device.type, enabled=False))
    if own == torch.float32 and dtype in _AUTOCAST:
        return _Precision(device, own, dtype, lambda: torch.autocast(device.type, dtype=dtype))
    raise ValueError(f"dtype must be {own} (the model's) or a half type for autocast, got {dtype}")


def _identity(objective: ObjectiveFunction | None) -> dict[str, Any] | None:
    """What tells an objective from others: its facts, or the code and the values of a user's own function."""
    if objective is None or hasattr(objective, "facts"):
        return dict(facts_of(objective)) if objective else None
    try:
        return {**facts_of(objective), "sha256": fingerprint(objective)}
    except TypeError as error:
        raise ValueError(
            "objective must have `facts`, a dict that tells it from others, for files (out=): a later call could not "
            f"recognise it by {error}"
        ) from error
