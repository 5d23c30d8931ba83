"""The same architecture with the weights that it had before training: a control of everything that was learned."""

import copy
import inspect
import sys
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from gradkern.models import _dino_v1 as dino
from gradkern.models._spec import ModelSpec
from gradkern.objectives._base import check_seed

UNTRAINED = "gradient/untrained"  # what its gradients are called beside those of the trained model


def untrained(model: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of a model whose parameters are drawn anew, by the architecture's own initialiser, from a seed.

    Models of transformers are built again from their configuration; elsewhere every module's `reset_parameters` draws
    its own, and then the `init_weights` of outer modules (timm), where there is one. Statistics of batch norm are
    those of no data. A teacher of DINO is a copy of the student, its center 0, as training begins. `capture` of what
    is returned is the control.

    Parameters
    ----------
    model : is left as it is
    seed : the same one gives the same weights on one version of torch (and of transformers, or timm)

    Returns
    -------
    nn.Module in eval mode, where the model is; its `spec`, if there is one, says "random" weights

    Raises
    ------
    ValueError : parameters that no initialiser draws (they are named); a seed below 0
    """
    check_seed(seed)
    fresh = copy.deepcopy(model).eval()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for parameter in fresh.parameters():
            parameter.fill_(float("nan"))  # so that one that is forgotten shows
        _draw(fresh)
        if isinstance(fresh, dino.DinoV1) and fresh.head is not None and fresh.center is not None:
            teacher = dino.Teacher(copy.deepcopy(fresh.network), copy.deepcopy(fresh.head))
            fresh.add_head(fresh.head, teacher, torch.zeros_like(fresh.center))
    forgotten = [name for name, parameter in fresh.named_parameters() if parameter.isnan().any()]
    if forgotten:
        raise ValueError(
            f"untrained: model must have an initialiser (reset_parameters, init_weights) of all its parameters, got "
            f"none for {', '.join(forgotten[:10])}; build the model anew"
        )
    spec: Any = getattr(fresh, "spec", None)
    if isinstance(spec, ModelSpec):
        fresh.spec = replace(spec, weights="random", weights_sha256=None)  # type: ignore[assignment]  # no tensor
    return fresh


def _draw(module: nn.Module) -> None:
    """Inner modules first: an outer one knows better."""
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
        raise ValueError(f"untrained: {type(network).__name__} built from its configuration lacks {missing[:10]}")


def _takes_nothing(function: Any) -> bool:
    parameters = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(p.default is not p.empty or p.kind in kinds for p in parameters)
