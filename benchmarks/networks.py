"""Two networks with real weights, real photographs, and two losses each: what the accuracy is measured on.

Nothing of it is in the repository: the files lie in `shared/data` beside the checkout. benchmarks/README.md says where
they come from.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

import gradkern
from gradkern.models import ModelSpec

DATA = Path(__file__).parents[2] / "shared" / "data"
EVERY = 15  # of the 250 photographs, in the order of their names

Loss = Callable[[Tensor], Tensor]  # [1, 3, h, w] -> scalar


@dataclass(frozen=True)
class Network:
    """A model, how its images are prepared, and its losses."""

    name: str
    model: nn.Module
    spec: ModelSpec
    losses: dict[str, Loss]

    def layers(self) -> dict[str, nn.Module]:
        """All layers with a weight matrix."""
        modules = self.model.named_modules()
        return {name: module for name, module in modules if isinstance(module, nn.Linear | nn.Conv2d)}

    def gradients(self, loss: str, images: Tensor) -> dict[str, Tensor]:
        """Weight gradients [n, o, p] of each layer that the loss depends on, an image at a time."""
        layers = self.layers()
        weights = [layer.weight for layer in layers.values()]
        each = [torch.autograd.grad(self.losses[loss](image[None]), weights, allow_unused=True) for image in images]
        columns = zip(layers, zip(*each, strict=True), strict=True)
        return {name: torch.stack(parts).flatten(2) for name, parts in columns if parts[0] is not None}


def photographs(count: int) -> list[np.ndarray]:
    """uint8 [256, 256, 3] each."""
    paths = sorted((DATA / "images" / "cid22_256").glob("*.jpg"))[::EVERY][:count]
    if len(paths) < count:
        raise FileNotFoundError(f"{count} photographs are wanted, {len(paths)} are in {DATA}")
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths]


def networks() -> Iterator[Network]:
    yield vit()
    yield efficientnet()


def efficientnet() -> Network:
    weights = DATA / "models" / "efficientnet_lite0_imagenet1k.safetensors"
    model = gradkern.load_model("efficientnet-lite0", str(weights))

    def cross_entropy(images: Tensor) -> Tensor:
        logits = model(images).logits
        return nn.functional.cross_entropy(logits, logits.detach().argmax(1))

    def feature_map(images: Tensor) -> Tensor:
        return model.network.extract_features(images).square().sum()

    losses = {"cross-entropy": cross_entropy, "squared feature map": feature_map}
    return Network("EfficientNet-Lite0", model, model.spec, losses)


def vit() -> Network:
    state = load_file(DATA / "models" / "vit_s14_dinov2_saliency_fp16.safetensors")
    model = VisionTransformer()
    model.load_state_dict({name: value.float() for name, value in state.items()}, strict=True)
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    spec = ModelSpec("vit-s14", "pretrained", None, 224, mean, std, (), "MIT and Apache-2.0")
    losses: dict[str, Loss] = {
        "class token norm": lambda images: model(images)[:, 0].norm(),
        "squared patch tokens": lambda images: model(images)[:, 1:].square().sum(),
    }
    return Network("ViT-S/14", model.eval(), spec, losses)


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(attended.transpose(1, 2).reshape(n, t, d))


class Mlp(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.gamma * x


class Block(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn, self.mlp = Attention(dim, heads), Mlp(dim)
        self.ls1, self.ls2 = LayerScale(dim), LayerScale(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class VisionTransformer(nn.Module):
    """ViT-S/14 with the parameter names of facebookresearch/dinov2; positions are interpolated to the image's size."""

    def __init__(self, dim: int = 384, depth: int = 12, heads: int = 6, patch: int = 14, side: int = 37):
        super().__init__()
        self.side = side
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + side**2, dim))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, dim, patch, stride=patch)})
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        """[n, 1 + patches, dim], the class token first, after the last norm."""
        patches = self.patch_embed["proj"](images)
        grid = self.pos_embed[:, 1:].reshape(1, self.side, self.side, -1).permute(0, 3, 1, 2)
        grid = nn.functional.interpolate(grid, size=patches.shape[2:], mode="bicubic")
        x = (patches + grid).flatten(2).mT
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        x = torch.cat([first, x], 1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)
