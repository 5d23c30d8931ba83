"""Shares of variance that features of each layer add to readouts of the confounds, over time and of single targets.

Held-out scores of what a regression on the confounds leaves do not tell: with hundreds of images, what is left of
responses and of gradients are both functions of activations. In simulated brains of 500 images and 6 subjects, curves
of such scores were 3 to 12 standard errors below 0 for deep layers at every time, whose gradients came at a time of
their own. The shares of `conditional_test` expect 0 where there is no gradient.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.encoding._conditional import ResponseModel
from gradkern.encoding._pair_sums import PairSums
from gradkern.errors import Refused, naming
from gradkern.hierarchy._layer_courses import BYTES_AT_ONCE, whole_times
from gradkern.stats._bootstrap import Floats, Resampling, Scores

_COPIES = 4  # of a block's responses


@naming("share_time_courses")
def share_time_courses(
    model: ResponseModel, layers: Sequence[Any], Y: Any, targets: tuple[Any, Any], resampling: Resampling
) -> tuple[Scores, Floats]:
    """Share of variance that each layer's features add to the model's confounds at every time, mean over sensors.

    It expects 0 at a time at which responses are readouts of the confounds and noise, of either sign.

    Parameters
    ----------
    model : of `response_model`: what responses to these images are made of beside the features
    layers : features [images of the confounds, d] of every layer
    Y : [n, v] responses to the model's images, in rising order, every sensor at every time, which are not to be those
        of the model; an array, or anything that gives Y[rows, columns]
    targets : sensors [v] and times [v] of the targets
    resampling : of `resample_images`, of the n images

    Returns
    -------
    Scores : shares [l, t] and resampled [b, l, t]; 0 where features are functions of a confound
    times : [t], sorted

    Raises
    ------
    Refused : a sensor that has a time twice, times of different numbers of sensors
    ValueError : sensors, times and resamplings that do not fit the responses, and these not the model

    Examples
    --------
    >>> import numpy as np
    >>> from gradkern.encoding import response_model
    >>> from gradkern.stats import resample_images
    >>> rng = np.random.default_rng(0)
    >>> A, G, Y = (rng.standard_normal((60, d)) for d in (4, 3, 4))
    >>> targets = ["a", "b", "a", "b"], [0, 0, 1, 1]
    >>> shares, times = share_time_courses(
    ...     response_model({"activations": A}, Y), [G], Y, targets, resample_images(np.arange(60), 9)
    ... )
    >>> shares.r.shape
    (1, 2)
    """
    n, v = np.shape(Y)
    sensors, at = np.asarray(targets[0]), np.asarray(targets[1], dtype=np.float64)
    if sensors.shape != (v,) or at.shape != (v,):
        raise ValueError(f"targets must be sensors [{v}] and times [{v}], got {sensors.shape} and {at.shape}")
    _check_size(model, n, resampling)
    groups = _Times(Y, at)
    if len(set(zip(sensors.tolist(), at.tolist(), strict=True))) < v:
        raise Refused(f"every sensor must have every time once, got one twice among {v} targets")
    sums = model.pair_sums(layers, groups, resampling.counts)
    r, resampled = sums.over(sums.sizes)
    noise = np.divide(sums.errors, sums.sizes, out=np.zeros_like(r), where=sums.sizes > 0)
    return Scores(r, resampled, resampling.images, resampling.kind, noise=noise), np.unique(at)


def target_sums(model: ResponseModel, layers: Sequence[Any], Y: Floats, resampling: Resampling) -> PairSums:
    """What each layer's features add to the model's confounds in single targets Y [n, v]."""
    _check_size(model, len(Y), resampling)
    return model.pair_sums(layers, _Targets(Y), resampling.counts)


def _check_size(model: ResponseModel, n: int, resampling: Resampling) -> None:
    if n != model.images or resampling.counts.shape[1] != n:
        raise ValueError(
            f"Y and resampling must be of the {model.images} images of the model, got {n} and "
            f"{resampling.counts.shape[1]}"
        )


class _Targets:
    """Each target as a group of its own."""

    size = 1

    def __init__(self, Y: Floats) -> None:
        self._Y, self.groups = Y, Y.shape[1]

    def blocks(self, images: NDArray[np.int64]) -> Iterator[tuple[slice, Floats]]:
        step = _width(len(self._Y))
        for start in range(0, self.groups, step):
            chosen = slice(start, min(start + step, self.groups))
            yield chosen, self._Y[images, chosen][:, :, None]


class _Times:
    """All sensors of a time as a group."""

    def __init__(self, Y: Any, at: Floats) -> None:
        self._Y, self._blocks = Y, list(whole_times(at, _width(Y.shape[0])))
        self._at, self.groups = at, len(np.unique(at))
        self.size = len(at) // self.groups

    def blocks(self, images: NDArray[np.int64]) -> Iterator[tuple[slice, Floats]]:
        start = 0
        for columns in self._blocks:
            ordered = columns[np.argsort(self._at[columns], kind="stable")]
            read = self._Y[images[:, None], ordered] if isinstance(self._Y, np.ndarray) else self._Y[images, ordered]
            block = np.asarray(read, dtype=np.float64).reshape(len(images), -1, self.size)
            yield slice(start, start + block.shape[1]), block
            start += block.shape[1]


def _width(rows: int) -> int:
    return max(1, BYTES_AT_ONCE // (8 * _COPIES * rows))
