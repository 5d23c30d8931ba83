"""Watches every call of torch that a model makes, and takes gradients from those that use a layer's parameters.

Functions are watched, not modules: whoever calls `F.linear` with a module's weight (timm's fused qkv,
`nn.MultiheadAttention`) is seen as well. Parameters stay frozen; autograd computes no gradient of theirs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight
from torch.overrides import TorchFunctionMode

from gradkern.features._engine.autograd_entry import Entry
from gradkern.features._engine.rules import BROADCASTS, EXPANSIONS, REPEATS, RULES, Part, Samples, Use
from gradkern.features._engine.weight_gradients import LayerGradients
from gradkern.kernels.reference import Window

Shapes = tuple[tuple[int, ...], ...]  # of the tensors that a call returned
Trace = list[tuple[Any, Shapes]]  # every call of a forward pass


class Recorder(TorchFunctionMode):
    """Writes down every call and its shapes: for one image, to compare a batch with."""

    def __init__(self) -> None:
        super().__init__()
        self.trace: Trace = []
        self.paused = self.outside = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.outside:
            return func(*args, **(kwargs or {}))
        if not self.paused and func in COMPOSITES:
            return call_inside(self, func, args, kwargs or {})
        out = func(*args, **(kwargs or {}))
        if not self.paused:
            self.trace.append((func, _shapes(out)))
        return out


@dataclass(frozen=True)
class _Derived:
    """A tensor computed from parameters alone, with the graph that leads back to them."""

    tensor: Tensor
    sources: tuple[tuple[Tensor, Tensor], ...]  # (parameter, the leaf that stands for it)


class _ParameterTarget:
    def __init__(self, parameter: Tensor, gradients: LayerGradients):
        self.parameter, self.gradients = parameter, gradients

    def add(self, gradient: Tensor) -> None:
        self.gradients.add(self.parameter, gradient)

    def add_one(self, i: int, gradient: Tensor) -> None:
        self.gradients.add_one(self.parameter, i, gradient)

    def add_outer(self, a: Tensor, g: Tensor) -> None:
        self.gradients.add_outer(self.parameter, a, g)

    def add_conv(self, x: Tensor, g: Tensor, window: Window) -> None:
        self.gradients.add_conv(self.parameter, x, g, window)


class _DerivedTarget:
    """Forms each image's gradient, one at a time, and pulls it back to the parameters."""

    def __init__(self, derived: _Derived, gradients: LayerGradients):
        self.derived, self.gradients = derived, gradients

    def add(self, gradient: Tensor) -> None:
        for i in range(len(gradient)):
            self.add_one(i, gradient[i])

    def add_one(self, i: int, gradient: Tensor) -> None:
        tensor, sources = self.derived.tensor, self.derived.sources
        leaves = [leaf for _, leaf in sources]
        pulled = gradient.reshape(tensor.shape).to(tensor.dtype)
        parts = torch.autograd.grad(tensor, leaves, pulled, retain_graph=True, allow_unused=True)
        for (parameter, _), part in zip(sources, parts, strict=True):
            if part is not None:
                self.gradients.add_one(parameter, i, part)

    def add_outer(self, a: Tensor, g: Tensor) -> None:
        for i in range(len(g)):
            self.add_one(i, g[i].T @ a[i].to(g.dtype))

    def add_conv(self, x: Tensor, g: Tensor, window: Window) -> None:
        n = next(iter(self.gradients.totals.values())).shape[0]
        size, axes = len(x) // n, self.derived.tensor.shape
        shape = (axes[0], axes[1], *window.kernel_size)
        how = (window.stride, window.padding, window.dilation, window.groups)
        for i in range(n):
            part = slice(i * size, (i + 1) * size)
            one = conv2d_weight(x[part].to(g.dtype), shape, g[part], *how)  # type: ignore[no-untyped-call]
            self.add_one(i, one)


