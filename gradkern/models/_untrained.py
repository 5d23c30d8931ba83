"""The same architecture with weights as before training: a control for everything that is learned."""

import copy
import inspect
import sys
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from gradkern.errors import naming
from gradkern.models import _dino_v1 as dino
from gradkern.models._spec import ModelSpec
from gradkern.objectives._base import check_seed

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
    ValueError : parameters that no initialiser draws (they are named); a seed below 0

    Examples
    --------
    >>> import torch, gradkern
    >>> gradkern.untrained(torch.nn.Linear(3, 2), seed=1).weight.shape
    torch.Size([2, 3])
    """
    seed = check_seed(seed)
    fresh = copy.deepcopy(model).eval()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for parameter in fresh.parameters():
            parameter.fill_(float("nan"))  # shows those that no initialiser draws
        _draw(fresh)
        if isinstance(fresh, dino.DinoV1) and fresh.head is not None and fresh.center is not None:
            teacher = dino.Teacher(copy.deepcopy(fresh.network), copy.deepcopy(fresh.head))
            fresh.add_head(fresh.head, teacher, torch.zeros_like(fresh.center))
    missing = [name for name, parameter in fresh.named_parameters() if parameter.isnan().any()]
    if missing:
        raise ValueError(
            f"model must have an initialiser (reset_parameters, init_weights) of all its parameters, got "
            f"none for {', '.join(missing[:10])}; build the model anew"
        )
    spec: Any = getattr(fresh, "spec", None)
    if isinstance(spec, ModelSpec):
        fresh.spec = replace(spec, weights="random", weights_sha256=None)  # type: ignore[assignment]  # no tensor
    return fresh


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
