"""The first batch of a capture: it is checked against its images alone, and decides how the other batches are run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gradkern.errors import CoverageError
from gradkern.features._engine.calls import Trace
from gradkern.features._engine.diagnosis import NudgedImages, in_double, moved_by_rounding
from gradkern.features._engine.memory import Meter, choose_batch_size
from gradkern.features._engine.passes import Pass, PassSettings, run_images, run_in_turn, warm_up
from gradkern.features._engine.plan import CapturePlan
from gradkern.features._features import Key
from gradkern.models._spec import describe_model

# An image alone against the same image in its batch. Kernels differ in rounding; images that mix are far above this.
_MIXED = 1e-2
_VANISHES = 1e-3  # of a difference in float32, in float64: eps is 2e-9 of that of float32, and 1e-8 at a square root
SAME = 1e-5  # in float32: what gradkern promises

_LARGEST_SCALE = 2.0**16  # of losses in float16, as torch.amp begins with

_Single = dict[int, Pass]  # index of an image -> its pass alone


@dataclass(frozen=True)
class FirstBatch:
    """What the first batch decides for all others.

    Attributes
    ----------
    batch_size : images at a time
    settings : how passes are run
    trace : the model's calls for one image alone
    result : the pass of the first batch, or of the first image where the batch size is 1
    facts : about the model and the run, for provenance
    warnings : messages for the user
    """

    batch_size: int
    settings: PassSettings
    trace: Trace
    result: Pass
    facts: Mapping[str, Any]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Check:
    """The passes of the first batch and of its images alone, at one stage of the checks."""

    settings: PassSettings
    single: _Single
    together: Pass
    facts: Mapping[str, Any]
    warnings: tuple[str, ...] = ()


def run_first_batch(plan: CapturePlan, batch_size: int | None, *, uncovered: str, is_float16: bool) -> FirstBatch:
    """Run one image alone, choose the batch size, run the first batch, and compare it with its ends alone.

    Raises
    ------
    MemoryError : the batch does not fit
    CoverageError : no rule covers a parameter, and `uncovered` is "error"
    RuntimeError : an image alone has other features than in the batch
    """
    settings = PassSettings(loss_scale=_LARGEST_SCALE if is_float16 else 1.0)
    meter, count = Meter(), len(plan.images)
    with meter.counting(plan.model):
        if "weight_gradient" in plan.kinds:
            warm_up(plan)
        first = run_images(plan, settings, 0, 1)
    if first.overwritten:
        _check_copies(plan, first)
    settings = replace(settings, loss_scale=first.loss_scale, copies_images=first.writes_input)
    size = min(choose_batch_size(batch_size, meter.needed, plan.device), count)
    facts = {
        **describe_model(plan.model, plan.layers),
        "batch_size": size,
        "bytes_per_image": meter.needed,
        "attention": "as the model has it",
        **plan.controls.facts(),
    }
    if size == 1:
        check = _check_coverage(plan, _Check(settings, {0: first}, first, facts), size, uncovered)
        facts = {**check.facts, "loss_scale": check.settings.loss_scale}
        return FirstBatch(1, check.settings, first.trace, check.together, facts, check.warnings)
    together = run_images(plan, settings, 0, size, first.trace)
    check = _Check(_scaled(settings, together), {0: first}, together, facts)
    check = _check_ends(plan, _check_coverage(plan, check, size, uncovered), size)
    check.settings.row_order.is_known = True
    facts = {**check.facts, "loss_scale": check.settings.loss_scale}
    return FirstBatch(size, check.settings, check.single[0].trace, check.together, facts, check.warnings)


def _check_copies(plan: CapturePlan, first: Pass) -> None:
    """Layers that return their input are given a copy; what overwrites it must not be read in the input as well."""
    losses = warm_up(plan)
    if first.losses is not None and not torch.allclose(losses, first.losses, rtol=_MIXED, atol=1e-6):
        raise RuntimeError(
            f"layer {first.overwritten[0]!r} returns its input, which the model overwrites behind it and reads again, "
            "so the layer has no gradient of its own; name another layer"
        )


def run_batches(plan: CapturePlan, first: FirstBatch, start: int, count: int) -> Iterator[tuple[int, int, Pass]]:
    """Images from `start` to `count`, batch by batch: (start, stop, the batch's pass)."""
    spans = [(i, min(i + first.batch_size, count)) for i in range(start, count, first.batch_size)]
    if spans and spans[0] == (0, first.batch_size):
        yield *spans.pop(0), first.result
    passes = run_in_turn(plan, first.settings, spans, first.trace)
    for (begin, end), result in zip(spans, passes, strict=True):
        yield begin, end, result


def arrays_of(result: Pass, start: int, stop: int) -> dict[Key, Tensor]:
    """Features, losses, entropy, outputs and labels of images [start, stop) as they are stored.

    Raises
    ------
    RuntimeError : a feature is not finite
    """
    for (kind, layer), values in result.sketches.items():
        bad = (~values.isfinite()).flatten(1).any(1).nonzero()
        if len(bad) > 0:
            raise RuntimeError(f"{kind} of layer {layer!r} is not finite for image {start + int(bad[0])}")
    losses = (
        result.losses
        if result.losses is not None
        else torch.full((stop - start,), float("nan"), dtype=torch.float32, device="cpu")
    )
    entropy: dict[Key, Tensor] = {} if result.entropy is None else {("entropy", ""): result.entropy}
    return {**result.sketches, ("losses", ""): losses, **entropy, **result.kept}


def array_shapes(plan: CapturePlan, first: FirstBatch) -> dict[Key, tuple[int, ...]]:
    """Shapes of one image's arrays, in the order of kinds and layers."""
    order = [(kind, layer) for kind in plan.kinds for layer in plan.layers]
    shapes: dict[Key, tuple[int, ...]] = {key: tuple(first.result.sketches[key].shape[1:]) for key in order}
    shapes["losses", ""] = ()
    if first.result.entropy is not None:
        shapes["entropy", ""] = ()
    shapes.update({key: tuple(values.shape[1:]) for key, values in first.result.kept.items()})
    return shapes


def _scaled(settings: PassSettings, result: Pass) -> PassSettings:
    """The settings for the pass after this one."""
    return replace(settings, loss_scale=result.loss_scale)


def _check_coverage(plan: CapturePlan, check: _Check, size: int, uncovered: str) -> _Check:
    """Every parameter that has a gradient for one image must have one in the batch; or is left out from now on."""
    lost = _lost(plan, check)
    never = {**_behind_tables(plan), **check.single[0].uncovered}
    missing = sorted({**lost, **never})
    if not missing:
        return check
    listed = ", ".join(f"{name} ({never.get(name) or lost[name]})" for name in missing)
    hint = "" if never else "; batch_size=1 is exact for any model"
    message = f"no rule gives each image's gradient of {listed}{hint}"
    if uncovered == "error":
        raise CoverageError(message)
    settings = replace(check.settings, left_out=frozenset(missing))
    first = run_images(plan, settings, 0, 1)
    settings = _scaled(settings, first)
    together = first if size == 1 else run_images(plan, settings, 0, size, first.trace)
    return _Check(
        _scaled(settings, together), {0: first}, together, {**check.facts, "uncovered": missing},
        (f"capture: {message}; their part is missing from weight_gradient",),
    )  # fmt: skip


def _lost(plan: CapturePlan, check: _Check) -> dict[str, str]:
    """Parameters that have a gradient for one image alone, but not in the batch -> why."""
    first, together = check.single[0], check.together
    if together is first:
        return {}
    names = (first.reached - together.reached) | (first.reached & together.uncovered.keys())
    return {name: together.uncovered.get(name, "used for one image alone, but not in the batch") for name in names}


def _behind_tables(plan: CapturePlan) -> dict[str, str]:
    """Parameters of the layers that reach the output through a table that was computed before -> why."""
    if "weight_gradient" not in plan.kinds:
        return {}
    names = set(plan.parameters.names.values())
    return {
        name: f"{table} was computed from it before the capture and is kept"
        for table, sources in plan.tables.items()
        for name in sources
        if name in names
    }


def _check_ends(plan: CapturePlan, check: _Check, size: int) -> _Check:
    """Compare the first and the last image of the batch, alone and in it; change attention if that brings them nearer.

    Features in float32 are promised to agree to `SAME`; a difference above `_MIXED` is an error, unless rounding alone
    moves them as far.
    """
    last = run_images(plan, check.settings, size - 1, size)
    check = replace(check, settings=_scaled(check.settings, last), single={**check.single, size - 1: last})
    deviation = _deviation(check)
    if plan.dtype == torch.float32 and not torch.is_autocast_enabled(plan.device.type) and deviation > SAME:
        noise = _noise(plan, check)
        if noise > SAME:
            message = f"the model draws random numbers: two runs of image 0 alone differ by {noise:.1e}"
            if noise > _MIXED:
                raise RuntimeError(f"{message}, so an image has no features of its own")
            check = replace(check, warnings=(*check.warnings, f"capture: {message}"))
        else:
            check = _with_plain_attention(plan, check, size)
            deviation = _deviation(check)
        if noise <= SAME < deviation <= _MIXED:
            message = (
                f"capture: an image's features differ by {deviation:.1e} between batches: the model's own rounding "
                "depends on the batch"
            )
            check = replace(check, warnings=(*check.warnings, message))
    check = replace(check, warnings=(*check.warnings, *_check_same(plan, check), *_zero_gradients(check)))
    return replace(check, facts={**check.facts, "alone_against_batch": deviation})


def _noise(plan: CapturePlan, check: _Check) -> float:
    """How far two runs of image 0 alone differ."""
    again = run_images(plan, check.settings, 0, 1)
    apart = [_relative(a[0], again.sketches[key][0]) for key, a in check.single[0].sketches.items()]
    return max(apart, default=0.0)


def _zero_gradients(check: _Check) -> list[str]:
    """Layers at which no image of the batch has a gradient."""
    layers = [
        layer
        for (kind, layer), values in check.together.sketches.items()
        if kind == "gradient" and not bool(values.any())
    ]
    if not layers:
        return []
    return [f"capture: the gradient is zero for all images of the first batch at {', '.join(map(repr, layers))}"]


def _with_plain_attention(plan: CapturePlan, check: _Check, size: int) -> _Check:
    """The same passes with attention by plain products, if images alone and in the batch are nearer to each other.

    Fused attention may sum in an order that depends on the batch; plain products do so less.
    """
    settings = replace(check.settings, plain_attention=True)
    images = list(check.single)
    passes = list(run_in_turn(plan, settings, [(i, i + 1) for i in images]))
    settings = _scaled(settings, passes[-1])
    together = run_images(plan, settings, 0, size, passes[0].trace)
    plain = replace(
        check, settings=_scaled(settings, together), single=dict(zip(images, passes, strict=True)), together=together
    )
    before, after = _deviation(check), _deviation(plain)
    if not after < before / 2:
        return check
    message = (
        f"capture: with fused attention an image's features differ by {before:.1e} between batches; attention is "
        f"computed by plain products instead, with which they differ by {after:.1e}"
    )
    return replace(plain, facts={**check.facts, "attention": "math"}, warnings=(*check.warnings, message))


def _pairs(check: _Check) -> Iterator[tuple[Key, Tensor, Tensor]]:
    """Features and losses of images alone, and of the same images in the batch."""
    for row, alone in check.single.items():
        for key, values in alone.sketches.items():
            yield key, values[0], check.together.sketches[key][row]
        if alone.losses is not None and check.together.losses is not None:
            yield ("losses", ""), alone.losses[0], check.together.losses[row]


def _deviation(check: _Check) -> float:
    """The greatest relative difference between an image alone and in its batch."""
    errors = [_relative(a, b) for key, a, b in _pairs(check) if key[1] and not _is_nothing(check, key, a, b)]
    return max(errors, default=0.0)


def _relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / a.norm().clamp_min(1e-30))


