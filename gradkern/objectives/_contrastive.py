"""Contrastive losses of an image against a stored context of texts and images."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid, normalize, one_hot

from gradkern.errors import naming
from gradkern.objectives._base import TargetObjective, check_labels, check_matrix, check_positive
from gradkern.objectives._interface import Batch


class _TextObjective(TargetObjective):
    """An objective whose target is a text."""

    text: Tensor
    labels: Tensor

    def targets(self, output: Any, batch: Batch) -> Tensor:
        """Which text each image has, int64 [n]."""
        return self._batch_rows("labels", self.labels, batch)

    @naming("objective")
    def _cosines(self, output: Any) -> Tensor:
        """Cosines of the images' embeddings with the M texts', [n, M]."""
        embedding = self._field(output, "embedding", "n, e")
        if embedding.shape[1] != self.text.shape[1]:
            raise ValueError(
                f"text must have the model's {embedding.shape[1]} dimensions, got {self.text.shape[1]} "
                f"(objective {self.name!r})"
            )
        return normalize(embedding, dim=1) @ normalize(self.text.to(embedding), dim=1).T


@dataclass(frozen=True, eq=False)
class Contrastive(_TextObjective):
    """CLIP's loss in a stored context: all terms of the batch loss that depend on this image.

    With x the image's embedding, t_j the texts', all of norm 1, s = logit_scale and y the image's text::

        a = -log [ exp(s x.t_y) / sum_j exp(s x.t_j) ]              image -> text, over M texts
        b = sum_{k in K} -log [ exp(s x_k.t_{y_k}) / sum_{k' in K} exp(s x_k'.t_{y_k}) ]
                                                                    text -> image, K the context images and this one
        l = a without context images, (a + b) / 2 with them

    For M pairs, M - 1 of which are the context, l has the gradient of M times the batch loss with respect to this
    image, the others held fixed. A text that no image in K has gives no term.

    Parameters
    ----------
    text : [M, e], embeddings
    labels : int64 [N], the text of every image given to `capture`
    logit_scale : factor of the cosines; the exponential of a checkpoint's parameter
    images : [C, e], embeddings of the context's images; None leaves text -> image out
    image_labels : int64 [C], the text of each
    image_index : int64 [C], which image of `capture` each is (-1: none of them). An image is left out of its own
        context, so one context of all images serves them all. None: no image is in the context.

    Raises
    ------
    ValueError : tensors of the wrong type or shape, labels of texts that do not exist

    Notes
    -----
    Radford et al., ICML 2021 (CLIP), figure 3. Exact given the context.
    """

    text: Tensor
    labels: Tensor
    logit_scale: float = 100.0
    images: Tensor | None = None
    image_labels: Tensor | None = None
    image_index: Tensor | None = None
    name: str = "contrastive"
    exact: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("embedding",)

    @naming("Contrastive")
    def __post_init__(self) -> None:
        check_matrix("text", self.text)
        check_labels("labels", self.labels, len(self.text))
        check_positive(logit_scale=self.logit_scale)
        if (self.images is None) != (self.image_labels is None):
            argument = "images" if self.image_labels is None else "image_labels"
            raise ValueError(f"images and image_labels must be given together, got {argument} alone")
        if self.images is None or self.image_labels is None:
            if self.image_index is not None:
                raise ValueError("image_index must come with images, got images=None")
            return
        check_matrix("images", self.images)
        check_labels("image_labels", self.image_labels, len(self.text))
        for argument in ("image_labels", "image_index"):
            value = getattr(self, argument)
            if value is not None and len(value) != len(self.images):
                raise ValueError(f"{argument} must have a row for each of {len(self.images)} images, got {len(value)}")
        if self.images.shape[1] != self.text.shape[1]:
            raise ValueError(f"images must have the text's {self.text.shape[1]} dimensions, got {self.images.shape[1]}")

    def losses(self, output: Any, batch: Batch, targets: Tensor) -> Tensor:
        logits = self.logit_scale * self._cosines(output)
        labels = targets.to(logits.device)
        to_text = cross_entropy(logits, labels, reduction="none")
        if self.images is None or self.image_labels is None:
            return to_text
        total, own, count = self._context_sums(self.images.to(logits), self.image_labels.to(logits.device), batch.index)
        normaliser = torch.logaddexp(total, logits)  # [n, M], of every text over the context and this image
        mine = (normaliser - logits).gather(1, labels[:, None])[:, 0]
        to_image = mine + (count * normaliser).sum(1) - own
        return (to_text + to_image) / 2

    @torch.no_grad()
    def _context_sums(self, images: Tensor, labels: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sums over the context of each image.

        Returns
        -------
        The log of the sum of exponentials by text [n, M], the sum of the logits of true pairs [n], and how many images
        each text has [n, M].
        """
        text = normalize(self.text.to(images), dim=1)
        logits = self.logit_scale * text @ normalize(images, dim=1).T  # [M, C]
        true_pairs = logits.gather(0, labels[None])[0]
        has_text = one_hot(labels, len(text)).to(images)
        sums = []
        for i in index.tolist():
            others = slice(None) if self.image_index is None else (self.image_index != i).to(images.device)
            sums.append((logits[:, others].logsumexp(1), true_pairs[others].sum(), has_text[others].sum(0)))
        total, own, count = (torch.stack(values) for values in zip(*sums, strict=True))
        return total, own, count


@dataclass(frozen=True, eq=False)
class SigmoidContrastive(_TextObjective):
    """SigLIP's loss against stored texts: each text is a question of its own, whether the image is its

    l = sum_j -log sigmoid(z_j (scale x.t_j + bias)),  z_j = 1 for the image's text, -1 for any other

    with x the image's embedding and t_j the texts', of norm 1. For M pairs, l has the gradient of M times the batch
    loss with respect to this image; it depends on no other image.

    Parameters
    ----------
    text : [M, e], embeddings
    labels : int64 [N], the text of every image given to `capture`
    scale : factor of the cosines; the exponential of a checkpoint's parameter
    bias : what is added to the scaled cosines

    Raises
    ------
    ValueError : tensors of the wrong type or shape, labels of texts that do not exist

    Notes
    -----
    Zhai et al., ICCV 2023 (SigLIP), equation 1. The defaults are the paper's values at the start of training; take
    the checkpoint's.
    """

    text: Tensor
    labels: Tensor
    scale: float = 10.0
    bias: float = -10.0
    name: str = "sigmoid-contrastive"
    exact: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("embedding",)

    @naming("SigmoidContrastive")
    def __post_init__(self) -> None:
        check_matrix("text", self.text)
        check_labels("labels", self.labels, len(self.text))
        check_positive(scale=self.scale)

    def losses(self, output: Any, batch: Batch, targets: Tensor) -> Tensor:
        logits = self.scale * self._cosines(output) + self.bias
        labels = targets.to(logits.device)
        sign = 2 * one_hot(labels, len(self.text)).to(logits) - 1
        return -logsigmoid(sign * logits).sum(1)
