"""What a model, an objective and a capture hand to each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """What a loaded model returns; a field that a model does not have is None."""

    features: Tensor  # [n, d], the image's vector before any head
    logits: Tensor | None = None  # [n, classes]
    tokens: Tensor | None = None  # [n, t, d] after the last norm: class token, registers, patches
    embedding: Tensor | None = None  # [n, e], in the space shared with text
    projection: Tensor | None = None  # [n, prototypes], of a self-distillation head
    prediction: Tensor | None = None  # [n, patches, pixels], of a masked autoencoder's decoder
    mask: Tensor | None = None  # [n, patches], 1 where a patch was hidden
    query_logits: Tensor | None = None  # [n, boxes, queries], of a detector
    boxes: Tensor | None = None  # [n, boxes, 4], centre and size in 0..1


@dataclass(frozen=True)
class Batch:
    """What an objective is given beside the model's output."""

    images: Tensor  # [n, 3, h, w]
    index: Tensor  # int64 [n], the images' positions in what capture was given
    context: Any = None  # what the objective's `prepare` made


@dataclass(frozen=True)
class Prepared:
    """What an objective's `prepare(model, batch)` returns; it runs without gradient, before the forward pass.

    It may depend on an image and its index, but never on the other images of the batch: then an image's features
    would depend on them too.
    """

    inputs: Mapping[str, Tensor] = field(default_factory=dict)  # further arguments of the model's forward, one row each
    context: Any = None  # handed back as `batch.context`


ObjectiveFunction = Callable[[Any, Batch], Tensor]  # (the model's output, batch) -> [n]
