"""The table of models that come from the Hugging Face hub."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_Colour = tuple[float, float, float]


def _scaled(a: float, b: float, c: float) -> _Colour:
    return (a * 255, b * 255, c * 255)


@dataclass(frozen=True)
class Preprocessing:
    mean: _Colour  # on the 0..255 scale
    std: _Colour
    interpolation: str
    shorter_side: int | None = None  # None: the whole image becomes a square


@dataclass(frozen=True)
class Row:
    """One published model."""

    hub: str
    family: str  # a class of gradkern.models._adapters
    model: str  # a class of transformers
    config: Mapping[str, Any]  # what differs from the defaults of its configuration class, at the published size
    parameters: float  # millions, of all that is loaded: heads and text tower too
    heads: str
    source: "Source"
    preprocessing: Preprocessing
    resolution: int = 224


@dataclass(frozen=True)
class Source:
    licence: str
    citation: str
    gated: str | None = None


_IMAGENET_MEAN, _IMAGENET_STD = _scaled(0.485, 0.456, 0.406), _scaled(0.229, 0.224, 0.225)
_IMAGENET = Preprocessing(_IMAGENET_MEAN, _IMAGENET_STD, "bilinear")
_IMAGENET_CUBIC = Preprocessing(_IMAGENET_MEAN, _IMAGENET_STD, "bicubic", 256)
_HALF = Preprocessing(_scaled(0.5, 0.5, 0.5), _scaled(0.5, 0.5, 0.5), "bilinear")
_OPENAI_MEAN, _OPENAI_STD = _scaled(0.48145466, 0.4578275, 0.40821073), _scaled(0.26862954, 0.26130258, 0.27577711)
_OPENAI = Preprocessing(_OPENAI_MEAN, _OPENAI_STD, "bicubic", 224)
_OPENAI_WHOLE = Preprocessing(_OPENAI_MEAN, _OPENAI_STD, "bicubic")

_DINOV3 = Source("DINOv3 License", "Siméoni et al. 2025, DINOv3", "accept Meta's DINOv3 License on the model's page")
_DINOV2 = Source("Apache-2.0", "Oquab et al. 2023, DINOv2")
_DINOV1 = Source("Apache-2.0", "Caron et al. 2021, Emerging properties in self-supervised vision transformers")
_RESNET = Source("Apache-2.0", "He et al. 2016, Deep residual learning for image recognition")
_CONVNEXT = Source("Apache-2.0", "Liu et al. 2022, A ConvNet for the 2020s")
_MAE = Source("Apache-2.0", "He et al. 2022, Masked autoencoders are scalable vision learners")
_VIT = Source("Apache-2.0", "Dosovitskiy et al. 2021, An image is worth 16x16 words")
_CLIP = Source("MIT", "Radford et al. 2021, Learning transferable visual models from natural language supervision")
_SIGLIP2 = Source("Apache-2.0", "Tschannen et al. 2025, SigLIP 2")
_OWLVIT = Source("Apache-2.0", "Minderer et al. 2022, Simple open-vocabulary object detection")


def _size(width: int, depth: int, heads: int, mlp: int | None = None) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "intermediate_size": mlp or 4 * width,
    }


def _dinov3(name: str, parameters: float, **config: Any) -> Row:
    fixed = {"num_register_tokens": 4, "patch_size": 16, "image_size": 224}
    hub = f"facebook/dinov3-{name}-pretrain-lvd1689m"
    return Row(hub, "DinoV3", "DINOv3ViTModel", {**fixed, **config}, parameters, "", _DINOV3, _IMAGENET)


def _dinov3_convnext(size: str, parameters: float, depth: int, width: int) -> Row:
    config = {"depths": [3, 3, depth, 3], "hidden_sizes": [width * 2**i for i in range(4)]}
    hub = f"facebook/dinov3-convnext-{size}-pretrain-lvd1689m"
    return Row(hub, "DinoV3ConvNext", "DINOv3ConvNextModel", config, parameters, "", _DINOV3, _IMAGENET)


def _dinov2(size: str, parameters: float, width: int, depth: int, heads: int) -> Row:
    # trained at 518; at 224 the position embeddings are interpolated, as the authors evaluate
    config = {**_size(width, depth, heads), "image_size": 518, "patch_size": 14}
    del config["intermediate_size"]
    return Row(f"facebook/dinov2-{size}", "DinoV2", "Dinov2Model", config, parameters, "", _DINOV2, _IMAGENET_CUBIC)


def _dinov1(name: str, parameters: float, config: Mapping[str, Any]) -> Row:
    heads = "projection, from a full checkpoint"
    fields = {**config, "layer_norm_eps": 1e-6}  # the authors'; the hub's configuration says 1e-12
    return Row(f"facebook/{name}", "DinoV1", "ViTModel", fields, parameters, heads, _DINOV1, _IMAGENET_CUBIC)


def _mae(size: str, parameters: float, config: Mapping[str, Any]) -> Row:
    hub = f"facebook/vit-mae-{size}"
    return Row(hub, "MaskedAutoencoder", "ViTMAEForPreTraining", config, parameters, "decoder", _MAE, _IMAGENET)


def _clip(patch: int, hub: str, parameters: float, vision: Mapping[str, Any], text: Mapping[str, Any]) -> Row:
    width = text["hidden_size"]
    config = {
        "projection_dim": width,
        # the published eos_token_id of 2 makes transformers take the token with the highest number, as OpenAI does
        "text_config": {**text, "projection_dim": width, "eos_token_id": 2},
        "vision_config": {**vision, "projection_dim": width, "patch_size": patch},
    }
    return Row(hub, "Clip", "CLIPModel", config, parameters, "text", _CLIP, _OPENAI)


_LABELS = {"num_labels": 1000}
_GATED_MLP = {"use_gated_mlp": True, "hidden_act": "silu"}

CATALOGUE: dict[str, Row] = {
    "dinov3-vits16": _dinov3("vits16", 21.6, **_size(384, 12, 6)),
    "dinov3-vits16plus": _dinov3("vits16plus", 28.7, **_size(384, 12, 6), **_GATED_MLP),
    "dinov3-vitb16": _dinov3("vitb16", 85.7, **_size(768, 12, 12)),
    "dinov3-vitl16": _dinov3("vitl16", 303.1, **_size(1024, 24, 16)),
    "dinov3-vith16plus": _dinov3("vith16plus", 840.6, **_size(1280, 32, 20), **_GATED_MLP),
    "dinov3-vit7b16": _dinov3(
        "vit7b16", 6716.0, **_size(4096, 40, 32, 8192), **_GATED_MLP, query_bias=False, value_bias=False
    ),
    "dinov3-convnext-tiny": _dinov3_convnext("tiny", 27.8, 9, 96),
    "dinov3-convnext-small": _dinov3_convnext("small", 49.5, 27, 96),
    "dinov3-convnext-base": _dinov3_convnext("base", 87.6, 27, 128),
    "dinov3-convnext-large": _dinov3_convnext("large", 196.2, 27, 192),
    "dinov2-small": _dinov2("small", 22.1, 384, 12, 6),
    "dinov2-base": _dinov2("base", 86.6, 768, 12, 12),
    "dinov2-large": _dinov2("large", 304.4, 1024, 24, 16),
    "dinov1-vits16": _dinov1("dino-vits16", 21.7, _size(384, 12, 6)),
    "dinov1-vitb16": _dinov1("dino-vitb16", 85.8, _size(768, 12, 12)),
    "resnet50": Row(
        "microsoft/resnet-50",
        "ResNet",
        "ResNetForImageClassification",
        _LABELS,
        25.6,
        "classifier",
        _RESNET,
        _IMAGENET_CUBIC,
    ),
    "convnext-large": Row(
        "facebook/convnext-large-224",
        "ConvNext",
        "ConvNextForImageClassification",
        {**_LABELS, "depths": [3, 3, 27, 3], "hidden_sizes": [192, 384, 768, 1536]},
        197.8,
        "classifier",
        _CONVNEXT,
        _IMAGENET_CUBIC,
    ),
    "vit-large-16": Row(
        "google/vit-large-patch16-224",
        "VisionTransformer",
        "ViTForImageClassification",
        {**_LABELS, **_size(1024, 24, 16)},
        304.3,
        "classifier",
        _VIT,
        _HALF,
    ),
    "vit-mae-base": _mae("base", 111.9, _size(768, 12, 12)),
    "vit-mae-large": _mae("large", 329.5, _size(1024, 24, 16)),
    "clip-vit-base-16": _clip(16, "openai/clip-vit-base-patch16", 149.6, _size(768, 12, 12), _size(512, 12, 8)),
    "clip-vit-large-14": _clip(14, "openai/clip-vit-large-patch14", 427.6, _size(1024, 24, 16), _size(768, 12, 12)),
    "siglip2-base-16": Row(
        "google/siglip2-base-patch16-224",
        "Siglip",
        "SiglipModel",
        {"text_config": {"vocab_size": 256000}, "vision_config": {"image_size": 224, "patch_size": 16}},
        375.2,
        "text",
        _SIGLIP2,
        _HALF,
    ),
    "owlvit-base-32": Row(
        "google/owlvit-base-patch32",
        "OwlVit",
        "OwlViTForObjectDetection",
        {"projection_dim": 512, "text_config": {}, "vision_config": {"image_size": 768, "patch_size": 32}},
        153.2,
        "text, boxes",
        _OWLVIT,
        _OPENAI_WHOLE,
        768,
    ),
}
