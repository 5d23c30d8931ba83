"""Calls that no rule is for: the part of each image is run again, and autograd gives its gradient of the weights.

What a call was given is cut into images by the shapes that the same call was given for one image alone. Whether the
images are then what the call sees one by one is tried out: the parts that are run again must be those of the batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gradkern.features._engine.calls import Call, sample_of, swap, tensors_in
from gradkern.features._engine.rules import Samples, Target

_SAME_ROWS = 0.1  # of two images, far above any rounding


@dataclass
class RowOrder:
    """In which calls the rows of a batch are positions first, then images; the first batch finds out.

    Attributes
    ----------
    is_known : whether an earlier batch has found out
    inner : (position of the call, position among its inputs)
    """

    is_known: bool = False
    inner: set[tuple[int, int]] = field(default_factory=set)


def images_in(
    call: Call, position: int, tensors: Sequence[Tensor], n: int, order: RowOrder
) -> dict[int, Samples] | None:
    """Where the images are in what a call is given, by id of the tensor; None if they cannot be told apart.

    Parameters
    ----------
    call : the same call for one image alone
    position : of the call in the trace
    tensors : what the call is given
    n : images of the batch
    order : is found out by this call, or known
    """
    if len(tensors) != len(call.inputs):
        return None
    images: dict[int, Samples] = {}
    for place, (tensor, alone) in enumerate(zip(tensors, call.inputs, strict=True)):
        if tuple(tensor.shape) == alone:
            continue
        axis = image_axis(tuple(tensor.shape), alone, n)
        if axis is None:
            return None
        is_inner = alone[axis] != 1 and _is_inner(tensor, call, (position, place), n, order)
        if is_inner is None:
            return None
        images[id(tensor)] = Samples(n, axis, is_inner)
    return images


def image_axis(shape: tuple[int, ...], alone: tuple[int, ...], n: int) -> int | None:
    """The axis that is n times as long for a batch as for one image alone."""
    if len(shape) != len(alone):
        return None
    axes = [axis for axis, size in enumerate(shape) if size != alone[axis]]
    if len(axes) != 1 or shape[axes[0]] != n * alone[axes[0]]:
        return None
    return axes[0] if alone[axes[0]] == 1 or axes[0] == 0 else None


def _is_inner(tensor: Tensor, call: Call, place: tuple[int, int], n: int, order: RowOrder) -> bool | None:
    """Whether rows are positions first, then images, by the values that image 0 has alone; None if neither fits."""
    if order.is_known:
        return place in order.inner
    wanted = call.rows.get(place[1])
    if wanted is None:
        return False
    errors = [_difference(Samples(n, 0, inner).part(tensor, 0), wanted) for inner in (False, True)]
    if min(errors) > _SAME_ROWS:
        return None
    if errors[1] < errors[0]:
        order.inner.add(place)
    return errors[1] < errors[0]


def _difference(part: Tensor, wanted: Tensor) -> float:
    values, wanted = sample_of(part).double(), wanted.double()
    return float((values - wanted).norm() / wanted.norm().clamp_min(1e-30))


class ImageByImage:
    """A call without a rule, and what it was given, apart from the graph.

    Parameters
    ----------
    function, args, kwargs : of the call
    images : where the images are in the arguments, by id
    weights : among the arguments
    samples : where the images are in the result
    """

    def __init__(
        self,
        function: Any,
        arguments: tuple[Any, Any],
        images: Mapping[int, Samples],
        weights: Sequence[Tensor],
        samples: Samples,
    ):
        detached = {id(tensor): tensor.detach() for tensor in tensors_in(arguments)}
        self._function, self._samples = function, samples
        self._args, self._kwargs = swap(arguments, detached)
        self._images = [(detached[key], where) for key, where in images.items()]
        self._versions = [tensor._version for tensor, _ in self._images]
        self._weights = [detached[id(weight)] for weight in weights]

    def gives(self, out: Tensor) -> bool:
        """Whether the first and the last image's part of `out` are what the call gives for them alone."""
        with torch.no_grad():
            for i in (0, self._samples.n - 1):
                alone, part = self._run(i, {}), self._samples.part(out, i)
                if alone.shape != part.shape or _difference(part, sample_of(alone)) > _SAME_ROWS:
                    return False
        return True

    def is_overwritten(self) -> bool:
        return [tensor._version for tensor, _ in self._images] != self._versions

    def add(self, targets: Sequence[Target], g: Tensor) -> None:
        """Give each image's gradient of the weights to the targets; g is the gradient at the result."""
        for i in range(self._samples.n):
            leaves = {id(weight): weight.detach().requires_grad_() for weight in self._weights}
            with torch.enable_grad():
                out = self._run(i, leaves)
            part = self._samples.part(g, i).to(out.dtype)
            gradients = torch.autograd.grad(out, list(leaves.values()), part, allow_unused=True)
            for target, gradient in zip(targets, gradients, strict=True):
                if gradient is not None:
                    target.add_image(i, gradient)

    def _run(self, i: int, leaves: Mapping[int, Tensor]) -> Any:
        parts = {id(tensor): where.part(tensor, i) for tensor, where in self._images}
        replaced = {**parts, **leaves}
        return self._function(*swap(self._args, replaced), **swap(self._kwargs, replaced))
