"""Controls: null versions of the gradient, each with one thing taken out of it.

"gradient/target-shuffled"    the objective compares every image with the target of another one
"gradient/random-cotangent"   a random vector goes back through the true Jacobian, in the place of the error
"gradient/feedback-alignment" the true error goes back through fixed random weights
"gradient/sign-symmetric"     the same, but the random weights have the signs of the true ones

The first two are further backward passes over the same forward pass; the others (`feedback_alignment.py`) run their
own. A control of an image depends on the image, its index and the seed, the first one also on N and on the other image,
but never on the batch. Further controls: untrained weights (`gradkern.models.untrained`), and those of features
(`gradkern.encoding`).
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradkern.errors import naming
from gradkern.objectives._base import check_seed, name_of, precise
from gradkern.objectives._interface import Batch

TARGET_SHUFFLED = "gradient/target-shuffled"
RANDOM_COTANGENT = "gradient/random-cotangent"
FEEDBACK_ALIGNMENT = "gradient/feedback-alignment"
SIGN_SYMMETRIC = "gradient/sign-symmetric"
COTANGENTS = (TARGET_SHUFFLED, RANDOM_COTANGENT)  # another vector at the model's output
FEEDBACK = (FEEDBACK_ALIGNMENT, SIGN_SYMMETRIC)  # other weights on the way back
CONTROLS = (*COTANGENTS, *FEEDBACK)

_SHUFFLE_STREAM, _COTANGENT_STREAM = 11, 12

Loss = Callable[[Any], Tensor]  # the model's output -> [n]


@naming("derangement")
def derangement(n: int, seed: int) -> np.ndarray:
    """A permutation of 0..n-1 without a fixed point, uniform among them: int64 [n].

    Raises
    ------
    ValueError : n below 2, for which there is none
    """
    seed = check_seed(seed)
    if n < 2:
        raise ValueError(f"n must be at least 2, got {n}: nothing can be exchanged")
    rng = np.random.default_rng([_SHUFFLE_STREAM, seed, n])
    while True:  # one of e = 2.7 permutations has no fixed point
        order = rng.permutation(n)
        if (order != np.arange(n)).all():
            return order


@dataclass(frozen=True)
class Controls:
    """The controls that a capture takes, and what is drawn once for all of its images.

    Attributes
    ----------
    kinds : some of `CONTROLS`
    seed : of everything that is drawn
    others : int64 [N], the image whose target each image is given; None if targets are not shuffled
    """

    kinds: tuple[str, ...] = ()
    seed: int = 0
    others: Tensor | None = None

    def facts(self) -> dict[str, Any]:
        return {"control_seed": self.seed} if self.kinds else {}


def make_controls(kinds: Sequence[str], objective: Any, seed: int, count: int) -> Controls:
    """The controls among the kinds of a capture of `count` images.

    Raises
    ------
    ValueError : targets are to be shuffled, but the objective has none or there is only one image; a seed below 0
    """
    seed = check_seed(seed, "control_seed")
    wanted = tuple(kind for kind in kinds if kind in CONTROLS)
    if TARGET_SHUFFLED not in wanted:
        return Controls(wanted, seed)
    missing = [name for name in ("targets", "losses") if not callable(getattr(objective, name, None))]
    if missing:
        raise ValueError(
            f"objective must have a target for {TARGET_SHUFFLED!r}, `targets(output, batch)` and "
            f"`losses(output, batch, targets)`, got {name_of(objective)!r} without {' and '.join(missing)}: a loss of "
            "the output alone has no target that could be another image's"
        )
    if count < 2:
        raise ValueError(f"images must be at least 2 for {TARGET_SHUFFLED!r}, got {count}")
    return Controls(wanted, seed, torch.from_numpy(derangement(count, seed)))


@dataclass(frozen=True)
class ObjectiveOutput:
    """The losses of a batch, and what the cotangents of its controls are computed from.

    Attributes
    ----------
    losses : [n]
    output : of the model
    batch : the images
    seed : of the random cotangents
    control_losses : kind of cotangent -> the loss whose gradient at the output it is, or whose norm it has
    entropy : [n], of the prediction in nats; None where the output has no logits
    kept : fields of the output, and the labels of the objective, that a capture keeps; see `kept_outputs`
    """

    losses: Tensor
    output: Any
    batch: Batch
    seed: int = 0
    control_losses: Mapping[str, Loss] = field(default_factory=dict)
    entropy: Tensor | None = None
    kept: Mapping[tuple[str, str], Tensor] = field(default_factory=dict)

    def cotangents(self, kind: str, scale: float) -> tuple[list[Tensor], list[Tensor]]:
        """Tensors of the output, and the cotangent at each of them, multiplied by `scale`."""
        tensors, cotangents = [], []
        for position, tensor, gradient in _gradients(self.control_losses[kind], self.output, scale):
            is_random = kind == RANDOM_COTANGENT
            tensors.append(tensor)
            cotangents.append(random_like(gradient, self.batch.index, self.seed, position) if is_random else gradient)
        return tensors, cotangents


def entropy_of(output: Any, n: int) -> Tensor | None:
    """Entropy of each image's prediction in nats; None if the output has no `logits` [n, classes]."""
    logits = getattr(output, "logits", None)
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != n:
        return None
    log_p = logits.detach().float().log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)


