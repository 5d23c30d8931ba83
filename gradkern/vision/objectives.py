"""Objectives: one loss per image, whose gradient is captured.

An objective is any callable `objective(output, batch) -> [n]`. A model's output is its logits, or an object with
`logits` and `features` (what every model of `load_model` returns). Losses are summed over the batch, so an image's
gradient does not depend on the images beside it.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


def _logits(output: Any) -> Tensor:
    return _part(output, "logits")


def _part(output: Any, name: str) -> Tensor:
    part = output if isinstance(output, Tensor) else getattr(output, name, None)
    if not isinstance(part, Tensor):
        raise TypeError(f"objective: the model's output must be a tensor or have .{name}, got {type(output).__name__}")
    if part.dim() != 2:
        raise ValueError(f"objective: {name} must be [n, d], got shape {list(part.shape)}")
    return part


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy of the logits: -log softmax(logits)[target].

    Parameters
    ----------
    labels : int64 [N], a class for every image given to `capture`; None takes the class that the model predicts

    Notes
    -----
    Against the model's own soft prediction the gradient would be exactly zero, so that is not offered.
    """

    labels: Tensor | None = None
    name: str = "cross-entropy"

    def __call__(self, output: Any, batch: Any) -> Tensor:
        logits = _logits(output)
        if self.labels is None:
            target = logits.detach().argmax(1)
        else:
            target = self.labels.to(logits.device)[batch.index.to(logits.device)]
        return torch.nn.functional.cross_entropy(logits, target, reduction="none")


@dataclass(frozen=True)
class Entropy:
    """Entropy of the prediction in nats: -sum_c p_c log p_c."""

    name: str = "entropy"

    def __call__(self, output: Any, batch: Any) -> Tensor:
        log_p = _logits(output).log_softmax(1)
        return -(log_p.exp() * log_p).sum(1)


@dataclass(frozen=True)
class KLToUniform:
    """KL(uniform || prediction) in nats: -log C - mean_c log p_c, over C classes.

    The other direction, KL(prediction || uniform), is log C minus the entropy and has its gradient, negated.

    Notes
    -----
    Huang, Geng & Li, NeurIPS 2021 (GradNorm).
    """

    name: str = "kl-uniform"

    def __call__(self, output: Any, batch: Any) -> Tensor:
        log_p = _logits(output).log_softmax(1)
        return -log_p.mean(1) - torch.tensor(float(log_p.shape[1])).log()


@dataclass(frozen=True)
class FeatureNorm:
    """Euclidean norm of the features before the classifier."""

    name: str = "feature-norm"

    def __call__(self, output: Any, batch: Any) -> Tensor:
        features = _part(output, "features")
        norm: Tensor = torch.linalg.vector_norm(features, dim=1)
        return norm
