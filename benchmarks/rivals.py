"""What others offer for the gradient of each image: the same model, images and loss as in bench_capture.py.

Each is a context that yields a call; the call gives gradients by parameter, [n, ...] or projected.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from gradkern.objectives import FeatureNorm

SIDE = 32  # of LoGra's small matrices: 32 x 32 = 1024 numbers an image, as many as gradkern's
Call = Callable[[], dict[str, Tensor]]


def total(model: nn.Module, images: Tensor) -> Tensor:
    return FeatureNorm()(model(images), None).sum()


@contextmanager
def opacus(model: nn.Module, images: Tensor) -> Iterator[Call]:
    """Whole gradients, kept, of the parameters it has rules for: not of tokens and of DINOv3's layer scales."""
    wrapped = copy.deepcopy(model)
    names = {parameter: name for name, parameter in wrapped.named_parameters()}
    del wrapped.blocks  # the same layers under another name, where it would count their gradients twice
    for module in wrapped.modules():
        known = isinstance(module, nn.Linear | nn.Conv2d | nn.LayerNorm)
        module.training = known  # it sees layers in training mode only, in which DINOv3 jitters its positions
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(known)
    wrapper = pytest.importorskip("opacus").GradSampleModule(wrapped, strict=False, loss_reduction="sum")

    def call() -> dict[str, Tensor]:
        total(wrapper, images).backward()
        found = {name: getattr(parameter, "grad_sample", None) for parameter, name in names.items()}
        wrapper.zero_grad(set_to_none=True)
        return {name: gradient for name, gradient in found.items() if gradient is not None}

    yield call


@contextmanager
def vmap_grad(model: nn.Module, images: Tensor) -> Iterator[Call]:
    """Whole gradients, kept, of every parameter."""
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def loss(values: dict[str, Tensor], image: Tensor) -> Tensor:
        return FeatureNorm()(functional_call(model, values, (image[None],)), None).sum()

    each = vmap(grad(loss), in_dims=(None, 0))
    yield lambda: each(parameters, images)


@contextmanager
def logra_hooks(model: nn.Module, images: Tensor) -> Iterator[Call]:
    """Two small matrices for each Linear layer, by hooks; nothing of convolutions, norms, tokens, biases."""
    found: dict[str, Tensor] = {}
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            handles.append(module.register_forward_hook(project(name, module, found)))

    def call() -> dict[str, Tensor]:
        found.clear()
        total(model, images).backward()
        return dict(found)

    yield from with_frozen(model, images, call)
    for handle in handles:
        handle.remove()


def project(name: str, module: nn.Linear, found: dict[str, Tensor]) -> Callable[..., None]:
    left, right = factors(module)

    def hook(_: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        small = args[0].detach() @ right
        output.register_hook(lambda g: found.__setitem__(f"{name}.weight", (g @ left).mT @ small))

    return hook


def factors(module: nn.Linear) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    out, width = module.weight.shape
    place = module.weight.device
    return torch.randn(out, SIDE, generator=generator).to(place), torch.randn(width, SIDE, generator=generator).to(
        place
    )


@contextmanager
def dattri_llm(model: nn.Module, images: Tensor) -> Iterator[Call]:
    """LoGra by dattri-llm, with the settings that its documentation gives for speed, of each Linear layer."""
    library = pytest.importorskip("dattri_llm")
    pytest.importorskip("dattri")
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    how = {"style": "logra", "proj_dim": SIDE, "proj_max_batch_size": 8 * ((len(images) + 7) // 8)}
    config = library.HookManagerConfig(
        hook_types=dict.fromkeys(names, "invasive_linear_io"),
        include_frozen=True,
        capture_style="materialized",
        projection_kwargs={"__default__": how},
    )
    kept = library.CaptureCallback()

    def call() -> dict[str, Tensor]:
        total(model, images).backward()
        data: dict[str, Any] = kept.record.gradient.data
        return {f"{name}.weight": gradient for name, gradient in data.items()}

    manager = library.HookManager(model, config=config, callbacks=[kept])
    with manager.collect(deregister_on_exit=True):
        yield from with_frozen(model, images, call)


def with_frozen(model: nn.Module, images: Tensor, call: Call) -> Iterator[Call]:
    """No gradient of a parameter is computed by autograd; those of the images keep backward going."""
    model.requires_grad_(False)
    images.requires_grad_(True)
    yield call
    images.requires_grad_(False)
    images.grad = None
    model.requires_grad_(True)


RIVALS = {
    "opacus, gradients kept": opacus,
    "torch.func vmap(grad), gradients kept": vmap_grad,
    "LoGra hooks, Linear only": logra_hooks,
    "dattri-llm LoGra, Linear only": dattri_llm,
}
