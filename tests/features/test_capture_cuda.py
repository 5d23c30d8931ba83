"""Capture on a GPU gives the features that it gives on a CPU, to float32 rounding."""

import copy

import pytest
import torch
from torch import Tensor, nn

import gradkern
from gradkern import Features, Sketch
from tests.toy_models import ConvNet, Transformer

KINDS = ("activation", "gradient", "weight_gradient")


LAYERS = {ConvNet: ["stem", "block", "head"], Transformer: ["patch", "blocks.0", "head"]}


def captured(model: nn.Module, images: Tensor, **options: object) -> Features:
    return gradkern.capture(
        model, images, lambda output, batch: output.logits.float().square().sum(1), layers=LAYERS[type(model)],
        kinds=KINDS, sketch=Sketch(256), batch_size=3, progress=False, **options,
    )  # fmt: skip


@pytest.mark.gpu
@pytest.mark.parametrize("network", [ConvNet, Transformer])
@pytest.mark.parametrize(("dtype", "tolerance"), [(None, 1e-4), (torch.bfloat16, 0.15)])
def test_cuda_equals_cpu(network: type[nn.Module], dtype: torch.dtype | None, tolerance: float) -> None:
    torch.manual_seed(0)
    model, images = network(), torch.randn(7, 3, 16, 16)
    expected = captured(model, images)
    features = captured(copy.deepcopy(model).cuda(), images, dtype=dtype)
    assert features.facts["allow_tf32"] is False
    for key, values in expected.items():
        assert (features[key] - values).norm() < tolerance * values.norm()
