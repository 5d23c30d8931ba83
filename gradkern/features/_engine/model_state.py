"""What a capture changes about a model while it runs, and puts back afterwards."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Eval mode and no parameter gradients; both are put back afterwards."""
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
def compiled(layers: Mapping[str, nn.Module]) -> Iterator[None]:
    """Layers that hold no other layer run compiled; their hooks stay outside."""
    leaves = [layers[name] for name in layers if not any(other.startswith(f"{name}.") for other in layers)]
    forwards = [(layer, layer.__dict__.get("forward")) for layer in leaves]
    try:
        for layer in leaves:
            layer.forward = torch.compile(layer.forward)
        yield
    finally:
        for layer, forward in forwards:
            if forward is None:
                layer.__dict__.pop("forward", None)
            else:
                layer.forward = forward


@contextmanager
def contiguous_gradients(model: nn.Module) -> Iterator[None]:
    """Where batch norm is given one image, the gradient at its output is laid out in the order of its axes.

    In eval mode torch 2.13 takes a wrong gradient through batch norm on the CPU where the channels are laid out last,
    for example behind convolutions whose output becomes tokens.
    """
    with ExitStack() as handles:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                handles.callback(module.register_forward_hook(_make_gradient_contiguous).remove)
        yield


def _make_gradient_contiguous(module: nn.Module, args: Any, output: Tensor) -> None:
    with torch._C.DisableTorchFunction():  # these are not calls of the model
        if len(output) == 1 and output.requires_grad:
            output.register_hook(lambda gradient: gradient.contiguous())  # type: ignore[no-untyped-call]
