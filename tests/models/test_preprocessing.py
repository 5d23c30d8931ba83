"""Images as the authors of a model feed them: beside Pillow, and beside the processors of transformers."""

from typing import Any

import numpy as np
import pytest
import torch

from gradkern.models import CATALOGUE, architecture, load_model

_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
_OPENAI = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
_BILINEAR, _BICUBIC = {"resample": 2}, {"resample": 3}
_SQUARE = {"size": {"height": 224, "width": 224}}

# model -> image processor of transformers and its settings, as in the preprocessor_config.json on the model's page
PROCESSORS = [
    (
        "dinov2-base",
        "BitImageProcessorPil",
        {**_IMAGENET, **_BICUBIC, "size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}},
    ),
    (
        "resnet50",
        "ConvNextImageProcessorPil",
        {**_IMAGENET, **_BICUBIC, "size": {"shortest_edge": 224}, "crop_pct": 0.875},
    ),
    (
        "convnext-large",
        "ConvNextImageProcessorPil",
        {**_IMAGENET, **_BICUBIC, "size": {"shortest_edge": 224}, "crop_pct": 0.875},
    ),
    ("vit-large-16", "ViTImageProcessorPil", {**_HALF, **_BILINEAR, **_SQUARE}),
    ("vit-mae-base", "ViTImageProcessorPil", {**_IMAGENET, **_BILINEAR, **_SQUARE}),
    (
        "clip-vit-large-14",
        "CLIPImageProcessorPil",
        {**_OPENAI, **_BICUBIC, "size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}},
    ),
    ("siglip2-base-16", "SiglipImageProcessorPil", {**_HALF, **_BILINEAR, **_SQUARE}),
    (
        "owlvit-base-32",
        "OwlViTImageProcessorPil",
        {**_OPENAI, **_BICUBIC, "size": {"height": 768, "width": 768}, "do_center_crop": False},
    ),
    ("dinov3-vitb16", "ViTImageProcessorPil", {**_IMAGENET, **_BILINEAR, **_SQUARE}),  # its own needs torchvision
]


def waves(height: int, width: int) -> np.ndarray:
    """A picture with edges and fine grain, uint8 [height, width, 3]."""
    y, x = np.mgrid[:height, :width]
    planes = [np.sin(x / 7 + y / 11), np.sign(np.sin(x / 23)) * np.cos(y / 5), np.sin(x * y / 900)]
    grain = np.random.default_rng(0).uniform(-25, 25, (height, width, 3))
    return np.clip(128 + 110 * np.stack(planes, 2) + grain, 0, 255).astype(np.uint8)


def test_preprocessing() -> None:
    spec = architecture("clip-vit-base-16").spec
    ramp = np.linspace(0, 255, 50 * 40 * 3).reshape(50, 40, 3).astype(np.uint8)
    planes = spec.preprocess([ramp, np.zeros((300, 200), np.uint8)])
    assert planes.shape == (2, 3, 224, 224)
    black = -torch.tensor([0.48145466, 0.4578275, 0.40821073]) / torch.tensor([0.26862954, 0.26130258, 0.27577711])
    torch.testing.assert_close(planes[1].mean((1, 2)), black)


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("size", [(300, 400), (401, 227), (100, 100)], ids=str)
def test_images_are_fed_as_published(name: str, size: tuple[int, int]) -> None:
    """Beside Pillow, with which the published numbers were measured."""
    image = pytest.importorskip("PIL.Image")
    spec = load_model(name, "random").spec if name == "efficientnet-lite0" else architecture(name).spec
    pixels = waves(*size)
    height, width, side, shorter = *size, spec.resolution, spec.shorter_side
    if shorter is not None:
        height, width = (int(length * shorter / min(size)) for length in size)
    else:
        height, width = side, side
    filters = {"bilinear": image.Resampling.BILINEAR, "bicubic": image.Resampling.BICUBIC}
    resized = np.asarray(image.fromarray(pixels).resize((width, height), filters[spec.interpolation]))
    top, left = (height - side) // 2, (width - side) // 2
    expected = resized[top : top + side, left : left + side].transpose(2, 0, 1).astype(np.float32)
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (spec.mean, spec.std))
    got = spec.preprocess([pixels])[0].numpy() * std + mean
    assert np.abs(got - expected).max() < 2.01  # grey values
    assert np.abs(got - expected).mean() < 0.3  # versions of Pillow differ in which side they resize first
    assert spec.preprocess([pixels], whole=True).shape == (1, 3, side, side)


@pytest.mark.parametrize(("name", "processor", "settings"), PROCESSORS)
def test_images_are_fed_as_by_transformers(name: str, processor: str, settings: dict[str, Any]) -> None:
    """Its own processors, with the settings that the model's page has."""
    pytest.importorskip("PIL")
    feed = getattr(pytest.importorskip("transformers"), processor)(**settings)
    pixels = waves(300, 401)
    expected = feed(images=pixels, return_tensors="pt")["pixel_values"]
    spec = architecture(name).spec
    step = 2.01 / min(spec.std)  # two grey values
    torch.testing.assert_close(spec.preprocess([pixels]), expected.float(), rtol=0, atol=step)
