"""What a simulated brain may do instead of reading gradients: nonlinear readouts, categories, image statistics, the
loss, and noise that differs by image.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern._columns import unit_size

READOUTS = ("linear", "rectified", "energy", "normalized")
NOISES = ("even", "grows with the loss")
ALTERNATIVES = {  # organisations without gradients -> what they need beside activations
    "softmax": ("logits",),
    "category and image statistics": ("categories", "image statistics"),
    "image statistics": ("image statistics",),
    "difficulty": ("loss",),
}
ARGUMENTS = ("logits", "categories", "image statistics", "loss")
_TEMPERATURE = 0.5  # of the softmax: sharper than the network's own
_GROUPS = 24  # of classes, at most, that a response tells apart
_RECTIFIED = 0.3  # standard deviations: threshold of a rectified readout
_CONSTANT, _POOL = 0.5, 4  # of divisive normalization: its constant, and over how many other places it pools
_QUIETEST, _LOUDEST = 0.5, 2.5  # standard deviations of the noise of the easiest and the hardest image, before scaling

Layers = list[NDArray[np.float64]]


def check_arguments(given: Mapping[str, Any] | None, needed: Sequence[str], n: int) -> dict[str, NDArray[Any]]:
    """What a brain needs beside features, each with a row for each of n images.

    Raises
    ------
    ValueError : something unknown, missing, of another number of images or not finite
    """
    found = {name: np.asarray(values) for name, values in (given or {}).items()}
    if unknown := [name for name in found if name not in ARGUMENTS]:
        raise ValueError(f"extra must be some of {', '.join(ARGUMENTS)}, got {unknown[0]!r}")
    for name in needed:
        if name not in found:
            raise ValueError(f"extra must hold {name!r} for this brain, got {list(found)}")
        values, dimensions = found[name], 1 if name in ("categories", "loss") else 2
        if values.ndim != dimensions or len(values) != n:
            shape = f"[{n}]" if dimensions == 1 else f"[{n}, d]"
            raise ValueError(f"extra[{name!r}] must be {shape}, got {list(values.shape)}")
        if values.dtype.kind in "fc" and not np.isfinite(values).all():
            raise ValueError(f"extra[{name!r}] must be finite, got NaN or inf")
    return found


def alternative_layers(organisation: str, activations: Layers, extra: Mapping[str, Any], seed: int) -> Layers:
    """What the forward sweep of an organisation without gradients consists of, one matrix for each layer.

    Along the hierarchy one kind of features gives way to another: activations to the sharpened softmax, image
    statistics to categories, or image statistics to their squares. The columns have unit variance in each.
    """
    if organisation == "difficulty":
        return activations
    if organisation == "softmax":
        first, last = activations, _softmax_groups(extra["logits"], seed)
    else:
        statistics = _z_scored(np.asarray(extra["image statistics"], dtype=np.float64))
        is_category = organisation == "category and image statistics"
        first = [statistics] * len(activations)
        last = _one_hot(extra["categories"]) if is_category else _z_scored(statistics**2)
    depths = np.linspace(0, 1, len(activations))
    return [
        np.hstack([np.sqrt(1 - depth) * low / unit_size(low), np.sqrt(depth) * last / unit_size(last)])
        for depth, low in zip(depths, first, strict=True)
    ]


def read_out(drive: NDArray[np.float64], readout: str) -> NDArray[np.float64]:
    """Responses [n, places] to linear drives [n, places] of mean 0, with their standard deviations.

    With d the drive of a place in units of its standard deviation and d_j that of other places

    "rectified"  : max(d - .3, 0)
    "energy"     : d^2
    "normalized" : d / (.5 + root mean square of d_j over the next 4 places j)
    """
    if readout == "linear":
        return drive
    size = drive.std(0)
    units = drive / np.where(size > 0, size, 1)
    if readout == "rectified":
        response = np.maximum(units - _RECTIFIED, 0)
    elif readout == "energy":
        response = units**2
    else:
        pool = np.mean([np.roll(units, -step, axis=1) ** 2 for step in range(1, _POOL + 1)], axis=0)
        response = units / (_CONSTANT + np.sqrt(pool))
    scaled: NDArray[np.float64] = _z_scored_or_zero(response) * size
    return scaled


def noise_sizes(loss: NDArray[Any]) -> NDArray[np.float64]:
    """Standard deviations [n] of the noise of each image, of mean square 1, which grow with the rank of its loss."""
    rank = np.argsort(np.argsort(loss, kind="stable"), kind="stable") / max(len(loss) - 1, 1)
    sizes = _QUIETEST + (_LOUDEST - _QUIETEST) * rank
    scaled: NDArray[np.float64] = sizes / np.sqrt((sizes**2).mean())
    return scaled


def _softmax_groups(logits: NDArray[Any], seed: int) -> NDArray[np.float64]:
    """The sharpened softmax, summed over random groups of classes, z-scored."""
    z = np.asarray(logits, dtype=np.float64) / _TEMPERATURE
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    classes = p.shape[1]
    group = np.random.default_rng([seed, 2]).permutation(classes) % min(_GROUPS, classes)
    return _z_scored(p @ np.eye(group.max() + 1)[group])


def _one_hot(categories: NDArray[Any]) -> NDArray[np.float64]:
    kinds, column = np.unique(categories, return_inverse=True)
    return _z_scored(np.eye(len(kinds))[column])


def _z_scored(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns of mean 0 and variance 1, without those that do not vary.

    Raises
    ------
    ValueError : none varies
    """
    varies = np.ptp(values, axis=0) > 0
    if not varies.any():
        raise ValueError("extra must vary over images, got columns that do not")
    return _z_scored_or_zero(values[:, varies])


def _z_scored_or_zero(values: NDArray[np.float64]) -> NDArray[np.float64]:
    size = values.std(0)
    scaled: NDArray[np.float64] = (values - values.mean(0)) / np.where(size > 0, size, 1)
    return scaled
