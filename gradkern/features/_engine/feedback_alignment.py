"""Feedback alignment: forward by the model's weights, backward by fixed random ones.

Lillicrap et al., Nature Communications 7, 2016; with the signs of the true weights Liao, Leibo & Poggio, AAAI 2016.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # as everybody writes it
from torch.overrides import TorchFunctionMode

from gradkern.features._engine.calls import COMPOSITES, call_inside, name_of_call, swap, tensors_in
from gradkern.features._engine.rules import BROADCASTS, EXPANSIONS, REPEATS

_FEEDBACK_STREAM = 13

# y = W x: the gradient goes back through W^T, which is what is random.
_PRODUCTS = {
    F.linear, torch.matmul, Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__, torch.mm, Tensor.mm, torch.bmm,
    Tensor.bmm, torch.addmm, torch.baddbmm, torch.einsum, F.bilinear, F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d,
    F.conv_transpose2d, F.conv_transpose3d,
}  # fmt: skip

# A weight for each channel, or no weight in the way of the gradient: the derivative is the true one.
_TRUE_DERIVATIVES = {
    F.layer_norm, F.rms_norm, torch.rms_norm, F.group_norm, F.batch_norm, F.instance_norm, F.prelu, F.embedding,
    torch.layer_norm, torch.group_norm, torch.batch_norm, F.scaled_dot_product_attention, torch.cat, torch.concat,
    torch.stack, Tensor.to, Tensor.type_as, Tensor.view_as, Tensor.reshape_as, *BROADCASTS, *EXPANSIONS, *REPEATS,
}  # fmt: skip


class FeedbackAlignment(TorchFunctionMode):
    """A mode for forward passes whose gradient will go back through feedback weights where it meets products.

    A parameter's feedback is z rms(weight), with z Gaussian and drawn from (seed, name of the parameter) alone; with
    `sign_symmetric` it is |z| rms(weight) sign(weight). Where the model computes a weight from parameters alone (parts
    of them, weight norm), its feedback is computed in the same way from their feedback. Norms, scales and biases keep
    their true derivative. The mode is entered by `running()`.
    """

    def __init__(self, model: nn.Module, seed: int, *, sign_symmetric: bool):
        super().__init__()
        self._seed, self._sign_symmetric = seed, sign_symmetric
        self._parameters = {id(parameter): (name, parameter) for name, parameter in model.named_parameters()}
        self._constants = {id(buffer): buffer for buffer in model.buffers()}
        self._drawn: dict[int, Tensor] = {}
        self._derived: dict[int, tuple[Tensor, Tensor]] = {}  # of one forward pass; the first tensor keeps its id taken

    @contextmanager
    def running(self) -> Iterator[None]:
        """A forward pass; the backward pass may come afterwards."""
        try:
            with self:
                yield
        finally:
            self._derived.clear()

    def feedback_of(self, weight: Tensor) -> Tensor:
        """What the gradient goes back through in the place of a weight, of the same shape."""
        if id(weight) in self._derived:
            return self._derived[id(weight)][1]
        if id(weight) not in self._drawn:
            name, parameter = self._parameters[id(weight)]
            words = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype="<u4")
            rng = np.random.default_rng([_FEEDBACK_STREAM, self._seed, *words.tolist()])
            z = torch.from_numpy(rng.standard_normal(tuple(parameter.shape), dtype=np.float32)).to(parameter.device)
            true = parameter.detach()
            if self._sign_symmetric:
                z = z.abs() * true.sign()
            rms = true.double().square().mean().sqrt()
            self._drawn[id(weight)] = (z * rms).to(true.dtype)
        return self._drawn[id(weight)]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in COMPOSITES:
            return call_inside(self, func, args, kwargs)
        tensors = tensors_in((args, kwargs))
        weights = [value for value in tensors if self._is_weight(value)]
        if not weights:
            return func(*args, **kwargs)
        if any(tensor.requires_grad for tensor in tensors):
            return self._go_back(func, args, kwargs, weights)
        out = func(*args, **kwargs)
        if all(self._is_weight(tensor) or id(tensor) in self._constants for tensor in tensors):
            self._derive(func, args, kwargs, weights, out)
        return out

    def _go_back(self, func: Any, args: Any, kwargs: Any, weights: list[Tensor]) -> Any:
        if func not in _PRODUCTS:
            out = func(*args, **kwargs)
            if func not in _TRUE_DERIVATIVES and any(tensor.requires_grad for tensor in tensors_in(out)):
                names = ", ".join(self._parameters[id(w)][0] for w in weights if id(w) in self._parameters)
                raise RuntimeError(
                    f"no rule says how a gradient goes back through {name_of_call(func)} by feedback weights "
                    f"({names or 'weights computed from parameters'})"
                )
            return out
        feedback_weights = {id(weight): self.feedback_of(weight) for weight in weights}
        back = func(*swap(args, feedback_weights), **swap(kwargs, feedback_weights))  # its values do not count
        with torch.no_grad():
            out = func(*args, **kwargs)
        return _Route.apply(back, out)  # type: ignore[no-untyped-call]

    def _derive(self, func: Any, args: Any, kwargs: Any, weights: list[Tensor], out: Any) -> None:
        derived = _floating(out)
        if not derived:
            return
        feedback_weights = {id(weight): self.feedback_of(weight) for weight in weights}
        feedbacks = _floating(func(*swap(args, feedback_weights), **swap(kwargs, feedback_weights)))
        for tensor, feedback in zip(derived, feedbacks, strict=True):
            self._derived[id(tensor)] = (tensor, feedback)

    def _is_weight(self, value: Tensor) -> bool:
        return id(value) in self._parameters or id(value) in self._derived


def _floating(output: Any) -> list[Tensor]:
    return [tensor for tensor in tensors_in(output) if tensor.is_floating_point()]


class _Route(torch.autograd.Function):
    """The values of one tensor, the gradient of another."""

    @staticmethod
    def forward(ctx: Any, back: Tensor, values: Tensor) -> Tensor:
        return values.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0], None
