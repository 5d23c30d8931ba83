"""A batch of a capture beside a plain training step (forward, and backward with all parameters' gradients).

ViT-S/16 and ViT-B/16 (DINOv3, random weights) at 224 x 224, 16 images, all 12 blocks. What a capture does once, its
first image alone, is left out. What else gives each image's gradient (rivals.py) stands beside the same step.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.conftest import Compare
from benchmarks.memory import peak_bytes
from benchmarks.rivals import RIVALS, factors
from gradkern import Sketch
from gradkern.features._engine.first_batch import run_first_batch
from gradkern.features._engine.gradient_controls import Controls
from gradkern.features._engine.images import ImageSource
from gradkern.features._engine.model_state import frozen
from gradkern.features._engine.passes import run_images
from gradkern.features._engine.plan import CapturePlan
from gradkern.features._engine.tokens import check_reduction
from gradkern.models import LoadedModel, load_model
from gradkern.objectives import FeatureNorm

DEVICES = [("cpu", 2)] + ([("cuda", 0)] if torch.cuda.is_available() else [])
ROUNDS = 3
IMAGES = 16
MODELS = {"ViT-S/16": "dinov3-vits16", "ViT-B/16": "dinov3-vitb16"}
TENSORS = ("activation", "gradient")
KINDS = {"activation + gradient": TENSORS, "and weight_gradient of every parameter": (*TENSORS, "weight_gradient")}


@contextmanager
def batch(
    model: LoadedModel, kinds: tuple[str, ...], images: Tensor, dtype: torch.dtype
) -> Iterator[Callable[[], None]]:
    """A capture that is past its checks; a call runs the batch."""
    edges = model.spec.edges if "weight_gradient" in kinds else ()
    layers = {name: model.get_submodule(name) for name in (*model.spec.layers, *edges)}
    plan = CapturePlan(
        model=model,
        images=ImageSource(images),
        objective=FeatureNorm(),
        layers=layers,
        kinds=kinds,
        reduction=check_reduction("all", Sketch(1024), kinds, model.spec, images),
        controls=Controls(),
        device=images.device,
        dtype=torch.float32,
    )
    with frozen(model), autocast(images, dtype):
        first = run_first_batch(plan, len(images), uncovered="error", is_float16=False)
        yield lambda: run_images(plan, first.settings, 0, len(images), first.trace) and None


def autocast(images: Tensor, dtype: torch.dtype) -> torch.autocast:
    return torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


def plain(model: nn.Module, images: Tensor, dtype: torch.dtype) -> None:
    with autocast(images, dtype):
        losses = FeatureNorm()(model(images), None)
    losses.sum().backward()
    model.zero_grad()


def megabytes(call: Callable[[], Any], device: str) -> float:
    """Of an image, at the peak."""
    return round(peak_bytes(call, device) / IMAGES / 1e6, 2)


def setting(name: str, device: str, threads: int) -> tuple[LoadedModel, LoadedModel, Tensor]:
    """The model, another one for the training step, and the images."""
    if threads:
        torch.set_num_threads(threads)
    model = load_model(MODELS[name], "random").to(device)
    images = torch.randn(IMAGES, 3, 224, 224, generator=torch.Generator().manual_seed(0)).to(device)
    return model, copy.deepcopy(model), images


@pytest.mark.parametrize(("device", "threads"), DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kinds", KINDS)
def test_capture(name: str, kinds: str, dtype: torch.dtype, device: str, threads: int, compare: Compare) -> None:
    """Float32 beside the step in float32; bfloat16 beside the same capture in float32."""
    model, other, images = setting(name, device, threads)
    what = {"case": f"{name}, {str(dtype).removeprefix('torch.')}", "threads": threads, "impl": kinds}
    with batch(model, KINDS[kinds], images, dtype) as ours:
        if dtype == torch.float32:
            step(what, ours, lambda: plain(other, images, dtype), device, compare)
            return
    what["rival"] = "the same in float32"
    with batch(other, KINDS[kinds], images, torch.float32) as full:

        def both() -> None:
            with autocast(images, torch.float32):
                full()

        with batch(model, KINDS[kinds], images, dtype) as half:
            compare("capture", what, half, both, rounds=ROUNDS, device=device)


def step(
    what: dict[str, Any], call: Callable[[], Any], rival: Callable[[], Any], device: str, compare: Compare
) -> None:
    """Time and memory beside a training step."""
    rival()
    what |= {"rival": "training step", "mb_per_image": [megabytes(call, device), megabytes(rival, device)]}
    compare("capture", what, call, rival, rounds=ROUNDS, device=device)


@pytest.mark.parametrize(("device", "threads"), DEVICES)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("rival", RIVALS)
def test_rival(name: str, rival: str, device: str, threads: int, compare: Compare) -> None:
    model, other, images = setting(name, device, threads)
    what = {"case": f"{name}, float32", "threads": threads, "impl": rival}
    weight = "blocks.0.mlp.up_proj.weight"
    FeatureNorm()(other(images[2:3]), None).sum().backward()
    expected = other.get_parameter(weight).grad
    assert expected is not None
    other.zero_grad()
    with RIVALS[rival](model, images) as call:
        got = call()[weight]
        if "LoGra hooks" in rival:
            left, right = factors(model.get_submodule(weight.removesuffix(".weight")))
            expected = left.T @ expected @ right
        if "dattri" in rival:  # its matrices are its own
            assert got.shape == (IMAGES, 1024)
        else:
            torch.testing.assert_close(got[2], expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
        del got
        step(what, call, lambda: plain(other, images, torch.float32), device, compare)
