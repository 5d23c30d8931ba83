"""Scores over time of every layer, streamed: targets in blocks of whole times, and the mean over sensors at once.

Gradients are functions of the activations, so that their raw curves begin with the forward sweep, the deepest most: in
brains whose gradients all come at one time, deep layers then look early. Therefore gradients are scored at what is left
of the responses when all else that may explain them is taken out (`smoother`), out of fold. The gradients themselves
stay as they are. Residuals of gradients under the same smoother have the same dependence between images that its errors
give to the residuals of responses, and predict it: in simulated brains without gradients (750 images, 6 layers, ceiling
.85) residual gradients of the last layer predicted residual responses by r = .07, and pure noise by .02, whereas
gradients as they are gave -.05 and -.02, no claim that is not true.

Shapes: n images, d features, v targets, l layers, t times, b resamplings.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradkern.errors import Refused, naming
from gradkern.hierarchy._latency import time_courses
from gradkern.ridge._cross_validation import CrossValidation
from gradkern.stats._bootstrap import Floats, Resampling, Scores, layer_scores, stack_layers

BYTES_AT_ONCE = 2**30
_COPIES = 12  # of a block's responses in float64: residuals, predictions, and what is computed from them


class Smoother(Protocol):
    """Predicts values from confounds, each image by a fit that did not see it."""

    def residuals(self, values: NDArray[Any]) -> NDArray[Any]:
        """What of values [n, k] the confounds of the same n images do not predict, [n, k]."""


@naming("layer_time_courses")
def layer_time_courses(
    layers: Sequence[Any],
    Y: Any,
    targets: tuple[Any, Any],
    resampling: Resampling,
    cv: CrossValidation | None = None,
    *,
    smoother: Smoother | None = None,
    max_memory: int = BYTES_AT_ONCE,
) -> tuple[Scores, Floats]:
    """Score every layer at every time, in the mean over sensors, by held-out Pearson r.

    A block of times is read after another, and confounds are taken out of it in float32. Predictions and resamplings
    are those of one layer and one block, so that memory does not depend on the number of targets or layers.

    Parameters
    ----------
    layers : features [n, d] of every layer
    Y : [n, v] responses, every sensor at every time; an array or a memory map
    targets : sensors [v] and times [v] of the targets
    resampling : of `resample_images`
    cv : cross-validation of the ridge
    smoother : takes out of the responses what confounds explain; None: the responses as they are
    max_memory : bytes that a block may take, beside the features; one time of all sensors is the least

    Returns
    -------
    Scores : r [l, t] and resampled [b, l, t]
    times : [t], sorted

    Raises
    ------
    Refused : a sensor that lacks a time or has it twice, a target without a score
    ValueError : sensors and times that do not fit the responses

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> from gradkern.stats import resample_images
    >>> Y, targets = rng.standard_normal((60, 4)), (["a", "b", "a", "b"], [0, 0, 1, 1])
    >>> courses, times = layer_time_courses([Y[:, :2], Y[:, 2:]], Y, targets, resample_images(np.arange(60), 9))
    >>> courses.r.shape
    (2, 2)
    """
    sensors, at = np.asarray(targets[0]), np.asarray(targets[1], dtype=np.float64)
    n, v = np.shape(Y)
    if sensors.shape != (v,) or at.shape != (v,):
        raise ValueError(f"targets must be sensors [{v}] and times [{v}], got {sensors.shape} and {at.shape}")
    counts = np.unique(at, return_counts=True)[1]
    if (counts != counts[0]).any():
        raise Refused(f"every time must have every sensor once, got {counts.min()} to {counts.max()} sensors")
    courses = []
    for columns in _whole_times(at, _width(n, len(resampling.counts), max_memory)):
        block = _standardized(Y[:, columns])
        if smoother is not None:
            block = np.asarray(smoother.residuals(block.astype(np.float32)), dtype=np.float64)
        by_layer = [
            time_courses(layer_scores([X], block, resampling, cv), sensors[columns], at[columns])[0] for X in layers
        ]
        courses.append(stack_layers(by_layer))
    r, resampled = (np.concatenate([getattr(c, name) for c in courses], axis=-1) for name in ("r", "resampled"))
    return Scores(r, resampled, resampling.images, resampling.kind), np.unique(at)


def _standardized(block: Any) -> Floats:
    """Columns with mean 0 and variance 1: float32 does not hold squares of responses in tesla. Constant ones are 0."""
    values = np.asarray(block, dtype=np.float64)
    centered, size = values - values.mean(0), values.std(0)
    standardized: Floats = centered / np.where(size > 0, size, 1)
    return standardized


def _width(n: int, resamplings: int, max_memory: int) -> int:
    """Targets of a block: their arrays of n rows and their scores."""
    return max(1, max_memory // (8 * (_COPIES * n + 2 * resamplings)))


def _whole_times(at: Floats, width: int) -> Iterator[NDArray[np.int64]]:
    """Targets by time, in blocks of at most `width`, but of one time at least."""
    order, moments = np.argsort(at, kind="stable"), len(np.unique(at))
    by_time = order.reshape(moments, -1)
    together = max(1, width // by_time.shape[1])
    for start in range(0, moments, together):
        yield np.sort(by_time[start : start + together].ravel())
