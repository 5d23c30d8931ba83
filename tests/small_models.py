"""A tiny random model of every family."""

from typing import Any

from gradkern.models import LoadedModel, load_model

_VIT = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
_PATCHES = {"image_size": 32, "patch_size": 8}
_SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_TEXT = {**_VIT, **_SPECIAL, "num_hidden_layers": 2, "vocab_size": 50, "max_position_embeddings": 16}
_CLIP = {
    "projection_dim": 24,
    "text_config": {**_TEXT, "projection_dim": 24},
    "vision_config": {**_VIT, **_PATCHES, "projection_dim": 24},
}
_STAGES = {"depths": [1, 2, 1, 1], "hidden_sizes": [8, 16, 24, 32]}
_DECODER = {
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 32,
}

# family -> name, configuration, size of its images
SMALL: dict[str, tuple[str, dict[str, Any], int]] = {
    "dinov3": ("dinov3-vits16", {**_VIT, **_PATCHES}, 32),
    "dinov3-gated": ("dinov3-vits16plus", {**_VIT, **_PATCHES}, 32),
    "dinov3-convnext": ("dinov3-convnext-tiny", _STAGES, 64),
    "dinov2": ("dinov2-small", {**{k: v for k, v in _VIT.items() if k != "intermediate_size"}, **_PATCHES}, 32),
    "dinov1": ("dinov1-vits16", {**_VIT, **_PATCHES}, 32),
    "dinov1-head": (
        "dinov1-vits16",
        {**_VIT, **_PATCHES, "prototypes": 20, "head_hidden_size": 16, "bottleneck_size": 8},
        32,
    ),
    "resnet": ("resnet50", {**_STAGES, "embedding_size": 4, "num_labels": 10}, 64),
    "convnext": ("convnext-large", {**_STAGES, "num_labels": 10}, 64),
    "vit": ("vit-large-16", {**_VIT, **_PATCHES, "num_labels": 10}, 32),
    "mae": ("vit-mae-base", {**_VIT, **_PATCHES, **_DECODER}, 32),
    "clip": ("clip-vit-base-16", _CLIP, 32),
    "siglip": (
        "siglip2-base-16",
        {"text_config": {**_TEXT, "projection_size": 32}, "vision_config": {**_VIT, **_PATCHES}},
        32,
    ),
    # its class head compares in the text tower's width
    "owlvit": ("owlvit-base-32", {**_CLIP, "projection_dim": 32}, 32),
}


def small(family: str, seed: int = 0) -> LoadedModel:
    name, config, _ = SMALL[family]
    return load_model(name, "random", seed=seed, config=config)
