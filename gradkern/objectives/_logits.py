"""Objectives: one loss per image, whose gradient is captured.

An objective is any callable `objective(output, batch) -> [n]`. A model's output is its logits, or an object with
`logits` and `features` (what every model of `load_model` returns). Losses are summed over the batch, so an image's
gradient does not depend on the images beside it. What an objective draws, it draws from (seed, image index) alone.

Those of this module state what they are: `name`, `exact` (False: a surrogate, not the loss that the model was trained
with), `needs` (what they read of the output), `facts` (all settings, for provenance). Those that compare the output
with a target have it apart (`stated.Targeted`), so that it can be shuffled among images.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from gradkern.objectives._base import Fact, Stated, Targeted, facts_of, name_of, part, rows, told
from gradkern.objectives._contrastive import Contrastive, SigmoidContrastive
from gradkern.objectives._detection import Detection
from gradkern.objectives._distillation import SelfDistillation, SelfDistillationSurrogate
from gradkern.objectives._masked import MaskedAutoencoder, MaskedPatchSurrogate

__all__ = [
    "CrossEntropy",
    "Entropy",
    "KLToUniform",
    "FeatureNorm",
    "SelfDistillation",
    "SelfDistillationSurrogate",
    "MaskedPatchSurrogate",
    "MaskedAutoencoder",
    "Contrastive",
    "SigmoidContrastive",
    "Detection",
    "name_of",
    "facts_of",
]


@dataclass(frozen=True, eq=False)
class CrossEntropy(Targeted):
    """Cross-entropy of the logits: -sum_c q_c log softmax(logits)_c, q one class or soft targets.

    Parameters
    ----------
    labels : for every image given to `capture` a class, int64 [N], or soft targets, floating [N, classes], rows of
        which sum to 1; None takes the class that the model predicts

    Notes
    -----
    Against the model's own soft prediction the gradient would be exactly zero, so that is not offered.
    """

    labels: Tensor | None = None
    name: str = "cross-entropy"
    exact: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("logits",)

    def __post_init__(self) -> None:
        if self.labels is None:
            return
        if isinstance(self.labels, str):
            raise ValueError(
                f"CrossEntropy: labels must be a tensor or None (the predicted class), got {self.labels!r}; against "
                "the model's own soft prediction the gradient would be exactly zero"
            )
        is_class = isinstance(self.labels, Tensor) and self.labels.dtype == torch.int64 and self.labels.dim() == 1
        if not is_class and not _is_soft(self.labels):
            raise ValueError(
                "CrossEntropy: labels must be int64 [N], or floating [N, classes] with rows that are probabilities, "
                f"got {told(self.labels)}"
            )

    @property
    def facts(self) -> dict[str, Fact]:
        given = "classes" if self.labels is None or self.labels.dim() == 1 else "soft targets"
        return {**super().facts, "target": "predicted class" if self.labels is None else given}

    @property
    def reads_output(self) -> bool:  # type: ignore[override]  # settings decide
        return self.labels is None

    def targets(self, output: Any, batch: Any) -> Tensor:
        """The labels of the images, or the classes that the model predicts."""
        if self.labels is None:
            return part(self.name, output, "logits").detach().argmax(1)
        return rows(self.name, "labels", self.labels, batch)

    def against(self, output: Any, batch: Any, targets: Tensor) -> Tensor:
        logits = part(self.name, output, "logits")
        classes, targets = logits.shape[1], targets.to(logits.device)
        if targets.is_floating_point():
            targets = targets.to(logits)
            if targets.shape[1] != classes:
                given = targets if self.labels is None else self.labels
                raise ValueError(f"CrossEntropy: labels must be [N, {classes}], got {list(given.shape)}")
        elif len(targets) > 0 and not 0 <= int(targets.min()) <= int(targets.max()) < classes:
            raise ValueError(
                f"CrossEntropy: labels must lie in 0..{classes - 1}, got {int(targets.min())}..{int(targets.max())}"
            )
        return torch.nn.functional.cross_entropy(logits, targets, reduction="none")


def _is_soft(labels: Any) -> bool:
    if not isinstance(labels, Tensor) or not labels.is_floating_point() or labels.dim() != 2:
        return False
    sums = labels.double().sum(1)
    return bool((labels >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), rtol=0, atol=1e-2)


@dataclass(frozen=True)
class Entropy(Stated):
    """Entropy of the prediction in nats: -sum_c p_c log p_c."""

    name: str = "entropy"
    exact: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("logits",)

    def __call__(self, output: Any, batch: Any) -> Tensor:
        log_p = part(self.name, output, "logits").log_softmax(1)
        return -(log_p.exp() * log_p).sum(1)


@dataclass(frozen=True)
class KLToUniform(Stated):
    """KL(uniform || prediction) in nats: -log C - mean_c log p_c, over C classes.

    The other direction, KL(prediction || uniform), is log C minus the entropy and has its gradient, negated.

    Notes
    -----
    Huang, Geng & Li, NeurIPS 2021 (GradNorm).
    """

    name: str = "kl-uniform"
    exact: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("logits",)

    def __call__(self, output: Any, batch: Any) -> Tensor:
        log_p = part(self.name, output, "logits").log_softmax(1)
        return -log_p.mean(1) - math.log(log_p.shape[1])


@dataclass(frozen=True)
class FeatureNorm(Stated):
    """Euclidean norm of the features before the classifier."""

    name: str = "feature-norm"
    exact: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("features",)

    def __call__(self, output: Any, batch: Any) -> Tensor:
        features = part(self.name, output, "features")
        norm: Tensor = torch.linalg.vector_norm(features, dim=1)
        return norm
