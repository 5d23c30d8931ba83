"""Masked prediction: what a model predicts for the patches that it does not see."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from gradkern.errors import naming
from gradkern.objectives._augment import check_ratio, patch_order
from gradkern.objectives._base import TargetObjective, check_seed, precise
from gradkern.objectives._interface import Batch, Prepared


class _HiddenPatches(NamedTuple):
    targets: Tensor  # [n, patches, d], of the unmasked image
    mask: Tensor  # bool [n, patches]


@dataclass(frozen=True)
class MaskedPatchSurrogate(TargetObjective):
    """Cosine distance of the tokens of hidden patches from those in the whole image: a surrogate.

    l_i = mean_{p hidden} 1 - cos(z_ip, t_ip)

    with z the last tokens [n, patches, d] of the masked image and t those of the whole image, by the same model and
    without gradient. In each image round(ratio * patches) patches are hidden, at least one.

    Parameters
    ----------
    ratio : fraction of patches that are hidden
    seed : masks are drawn from (seed, image index) alone

    Raises
    ------
    ValueError : a ratio outside 0..1, a seed below 0

    Notes
    -----
    After Zhou et al., ICLR 2022 (iBOT), without its head. The model takes `bool_masked_pos`; its `spec` has
    `class_tokens` and `register_tokens`, which come before the patches.
    """

    ratio: float = 0.4
    seed: int = 0
    name: str = "masked-patch-surrogate"
    exact: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("tokens",)

    @naming("MaskedPatchSurrogate")
    def __post_init__(self) -> None:
        check_ratio(self.ratio)
        check_seed(self.seed)

    @torch.no_grad()
    @naming("objective")
    def prepare(self, model: Any, batch: Batch) -> Prepared:
        """`bool_masked_pos` [n, patches] for the forward pass, and the targets as context."""
        tokens = self._field(model(batch.images), "tokens", "n, t, d")
        prefix = _prefix_tokens(model)
        patches = tokens.shape[1] - prefix
        if patches < 1:
            raise ValueError(
                f"tokens must be {prefix} class and register tokens and then patches, got "
                f"{tokens.shape[1]} tokens (objective {self.name!r})"
            )
        mask = patch_order(batch, self.seed, patches) < max(1, round(self.ratio * patches))
        return Prepared({"bool_masked_pos": mask}, _HiddenPatches(tokens[:, prefix:], mask))

    def targets(self, output: Any, batch: Batch) -> Tensor:
        """The patches' tokens of the whole image, [n, patches, d]."""
        hidden: _HiddenPatches = self._context(batch, _HiddenPatches)
        return hidden.targets

    def losses(self, output: Any, batch: Batch, targets: Tensor) -> Tensor:
        """The loss at the patches that are hidden in the image itself, whichever image the targets are of."""
        tokens = self._field(output, "tokens", "n, t, d")
        mask = self._context(batch, _HiddenPatches).mask
        ours = tokens[:, tokens.shape[1] - mask.shape[1] :]
        distance = 1 - cosine_similarity(ours, targets.to(ours), dim=2)
        mean: Tensor = (distance * mask).sum(1) / mask.sum(1)
        return mean


def _prefix_tokens(model: Any) -> int:
    spec = getattr(model, "spec", None)
    counts = [getattr(spec, field, None) for field in ("class_tokens", "register_tokens")]
    if not all(isinstance(count, int) for count in counts):
        raise TypeError(
            "model.spec must have class_tokens and register_tokens for objective 'masked-patch-surrogate', "
            f"got {type(spec).__name__} with {counts}"
        )
    return sum(count for count in counts if count is not None)


@dataclass(frozen=True)
class MaskedAutoencoder(TargetObjective):
    """Mean squared error of the pixels that a masked autoencoder predicts for hidden patches.

    l_i = sum_p m_ip mean_q (y_ipq - x_ipq)^2 / sum_p m_ip

    with y the prediction [n, patches, 3 p^2], m the mask and x the image in patches. With `normalize`, each patch of x
    is z-scored: (x - mean) / sqrt(unbiased variance + 1e-6). For one image this is the loss of transformers'
    `ViTMAEForPreTraining` with `norm_pix_loss=normalize`.

    Parameters
    ----------
    ratio : fraction of patches that are hidden; must be the model's `network.config.mask_ratio`, which does the hiding
    seed : the order in which patches are hidden is drawn from (seed, image index) alone
    normalize : whether each patch of the target is normalised, as in the paper's best models

    Notes
    -----
    He et al., CVPR 2022 (MAE).
    """

    ratio: float = 0.75
    seed: int = 0
    normalize: bool = True
    name: str = "masked-autoencoder"
    exact: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("prediction", "mask")

    @naming("MaskedAutoencoder")
    def __post_init__(self) -> None:
        check_ratio(self.ratio)
        check_seed(self.seed)

    @naming("MaskedAutoencoder")
    def prepare(self, model: Any, batch: Batch) -> Prepared:
        """`noise` float32 [n, patches] for the forward pass: the patches with the least noise stay visible."""
        config: Any = getattr(getattr(model, "network", None), "config", None)
        size = getattr(config, "patch_size", None)
        if not isinstance(size, int):
            raise TypeError(
                f"model.network.config.patch_size must be an integer for objective {self.name!r}, got {size}"
            )
        if getattr(config, "mask_ratio", self.ratio) != self.ratio:
            raise ValueError(f"ratio must be the model's, {config.mask_ratio}, got {self.ratio}")
        height, width = batch.images.shape[2:]
        if height % size or width % size:
            raise ValueError(f"images must be whole patches of {size} pixels, got {height} x {width}")
        patches = (height // size) * (width // size)
        return Prepared({"noise": patch_order(batch, self.seed, patches).float() / patches})  # distinct: no ties

    def targets(self, output: Any, batch: Batch) -> Tensor:
        """The pixels, [n, 3, h, w]."""
        return batch.images

    @naming("objective")
    def losses(self, output: Any, batch: Batch, targets: Tensor) -> Tensor:
        """The loss at the patches that are hidden in the image itself, whichever image the pixels are of."""
        prediction = self._field(output, "prediction", "n, patches, pixels")
        mask = self._field(output, "mask", "n, patches").to(prediction)
        target = patchify(precise(targets), math.isqrt(prediction.shape[2] // 3))
        if target.shape != prediction.shape:
            raise ValueError(
                f"prediction must be [n, patches, pixels] of square patches, {list(target.shape)}, got "
                f"{list(prediction.shape)} (objective {self.name!r})"
            )
        if self.normalize:
            variance, mean = torch.var_mean(target, dim=2, keepdim=True)
            target = (target - mean) / (variance + 1e-6).sqrt()
        error = (prediction - target).square().mean(2)
        return (error * mask).sum(1) / mask.sum(1)


@naming("objective")
def patchify(images: Tensor, size: int) -> Tensor:
    """Images [n, c, h, w] as patches [n, patches, size * size * c], both in row-major order, colours last."""
    if size < 1 or images.shape[2] % size or images.shape[3] % size:
        raise ValueError(f"images must be whole patches of {size} pixels, got {list(images.shape)}")
    n, channels, height, width = images.shape
    grid = images.reshape(n, channels, height // size, size, width // size, size)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(n, -1, size * size * channels)
