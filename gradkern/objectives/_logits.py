"""Objectives of a model's logits and features."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from gradkern.errors import naming
from gradkern.objectives._base import Fact, Objective, TargetObjective, check_classes, describe


@dataclass(frozen=True, eq=False)
class CrossEntropy(TargetObjective):
    """Cross-entropy of the logits: -sum_c q_c log softmax(logits)_c, with q one class or soft targets.

    Parameters
    ----------
    labels : for every image given to `capture` a class, int64 [N], or soft targets, floating [N, classes], whose rows
        sum to 1; None takes the class that the model predicts

    Raises
    ------
    ValueError : labels that are neither classes nor probabilities

    Notes
    -----
    Against the model's own soft prediction the gradient would be exactly zero, so that is not offered.
    """

    labels: Tensor | None = None
    name: str = "cross-entropy"
    exact: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("logits",)

    @naming("CrossEntropy")
    def __post_init__(self) -> None:
        if self.labels is None:
            return
        if isinstance(self.labels, str):
            raise ValueError(
                f"labels must be a tensor or None (the predicted class), got {self.labels!r}; against the model's own "
                "soft prediction the gradient would be exactly zero"
            )
        is_class = isinstance(self.labels, Tensor) and self.labels.dtype == torch.int64 and self.labels.dim() == 1
        if not is_class and not _is_soft(self.labels):
            raise ValueError(
                "labels must be int64 [N], or floating [N, classes] with rows that are probabilities, got "
                f"{describe(self.labels)}"
            )

    @property
    def facts(self) -> dict[str, Fact]:
        label_kind = "classes" if self.labels is None or self.labels.dim() == 1 else "soft targets"
        return {**super().facts, "target": "predicted class" if self.labels is None else label_kind}

    @property
    def reads_output(self) -> bool:  # type: ignore[override]  # settings decide
        return self.labels is None

    def targets(self, output: Any, batch: Any) -> Tensor:
        """The labels of the images, or the classes that the model predicts."""
        if self.labels is None:
            return self._field(output, "logits").detach().argmax(1)
        return self._batch_rows("labels", self.labels, batch)

    @naming("CrossEntropy")
    def losses(self, output: Any, batch: Any, targets: Tensor) -> Tensor:
        logits = self._field(output, "logits")
        classes, targets = logits.shape[1], targets.to(logits.device)
        if targets.is_floating_point():
            targets = targets.to(logits)
            if targets.shape[1] != classes:
                labels = targets if self.labels is None else self.labels
                raise ValueError(f"labels must be [N, {classes}], got {list(labels.shape)}")
        else:
            check_classes("labels", targets, classes)
        return torch.nn.functional.cross_entropy(logits, targets, reduction="none")


def _is_soft(labels: Any) -> bool:
    if not isinstance(labels, Tensor) or not labels.is_floating_point() or labels.dim() != 2:
        return False
    sums = labels.double().sum(1)
    return bool((labels >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), rtol=0, atol=1e-2)


@dataclass(frozen=True)
class Entropy(Objective):
    """Entropy of the prediction in nats: -sum_c p_c log p_c."""

    name: str = "entropy"
    exact: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("logits",)

    def __call__(self, output: Any, batch: Any) -> Tensor:
        log_p = self._field(output, "logits").log_softmax(1)
        return -(log_p.exp() * log_p).sum(1)


@dataclass(frozen=True)
class KLToUniform(Objective):
    """KL(uniform || prediction) in nats: -log C - mean_c log p_c, over C classes.

    The other direction, KL(prediction || uniform), is log C minus the entropy: its gradient is that of the entropy
    with the opposite sign.

    Notes
    -----
    Huang, Geng & Li, NeurIPS 2021 (GradNorm).
    """

    name: str = "kl-uniform"
    exact: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("logits",)

    def __call__(self, output: Any, batch: Any) -> Tensor:
        log_p = self._field(output, "logits").log_softmax(1)
        return -log_p.mean(1) - math.log(log_p.shape[1])


@dataclass(frozen=True)
class FeatureNorm(Objective):
    """Euclidean norm of the features before the classifier."""

    name: str = "feature-norm"
    exact: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("features",)

    def __call__(self, output: Any, batch: Any) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(self._field(output, "features"), dim=1)
        return norm
