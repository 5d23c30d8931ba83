"""Every family of models: all parameters covered, and each image's features those of autograd one image at a time."""

from typing import Any

import pytest
import torch
from torch import Tensor

import gradkern
from gradkern import Sketch, objectives
from gradkern.features._engine.layout import first_tensor, parameter_matrix, segments
from gradkern.models import LoadedModel
from tests.control_truth import loss_of_all_outputs as loss
from tests.small_models import SMALL, small

SKETCH = Sketch(256, seed=2)
KINDS = ("activation", "gradient", "weight_gradient")


def pictures(family: str, n: int = 5) -> Tensor:
    size = SMALL[family][2]
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(4))


def jittered(family: str, dtype: torch.dtype = torch.float32) -> LoadedModel:
    """Norms and LayerScales start at one value, where a wrong rule could be right."""
    model = small(family)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return model.to(dtype)


def alone(model: Any, layers: tuple[str, ...], image: Tensor, objective: Any = None) -> dict[tuple[str, str], Tensor]:
    seen: dict[str, Tensor] = {}
    values: dict[tuple[str, str], Tensor] = {}

    def keep(name: str):
        def hook(module, args, output):
            seen[name] = first_tensor(output)
            rest = seen[name].clone()  # some models overwrite it
            return (rest, *output[1:]) if isinstance(output, tuple) else rest

        return hook

    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in layers]
    total = (objective or loss)(model(image[None]), None).sum()
    for handle in handles:
        handle.remove()
    for name in layers:
        (gradient,) = torch.autograd.grad(total, seen[name], retain_graph=True)
        for kind, x in (("activation", seen[name].detach()), ("gradient", gradient)):
            values[kind, name] = SKETCH((x if x.dim() == 3 else x.reshape(1, 1, -1)).contiguous())
        parameters = list(model.get_submodule(name).parameters())
        row, first = torch.zeros(1, SKETCH.k), 0
        parts = torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
        for parameter, part in zip(parameters, parts, strict=True):
            if part is not None:
                row += SKETCH(part.reshape(1, *parameter_matrix(parameter)).contiguous(), first_segment=first)
            first += segments(*parameter_matrix(parameter))
        values["weight_gradient", name] = row
    return values


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("family", SMALL)
def test_blocks_equal_autograd(family: str, dtype: torch.dtype) -> None:
    model, images = jittered(family, dtype), pictures(family).to(dtype)
    layers = model.spec.layers
    features = gradkern.capture(model, images, loss, kinds=KINDS, sketch=SKETCH, batch_size=5)
    truth = [alone(model, layers, image) for image in images[:2]]
    for key in features:
        for i, row in enumerate(truth):
            error = (features[key][i] - row[key][0]).norm()
            assert error <= (2e-5 if dtype == torch.float32 else 1e-6) * row[key].norm(), (key, i)


@pytest.mark.parametrize("family", SMALL)
def test_every_vision_parameter_is_covered(family: str) -> None:
    """Stem, positions, class and register tokens, downsampling, last norm: all edges, in one capture."""
    model, images = jittered(family), pictures(family)
    layers = (*model.spec.layers, *model.spec.edges)
    features = gradkern.capture(model, images, loss, layers=layers, kinds=["weight_gradient"], sketch=SKETCH)
    assert features.facts["alone_against_batch"] < 1e-5
    for layer in layers:
        assert features["weight_gradient", layer].norm(dim=1).min() > 0, layer


@pytest.mark.parametrize("family", [name for name in SMALL if small(name).spec.branches])
def test_branches_equal_autograd(family: str) -> None:
    model, images = jittered(family), pictures(family)
    layers = tuple(
        name for name in model.spec.branches if next(model.get_submodule(name).parameters(), None) is not None
    )
    features = gradkern.capture(model, images, loss, layers=layers, kinds=KINDS, sketch=SKETCH)
    for key, row in alone(model, layers, images[1], loss).items():
        assert (features[key][1] - row[0]).norm() <= 2e-5 * row.norm(), key


def test_objectives_of_their_models() -> None:
    """Real losses on real architectures: each runs, and no image's loss depends on its batch."""
    text, labels = torch.randn(4, 24), torch.tensor([0, 1, 2, 3, 0])
    asked = {
        "dinov1-head": objectives.SelfDistillation(),
        "mae": objectives.MaskedAutoencoder(),
        "dinov3": objectives.SelfDistillationSurrogate(),
        "dinov2": objectives.MaskedPatchSurrogate(),
        "clip": objectives.Contrastive(text, labels),
        "siglip": objectives.SigmoidContrastive(torch.randn(4, 32), labels),
        "owlvit": objectives.Detection(torch.randn(3, 32)),
        "resnet": objectives.CrossEntropy(labels),
        "convnext": objectives.CrossEntropy(labels),
        "vit": objectives.CrossEntropy(),
    }
    for family, objective in asked.items():
        runs = [
            gradkern.capture(small(family), pictures(family), objective, kinds=KINDS, batch_size=size)
            for size in (5, 1)
        ]
        assert runs[0].losses.isfinite().all(), family
        for key, values in runs[0].items():
            error = (values - runs[1][key]).norm(dim=1)
            assert (error <= 2e-5 * values.norm(dim=1) + 1e-9).all(), (family, key)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "vit_s14"])
def test_real_weights_equal_autograd(name: str) -> None:
    """Two real networks on two real photographs; where shared/data lies beside the checkout."""
    networks = pytest.importorskip("benchmarks.networks")
    if not networks.DATA.is_dir():
        pytest.skip(f"no {networks.DATA.name} beside the checkout")
    network = networks.efficientnet() if name == "efficientnet_lite0" else networks.vit()
    model = network.model
    layers = ("blocks.0", "blocks.8") + (("norm", "patch_embed.proj") if name == "vit_s14" else ("blocks.15",))
    images = network.spec.preprocess(networks.photographs(3))

    def real(output: Any, batch: object) -> Tensor:
        return output[:, 0].norm(dim=1) if isinstance(output, Tensor) else output.features.norm(dim=1)

    features = gradkern.capture(model, images, real, layers=layers, kinds=KINDS, sketch=SKETCH, batch_size=3)
    truth = alone(model, layers, images[1], real)
    for key, row in truth.items():
        assert (features[key][1] - row[0]).norm() <= 1e-4 * row[0].norm(), key
