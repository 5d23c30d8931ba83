"""Masked prediction: what a model makes of the patches that it does not see."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from gradkern.objectives._augment import check_ratio, patch_order
from gradkern.objectives._base import Targeted, check_seed, part, precise, prepared
from gradkern.objectives._interface import Batch, Prepared


class _Hidden(NamedTuple):
    targets: Tensor  # [n, patches, d], of the unmasked image
    mask: Tensor  # bool [n, patches]


@dataclass(frozen=True)
class MaskedPatchSurrogate(Targeted):
    """Tokens of hidden patches against those of the same patches of the whole image: a surrogate.

    l_i = mean_{p hidden} 1 - cos(z_ip, t_ip)

    with z the last tokens [n, patches, d] of the masked image, t those of the whole image by the same model (no
    gradient). Of an image's patches, round(ratio * patches) are hidden, at least one.

    Parameters
    ----------
    ratio : of patches that are hidden
    seed : masks are drawn from (seed, image index) alone

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

    def __post_init__(self) -> None:
        check_ratio("MaskedPatchSurrogate", self.ratio)
        check_seed("MaskedPatchSurrogate", self.seed)

    @torch.no_grad()
    def prepare(self, model: Any, batch: Batch) -> Prepared:
        """`bool_masked_pos` [n, patches] for the forward pass; the targets."""
        tokens = part(self.name, model(batch.images), "tokens", "n, t, d")
        prefix = _prefix_tokens(model)
        patches = tokens.shape[1] - prefix
        if patches < 1:
            raise ValueError(
                f"objective: tokens must be {prefix} class and register tokens and then patches, got "
                f"{tokens.shape[1]} tokens (objective {self.name!r})"
            )
        mask = patch_order(batch, self.seed, patches) < max(1, round(self.ratio * patches))
        return Prepared({"bool_masked_pos": mask}, _Hidden(tokens[:, prefix:], mask))

    def targets(self, output: Any, batch: Batch) -> Tensor:
        """The patches' tokens of the whole image, [n, patches, d]."""
        hidden: _Hidden = prepared(self.name, batch, _Hidden)
        return hidden.targets

    def against(self, output: Any, batch: Batch, targets: Tensor) -> Tensor:
        """Where the image's own patches are hidden, whosever the targets are."""
        tokens = part(self.name, output, "tokens", "n, t, d")
        mask = prepared(self.name, batch, _Hidden).mask
        ours = tokens[:, tokens.shape[1] - mask.shape[1] :]
        distance = 1 - cosine_similarity(ours, targets.to(ours), dim=2)
        mean: Tensor = (distance * mask).sum(1) / mask.sum(1)
        return mean


def _prefix_tokens(model: Any) -> int:
    spec = getattr(model, "spec", None)
    counts = [getattr(spec, field, None) for field in ("class_tokens", "register_tokens")]
    if not all(isinstance(count, int) for count in counts):
        raise TypeError(
            "objective: model.spec must have class_tokens and register_tokens for objective 'masked-patch-surrogate', "
            f"got {type(spec).__name__} with {counts}"
        )
    return sum(count for count in counts if count is not None)


@dataclass(frozen=True)
class MaskedAutoencoder(Targeted):
    """Mean squared error of the pixels that a masked autoencoder paints into hidden patches.

    l_i = sum_p m_ip mean_q (y_ipq - x_ipq)^2 / sum_p m_ip

    with y the prediction [n, patches, 3 p^2], m the mask, x the image in patches; each patch of x less its mean, over
    sqrt(its unbiased variance + 1e-6), if `normalise`. For one image it is the loss of transformers'
    `ViTMAEForPreTraining` with `norm_pix_loss=normalise`.

    Parameters
    ----------
    ratio : of patches that are hidden; must be the model's `network.config.mask_ratio`, which does the hiding
    seed : the order in which patches are hidden is drawn from (seed, image index) alone
    normalise : targets per patch, as in the paper's best models

    Notes
    -----
    He et al., CVPR 2022 (MAE).
    """

    ratio: float = 0.75
    seed: int = 0
    normalise: bool = True
    name: str = "masked-autoencoder"
    exact: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("prediction", "mask")

    def __post_init__(self) -> None:
        check_ratio("MaskedAutoencoder", self.ratio)
        check_seed("MaskedAutoencoder", self.seed)

    def prepare(self, model: Any, batch: Batch) -> Prepared:
        """`noise` float32 [n, patches] for the forward pass: the patches with the least noise stay visible."""
        config: Any = getattr(getattr(model, "network", None), "config", None)
        size = getattr(config, "patch_size", None)
        if not isinstance(size, int):
            raise TypeError(
                f"objective: model.network.config.patch_size must be an integer for objective {self.name!r}, got {size}"
            )
        if getattr(config, "mask_ratio", self.ratio) != self.ratio:
            raise ValueError(f"MaskedAutoencoder: ratio must be the model's, {config.mask_ratio}, got {self.ratio}")
        height, width = batch.images.shape[2:]
        if height % size or width % size:
            raise ValueError(f"objective: images must be whole patches of {size} pixels, got {height} x {width}")
        patches = (height // size) * (width // size)
        return Prepared({"noise": patch_order(batch, self.seed, patches).float() / patches})  # distinct: no ties

    def targets(self, output: Any, batch: Batch) -> Tensor:
        """The pixels, [n, 3, h, w]."""
        return batch.images

    def against(self, output: Any, batch: Batch, targets: Tensor) -> Tensor:
        """Where the image's own patches are hidden, whosever the pixels are."""
        prediction = part(self.name, output, "prediction", "n, patches, pixels")
        mask = part(self.name, output, "mask", "n, patches").to(prediction)
        target = patchify(precise(targets), math.isqrt(prediction.shape[2] // 3))
        if target.shape != prediction.shape:
            raise ValueError(
                f"objective: prediction must be [n, patches, pixels] of square patches, {list(target.shape)}, got "
                f"{list(prediction.shape)} (objective {self.name!r})"
            )
        if self.normalise:
            variance, mean = torch.var_mean(target, dim=2, keepdim=True)
            target = (target - mean) / (variance + 1e-6).sqrt()
        error = (prediction - target).square().mean(2)
        return (error * mask).sum(1) / mask.sum(1)


def patchify(images: Tensor, size: int) -> Tensor:
    """[n, c, h, w] in patches [n, patches, size * size * c]: row by row, within a patch too, colours last."""
    if size < 1 or images.shape[2] % size or images.shape[3] % size:
        raise ValueError(f"objective: images must be whole patches of {size} pixels, got {list(images.shape)}")
    n, channels, height, width = images.shape
    grid = images.reshape(n, channels, height // size, size, width // size, size)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(n, -1, size * size * channels)