class Watch(TorchFunctionMode):
    """Active during the forward pass of n > 1 images; `trace` is that of one of them.

    After the backward pass `gradients.totals` has the sketches, and `uncovered` what no rule covers.
    """

    def __init__(self, gradients: LayerGradients, trace: Trace, n: int, entry: Entry):
        super().__init__()
        self.gradients, self.trace, self.n, self.entry = gradients, trace, n, entry
        self.paused = False
        self.outside = False  # of the model: in the objective, where a weight has no rule
        self.finished = False  # with the backward pass of the objective: others over the same graph are controls
        self.uncovered: dict[str, str] = {}  # parameter -> function
        self._derived: dict[int, _Derived] = {}
        self._stand_ins: dict[int, Tensor] = {}  # id of a parameter -> a leaf with its values
        self._place = 0
        self._inner = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.paused:
            return func(*args, **kwargs)
        if self.outside:
            self._miss([value for value in flat(args, kwargs) if self._is_weight(value)], func)
            return func(*args, **kwargs)
        if func in COMPOSITES:
            with self._side_by_side():
                return call_inside(self, func, args, kwargs)
        place, self._place = self._place, self._place + 1
        if place >= len(self.trace) or self.trace[place][0] != func:  # not `is`: a getter is a new object each time
            raise RuntimeError(
                f"the model does not make the same calls for one image and for {self.n} (at {name_of_call(func)}), "
                "so weight gradients cannot be told apart by image; batch_size=1 is exact for any model"
            )
        weights = [value for value in flat(args, kwargs) if self._is_weight(value)]
        if not weights:
            return func(*args, **kwargs)
        return self._call(func, args, kwargs, weights, self.trace[place][1])

    def _call(self, func: Any, args: Any, kwargs: Any, weights: list[Tensor], alone: Shapes) -> Any:
        if func in RULES:
            use = RULES[func](*args, **kwargs)
            if use is not None and not self._is_weight(use.input):
                # apart from the graph behind a derived weight: its gradient comes by the rule
                apart = {id(weight): weight.detach() for weight in weights if id(weight) in self._derived}
                out = func(*swap(args, apart), **swap(kwargs, apart))
                samples = self._samples(out, alone)
                if samples is not None:
                    return self._keep(out, use, samples, name_of_call(func))
        elif func in BROADCASTS and not self._is_weight_in_place(func, args):
            out = self._broadcast(func, args, kwargs, alone)
            if out is not None:
                return out
        elif func in EXPANSIONS or func in REPEATS:
            out = self._expand(func, args, kwargs, alone)
            if out is not None:
                return out
        elif func is functional.scaled_dot_product_attention:
            out = self._attend(args, kwargs, weights, alone)
            if out is not None:
                return out
        return self._derive(func, args, kwargs, weights, alone)

    def _samples(self, out: Tensor, alone: Shapes) -> Samples | None:
        """Where the images are in a call's output: where it is larger than for one image."""
        if not isinstance(out, Tensor) or len(alone) != 1 or len(alone[0]) != out.dim():
            return None
        axes = [a for a, (one, all_) in enumerate(zip(alone[0], out.shape, strict=True)) if one != all_]
        if len(axes) != 1 or out.shape[axes[0]] != self.n * alone[0][axes[0]]:
            return None
        if alone[0][axes[0]] != 1 and axes[0] != 0:
            return None
        return Samples(self.n, axes[0], self._inner)

    def _keep(self, out: Tensor, use: Use, samples: Samples, name: str) -> Tensor:
        """Ask for the gradient at the output; the input is kept until it comes."""
        if not out.requires_grad:
            out = self.entry(out)
        parts = [part for part in use.parts if self._is_weight(part.weight)]
        kept = [use.input.detach()]
        version = use.input._version

        def hook(g: Tensor) -> None:
            if self.finished:
                return
            x = kept.pop()
            if x._version != version:
                raise RuntimeError(
                    f"the input of {name} was overwritten after it ran, so there is no weight gradient; "
                    "batch_size=1 is exact for any model"
                )
            with torch.no_grad():
                self._add(parts, x, g, samples)

        out.register_hook(hook)  # type: ignore[no-untyped-call]
        return out

    def _add(self, parts: list[Part], x: Tensor, g: Tensor, samples: Samples) -> None:
        for part in parts:
            part.add(self._target(part.weight), x, g, samples)

    def _target(self, weight: Tensor) -> Any:
        derived = self._derived.get(id(weight))
        return _DerivedTarget(derived, self.gradients) if derived else _ParameterTarget(weight, self.gradients)

    def _broadcast(self, func: Any, args: Any, kwargs: Any, alone: Shapes) -> Any:
        shapes = [value.shape for value in flat(args, kwargs) if isinstance(value, Tensor)]
        shape = torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]
        out = torch.empty(shape, device="meta")
        samples = self._samples(out, alone)
        if samples is None:
            return None
        given = [value for value in flat(args, kwargs) if self._is_weight(value)]
        copies = {id(weight): self._for_each_image(weight, out, samples) for weight in given}
        if any(copy is None for copy in copies.values()):
            return None
        return func(*swap(args, copies), **swap(kwargs, copies))

    def _expand(self, func: Any, args: Any, kwargs: Any, alone: Shapes) -> Any:
        out = func(*args, **kwargs)
        samples = self._samples(out, alone)
        if samples is None:
            return None
        each = self._for_each_image(args[0], out, samples)
        if each is None:
            return None
        if func in EXPANSIONS:
            return each.expand(out.shape)
        return each.repeat([1 if a == samples.axis else o // s for a, (o, s) in enumerate(_zip(out, each))])

    def _attend(self, args: Any, kwargs: Any, weights: list[Tensor], alone: Shapes) -> Any:
        """A weight added to the products of queries and keys, as relative positions are."""
        bias = kwargs["attn_mask"] if "attn_mask" in kwargs else args[3] if len(args) > 3 else None
        if bias is None or any(weight is not bias for weight in weights):
            return None
        query, _, value = (kwargs.get(name, args[i] if i < len(args) else None) for i, name in enumerate(_ATTENTION))
        out = torch.empty((*query.shape[:-1], value.shape[-1]), device="meta")
        samples = self._samples(out, alone)
        each = self._for_each_image(bias, out, samples) if samples is not None else None
        if each is None:
            return None
        return functional.scaled_dot_product_attention(*swap(args, {id(bias): each}), **swap(kwargs, {id(bias): each}))

    def _for_each_image(self, weight: Tensor, out: Tensor, samples: Samples) -> Tensor | None:
        """The weight with the images' axis of `out`, whose gradient goes back to the weight image by image."""
        lined_up = weight.detach().reshape((1,) * (out.dim() - weight.dim()) + tuple(weight.shape))
        if lined_up.shape[samples.axis] != 1:
            return None
        shape = list(lined_up.shape)
        shape[samples.axis] = self.n
        each = self.entry(lined_up.expand(shape))
        target = self._target(weight)

        def hook(g: Tensor) -> None:
            if not self.finished:
                target.add(g.movedim(samples.axis, 0).reshape(self.n, *weight.shape))

        each.register_hook(hook)  # type: ignore[no-untyped-call]
        parts = out.shape[samples.axis] // self.n  # of an image: windows, say
        if parts == 1:
            return each
        if samples.inner:
            return torch.cat([each] * parts, samples.axis)
        return each.repeat_interleave(parts, samples.axis)

    def _derive(self, func: Any, args: Any, kwargs: Any, weights: list[Tensor], alone: Shapes) -> Any:
        """A call without a rule: its result is a weight as well, or what uses the weights is uncovered."""
        plain = func(*args, **kwargs)
        if func is Tensor.__setitem__:
            self._miss(weights, func)
        if not any(t.is_floating_point() for t in _tensors(plain)):
            return plain
        if _shapes(plain) != alone:
            self._miss(weights, func)
            return plain
        stand_ins = {id(weight): self._stand_in(weight) for weight in weights if id(weight) not in self._derived}
        with torch.enable_grad():
            out = func(*swap(args, stand_ins), **swap(kwargs, stand_ins))
        parameters = {id(p): p for weight in weights for p in self._parameters_of(weight)}
        sources = tuple((p, self._stand_ins[key]) for key, p in parameters.items())
        for tensor in _tensors(out):
            if tensor.requires_grad:
                self._derived[id(tensor)] = _Derived(tensor, sources)
        return out

    def _miss(self, weights: list[Tensor], func: Any) -> None:
        for weight in weights:
            for parameter in self._parameters_of(weight):
                self.uncovered[self.gradients.names[id(parameter)]] = name_of_call(func)

    def _stand_in(self, parameter: Tensor) -> Tensor:
        return self._stand_ins.setdefault(id(parameter), parameter.detach().requires_grad_())

    def _parameters_of(self, weight: Tensor) -> list[Tensor]:
        derived = self._derived.get(id(weight))
        return [parameter for parameter, _ in derived.sources] if derived else [weight]

    def _is_weight(self, value: Any) -> bool:
        return id(value) in self._derived or self.gradients.owns(value)

    def _is_weight_in_place(self, func: Any, args: Any) -> bool:
        name = name_of_call(func)
        return (name.startswith("__i") or name.endswith("_")) and not name.endswith("__") and self._is_weight(args[0])

    @contextmanager
    def _side_by_side(self) -> Iterator[None]:
        """Inside multi-head attention, rows are positions first, then images."""
        self._inner = True
        try:
            yield
        finally:
            self._inner = False


# Functions written in Python that use weights by other functions: looked into.
COMPOSITES = {functional.multi_head_attention_forward}
_ATTENTION = ("query", "key", "value")


def call_inside(mode: TorchFunctionMode, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Run a function of torch.nn.functional so that the mode sees the calls it makes.

    Such a function hands itself over to any active mode before it does anything; this copy does not.
    """
    blind = {name: lambda *given: False for name in vars(functional) if name.startswith("has_torch_function")}
    given = cast(FunctionType, func)
    copy = FunctionType(given.__code__, {**given.__globals__, **blind}, given.__name__, given.__defaults__)
    copy.__kwdefaults__ = given.__kwdefaults__
    with mode:
        return copy(*args, **kwargs)


def name_of_call(func: Any) -> str:
    return str(getattr(func, "__name__", func))


def flat(*values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, dict):
            yield from flat(*value.values())
        elif isinstance(value, tuple | list):
            yield from flat(*value)
        else:
            yield value


def _tensors(out: Any) -> list[Tensor]:
    return [value for value in flat(out) if isinstance(value, Tensor)]


def _shapes(out: Any) -> Shapes:
    return tuple(tuple(tensor.shape) for tensor in _tensors(out))


def swap(value: Any, new: dict[int, Any]) -> Any:
    if id(value) in new:
        return new[id(value)]
    if isinstance(value, dict):
        return {key: swap(item, new) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(swap(item, new) for item in value)
    return value


def _zip(out: Tensor, each: Tensor) -> Iterator[tuple[int, int]]:
    return zip(out.shape, each.shape, strict=True)
