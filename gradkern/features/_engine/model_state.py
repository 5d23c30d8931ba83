"""What a capture changes about a model while it runs, and puts back afterwards."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from gradkern.features._engine.kept import KeptTensors

_BATCH_NORMS = {functional.batch_norm, torch.batch_norm}


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Eval mode and no parameter gradients; both are put back afterwards, and so are tensors that the model keeps."""
    training = {module: module.training for module in model.modules()}
    trainable = {parameter: parameter.requires_grad for parameter in model.parameters()}
    kept = KeptTensors(model)
    try:
        with torch.no_grad():
            model.eval()
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        kept.put_back()
        for module, mode in training.items():
            module.training = mode
        for parameter, requires_grad in trainable.items():
            if parameter.requires_grad != requires_grad:
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


class ContiguousGradients(TorchFunctionMode):
    """Where batch norm is given one image, the gradient at its output is laid out in the order of its axes.

    In eval mode torch 2.13 takes a wrong gradient through batch norm on the CPU where the channels are laid out last,
    for example behind convolutions whose output becomes tokens.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func in _BATCH_NORMS and output.shape[0] == 1 and output.requires_grad:
            output.register_hook(lambda gradient: gradient.contiguous())
        return output
