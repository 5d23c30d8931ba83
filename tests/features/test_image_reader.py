"""Images are loaded once, ahead of the model; on a GPU nothing waits for it before the end of a batch."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gradkern
from gradkern import Sketch
from gradkern.features._engine.backward import BackwardPasses
from gradkern.features._engine.hooks import HookSettings, LayerHooks
from gradkern.features._engine.tokens import Reduction
from tests.toy_models import ConvNet

IMAGES = torch.randn(11, 3, 16, 16, generator=torch.Generator().manual_seed(0))
KINDS = ("activation", "gradient", "weight_gradient")


def objective(output: Any, batch: Any) -> Tensor:
    losses: Tensor = output.logits.float().square().sum(1)
    return losses


@pytest.fixture
def model() -> ConvNet:
    torch.manual_seed(1)
    return ConvNet()


class Lazy:
    """Images that are loaded when asked for; notes each time, the thread and torch's settings there."""

    def __init__(self, broken: int | None = None) -> None:
        self.asked: Counter[int] = Counter()
        self.threads: dict[int, str] = {}
        self.settings: dict[int, tuple[object, ...]] = {}
        self.broken = broken

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, index: int) -> Tensor:
        self.asked[index] += 1
        self.threads[index] = threading.current_thread().name
        is_enabled, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
        self.settings[index] = is_enabled, dtype, torch.is_grad_enabled(), torch.get_default_device()
        if index == self.broken:
            raise OSError(f"image {index} is cut short")
        return IMAGES[index]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))


def captured(model: nn.Module, images: Any, **options: Any) -> gradkern.Features:
    asked = {"kinds": KINDS, "layers": ["stem", "block", "head"], "sketch": Sketch(128), "batch_size": 2, **options}
    return gradkern.capture(model, images, objective, progress=False, **asked)


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("gradkern-images")]


@pytest.mark.parametrize("in_files", [False, True])
def test_each_image_is_loaded_once_most_of_them_ahead_of_the_model(
    model: ConvNet, in_files: bool, tmp_path: Path
) -> None:
    images = Lazy()
    features = captured(model, images, **({"out": tmp_path / "run"} if in_files else {}))
    assert images.asked == Counter(range(len(IMAGES)))
    ahead = [index for index, name in images.threads.items() if name.startswith("gradkern-images")]
    assert len(ahead) >= len(IMAGES) - 6, "all but the first batches"
    assert readers() == []
    expected = captured(model, IMAGES)
    assert features.keys() == expected.keys()
    for key, values in expected.items():
        assert torch.equal(features[key], values)
    assert features.images.hashes == expected.images.hashes


def test_a_list_is_read_as_a_lazy_sequence_is(model: ConvNet) -> None:
    features, expected = captured(model, list(IMAGES)), captured(model, Lazy())
    assert all(torch.equal(features[key], values) for key, values in expected.items())


def test_an_image_that_cannot_be_read_ends_the_capture_where_it_is_needed(model: ConvNet, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="image 7 is cut short"):
        captured(model, Lazy(broken=7), out=tmp_path / "run")
    assert json.loads((tmp_path / "run" / "capture.json").read_text())["done"] == 6, "the batches before it are kept"
    assert readers() == []
    images = Lazy()
    finished = captured(model, images, out=tmp_path / "run")
    assert all(torch.equal(finished[key], values) for key, values in captured(model, IMAGES).items())


def test_images_are_loaded_under_the_settings_of_the_caller(model: ConvNet) -> None:
    images = Lazy()
    with torch.autocast("cpu", torch.bfloat16):
        captured(model, images, kinds=("activation",))
    assert images.threads[1] == threading.current_thread().name != images.threads[10]
    assert images.settings[10] == images.settings[1] == (True, torch.bfloat16, False, torch.device("cpu"))


@pytest.mark.parametrize("tokens", ["all", ("class", "mean", "rms")])
def test_no_hook_waits_for_its_device(tokens: Any) -> None:
    """Tensors without data raise where the CPU asks for their values."""
    with torch.device("meta"):
        layers, x = {str(i): nn.Linear(8, 8).requires_grad_(False) for i in range(3)}, torch.randn(2, 5, 8)
    reduce, backward = Reduction(tokens, Sketch(64), (1, 0)), BackwardPasses()
    settings = HookSettings(layers, ("activation", "gradient"), 2, reduce, loss_scale=4.0)
    hooks = LayerHooks(settings, backward, nullcontext)
    with hooks.registered():
        for layer in layers.values():
            x = layer(x)
    backward.run("gradient", [x.square().sum()], None, [], is_last=True)
    sketches = hooks.sketches()
    assert len(sketches) == 6
    assert {values.device.type for values in sketches.values()} == {"meta"}
    with pytest.raises(NotImplementedError, match="meta"):
        sketches["gradient", "0"].cpu()


@pytest.mark.gpu
def test_a_batch_waits_for_the_gpu_once(model: ConvNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the images and the results nothing waits; torch raises where something does."""
    from gradkern.features._engine import passes

    expected, run, waits = captured(model, IMAGES), passes._Run.batch, []

    def watched(self: Any, trace: Any) -> Any:
        torch.cuda.set_sync_debug_mode("error")
        try:
            waits.append(len(self.evaluation.batch.images))
            return run(self, trace)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    captured(model.cuda(), IMAGES)
    monkeypatch.setattr(passes._Run, "batch", watched)
    features = captured(model, IMAGES, kinds=("activation", "gradient"))
    assert len(waits) >= len(IMAGES) // 2
    for key, values in features.items():
        assert (expected[key] - values).norm() < 1e-4 * values.norm()
