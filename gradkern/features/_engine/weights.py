"""Which tensors of a forward pass are weights: parameters of the layers, and what is computed from parameters alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradkern.features._engine.calls import swap, tensors_in
from gradkern.features._engine.rules import Target
from gradkern.features._engine.weight_gradients import LayerGradients, conv_gradients
from gradkern.kernels.reference import Window


@dataclass(frozen=True)
class _Derived:
    """A tensor computed from parameters alone, with the graph that leads back to them."""

    tensor: Tensor
    sources: tuple[tuple[Tensor, Tensor], ...]  # (parameter, the leaf that stands for it)


class Weights:
    """The weights of one forward pass, and where their gradients go."""

    def __init__(self, gradients: LayerGradients):
        self._gradients = gradients
        self._derived: dict[int, _Derived] = {}
        self._stand_ins: dict[int, Tensor] = {}  # id of a parameter -> a leaf with its values

    def holds(self, value: Any) -> bool:
        return self.is_derived(value) or self._gradients.owns(value)

    def is_derived(self, value: Any) -> bool:
        return id(value) in self._derived

    def parameters_of(self, weight: Tensor) -> list[Tensor]:
        derived = self._derived.get(id(weight))
        return [parameter for parameter, _ in derived.sources] if derived else [weight]

    def names_of(self, weight: Tensor) -> list[str]:
        """Names of the parameters that a weight is, or is computed from."""
        return [self._gradients.layout.names[id(parameter)] for parameter in self.parameters_of(weight)]

    def target_of(self, weight: Tensor) -> Target:
        derived = self._derived.get(id(weight))
        return _DerivedTarget(derived, self._gradients) if derived else _ParameterTarget(weight, self._gradients)

    def derive(self, function: Any, args: Any, kwargs: Any, weights: Sequence[Tensor]) -> Any:
        """Call a function of weights alone, so that its results are weights too."""
        stand_ins = {id(weight): self._stand_in(weight) for weight in weights if not self.is_derived(weight)}
        with torch.enable_grad():
            output = function(*swap(args, stand_ins), **swap(kwargs, stand_ins))
        parameters = {id(p): p for weight in weights for p in self.parameters_of(weight)}
        sources = tuple((p, self._stand_ins[key]) for key, p in parameters.items())
        for tensor in tensors_in(output):
            if tensor.requires_grad:
                self._derived[id(tensor)] = _Derived(tensor, sources)
        return output

    def _stand_in(self, parameter: Tensor) -> Tensor:
        return self._stand_ins.setdefault(id(parameter), parameter.detach().requires_grad_())


class _ParameterTarget:
    def __init__(self, parameter: Tensor, gradients: LayerGradients):
        self.parameter, self.gradients = parameter, gradients

    def add(self, gradient: Tensor) -> None:
        self.gradients.add(self.parameter, gradient)

    def add_image(self, i: int, gradient: Tensor) -> None:
        self.gradients.add_image(self.parameter, i, gradient)

    def add_outer(self, a: Tensor, g: Tensor) -> None:
        self.gradients.add_outer(self.parameter, a, g)

    def add_conv(self, x: Tensor, g: Tensor, window: Window) -> None:
        self.gradients.add_conv(self.parameter, x, g, window)


class _DerivedTarget:
    """Forms each image's gradient, one at a time, and pulls it back to the parameters."""

    def __init__(self, derived: _Derived, gradients: LayerGradients):
        self.derived, self.gradients = derived, gradients

    def add(self, gradient: Tensor) -> None:
        for i in range(len(gradient)):
            self.add_image(i, gradient[i])

    def add_image(self, i: int, gradient: Tensor) -> None:
        tensor, sources = self.derived.tensor, self.derived.sources
        leaves = [leaf for _, leaf in sources]
        cotangent = gradient.reshape(tensor.shape).to(tensor.dtype)
        pulled_back = torch.autograd.grad(tensor, leaves, cotangent, retain_graph=True, allow_unused=True)
        for (parameter, _), parameter_gradient in zip(sources, pulled_back, strict=True):
            if parameter_gradient is not None:
                self.gradients.add_image(parameter, i, parameter_gradient)

    def add_outer(self, a: Tensor, g: Tensor) -> None:
        for i in range(len(g)):
            self.add_image(i, g[i].T @ a[i].to(g.dtype))

    def add_conv(self, x: Tensor, g: Tensor, window: Window) -> None:
        for i, gradient in enumerate(conv_gradients(x, g, self.gradients.n, window)):
            self.add_image(i, gradient)
