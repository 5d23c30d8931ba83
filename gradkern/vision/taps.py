"""Hooks that sketch each tensor of interest as soon as it exists, and let it go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradkern.sketch import Sketch
from gradkern.vision.features import Key
from gradkern.vision.layout import as_matrices, first_tensor
from gradkern.vision.weight_gradient import Call, weight_gradient

KINDS = ("activation", "gradient", "weight_gradient")


@dataclass(frozen=True)
class _Kept:
    """What a weight gradient needs of the forward pass."""

    call: Call
    output: Tensor


class Taps:
    """A context: hooks on the named layers while it is open; `run` fills `sketches` with one batch."""

    def __init__(self, model: nn.Module, layers: Sequence[str], kinds: Sequence[str], sketch: Sketch):
        self.model = model
        self.layers = {name: model.get_submodule(name) for name in layers}
        self.kinds = kinds
        self.sketch = sketch
        self.sketches: dict[Key, Tensor] = {}
        self._handles: list[RemovableHandle] = []
        self._calls: dict[str, Call] = {}
        self._leaves: list[Tensor] = []  # where backward stops
        self._ran: set[str] = set()
        self._paused = False
        if "weight_gradient" in kinds:
            for name, module in self.layers.items():
                if next(module.parameters(), None) is None:
                    raise ValueError(f"capture: layer {name!r} has no parameters, so it has no weight_gradient")

    def __enter__(self) -> "Taps":
        for name, module in self.layers.items():
            if "weight_gradient" in self.kinds:
                before = module.register_forward_pre_hook(self._before(name), with_kwargs=True)
                self._handles.append(before)
            self._handles.append(module.register_forward_hook(self._after(name)))
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def run(self, images: Tensor, objective: Callable[[Any], Tensor]) -> Tensor:
        """One forward and, where a gradient is wanted, one backward; returns the losses [n]."""
        self.sketches, self._leaves, self._ran = {}, [], set()
        needs_gradient = set(self.kinds) != {"activation"}
        with torch.set_grad_enabled(needs_gradient):
            losses = objective(self.model(images))
            self._check_ran()
            if needs_gradient:
                if not losses.requires_grad:
                    raise RuntimeError("capture: the objective does not depend on any of the layers")
                # only to the leaves: nothing of the caller's (an objective's own parameters, say) gets a .grad
                torch.autograd.backward(losses.sum(), inputs=self._leaves)
        self._calls, self._leaves = {}, []
        self._check_reached()
        return losses.detach().float().cpu()

    def _before(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if not self._paused:
                tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
                self._calls[name] = Call(args, kwargs, len(tensors[0]) if tensors else 0).copied()

        return hook

    def _after(self, name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            return None if self._paused else self._tap(name, output)

        return hook

    def _tap(self, name: str, output: Any) -> Any:
        """Sketch the output; returns what the model is to go on with, or None for the output itself."""
        if name in self._ran:
            raise RuntimeError(f"capture: layer {name!r} ran twice in one forward pass; name a layer that runs once")
        self._ran.add(name)
        tensor = first_tensor(output)
        if tensor is None or not tensor.is_floating_point():
            raise RuntimeError(
                f"capture: layer {name!r} must return a floating-point tensor, got {type(output).__name__}"
            )
        if "activation" in self.kinds:
            self._put("activation", name, tensor)
        if set(self.kinds) == {"activation"}:
            return None
        kept = None
        if "weight_gradient" in self.kinds:
            kept = _Kept(self._calls.pop(name), tensor.detach().clone())
        replaced = None
        if not tensor.requires_grad:
            # The shallowest layer: backward stops here. A copy, so that the model may overwrite it in place.
            self._leaves.append(tensor.detach().requires_grad_())
            tensor = self._leaves[-1].clone()
            replaced = _with_first(output, tensor)
        tensor.register_hook(lambda gradient: self._gradient(name, gradient, kept))  # type: ignore[no-untyped-call]
        return replaced

    def _gradient(self, name: str, gradient: Tensor, kept: _Kept | None) -> None:
        if "gradient" in self.kinds:
            self._put("gradient", name, gradient)
        if kept is not None:
            self._paused = True
            try:
                layer = self.layers[name]
                sketched = weight_gradient(layer, kept.call, kept.output, gradient.detach(), self.sketch)
            except RuntimeError as error:
                raise RuntimeError(f"capture: layer {name!r}: {error}") from error
            finally:
                self._paused = False
            self.sketches["weight_gradient", name] = sketched.cpu()

    def _put(self, kind: str, name: str, tensor: Tensor) -> None:
        self.sketches[kind, name] = self.sketch(as_matrices(tensor.detach())).cpu()

    def _check_ran(self) -> None:
        for name in self.layers:
            if name not in self._ran:
                raise RuntimeError(f"capture: layer {name!r} did not run in the forward pass")

    def _check_reached(self) -> None:
        for kind in self.kinds:
            for name in self.layers:
                if (kind, name) not in self.sketches:
                    raise RuntimeError(f"capture: the objective's gradient never reached layer {name!r}")


def _with_first(output: Any, tensor: Tensor) -> Any:
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, dict):
        output[next(iter(output))] = tensor
        return output
    if hasattr(output, "_fields"):
        return type(output)(tensor, *output[1:])
    return type(output)((tensor, *output[1:]))
