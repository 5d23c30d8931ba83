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

from gradkern.features._engine.function_mode import COMPOSITES, call_inside, flat, name_of_call, swap
from gradkern.features._engine.rules import BROADCASTS, EXPANSIONS, REPEATS

_STREAM = 13

# y = W x: the way back is W^T, and that is what is random.
_PRODUCTS = {
    F.linear, torch.matmul, Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__, torch.mm, Tensor.mm, torch.bmm,
    Tensor.bmm, torch.addmm, torch.baddbmm, torch.einsum, F.bilinear, F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d,
    F.conv_transpose2d, F.conv_transpose3d,
}  # fmt: skip

# A weight for each channel, or none at all in the way of the gradient: the derivative is the true one.
_TRUE = {
    F.layer_norm, F.rms_norm, torch.rms_norm, F.group_norm, F.batch_norm, F.instance_norm, F.prelu, F.embedding,
    torch.layer_norm, torch.group_norm, torch.batch_norm, F.scaled_dot_product_attention, torch.cat, torch.concat,
    torch.stack, Tensor.to, Tensor.type_as, Tensor.view_as, Tensor.reshape_as, *BROADCASTS, *EXPANSIONS, *REPEATS,
}  # fmt: skip


class Feedback(TorchFunctionMode):
    """While `running`, products with weights go forward as ever, and back by feedback weights.

    A parameter's feedback is z rms(weight), z Gaussian, drawn from (seed, the parameter's name) alone; with
    `sign_symmetric` |z| rms(weight) sign(weight). What the model computes from parameters alone (parts of them, weight
    norm) has as its feedback the same, computed from their feedback. Norms, scales and biases are as they are.
    """

    def __init__(self, model: nn.Module, seed: int, *, sign_symmetric: bool):
        super().__init__()
        self.seed, self.sign_symmetric = seed, sign_symmetric
        self._parameters = {id(parameter): (name, parameter) for name, parameter in model.named_parameters()}
        self._constants = {id(buffer): buffer for buffer in model.buffers()}
        self._drawn: dict[int, Tensor] = {}
        self._derived: dict[int, tuple[Tensor, Tensor]] = {}  # of one forward pass; the first keeps its id taken

    @contextmanager
    def running(self) -> Iterator[None]:
        """A forward pass; the backward pass may come afterwards."""
        try:
            with self:
                yield
        finally:
            self._derived.clear()

    def feedback_of(self, weight: Tensor) -> Tensor:
        """What stands for a weight on the way back, of its shape."""
        if id(weight) in self._derived:
            return self._derived[id(weight)][1]
        if id(weight) not in self._drawn:
            name, parameter = self._parameters[id(weight)]
            words = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype="<u4")
            rng = np.random.default_rng([_STREAM, self.seed, *words.tolist()])
            z = torch.from_numpy(rng.standard_normal(tuple(parameter.shape), dtype=np.float32)).to(parameter.device)
            true = parameter.detach()
            if self.sign_symmetric:
                z = z.abs() * true.sign()
            rms = true.double().square().mean().sqrt()
            self._drawn[id(weight)] = (z * rms).to(true.dtype)
        return self._drawn[id(weight)]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in COMPOSITES:
            return call_inside(self, func, args, kwargs)
        tensors = [value for value in flat(args, kwargs) if isinstance(value, Tensor)]
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
            if func not in _TRUE and any(isinstance(part, Tensor) and part.requires_grad for part in flat(out)):
                names = ", ".join(self._parameters[id(w)][0] for w in weights if id(w) in self._parameters)
                raise RuntimeError(
                    f"capture: no rule says how a gradient goes back through {name_of_call(func)} by feedback weights "
                    f"({names or 'weights computed from parameters'})"
                )
            return out
        other = {id(weight): self.feedback_of(weight) for weight in weights}
        back = func(*swap(args, other), **swap(kwargs, other))  # its values do not count
        with torch.no_grad():
            out = func(*args, **kwargs)
        return _Route.apply(back, out)  # type: ignore[no-untyped-call]

    def _derive(self, func: Any, args: Any, kwargs: Any, weights: list[Tensor], out: Any) -> None:
        made = [part for part in flat(out) if isinstance(part, Tensor) and part.is_floating_point()]
        if not made:
            return
        other = {id(weight): self.feedback_of(weight) for weight in weights}
        same = func(*swap(args, other), **swap(kwargs, other))
        stands = [part for part in flat(same) if isinstance(part, Tensor) and part.is_floating_point()]
        for tensor, feedback in zip(made, stands, strict=True):
            self._derived[id(tensor)] = (tensor, feedback)

    def _is_weight(self, value: Tensor) -> bool:
        return id(value) in self._parameters or id(value) in self._derived


class _Route(torch.autograd.Function):
    """The values of one tensor, the gradient of another."""

    @staticmethod
    def forward(ctx: Any, back: Tensor, values: Tensor) -> Tensor:
        return values.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0], None
