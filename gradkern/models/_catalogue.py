"""The catalogue of published models: one registry, in which every model is a row.

A new model of a family that has an adapter is a row. A new family needs an adapter too, and a model that does not come
from transformers a builder, such as `EfficientNetLite0Builder`.
"""

from collections.abc import Mapping
from typing import Any

from gradkern.models import _adapters as adapters
from gradkern.models._dino_v1 import DinoV1, DinoV1Builder
from gradkern.models._efficientnet import EfficientNetLite0Builder
from gradkern.models._row import Color, Preprocessing, Row, Source
from gradkern.models._transformers import TransformersBuilder


def _scaled(red: float, green: float, blue: float) -> Color:
    return (red * 255, green * 255, blue * 255)


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
_EFFICIENTNET = Source("Apache-2.0", "Tan & Le 2019, EfficientNet")
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
    builder = TransformersBuilder(hub, adapters.DinoV3, "DINOv3ViTModel", {**fixed, **config})
    return Row(builder, parameters, "", _DINOV3, _IMAGENET)


def _dinov3_convnext(size: str, parameters: float, depth: int, width: int) -> Row:
    config = {"depths": [3, 3, depth, 3], "hidden_sizes": [width * 2**i for i in range(4)]}
    hub = f"facebook/dinov3-convnext-{size}-pretrain-lvd1689m"
    builder = TransformersBuilder(hub, adapters.DinoV3ConvNext, "DINOv3ConvNextModel", config)
    return Row(builder, parameters, "", _DINOV3, _IMAGENET)


def _dinov2(size: str, parameters: float, width: int, depth: int, heads: int) -> Row:
    # trained at 518; at 224 the position embeddings are interpolated, as the authors evaluate
    config = {**_size(width, depth, heads), "image_size": 518, "patch_size": 14}
    del config["intermediate_size"]
    builder = TransformersBuilder(f"facebook/dinov2-{size}", adapters.DinoV2, "Dinov2Model", config)
    return Row(builder, parameters, "", _DINOV2, _IMAGENET_CUBIC)


def _dinov1(name: str, parameters: float, config: Mapping[str, Any]) -> Row:
    heads = "projection, from a full checkpoint"
    fields = {**config, "layer_norm_eps": 1e-6}  # the authors'; the hub's configuration says 1e-12
    builder = DinoV1Builder(f"facebook/{name}", DinoV1, "ViTModel", fields)
    return Row(builder, parameters, heads, _DINOV1, _IMAGENET_CUBIC)


def _mae(size: str, parameters: float, config: Mapping[str, Any]) -> Row:
    hub = f"facebook/vit-mae-{size}"
    builder = TransformersBuilder(hub, adapters.MaskedAutoencoder, "ViTMAEForPreTraining", config)
    return Row(builder, parameters, "decoder", _MAE, _IMAGENET)


def _clip(patch: int, hub: str, parameters: float, vision: Mapping[str, Any], text: Mapping[str, Any]) -> Row:
    width = text["hidden_size"]
    config = {
        "projection_dim": width,
        # the published eos_token_id of 2 makes transformers take the token with the highest number, as OpenAI does
        "text_config": {**text, "projection_dim": width, "eos_token_id": 2},
        "vision_config": {**vision, "projection_dim": width, "patch_size": patch},
    }
    return Row(TransformersBuilder(hub, adapters.Clip, "CLIPModel", config), parameters, "text", _CLIP, _OPENAI)


_LABELS = {"num_labels": 1000}
_GATED_MLP = {"use_gated_mlp": True, "hidden_act": "silu"}

CATALOGUE: dict[str, Row] = {
    "efficientnet-lite0": Row(
        EfficientNetLite0Builder(),
        4.652,
        "classifier",
        _EFFICIENTNET,
        Preprocessing((127.0, 127.0, 127.0), (128.0, 128.0, 128.0), "bicubic", 256),
    ),
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
        TransformersBuilder("microsoft/resnet-50", adapters.ResNet, "ResNetForImageClassification", _LABELS),
        parameters=25.6,
        heads="classifier",
        source=_RESNET,
        preprocessing=_IMAGENET_CUBIC,
    ),
    "convnext-large": Row(
        TransformersBuilder(
            "facebook/convnext-large-224",
            adapters.ConvNext,
            "ConvNextForImageClassification",
            {**_LABELS, "depths": [3, 3, 27, 3], "hidden_sizes": [192, 384, 768, 1536]},
        ),
        parameters=197.8,
        heads="classifier",
        source=_CONVNEXT,
        preprocessing=_IMAGENET_CUBIC,
    ),
    "vit-large-16": Row(
        TransformersBuilder(
            "google/vit-large-patch16-224",
            adapters.VisionTransformer,
            "ViTForImageClassification",
            {**_LABELS, **_size(1024, 24, 16)},
        ),
        parameters=304.3,
        heads="classifier",
        source=_VIT,
        preprocessing=_HALF,
    ),
    "vit-mae-base": _mae("base", 111.9, _size(768, 12, 12)),
    "vit-mae-large": _mae("large", 329.5, _size(1024, 24, 16)),
    "clip-vit-base-16": _clip(16, "openai/clip-vit-base-patch16", 149.6, _size(768, 12, 12), _size(512, 12, 8)),
    "clip-vit-large-14": _clip(14, "openai/clip-vit-large-patch14", 427.6, _size(1024, 24, 16), _size(768, 12, 12)),
    "siglip2-base-16": Row(
        TransformersBuilder(
            "google/siglip2-base-patch16-224",
            adapters.Siglip,
            "SiglipModel",
            {"text_config": {"vocab_size": 256000}, "vision_config": {"image_size": 224, "patch_size": 16}},
        ),
        parameters=375.2,
        heads="text",
        source=_SIGLIP2,
        preprocessing=_HALF,
    ),
    "owlvit-base-32": Row(
        TransformersBuilder(
            "google/owlvit-base-patch32",
            adapters.OwlVit,
            "OwlViTForObjectDetection",
            {"projection_dim": 512, "text_config": {}, "vision_config": {"image_size": 768, "patch_size": 32}},
        ),
        parameters=153.2,
        heads="text, boxes",
        source=_OWLVIT,
        preprocessing=_OPENAI_WHOLE,
        resolution=768,
    ),
}
