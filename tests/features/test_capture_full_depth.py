"""Every published architecture at its full depth, with narrow layers: all parameters covered, all batches alike."""

from typing import Any

import pytest
import torch

import gradkern
from benchmarks.bench_capture import KINDS, batch, plain
from benchmarks.memory import peak_bytes
from gradkern import Sketch
from gradkern.models import CATALOGUE, LoadedModel, architecture, load_model
from tests.control_truth import loss_of_all_outputs as loss
from tests.small_models import SMALL

SKETCH = Sketch(128, seed=3)
DEPTHS = {"num_hidden_layers", "decoder_num_hidden_layers", "depths"}


def family_of(name: str) -> type[LoadedModel] | None:
    return getattr(CATALOGUE[name].builder, "family", None)


def narrow(name: str) -> tuple[LoadedModel, int]:
    """The named architecture with the widths of its family's small model, and the size of its images."""
    family = family_of(name)
    _, small, size = next(entry for entry in SMALL.values() if family_of(entry[0]) == family)
    return load_model(name, "random", config=without_depths(small)), size


def without_depths(config: dict[str, Any]) -> dict[str, Any]:
    inner = {key: without_depths(value) if isinstance(value, dict) else value for key, value in config.items()}
    return {key: value for key, value in inner.items() if key not in DEPTHS}


@pytest.mark.parametrize("name", [name for name in CATALOGUE if family_of(name)])
def test_all_parameters_of_the_published_architecture_are_covered(name: str) -> None:
    model, size = narrow(name)
    published = architecture(name)
    assert model.spec.layers == published.spec.layers
    assert model.spec.edges == published.spec.edges
    assert sum(1 for _ in model.parameters()) == sum(1 for _ in published.parameters())
    layers = (*model.spec.layers, *model.spec.edges)
    images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(5))
    features = gradkern.capture(model, images, loss, layers=layers, kinds=["weight_gradient"], sketch=SKETCH)
    assert "uncovered" not in features.facts
    assert features.facts["alone_against_batch"] < 1e-5
    for layer in layers:
        assert features["weight_gradient", layer].norm(dim=1).min() > 0, layer


def test_no_more_memory_than_a_training_step() -> None:
    """With every kind at every layer; counted by torch's allocator. bench_capture.py has ViT-S/16 and ViT-B/16."""
    model = load_model("dinov3-vits16", "random", config={"num_hidden_layers": 4})
    other = load_model("dinov3-vits16", "random", config={"num_hidden_layers": 4})
    images = torch.randn(8, 3, 160, 160)
    plain(other, images, torch.float32)
    allowed = peak_bytes(lambda: plain(other, images, torch.float32), "cpu")
    for kinds in KINDS.values():
        with batch(model, kinds, images, torch.float32) as call:
            assert peak_bytes(call, "cpu") <= allowed, kinds
