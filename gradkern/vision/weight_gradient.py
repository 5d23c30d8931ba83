"""Per-image weight gradients of a layer, one image at a time.

Exact for any module whose images do not mix: the layer is run again on one image, and the gradient that arrived at
its output is pulled back to every parameter under it. Only one image's gradient exists at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gradkern.sketch import Sketch
from gradkern.vision.layout import first_tensor, parameter_matrix, segments

# One image alone against the same image in its batch: kernels differ in rounding, mixing images is far above this.
_SAME = 1e-2


@dataclass(frozen=True)
class Call:
    """The arguments of one call of a layer on n images."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    n: int

    def copied(self) -> "Call":
        """Detached copies: the layer, or one behind it, may overwrite its input in place."""
        return self._map(lambda x: x.detach().clone())

    def image(self, i: int) -> "Call":
        """Image i of every tensor with n rows; everything else as it is."""
        return self._map(lambda x: x[i : i + 1] if x.dim() > 0 and len(x) == self.n else x)

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Call":
        def apply(value: Any) -> Any:
            if isinstance(value, Tensor):
                return change(value)
            if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
                return type(value)(apply(item) for item in value)
            return value

        kwargs = {key: apply(value) for key, value in self.kwargs.items()}
        return Call(apply(self.args), kwargs, self.n)


def weight_gradient(layer: nn.Module, call: Call, output: Tensor, gradient: Tensor, sketch: Sketch) -> Tensor:
    """Sketch of each image's gradient with respect to all parameters under a layer.

    Parameters are taken in the order of `layer.named_parameters()`, each as the matrix of `layout.parameter_matrix`,
    one behind the other in segments.

    Parameters
    ----------
    call : the arguments that the layer was called with
    output : [n, ...], what it returned
    gradient : [n, ...], of the summed objective with respect to the output

    Returns
    -------
    [n, k] float32

    Raises
    ------
    RuntimeError : an image alone has another output than in its batch
    """
    total = gradient.new_zeros(call.n, sketch.k, dtype=torch.float32)
    for i in range(call.n):
        parameters = {name: p.detach().requires_grad_() for name, p in layer.named_parameters()}
        one = call.image(i)
        with torch.enable_grad():
            alone = first_tensor(functional_call(layer, parameters, one.args, one.kwargs))
        if alone is None or not _same(alone[0].detach(), output[i]):
            raise RuntimeError(
                "run on one image alone, the layer returns something else than in the batch, so an image has no "
                "weight gradient of its own (does the layer mix images, or draw random numbers?)"
            )
        pulled = gradient[i : i + 1].to(alone.dtype)
        parts = torch.autograd.grad(alone, list(parameters.values()), pulled, allow_unused=True)
        first = 0
        for parameter, part in zip(parameters.values(), parts, strict=True):
            rows, cols = parameter_matrix(parameter)
            if part is not None:
                total[i] += sketch(part.contiguous().view(1, rows, cols), first_segment=first)[0]
            first += segments(rows, cols)
    return total


def _same(alone: Tensor, in_batch: Tensor) -> bool:
    if alone.shape != in_batch.shape:
        return False
    return bool((alone - in_batch).norm() <= _SAME * in_batch.norm() + torch.finfo(in_batch.dtype).tiny)
