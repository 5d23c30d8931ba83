"""Watches the calls of torch that a model makes, and takes gradients from those that use a layer's parameters.

Functions are watched, not modules: whoever calls `F.linear` with a module's weight (timm's fused qkv,
`nn.MultiheadAttention`) is seen as well. Parameters stay frozen; autograd computes no gradient of theirs.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from gradkern.errors import CoverageError
from gradkern.features._engine.backward import BackwardPasses
from gradkern.features._engine.calls import (
    COMPOSITES,
    Call,
    Shapes,
    Trace,
    call_inside,
    is_in_place,
    name_of_call,
    sample_of,
    shapes_of,
    swap,
    tensors_in,
)
from gradkern.features._engine.image_by_image import ImageByImage, RowOrder, image_axis, images_in
from gradkern.features._engine.rules import BROADCASTS, EXPANSIONS, REPEATS, RULES, Samples, Use
from gradkern.features._engine.weight_gradients import LayerGradients
from gradkern.features._engine.weights import Weights
from gradkern.models._kept_slots import flat

_ATTENTION = ("query", "key", "value")


class ModelCalls(TorchFunctionMode):
    """A mode around a model's forward pass; hooks pause it for what they compute themselves."""

    def __init__(self) -> None:
        super().__init__()
        self._is_paused = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The calls inside are not the model's."""
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False

    def around_objective(self) -> AbstractContextManager[Any]:
        """What watches the objective, whose calls need not be the same for one image and for several."""
        return nullcontext()


