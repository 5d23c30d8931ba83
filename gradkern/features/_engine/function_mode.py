"""Watches the calls of torch that a model makes, and takes gradients from those that use a layer's parameters.

Functions are watched, not modules: whoever calls `F.linear` with a module's weight (timm's fused qkv,
`nn.MultiheadAttention`) is seen as well. Parameters stay frozen; autograd computes no gradient of theirs.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from gradkern.features._engine.backward import BackwardPasses
from gradkern.features._engine.calls import (
    COMPOSITES,
    Shapes,
    Trace,
    call_inside,
    flat,
    name_of_call,
    shapes_of,
    swap,
    tensors_in,
)
from gradkern.features._engine.rules import BROADCASTS, EXPANSIONS, REPEATS, RULES, Samples, Use, WeightUse
from gradkern.features._engine.weight_gradients import LayerGradients
from gradkern.features._engine.weights import Weights

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
    """Records every call of the forward pass of one image and the shapes that it returned."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, Shapes]] = []

    def trace(self) -> Trace:
        return tuple(self._calls)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self._is_paused and func in COMPOSITES:
            return call_inside(self, func, args, kwargs or {})
        out = func(*args, **(kwargs or {}))
        if not self._is_paused:
            self._calls.append((func, shapes_of(out)))
        return out


