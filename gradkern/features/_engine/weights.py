"""Which tensors of a forward pass are weights: parameters of the layers, and what is computed from parameters alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from gradkern.features._engine.calls import is_in_place, swap, tensors_in
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
        """Where the gradients of a weight go, as it is now: what overwrites it later does not count."""
        derived = self._derived.get(id(weight))
        if derived is None:
            return _ParameterTarget(weight, self._gradients)
        return _DerivedTarget(get_gradient_edge(weight), weight, derived.sources, self._gradients)

    def derive(self, function: Any, args: Any, kwargs: Any, weights: Sequence[Tensor]) -> Any:
        """Call a function of weights and constants alone, so that its results are weights too."""
        in_place = is_in_place(function)
        if in_place and self._gradients.owns(args[0]):
            return function(*args, **kwargs)  # a parameter is set anew, and still is the parameter
        stand_ins = {id(weight): self._stand_in(weight) for weight in weights if not self.is_derived(weight)}
        output = function(*swap(args, stand_ins), **swap(kwargs, stand_ins))
        parameters = {id(p): p for weight in weights for p in self.parameters_of(weight)}
        changed = self._sharing(args[0]) if in_place else []
        parameters |= {id(p): p for tensor in changed for p in self.parameters_of(tensor)}
        sources = tuple((p, self._stand_ins[key]) for key, p in parameters.items())
        for tensor in [*tensors_in(output), *changed, *(args[:1] if in_place else ())]:
            if tensor.requires_grad:
                self._derived[id(tensor)] = _Derived(tensor, sources)
        return output

    def leaves(self) -> list[Tensor]:
        return [leaf for leaf in self._stand_ins.values() if leaf.requires_grad]

    def reached_leaves(self) -> list[str]:
        """Names of the parameters whose leaf has a .grad, which is dropped."""
        names = []
        for key, leaf in self._stand_ins.items():
            if leaf.grad is not None:
                leaf.grad = None
                names.append(self._gradients.layout.names[key])
        return names

    def _sharing(self, tensor: Tensor) -> list[Tensor]:
        """The derived weights that lie in the same memory as a tensor."""
        memory = tensor.untyped_storage().data_ptr()
        derived = [weight.tensor for weight in self._derived.values()]
        return [weight for weight in derived if weight.untyped_storage().data_ptr() == memory]

    def _stand_in(self, parameter: Tensor) -> Tensor:
        leaf = self._stand_ins.get(id(parameter))
        if leaf is None:
            leaf = parameter.detach()
            if leaf.is_floating_point() or leaf.is_complex():
                leaf.requires_grad_()
            self._stand_ins[id(parameter)] = leaf
        return leaf


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

    def __init__(
        self,
        edge: GradientEdge,
        tensor: Tensor,
        sources: tuple[tuple[Tensor, Tensor], ...],
        gradients: LayerGradients,
    ):
        self.edge, self.shape, self.dtype = edge, tensor.shape, tensor.dtype
        self.sources = [(parameter, leaf) for parameter, leaf in sources if leaf.requires_grad]
        self.gradients = gradients

    def add(self, gradient: Tensor) -> None:
        for i in range(len(gradient)):
            self.add_image(i, gradient[i])

    def add_image(self, i: int, gradient: Tensor) -> None:
        leaves = [leaf for _, leaf in self.sources]
        cotangent = gradient.reshape(self.shape).to(self.dtype)
        pulled_back = torch.autograd.grad(self.edge, leaves, cotangent, retain_graph=True, allow_unused=True)
        for (parameter, _), parameter_gradient in zip(self.sources, pulled_back, strict=True):
            if parameter_gradient is not None:
                self.gradients.add_image(parameter, i, parameter_gradient)

    def add_outer(self, a: Tensor, g: Tensor) -> None:
        for i in range(len(g)):
            self.add_image(i, g[i].T @ a[i].to(g.dtype))

    def add_conv(self, x: Tensor, g: Tensor, window: Window) -> None:
        for i, gradient in enumerate(conv_gradients(x, g, self.gradients.n, window)):
            self.add_image(i, gradient)