def _is_nothing(check: _Check, key: Key, a: Tensor, b: Tensor) -> bool:
    """Whether two features are zero but for the rounding of what they are sums of: far below others of their kind."""
    others = [values.flatten(1).norm(dim=1).max() for (kind, _), values in check.together.sketches.items()
              if kind == key[0]]  # fmt: skip
    largest = float(torch.stack(others).max()) if others else 0.0
    return float((a - b).norm()) <= SAME * largest and float(a.norm()) <= SAME * largest


def _check_same(plan: CapturePlan, check: _Check) -> list[str]:
    """Raise an error where an image alone is another than in its batch; returns what rounding explains."""
    tolerance = 8 * _MIXED if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda") else _MIXED
    said: list[str] = []
    precise: _Check | None = None
    for row, passed in check.single.items():
        for key, alone, together in _pairs(replace(check, single={row: passed})):
            apart = float((alone - together).norm())
            if not alone.isfinite().all() or _is_nothing(check, key, alone, together):
                continue  # `arrays_of` names the image
            if apart <= tolerance * float(alone.norm()) + torch.finfo(torch.float32).tiny:
                continue
            moved = _moved_by_rounding(plan, check, row, key, apart)
            if moved is not None:
                said.append(_rounded(key, row, (apart, moved, float(alone.norm()))))
                continue
            precise = precise or _in_double(plan, check)
            left = _apart(precise, row, key)
            if not left <= _VANISHES * apart:
                raise RuntimeError(_mixed(key, alone, together))
            said.append(_vanished(key, row, (apart, left, float(alone.norm()))))
    return said[:1]  # a kink moves all layers before it


