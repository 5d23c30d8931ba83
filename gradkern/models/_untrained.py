"""The same architecture with weights as before training: a control for everything that is learned."""

import copy
import inspect
import sys
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gradkern.errors import naming
from gradkern.models import _dino_v1 as dino
from gradkern.models._kept_slots import Slot, detach, flat, kept_slots
from gradkern.models._spec import ModelSpec
from gradkern.objectives._base import check_seed

_FEW = 4  # values of a buffer: a mask, or the mean of three channels
UNTRAINED = "gradient/untrained"  # the kind of its gradients, beside those of the trained model


@naming("untrained")
def untrained(model: nn.Module, seed: int = 0) -> nn.Module:
    """Copy a model and draw its parameters anew, by the architecture's own initialiser, from a seed.

    Models of transformers are built again from their configuration. In other models every module's `reset_parameters`
    draws its own parameters, and then the `init_weights` of outer modules (timm) theirs. Statistics of batch norm are
    reset. A teacher of DINO is a copy of the student, and its center 0, as at the beginning of training. The features
    that `capture` takes of this copy are the control.

    Parameters
    ----------
    model : is left as it is
    seed : the same seed gives the same weights with the same version of torch (and of transformers, or timm)

    Returns
    -------
    nn.Module in eval mode, where the model is; its `spec`, if there is one, says "random" weights

    Raises
    ------
    ValueError : parameters or buffers that no initialiser draws, or tensors that the model keeps beside them (they are
        named); a seed below 0

    Examples
    --------
    >>> import torch, gradkern
    >>> gradkern.untrained(torch.nn.Linear(3, 2), seed=1).weight.shape
    torch.Size([2, 3])
    """
    seed = check_seed(seed)
    fresh = _copy(model)
    old = [tensor for slot in kept_slots(fresh) for tensor in flat(slot.value)]
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        drawn = [*fresh.parameters(), *_state_buffers(fresh).values()]
        for tensor in drawn:
            if tensor.is_floating_point() or tensor.is_complex():
                tensor.fill_(float("nan"))  # shows those that no initialiser draws
        _draw(fresh)
        _leave_constants(model, fresh)
        fresh.train()
        fresh.eval()  # what a model computes from parameters when its mode changes
        if isinstance(fresh, dino.DinoV1) and fresh.head is not None and fresh.center is not None:
            teacher = dino.Teacher(copy.deepcopy(fresh.network), copy.deepcopy(fresh.head))
            fresh.add_head(fresh.head, teacher, torch.zeros_like(fresh.center))
    missing = [name for name, tensor in _state(fresh).items() if tensor.isnan().any()]
    if missing:
        parameters = dict(fresh.named_parameters())
        what = "parameters" if set(missing) <= set(parameters) else "parameters and buffers"
        raise ValueError(
            f"model must have an initialiser (reset_parameters, init_weights) of all its {what}, got "
            f"none for {', '.join(missing[:10])}; build the model anew"
        )
    kept = [str(slot) for slot in kept_slots(fresh) if _may_be_trained(slot, model, old)]
    if kept:
        raise ValueError(
            f"model must keep no tensors beside its parameters and buffers, which may come from training, got "
            f"{', '.join(kept[:10])}; build the model anew"
        )
    spec: Any = getattr(fresh, "spec", None)
    if isinstance(spec, ModelSpec):
        fresh.spec = replace(spec, weights="random", weights_sha256=None)  # type: ignore[assignment]  # no tensor
    return fresh


def _copy(model: nn.Module) -> nn.Module:
    """A copy in eval mode, without the graphs of what the model has computed with gradient and keeps."""
    slots = kept_slots(model)
    held = [(slot, slot.value if isinstance(slot.value, Tensor) else copy.copy(slot.value)) for slot in slots]
    try:
        for slot, _ in held:
            detach(slot)
        return copy.deepcopy(model).eval()
    finally:
        for slot, value in held:
            _put_back(slot, value)


def _put_back(slot: Slot, value: Any) -> None:
    if isinstance(slot.value, dict):
        slot.value.clear()
        slot.value.update(value)
    elif isinstance(slot.value, list):
        slot.value[:] = value
    elif slot.value is not value:
        setattr(slot.holder, slot.name, value)


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **_state_buffers(model)}


def _state_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Buffers of real numbers that are saved with the weights."""
    saved = model.state_dict(keep_vars=True)
    return {name: buffer for name, buffer in model.named_buffers() if name in saved and buffer.is_floating_point()}


def _leave_constants(model: nn.Module, fresh: nn.Module) -> None:
    """Buffers that nobody draws and that hold a few values only, as masks and pixels' means do, stay."""
    before = _state_buffers(model)
    for name, buffer in _state_buffers(fresh).items():
        if buffer.isnan().any() and _count(before[name]) <= _FEW:
            buffer.copy_(before[name])


def _count(tensor: Tensor) -> int:
    """How many different values a tensor has."""
    different: Tensor = torch.unique(tensor)
    return len(different)


def _may_be_trained(slot: Slot, model: nn.Module, old: list[Any]) -> bool:
    """Whether a kept tensor may come from training: not one that was computed anew, or that holds a few values only.

    Nor does a buffer that is not saved, unless parameters have its values.
    """
    tensors = [t for t in flat(slot.value) if isinstance(t, Tensor) and t.is_floating_point()]
    tensors = [tensor for tensor in tensors if any(tensor is other for other in old)]
    if all(_count(tensor) <= _FEW for tensor in tensors):
        return False
    if slot.name not in slot.module._buffers:
        return True
    values = torch.cat([tensor.flatten() for tensor in tensors])
    owner = model.get_submodule(slot.path) if slot.path else model
    return any(bool(torch.isin(values, parameter).all()) for parameter in owner.parameters())


def _draw(module: nn.Module) -> None:
    """Draw inner modules first, because an outer one may draw them better."""
    transformers = sys.modules.get("transformers")  # whoever holds such a model has imported it
    if transformers is not None and isinstance(module, transformers.PreTrainedModel):
        _draw_by_transformers(module)
        return
    for child in module.children():
        _draw(child)
    for name in ("reset_parameters", "_reset_parameters", "init_weights"):
        initialise = getattr(module, name, None)
        if callable(initialise) and _takes_nothing(initialise):
            initialise()


def _draw_by_transformers(network: Any) -> None:
    state = type(network)(copy.deepcopy(network.config)).state_dict()
    missing = network.load_state_dict(state, strict=False).missing_keys
    if missing:
        raise ValueError(f"{type(network).__name__} built from its configuration lacks {missing[:10]}")


def _takes_nothing(function: Any) -> bool:
    parameters = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(p.default is not p.empty or p.kind in kinds for p in parameters)
