"""A batch of a capture beside a plain training step (forward, and backward with all parameters' gradients).

ViT-S/16 and ViT-B/16 (DINOv3, random weights) at 224 x 224, 16 images, all 12 blocks. What a capture does once, its
first image alone, is left out.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
import torch
from torch import Tensor, nn

from benchmarks.conftest import Compare
from gradkern import Sketch
from gradkern.vision.capture import _frozen
from gradkern.vision.models import LoadedModel, load_model
from gradkern.vision.objectives import FeatureNorm
from gradkern.vision.parameters import LayerGradients
from gradkern.vision.runner import Batches, Runner
from gradkern.vision.taps import Taps
from gradkern.vision.tokens import check_reduction

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
    reduction = check_reduction("all", Sketch(1024), kinds, model.spec)
    taps = Taps(model, tuple(layers), kinds, LayerGradients(layers, reduction.map), reduction)
    runner = Runner(taps, Batches(model, images, FeatureNorm(), images.device, torch.float32), half=False)
    with ExitStack() as stack:
        for context in (_frozen(model), taps, runner, autocast(images, dtype)):
            stack.enter_context(context)
        runner.first(IMAGES, "error")
        runner.batch(0, IMAGES)  # what the checks made already
        yield lambda: runner.batch(0, IMAGES) and None


def autocast(images: Tensor, dtype: torch.dtype) -> torch.autocast:
    return torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


def plain(model: nn.Module, images: Tensor, dtype: torch.dtype) -> None:
    model.zero_grad()
    with autocast(images, dtype):
        losses = FeatureNorm()(model(images), None)
    losses.sum().backward()


@pytest.mark.parametrize(("device", "threads"), DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kinds", KINDS)
def test_capture(name: str, kinds: str, dtype: torch.dtype, device: str, threads: int, compare: Compare) -> None:
    """Float32 beside the step in float32; bfloat16 beside the same capture in float32."""
    if threads:
        torch.set_num_threads(threads)
    model = load_model(MODELS[name], "random").to(device)
    other = copy.deepcopy(model)
    images = torch.randn(IMAGES, 3, 224, 224, generator=torch.Generator().manual_seed(0)).to(device)
    what = {"case": f"{name}, {str(dtype).removeprefix('torch.')}", "threads": threads, "impl": kinds}
    with batch(model, KINDS[kinds], images, dtype) as ours:
        if dtype == torch.float32:
            what["rival"] = "training step"
            compare("capture", what, ours, lambda: plain(other, images, dtype), rounds=ROUNDS, device=device)
            return
    with batch(other, KINDS[kinds], images, torch.float32) as full:
        what["rival"] = "the same in float32"

        def both() -> None:
            with autocast(images, torch.float32):
                full()

        with batch(model, KINDS[kinds], images, dtype) as half:
            compare("capture", what, half, both, rounds=ROUNDS, device=device)