def _in_double(plan: CapturePlan, check: _Check) -> _Check:
    """The same passes in float64; without any where the model, its copy or the objective cannot be run so."""
    size, images = len(next(iter(check.together.sketches.values()))), list(check.single)
    nothing = replace(check, single={}, together=Pass())
    if plan.dtype == torch.float64:
        return nothing
    settings = replace(check.settings, loss_scale=1.0)
    try:
        doubled = in_double(plan)
        passes = [run_images(doubled, settings, i, i + 1) for i in images]
        together = run_images(doubled, settings, 0, size, passes[0].trace)
    except Exception:  # whatever a model's own code raises: what it does in float64 is then unknown
        return nothing
    return replace(check, single=dict(zip(images, passes, strict=True)), together=together)


def _apart(check: _Check, row: int, key: Key) -> float:
    """How far an image alone is from the same image in the batch; NaN where that is not known."""
    passed = {row: check.single[row]} if row in check.single else {}
    pairs = {name: float((a - b).norm()) for name, a, b in _pairs(replace(check, single=passed))}
    return pairs.get(key, float("nan"))


def _moved_by_rounding(plan: CapturePlan, check: _Check, row: int, key: Key, apart: float) -> float | None:
    def of(result: Pass) -> Tensor:
        values = result.sketches[key] if key[1] else result.losses
        return torch.full((1,), float("nan")) if values is None else values[0]

    def run(size: float, seed: int) -> Tensor:
        nudged = replace(plan, images=NudgedImages(plan.images, size, seed))
        return of(run_images(nudged, check.settings, row, row + 1))

    return moved_by_rounding(run, of(check.single[row]), apart)


