"""Detection by text queries, without ground truth."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from gradkern.errors import naming
from gradkern.objectives._base import TargetObjective, check_matrix
from gradkern.objectives._interface import Batch, Prepared


@dataclass(frozen=True, eq=False)
class Detection(TargetObjective):
    """Cross-entropy that pulls an image's most confident box to the query it answers best: a surrogate.

    (b, c) = argmax_{b, c} z_bc, without gradient
    l = sum_q BCE(sigmoid(z_bq), [q = c])

    with z the detector's logits [boxes, queries]. Without ground truth there are no box terms, no matching and no
    focal weights.

    Parameters
    ----------
    queries : [q, d], embeddings of the texts to look for; the forward pass is given them as `query_embeds` [n, q, d]

    Raises
    ------
    ValueError : queries that are not a floating-point matrix

    Notes
    -----
    After Minderer et al., ECCV 2022 (OWL-ViT).
    """

    queries: Tensor
    name: str = "detection-surrogate"
    exact: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("query_logits",)
    reads_output: ClassVar[bool] = True  # type: ignore[misc]

    @naming("Detection")
    def __post_init__(self) -> None:
        check_matrix("queries", self.queries)

    def prepare(self, model: Any, batch: Batch) -> Prepared:
        """`query_embeds` [n, q, d] for the forward pass."""
        return Prepared({"query_embeds": self.queries.to(batch.images).expand(len(batch.images), -1, -1)})

    def targets(self, output: Any, batch: Batch) -> Tensor:
        """The query that the most confident box answers, c: int64 [n]."""
        logits = self._field(output, "query_logits", "n, boxes, queries")
        return logits.detach().flatten(1).argmax(1) % logits.shape[2]

    def losses(self, output: Any, batch: Batch, targets: Tensor) -> Tensor:
        """The loss of the image's own most confident box b, whichever query the target is."""
        logits = self._field(output, "query_logits", "n, boxes, queries")
        best = logits.detach().flatten(1).argmax(1) // logits.shape[2]
        box = logits[torch.arange(len(logits), device=logits.device), best]
        target = one_hot(targets.to(logits.device), logits.shape[2]).to(logits)
        return binary_cross_entropy_with_logits(box, target, reduction="none").sum(1)