class CallRecorder(ModelCalls):
    """Records every call of the forward pass of one image: the shapes of what it was given and of what it returned."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[Call] = []

    def trace(self) -> Trace:
        return tuple(self._calls)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._is_paused:
            return func(*args, **kwargs)
        if func in COMPOSITES:
            return call_inside(self, func, args, kwargs)
        tensors = tensors_in((args, kwargs))
        shapes, rows = shapes_of(tensors), _rows_of(tensors)
        out = func(*args, **kwargs)
        self._calls.append(Call(func, shapes, _shapes_after(func, args, out), rows))
        return out


def _shapes_after(func: Any, args: Any, out: Any) -> Shapes:
    """Shapes of what a call returned, or of the place that it has set."""
    return shapes_of(args[0].detach()[args[1]] if func is Tensor.__setitem__ else out)


def _rows_of(tensors: Sequence[Tensor]) -> dict[int, Tensor]:
    several = {i: t for i, t in enumerate(tensors) if t.dim() > 0 and len(t) > 1 and not isinstance(t, nn.Parameter)}
    return {i: sample_of(tensor) for i, tensor in several.items()}


class WeightGradientMode(ModelCalls):
    """Takes each image's gradient of the weights that the forward pass of a batch uses.

    It is active during the forward pass of n > 1 images. During the backward pass of the objective, the sketches are
    added up in `gradients`.

    Parameters
    ----------
    gradients : where the gradients go
    trace : the calls of one image alone, against which those of the batch are compared
    backward : the backward passes over this forward pass
    order : of the rows of images, which the first batch, whose first image the trace is of, finds out
    """

    def __init__(self, gradients: LayerGradients, trace: Trace, backward: BackwardPasses, order: RowOrder):
        super().__init__()
        self._trace, self._n, self._backward, self._order = trace, gradients.n, backward, order
        self._weights = Weights(gradients)
        self._uncovered: dict[str, str] = {}
        self._position = -1  # in the trace

    def uncovered(self) -> dict[str, str]:
        """Names of parameters that a call without a rule uses -> what uses them."""
        return dict(self._uncovered)

    def around_objective(self) -> AbstractContextManager[Any]:
        return _ObjectiveCalls(self._weights, self._uncovered)

    def leaves(self) -> list[Tensor]:
        """What stands for parameters; a gradient that arrives there came by a way that was not seen."""
        return self._weights.leaves()

    def note_leaks(self) -> None:
        """After a backward pass to the leaves: which parameters had a gradient by a way that was not seen."""
        for name in self._weights.reached_leaves():
            self._uncovered.setdefault(name, "used by a tensor that was overwritten in part")

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._is_paused:
            return func(*args, **kwargs)
        if func in COMPOSITES:
            return call_inside(self, func, args, kwargs)
        alone = self._next_in_trace(func)
        weights = [value for value in flat(args, kwargs) if self._weights.holds(value)]
        if not weights or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        return self._call(func, args, kwargs, weights, alone)

    def _next_in_trace(self, func: Any) -> Call:
        """The same call for one image alone."""
        self._position += 1
        # not `is`: a getter is a new object each time
        if self._position >= len(self._trace) or self._trace[self._position].function != func:
            raise CoverageError(
                f"the model does not make the same calls for one image and for {self._n} (at {name_of_call(func)}), "
                "so weight gradients cannot be told apart by image; batch_size=1 is exact for any model"
            )
        return self._trace[self._position]

    def _call(self, func: Any, args: Any, kwargs: Any, weights: list[Tensor], alone: Call) -> Any:
        images = self._images_in(alone, args, kwargs)
        out = None
        if func in EXPANSIONS or func in REPEATS:
            out = self._expand(func, args, kwargs, alone)
        elif images == {}:
            return self._derive(func, args, kwargs, weights, alone)
        elif func in RULES:
            out = self._apply_rule(func, args, kwargs, weights, alone)
        elif func in BROADCASTS and not (is_in_place(func) and self._weights.holds(args[0])):
            out = self._broadcast(func, args, kwargs, weights, alone)
        elif func is Tensor.__setitem__:
            if self._write(args, weights, alone):
                return None
        elif func is functional.scaled_dot_product_attention:
            out = self._attend(args, kwargs, weights, alone)
        if out is None and images == {}:
            return self._derive(func, args, kwargs, weights, alone)
        if out is None and images is not None and not is_in_place(func):
            out = self._image_by_image(func, (args, kwargs), weights, images, alone)
        if out is None:
            _note_uncovered(self._uncovered, self._weights, weights, func)
            out = func(*args, **kwargs)
        return out

    def _write(self, args: Any, weights: list[Tensor], alone: Call) -> bool:
        """A weight that is written to a place in a tensor of the images, as a token is; whether it was."""
        place, weight = args[0].detach()[args[1]], args[2]
        samples = self._samples(place, alone, args, {})
        if samples is None or any(value is not weight for value in weights):
            return False
        copies = self._for_each_image(weight, place, samples)
        if copies is not None:
            args[0][args[1]] = copies
        return copies is not None

    def _images_in(self, alone: Call, args: Any, kwargs: Any) -> dict[int, Samples] | None:
        tensors = tensors_in((args, kwargs))
        if all(self._weights.holds(tensor) for tensor in tensors):
            return {}
        return images_in(alone, self._position, tensors, self._n, self._order)

    def _samples(self, out: Tensor, alone: Call, args: Any, kwargs: Any) -> Samples | None:
        """Where the images are in a call's output: at the axis that is longer than for one image."""
        if not isinstance(out, Tensor) or len(alone.outputs) != 1:
            return None
        axis = image_axis(tuple(out.shape), alone.outputs[0], self._n)
        if axis is None:
            return None
        images = self._images_in(alone, args, kwargs)
        if images is None:
            return None
        folded = {samples.inner for samples in images.values() if samples.axis == 0}
        return Samples(self._n, axis, alone.outputs[0][axis] != 1 and True in folded)

    def _apply_rule(self, func: Any, args: Any, kwargs: Any, weights: list[Tensor], alone: Call) -> Any:
        use = RULES[func](*args, **kwargs)
        if use is None or self._weights.holds(use.input):
            return None
        # apart from the graph behind a derived weight, whose gradient comes by the rule
        detached = {id(weight): weight.detach() for weight in weights if self._weights.is_derived(weight)}
        out = func(*swap(args, detached), **swap(kwargs, detached))
        samples = self._samples(out, alone, args, kwargs)
        return None if samples is None else self._collect(out, use, samples, name_of_call(func))

    def _collect(self, out: Tensor, use: Use, samples: Samples, name: str) -> Tensor:
        """Ask for the gradient at the output; the input is kept until it comes."""
        used = [weight_use for weight_use in use.weights if self._weights.holds(weight_use.weight)]
        targets = [self._weights.target_of(weight_use.weight) for weight_use in used]
        inputs = [use.input.detach()]
        version = use.input._version

        def add(g: Tensor) -> None:
            x = inputs.pop()
            if x._version != version:
                raise CoverageError(_overwritten(name))
            x, g = samples.outer(x), samples.outer(g)
            for weight_use, target in zip(used, targets, strict=True):
                weight_use.add(target, x, g, replace(samples, inner=False))

        return self._hooked(out, add)

    def _hooked(self, out: Tensor, add: Callable[[Tensor], None]) -> Tensor:
        """The output of a call, at which the gradient of the objective is given to `add`."""
        if not out.requires_grad:
            out = self._backward.entry(out)

        def hook(g: Tensor) -> None:
            if self._backward.kind == "gradient":  # not a control's, over the same graph
                with torch.no_grad():
                    add(g)

        out.register_hook(hook)  # type: ignore[no-untyped-call]
        return out

    def _image_by_image(
        self, func: Any, arguments: tuple[Any, Any], weights: list[Tensor], images: dict[int, Samples], alone: Call
    ) -> Any:
        """The gradients by running the call again for each image, if the images can be told apart in it."""
        args, kwargs = arguments
        weights = list({id(weight): weight for weight in weights}.values())
        detached = {id(weight): weight.detach() for weight in weights}
        out = func(*swap(args, detached), **swap(kwargs, detached))
        samples = self._samples(out, alone, args, kwargs)
        if samples is None:
            return None
        parts = ImageByImage(func, arguments, images, weights, samples)
        if not self._order.is_known and not parts.gives(out):
            return None
        targets = [self._weights.target_of(weight) for weight in weights]

        def add(g: Tensor) -> None:
            if parts.is_overwritten():
                raise CoverageError(_overwritten(name_of_call(func)))
            parts.add(targets, g)

        return self._hooked(out, add)

    def _broadcast(self, func: Any, args: Any, kwargs: Any, weights: list[Tensor], alone: Call) -> Any:
        shapes = [tensor.shape for tensor in tensors_in((args, kwargs))]
        shape = torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]
        out = torch.empty(shape, device="meta")
        samples = self._samples(out, alone, args, kwargs)
        if samples is None:
            return None
        copies = {id(weight): self._for_each_image(weight, out, samples) for weight in weights}
        if any(copy is None for copy in copies.values()):
            return None
        return func(*swap(args, copies), **swap(kwargs, copies))

    def _expand(self, func: Any, args: Any, kwargs: Any, alone: Call) -> Any:
        out = func(*args, **kwargs)
        samples = self._samples(out, alone, args, kwargs)
        copies = None if samples is None else self._for_each_image(args[0], out, samples)
        if samples is None or copies is None:
            return None
        if func in EXPANSIONS:
            return copies.expand(out.shape)
        sizes = zip(out.shape, copies.shape, strict=True)
        return copies.repeat([1 if axis == samples.axis else o // c for axis, (o, c) in enumerate(sizes)])

    def _attend(self, args: Any, kwargs: Any, weights: list[Tensor], alone: Call) -> Any:
        """A weight that is added to the products of queries and keys, as relative positions are."""
        bias = kwargs["attn_mask"] if "attn_mask" in kwargs else args[3] if len(args) > 3 else None
        if bias is None or any(weight is not bias for weight in weights):
            return None
        query, _, value = (kwargs.get(name, args[i] if i < len(args) else None) for i, name in enumerate(_ATTENTION))
        out = torch.empty((*query.shape[:-1], value.shape[-1]), device="meta")
        samples = self._samples(out, alone, args, kwargs)
        copies = self._for_each_image(bias, out, samples) if samples is not None else None
        if copies is None:
            return None
        new = {id(bias): copies}
        return functional.scaled_dot_product_attention(*swap(args, new), **swap(kwargs, new))

    def _for_each_image(self, weight: Tensor, out: Tensor, samples: Samples) -> Tensor | None:
        """The weight with the images' axis of `out`, whose gradient goes back to the weight image by image."""
        aligned = weight.detach().reshape((1,) * (out.dim() - weight.dim()) + tuple(weight.shape))
        if aligned.shape[samples.axis] != 1:
            return None
        shape = list(aligned.shape)
        shape[samples.axis] = self._n
        copies = self._backward.entry(aligned.expand(shape))
        target = self._weights.target_of(weight)

        def hook(g: Tensor) -> None:
            if self._backward.kind == "gradient":
                target.add(g.movedim(samples.axis, 0).reshape(self._n, *weight.shape))

        copies.register_hook(hook)  # type: ignore[no-untyped-call]
        rows = out.shape[samples.axis] // self._n  # of each image: windows, say
        if rows == 1:
            return copies
        if samples.inner:
            return torch.cat([copies] * rows, samples.axis)
        return copies.repeat_interleave(rows, samples.axis)

    def _derive(self, func: Any, args: Any, kwargs: Any, weights: list[Tensor], alone: Call) -> Any:
        """A call that is given weights and constants alone: its result is a weight as well."""
        out = self._weights.derive(func, args, kwargs, weights)
        if _shapes_after(func, args, out) == alone.outputs:
            return out
        axis = image_axis(tuple(out.shape), alone.outputs[0], self._n) if isinstance(out, Tensor) else None
        if axis is None or not self._weights.is_derived(out):
            _note_uncovered(self._uncovered, self._weights, weights, func)
            return out
        samples, target = Samples(self._n, axis), self._weights.target_of(out)

        def add(g: Tensor) -> None:  # the weights, once for each image
            for i in range(self._n):
                of_image = torch.zeros_like(g)
                samples.part(of_image, i).copy_(samples.part(g, i))
                target.add_image(i, of_image)

        return self._hooked(out.detach(), add)


def _overwritten(name: str) -> str:
    return (
        f"the input of {name} was overwritten after it ran, so there is no weight gradient; batch_size=1 is exact for "
        "any model"
    )


class _ObjectiveCalls(TorchFunctionMode):
    """Notes the weights that the objective uses by itself: there is no rule for them."""

    def __init__(self, weights: Weights, uncovered: dict[str, str]):
        super().__init__()
        self._weights, self._uncovered = weights, uncovered

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        weights = [value for value in flat(args, kwargs) if self._weights.holds(value)]
        _note_uncovered(self._uncovered, self._weights, weights, func)
        return func(*args, **kwargs)


def _note_uncovered(uncovered: dict[str, str], weights: Weights, used: Sequence[Tensor], func: Any) -> None:
    for weight in used:
        uncovered.update(dict.fromkeys(weights.names_of(weight), f"used by {name_of_call(func)}"))
