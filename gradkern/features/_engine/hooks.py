"""Hooks at the layers of one forward pass: they sketch each tensor of interest as soon as it exists, and let it go."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradkern.features._engine.backward import BackwardPasses
from gradkern.features._engine.gradient_controls import CONTROLS
from gradkern.features._engine.layout import channels_last, first_tensor
from gradkern.features._features import Key

KINDS = ("activation", "gradient", "weight_gradient", *CONTROLS)
OUTPUT_GRADIENTS = ("gradient", *CONTROLS)  # gradients at the layers' outputs


class AllLayersRan(Exception):
    """Every layer has run, and nothing else is wanted of the forward pass."""


@dataclass(frozen=True)
class HookSettings:
    """What the hooks of one forward pass take.

    Attributes
    ----------
    layers : name -> module
    kinds : that are wanted of this pass
    n : images of the batch
    reduce : a layer's output, and whether its channels come last -> its features
    channels_last : whether the model's feature maps are [n, h, w, d]
    loss_scale : factor of the losses, by which gradients are divided
    stop_early : whether the forward pass ends as soon as all layers have run
    """

    layers: Mapping[str, nn.Module]
    kinds: Sequence[str]
    n: int
    reduce: Callable[[Tensor, bool], Tensor]
    channels_last: bool = False
    loss_scale: float = 1.0
    stop_early: bool = False


class LayerHooks:
    """Collects the sketches of one forward pass and of the backward passes over it.

    Parameters
    ----------
    settings : what is taken
    backward : the backward passes over this forward pass
    paused : a context in which calls of torch do not count as the model's
    """

    def __init__(
        self, settings: HookSettings, backward: BackwardPasses, paused: Callable[[], AbstractContextManager[Any]]
    ):
        self._settings, self._backward, self._paused = settings, backward, paused
        self._sketches: dict[Key, Tensor] = {}
        self._ran: set[str] = set()
        self._copies: list[tuple[str, Tensor, int]] = []

    @contextmanager
    def registered(self) -> Iterator[None]:
        """The hooks are on the layers while this is open."""
        with ExitStack() as handles:  # where one cannot be set, as on a scripted module, the others are removed
            for name, module in self._settings.layers.items():
                handles.callback(module.register_forward_hook(self._hook(name)).remove)
            yield

    def sketches(self) -> dict[Key, Tensor]:
        """Features, [n, k]."""
        return dict(self._sketches)

    def check_ran(self) -> None:
        for name in self._settings.layers:
            if name not in self._ran and set(self._settings.kinds) != {"weight_gradient"}:
                raise RuntimeError(f"layer {name!r} did not run in the forward pass")

    def overwritten(self) -> list[str]:
        """Layers that pass their input on, and whose output, a copy of the input, was then overwritten."""
        return [name for name, tensor, version in self._copies if tensor._version != version]

    def check_reached(self) -> None:
        for kind in set(OUTPUT_GRADIENTS) & set(self._settings.kinds):
            for name in self._settings.layers:
                if (kind, name) not in self._sketches:
                    raise RuntimeError(f"the objective's gradient never reached layer {name!r}")

    def _hook(self, name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            with self._paused():
                return self._take(name, args, output)

        return hook

    def _take(self, name: str, args: tuple[Any, ...], output: Any) -> Any:
        """Sketch the output; returns what the model is to go on with, or None for the output itself."""
        kinds = set(self._settings.kinds) - {"weight_gradient"}
        if self._backward.kind is not None:
            raise RuntimeError(
                f"layer {name!r} ran again in the backward pass: the model computes it anew there (checkpointing); "
                "switch that off, in transformers by model.gradient_checkpointing_disable()"
            )
        if name in self._ran and kinds:
            raise RuntimeError(f"layer {name!r} ran twice in one forward pass; name a layer that runs once")
        self._ran.add(name)
        if not kinds:
            return None
        tensor = self._check_output(name, output)
        if "activation" in kinds:
            self._put("activation", name, tensor)
        if self._settings.stop_early and len(self._ran) == len(self._settings.layers):
            raise AllLayersRan
        if not set(OUTPUT_GRADIENTS) & kinds:
            return None
        if not torch.is_grad_enabled():
            raise RuntimeError(
                f"layer {name!r} ran without gradient: the model switches it off there (torch.no_grad, inference_mode, "
                "or a checkpoint with use_reentrant=True)"
            )
        replaced = None
        if not tensor.requires_grad:
            tensor = self._backward.entry(tensor)  # the shallowest layer
            replaced = _with_first(output, tensor)
        elif any(tensor is argument for argument in args):
            # the layer passes its input on: take the gradient of this path alone. Not of a view, which an activation
            # in place would put another tensor in the place of
            tensor = tensor.clone()
            self._copies.append((name, tensor, tensor._version))
            replaced = _with_first(output, tensor)
        tensor.register_hook(lambda gradient: self._put_gradient(name, gradient))  # type: ignore[no-untyped-call]
        return replaced

    def _check_output(self, name: str, output: Any) -> Tensor:
        tensor, n = first_tensor(output), self._settings.n
        if tensor is None or not tensor.is_floating_point():
            raise RuntimeError(
                f"layer {name!r} must return a floating-point tensor, got "
                f"{type(output).__name__ if tensor is None else tensor.dtype}"
            )
        if tensor.dim() < 2 or len(tensor) != n:
            raise RuntimeError(
                f"layer {name!r} must return a row for each image, got shape {list(tensor.shape)} for "
                f"{n} {'images' if n > 1 else 'image'}; name the layer around it"
            )
        return tensor

    def _put_gradient(self, name: str, gradient: Tensor) -> None:
        kind = self._backward.kind
        if kind is not None and kind in self._settings.kinds:  # else the pass is for weight gradients alone
            self._put(kind, name, gradient, self._settings.loss_scale)

    def _put(self, kind: str, name: str, tensor: Tensor, scale: float = 1.0) -> None:
        last = channels_last(self._settings.layers[name], tensor, self._settings.channels_last)
        self._sketches[kind, name] = self._settings.reduce(tensor.detach(), last) / scale


def _with_first(output: Any, tensor: Tensor) -> Any:
    """A layer's output with another tensor in the first place."""
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, dict):
        output[next(iter(output))] = tensor
        return output
    if hasattr(output, "_fields"):
        return type(output)(tensor, *output[1:])
    return type(output)((tensor, *output[1:]))