def _gradients(loss: Loss, output: Any, scale: float) -> list[tuple[int, Tensor, Tensor]]:
    """Gradients of the summed losses with respect to the tensors of an output: (position, tensor, gradient).

    Each gradient is of the tensor as the objective reads it, not by way of other tensors of the output: where logits
    are computed from features and the objective reads logits alone, features have none.
    """
    tensors: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        tensors.setdefault(id(tensor), tensor)
        return tensor

    _replaced(output, note)
    leaves = {key: t.detach().requires_grad_() for key, t in tensors.items() if t.requires_grad}
    with torch.enable_grad():
        losses = loss(_replaced(output, lambda tensor: leaves.get(id(tensor), tensor)))
    if not leaves or not losses.requires_grad:
        raise RuntimeError(
            "for controls the objective must read tensors of the model's output (a tensor, or a tuple, dict "
            f"or object that holds them), got {type(output).__name__}, through which it has no gradient"
        )
    gradients = torch.autograd.grad(losses.sum() * scale, list(leaves.values()), allow_unused=True)
    positions = {key: position for position, key in enumerate(tensors)}
    return [(positions[key], tensors[key], g) for key, g in zip(leaves, gradients, strict=True) if g is not None]


def random_like(gradient: Tensor, index: Tensor, seed: int, position: int = 0) -> Tensor:
    """Gaussian directions with the norm of each image's gradient.

    z_i |g_i| / |z_i|, with z_i drawn from (seed, index_i, position) alone. Tokens of an output [n, t, d] that have no
    gradient, because the objective does not read them, have none here either.

    Parameters
    ----------
    gradient : [n, ...]
    index : int64 [n], the images' indices
    position : which of the output's tensors this is
    """
    if len(gradient) != len(index):
        raise RuntimeError(
            f"{RANDOM_COTANGENT!r} needs outputs with a row for each of {len(index)} images, got {list(gradient.shape)}"
        )
    size = tuple(gradient.shape[1:])
    draws = [
        np.random.default_rng([_COTANGENT_STREAM, seed, int(i), position]).standard_normal(size, dtype=np.float32)
        for i in index
    ]
    z = torch.from_numpy(np.stack(draws)).to(gradient.device)
    if gradient.dim() == 3:
        z = z * (gradient != 0).any(2, keepdim=True)
    true = precise(gradient)
    z = z.to(true.dtype)
    length, wanted = (torch.linalg.vector_norm(x.flatten(1), dim=1) for x in (z, true))
    factor: Tensor = wanted / length.clamp_min(torch.finfo(torch.float32).tiny)  # 0 where there is no gradient
    return (z * factor.reshape(-1, *[1] * len(size))).to(gradient.dtype)


def _replaced(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A model's output with `change(tensor)` in the place of every tensor."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        same = copy.copy(value)
        for key, item in value.items():
            same[key] = _replaced(item, change)
        return same
    if isinstance(value, tuple | list):
        items = [_replaced(item, change) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if hasattr(value, "__dict__"):
        same = copy.copy(value)
        vars(same).update({key: _replaced(item, change) for key, item in vars(value).items()})
        return same
    return value
