"""Whose parameters are whose: per-image gradients of parameters, sketched into the layers that own them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from gradkern.features._engine.layout import parameter_matrix, segments
from gradkern.kernels._sketch import Sketch
from gradkern.kernels._weight_sketch import sketch_conv, sketch_outer
from gradkern.kernels.reference import Window

_KERNELS = (torch.float32, torch.bfloat16, torch.float16)  # what the fused kernels take


@dataclass(frozen=True)
class Owned:
    """A parameter as a part of one layer's parameters: `layout` says where its segments begin."""

    layer: str
    first_segment: int


class LayerGradients:
    """Sketches [n, k] of each image's gradient with respect to all parameters under a layer, added up part by part.

    A parameter under several of the layers goes to each. One that is used several times, or in several places, has
    the sum of its gradients, wherever they come from.
    """

    def __init__(self, layers: Mapping[str, nn.Module], sketch: Sketch):
        self.sketch = sketch
        self.names: dict[int, str] = {}  # id of a parameter -> name
        self.parameters: dict[int, nn.Parameter] = {}
        self._owners: dict[int, list[Owned]] = {}
        self._layers = tuple(layers)
        self.totals: dict[str, Tensor] = {}
        self.reached: set[int] = set()
        self._left_out: set[int] = set()
        for layer, module in layers.items():
            first = 0
            for name, parameter in module.named_parameters():
                key = id(parameter)
                self.parameters[key] = parameter
                self.names.setdefault(key, f"{layer}.{name}" if layer else name)
                self._owners.setdefault(key, []).append(Owned(layer, first))
                first += segments(*parameter_matrix(parameter))

    def start(self, n: int, device: torch.device) -> None:
        self.totals = {layer: torch.zeros(n, self.sketch.k, device=device) for layer in self._layers}
        self.reached = set()

    def leave_out(self, names: Sequence[str]) -> None:
        """From now on these parameters count nowhere."""
        self._left_out |= {key for key, name in self.names.items() if name in names}

    def unreached(self) -> list[str]:
        """Layers none of whose parameters has had a gradient."""
        reached = {owned.layer for key in self.reached | self._left_out for owned in self._owners[key]}
        return [layer for layer in self._layers if layer not in reached]

    def add(self, parameter: Tensor, gradient: Tensor) -> None:
        """A gradient that is there, [n, *shape of the parameter]."""
        matrix = gradient.reshape(len(gradient), *parameter_matrix(parameter)).contiguous()
        for owned in self._reach(parameter):
            self.totals[owned.layer] += self.sketch(matrix, first_segment=owned.first_segment)

    def add_outer(self, parameter: Tensor, a: Tensor, g: Tensor) -> None:
        """The matrix sum_t g[i, t] a[i, t]^T, never formed; a [n, t, p], g [n, t, o]."""
        if g.dtype not in _KERNELS:
            for i in range(len(g)):
                self.add_one(parameter, i, g[i].T @ a[i].to(g.dtype))
            return
        a, g = a.to(g.dtype).contiguous(), g.contiguous()
        sketch = self.sketch
        for owned in self._reach(parameter):
            self.totals[owned.layer] += sketch_outer(
                a, g, sketch.k, seed=sketch.seed, nnz=sketch.nnz, first_segment=owned.first_segment
            )

    def add_conv(self, parameter: Tensor, x: Tensor, g: Tensor, window: Window) -> None:
        """The gradient of a convolution's weight, never formed; x [n * m, c, h, w] for m >= 1 inputs an image."""
        sketch, x, g = self.sketch, x.to(g.dtype).contiguous(), g.contiguous()
        stride, padding, dilation = window.stride, window.padding, window.dilation
        for owned in self._reach(parameter):
            n = len(self.totals[owned.layer])
            if g.dtype in _KERNELS:
                parts = sketch_conv(
                    x, g, sketch.k, kernel_size=window.kernel_size, stride=stride, padding=padding, dilation=dilation,
                    groups=window.groups, seed=sketch.seed, nnz=sketch.nnz, first_segment=owned.first_segment,
                )  # fmt: skip
                self.totals[owned.layer] += parts.view(n, -1, sketch.k).sum(1)
                continue
            size = len(x) // n
            for i in range(n):
                part = slice(i * size, (i + 1) * size)
                shape = (g.shape[1], x.shape[1] // window.groups, *window.kernel_size)
                one = conv2d_weight(  # type: ignore[no-untyped-call]
                    x[part], shape, g[part], stride, padding, dilation, window.groups
                )
                self.add_one(parameter, i, one)

    def add_one(self, parameter: Tensor, i: int, gradient: Tensor) -> None:
        matrix = gradient.reshape(1, *parameter_matrix(parameter)).contiguous()
        for owned in self._reach(parameter):
            self.totals[owned.layer][i] += self.sketch(matrix, first_segment=owned.first_segment)[0]

    def _reach(self, parameter: Tensor) -> Sequence[Owned]:
        if id(parameter) in self._left_out:
            return ()
        self.reached.add(id(parameter))
        return self._owners[id(parameter)]

    def owns(self, tensor: Any) -> bool:
        return id(tensor) in self._owners
