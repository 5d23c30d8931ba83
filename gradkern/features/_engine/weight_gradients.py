"""Per-image gradients of parameters, sketched into the layers that own the parameters."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from gradkern.features._engine.layout import parameter_matrix, segments
from gradkern.kernels._sketch import Sketch
from gradkern.kernels._weight_sketch import sketch_conv, sketch_outer
from gradkern.kernels.reference import Window

_KERNEL_DTYPES = (torch.float32, torch.bfloat16, torch.float16)  # what the fused kernels take


@dataclass(frozen=True)
class Owner:
    """A layer that a parameter is under, and the segment at which the parameter begins in that layer's sketch."""

    layer: str
    first_segment: int


@dataclass(frozen=True)
class ParameterLayout:
    """Which parameters the layers have, by id. A parameter under several of the layers belongs to each of them.

    Attributes
    ----------
    layers : names of all layers, with and without parameters
    parameters : id -> the parameter
    names : id -> its name
    owners : id -> the layers that it is under
    """

    layers: tuple[str, ...]
    parameters: Mapping[int, nn.Parameter]
    names: Mapping[int, str]
    owners: Mapping[int, Sequence[Owner]]


def parameter_layout(layers: Mapping[str, nn.Module]) -> ParameterLayout:
    """Lay the parameters of each layer one behind the other, in the order of `named_parameters()`."""
    parameters: dict[int, nn.Parameter] = {}
    names: dict[int, str] = {}
    owners: dict[int, list[Owner]] = {}
    for layer, module in layers.items():
        first_segment = 0
        for name, parameter in module.named_parameters():
            key = id(parameter)
            parameters[key] = parameter
            names.setdefault(key, f"{layer}.{name}" if layer else name)
            owners.setdefault(key, []).append(Owner(layer, first_segment))
            first_segment += segments(*parameter_matrix(parameter))
    return ParameterLayout(tuple(layers), parameters, names, owners)


class LayerGradients:
    """Sketches [n, k] of each image's gradient with respect to all parameters under a layer, for one backward pass.

    A parameter that is used several times, or in several places, has the sum of its gradients.

    Parameters
    ----------
    layout : the layers' parameters
    sketch : the map to R^k
    n : images of the batch
    device : where the sketches are added up
    left_out : names of parameters that count nowhere
    """

    def __init__(self, layout: ParameterLayout, sketch: Sketch, n: int, device: torch.device, left_out: frozenset[str]):
        self.layout, self.sketch, self.n = layout, sketch, n
        self._totals = {layer: torch.zeros(n, sketch.k, device=device, dtype=torch.float32) for layer in layout.layers}
        self._reached: set[int] = set()
        self._left_out = {key for key, name in layout.names.items() if name in left_out}

    def totals(self) -> Mapping[str, Tensor]:
        """Layer -> [n, k]."""
        return self._totals

    def reached_names(self) -> frozenset[str]:
        """Names of the parameters that have had a gradient."""
        return frozenset(self.layout.names[key] for key in self._reached)

    def unreached_layers(self) -> list[str]:
        """Layers none of whose parameters has had a gradient."""
        reached = {owner.layer for key in self._reached | self._left_out for owner in self.layout.owners[key]}
        return [layer for layer in self.layout.layers if layer not in reached]

    def without_sketch(self) -> dict[str, str]:
        """Names of parameters that have had a gradient of which there is no sketch -> why."""
        why = "complex, and a sketch is of real numbers; let the parameter be the view_as_real of it"
        return {self.layout.names[key]: why for key in self._reached if self.layout.parameters[key].is_complex()}

    def add(self, parameter: Tensor, gradient: Tensor) -> None:
        """A gradient that exists already, [n, *shape of the parameter]."""
        matrix = gradient.reshape(len(gradient), *parameter_matrix(parameter)).contiguous()
        for owner in self._reach(parameter):
            self._totals[owner.layer] += self.sketch(matrix, first_segment=owner.first_segment)

    def add_outer(self, parameter: Tensor, a: Tensor, g: Tensor) -> None:
        """The matrix sum_t g[i, t] a[i, t]^T, which is never formed; a [n, t, p], g [n, t, o]."""
        if g.dtype not in _KERNEL_DTYPES:
            for i in range(len(g)):
                self.add_image(parameter, i, g[i].T @ a[i].to(g.dtype))
            return
        a, g = a.to(g.dtype).contiguous(), g.contiguous()
        sketch = self.sketch
        for owner in self._reach(parameter):
            self._totals[owner.layer] += sketch_outer(
                a, g, sketch.k, seed=sketch.seed, nnz=sketch.nnz, first_segment=owner.first_segment
            )

    def add_conv(self, parameter: Tensor, x: Tensor, g: Tensor, window: Window) -> None:
        """The gradient of a convolution's weight, which is never formed; x [n * m, c, h, w], m >= 1 inputs an image."""
        sketch, x, g = self.sketch, x.to(g.dtype).contiguous(), g.contiguous()
        if g.dtype not in _KERNEL_DTYPES:
            for i, gradient in enumerate(conv_gradients(x, g, self.n, window)):
                self.add_image(parameter, i, gradient)
            return
        for owner in self._reach(parameter):
            sketches = sketch_conv(
                x, g, sketch.k, kernel_size=window.kernel_size, stride=window.stride, padding=window.padding,
                dilation=window.dilation, groups=window.groups, seed=sketch.seed, nnz=sketch.nnz,
                first_segment=owner.first_segment,
            )  # fmt: skip
            self._totals[owner.layer] += sketches.view(self.n, -1, sketch.k).sum(1)

    def add_image(self, parameter: Tensor, i: int, gradient: Tensor) -> None:
        """The gradient of image i of the batch, of the parameter's shape."""
        matrix = gradient.reshape(1, *parameter_matrix(parameter)).contiguous()
        for owner in self._reach(parameter):
            self._totals[owner.layer][i] += self.sketch(matrix, first_segment=owner.first_segment)[0]

    def _reach(self, parameter: Tensor) -> Sequence[Owner]:
        if id(parameter) in self._left_out:
            return ()
        self._reached.add(id(parameter))
        if parameter.is_complex():
            return ()
        return self.layout.owners[id(parameter)]

    def owns(self, tensor: Any) -> bool:
        return id(tensor) in self.layout.owners


def conv_gradients(x: Tensor, g: Tensor, n: int, window: Window) -> Iterator[Tensor]:
    """Each image's gradient of a convolution's weight, formed one at a time."""
    size = len(x) // n
    shape = (g.shape[1], x.shape[1] // window.groups, *window.kernel_size)
    for i in range(n):
        rows = slice(i * size, (i + 1) * size)
        gradient: Tensor = conv2d_weight(  # type: ignore[no-untyped-call]
            x[rows].to(g.dtype), shape, g[rows], window.stride, window.padding, window.dilation, window.groups
        )
        yield gradient
