"""What a capture keeps of the model's output and of the objective's targets."""

from typing import Any

import torch
from torch import Tensor

from gradkern.features._features import OUTPUTS, Key
from gradkern.objectives._base import TargetObjective
from gradkern.objectives._interface import Batch, ObjectiveFunction

_WIDEST = 4096  # columns of an output that is kept
_FIELDS = ("logits", "projection", "embedding", "features")  # of `Output` that are [n, c]


@torch.no_grad()
def kept_outputs(output: Any, objective: ObjectiveFunction | None, batch: Batch) -> dict[Key, Tensor]:
    """Outputs [n, c] of the model and labels of the objective, in float32, by their names in a store.

    These are the logits, and what the objective reads; where none of these has at most 4,096 columns, the features
    before any head. What a model returns that returns one tensor is called what the objective reads, or "output" where
    the objective does not say.
    """
    n, needs = len(batch.images), [name for name in getattr(objective, "needs", ()) if name in _FIELDS]
    fields: dict[str, Any] = {name: getattr(output, name, None) for name in _FIELDS}
    if isinstance(output, Tensor):
        fields = dict.fromkeys(needs[:1] or ["output"], output)
    narrow = {name: values for name, values in fields.items() if _is_kept(values, n)}
    names = [name for name in dict.fromkeys(["logits", *needs]) if name in narrow] or [*narrow][-1:]
    kept: dict[Key, Tensor] = {(OUTPUTS, name): _stored(narrow[name]) for name in names}
    if isinstance(objective, TargetObjective):
        labels = objective.targets(output, batch)
        is_class = labels.shape == (n,) and not labels.is_floating_point()
        if is_class or (labels.dim() == 2 and _is_kept(labels, n)):
            kept["labels", ""] = _stored(labels)
    return kept


def _is_kept(values: Any, n: int) -> bool:
    is_matrix = isinstance(values, Tensor) and values.dim() == 2 and len(values) == n
    return is_matrix and 0 < values.shape[1] <= _WIDEST and values.is_floating_point()


def _stored(values: Tensor) -> Tensor:
    return values.detach().to(torch.float32, copy=values.is_cuda)  # it is sent later