class WeightGradientMode(ModelCalls):
    """Takes each image's gradient of the weights that the forward pass of a batch uses.

    It is active during the forward pass of n > 1 images. During the backward pass of the objective, the sketches are
    added up in `gradients`.

    Parameters
    ----------
    gradients : where the gradients go
    trace : the calls of one image alone, against which those of the batch are compared
    backward : the backward passes over this forward pass
    """

    def __init__(self, gradients: LayerGradients, trace: Trace, backward: BackwardPasses):
        super().__init__()
        self._trace, self._n, self._backward = trace, gradients.n, backward
        self._weights = Weights(gradients)
        self._uncovered: dict[str, str] = {}
        self._position = 0  # in the trace
        self._images_are_inner = False

    def uncovered(self) -> dict[str, str]:
        """Parameters that a call without a rule uses -> the name of the function."""
        return dict(self._uncovered)

    def around_objective(self) -> AbstractContextManager[Any]:
        return _ObjectiveCalls(self._weights, self._uncovered)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._is_paused:
            return func(*args, **kwargs)
        if func in COMPOSITES:
            with self._inside_attention():
                return call_inside(self, func, args, kwargs)
        shapes_alone = self._next_in_trace(func)
        weights = [value for value in flat(args, kwargs) if self._weights.holds(value)]
        if not weights:
            return func(*args, **kwargs)
        return self._call(func, args, kwargs, weights, shapes_alone)

    def _next_in_trace(self, func: Any) -> Shapes:
        """What the same call returned for one image alone."""
        position, self._position = self._position, self._position + 1
        # not `is`: a getter is a new object each time
        if position >= len(self._trace) or self._trace[position][0] != func:
            raise RuntimeError(
                f"the model does not make the same calls for one image and for {self._n} (at {name_of_call(func)}), "
                "so weight gradients cannot be told apart by image; batch_size=1 is exact for any model"
            )
        return self._trace[position][1]

    def _call(self, func: Any, args: Any, kwargs: Any, weights: list[Tensor], shapes_alone: Shapes) -> Any:
        out = None
        if func in RULES:
            out = self._apply_rule(func, args, kwargs, weights, shapes_alone)
        elif func in BROADCASTS and not self._is_weight_in_place(func, args):
            out = self._broadcast(func, args, kwargs, weights, shapes_alone)
        elif func in EXPANSIONS or func in REPEATS:
            out = self._expand(func, args, kwargs, shapes_alone)
        elif func is functional.scaled_dot_product_attention:
            out = self._attend(args, kwargs, weights, shapes_alone)
        return self._derive(func, args, kwargs, weights, shapes_alone) if out is None else out

    def _samples(self, out: Tensor, shapes_alone: Shapes) -> Samples | None:
        """Where the images are in a call's output: at the axis that is longer than for one image."""
        if not isinstance(out, Tensor) or len(shapes_alone) != 1 or len(shapes_alone[0]) != out.dim():
            return None
        alone = shapes_alone[0]
        axes = [axis for axis, size in enumerate(out.shape) if size != alone[axis]]
        if len(axes) != 1 or out.shape[axes[0]] != self._n * alone[axes[0]]:
            return None
        if alone[axes[0]] != 1 and axes[0] != 0:
            return None
        return Samples(self._n, axes[0], self._images_are_inner)

    def _apply_rule(self, func: Any, args: Any, kwargs: Any, weights: list[Tensor], shapes_alone: Shapes) -> Any:
        use = RULES[func](*args, **kwargs)
        if use is None or self._weights.holds(use.input):
            return None
        # apart from the graph behind a derived weight, whose gradient comes by the rule
        detached = {id(weight): weight.detach() for weight in weights if self._weights.is_derived(weight)}
        out = func(*swap(args, detached), **swap(kwargs, detached))
        samples = self._samples(out, shapes_alone)
        return None if samples is None else self._collect(out, use, samples, name_of_call(func))

    def _collect(self, out: Tensor, use: Use, samples: Samples, name: str) -> Tensor:
        """Ask for the gradient at the output; the input is kept until it comes."""
        if not out.requires_grad:
            out = self._backward.entry(out)
        used = [weight_use for weight_use in use.weights if self._weights.holds(weight_use.weight)]
        inputs = [use.input.detach()]
        version = use.input._version

        def hook(g: Tensor) -> None:
            if self._backward.kind != "gradient":  # a control's, over the same graph
                return
            x = inputs.pop()
            if x._version != version:
                raise RuntimeError(
                    f"the input of {name} was overwritten after it ran, so there is no weight gradient; "
                    "batch_size=1 is exact for any model"
                )
            with torch.no_grad():
                self._add(used, x, g, samples)

        out.register_hook(hook)  # type: ignore[no-untyped-call]
        return out

    def _add(self, used: Sequence[WeightUse], x: Tensor, g: Tensor, samples: Samples) -> None:
        for weight_use in used:
            weight_use.add(self._weights.target_of(weight_use.weight), x, g, samples)

    def _broadcast(self, func: Any, args: Any, kwargs: Any, weights: list[Tensor], shapes_alone: Shapes) -> Any:
        shapes = [tensor.shape for tensor in tensors_in((args, kwargs))]
        shape = torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]
        out = torch.empty(shape, device="meta")
        samples = self._samples(out, shapes_alone)
        if samples is None:
            return None
        copies = {id(weight): self._for_each_image(weight, out, samples) for weight in weights}
        if any(copy is None for copy in copies.values()):
            return None
        return func(*swap(args, copies), **swap(kwargs, copies))

    def _expand(self, func: Any, args: Any, kwargs: Any, shapes_alone: Shapes) -> Any:
        out = func(*args, **kwargs)
        samples = self._samples(out, shapes_alone)
        copies = None if samples is None else self._for_each_image(args[0], out, samples)
        if samples is None or copies is None:
            return None
        if func in EXPANSIONS:
            return copies.expand(out.shape)
        sizes = zip(out.shape, copies.shape, strict=True)
        return copies.repeat([1 if axis == samples.axis else o // c for axis, (o, c) in enumerate(sizes)])

    def _attend(self, args: Any, kwargs: Any, weights: list[Tensor], shapes_alone: Shapes) -> Any:
        """A weight that is added to the products of queries and keys, as relative positions are."""
        bias = kwargs["attn_mask"] if "attn_mask" in kwargs else args[3] if len(args) > 3 else None
        if bias is None or any(weight is not bias for weight in weights):
            return None
        query, _, value = (kwargs.get(name, args[i] if i < len(args) else None) for i, name in enumerate(_ATTENTION))
        out = torch.empty((*query.shape[:-1], value.shape[-1]), device="meta")
        samples = self._samples(out, shapes_alone)
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

    def _derive(self, func: Any, args: Any, kwargs: Any, weights: list[Tensor], shapes_alone: Shapes) -> Any:
        """A call without a rule: its result is a weight as well, or the weights that it uses are uncovered."""
        plain = func(*args, **kwargs)
        if func is Tensor.__setitem__:
            _note_uncovered(self._uncovered, self._weights, weights, func)
        if not any(tensor.is_floating_point() for tensor in tensors_in(plain)):
            return plain
        if shapes_of(plain) != shapes_alone:
            _note_uncovered(self._uncovered, self._weights, weights, func)
            return plain
        return self._weights.derive(func, args, kwargs, weights)

    def _is_weight_in_place(self, func: Any, args: Any) -> bool:
        name = name_of_call(func)
        is_in_place = (name.startswith("__i") or name.endswith("_")) and not name.endswith("__")
        return is_in_place and self._weights.holds(args[0])

    @contextmanager
    def _inside_attention(self) -> Iterator[None]:
        """Inside multi-head attention, rows are positions first, then images."""
        self._images_are_inner = True
        try:
            yield
        finally:
            self._images_are_inner = False


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
        uncovered.update(dict.fromkeys(weights.names_of(weight), name_of_call(func)))