def _rounded(key: Key, row: int, norms: tuple[float, float, float]) -> str:
    """A difference that rounding explains: norms of the difference, of what rounding moves, and of the feature."""
    kind, layer = key
    apart, moved, whole = norms
    what = f"{kind} of layer {layer!r}" if layer else kind
    if moved >= whole:
        return f"capture: {what} is nothing but rounding for image {row}: its norm is {whole:.1e}"
    return (
        f"capture: {what} differs by {apart / whole:.1e} between batches for image {row}: rounding alone moves it by "
        f"{moved / whole:.1e}"
    )


def _vanished(key: Key, row: int, norms: tuple[float, float, float]) -> str:
    """A difference that is rounding: norms of it in float32 and in float64, and of the feature."""
    kind, layer = key
    apart, left, whole = norms
    what = f"{kind} of layer {layer!r}" if layer else kind
    return (
        f"capture: {what} differs by {apart / whole:.1e} between batches for image {row}, and by {left / whole:.1e} in "
        "float64: it is the rounding of the batch"
    )


def _mixed(key: Key, alone: Tensor, together: Tensor) -> str:
    kind, layer = key
    if kind == "losses":
        return (
            f"the objective gives an image the loss {float(alone):.6g} alone and {float(together):.6g} in its "
            "batch (does it mix images, or take rows of a table without batch.index?)"
        )
    return (
        f"layer {layer!r}: run on one image alone, the model gives another {kind} than in the batch, so an image "
        "has none of its own (does the model mix images?)"
    )
