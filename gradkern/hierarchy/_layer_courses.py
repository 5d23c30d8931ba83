"""Scores over time of every layer, streamed: targets in blocks of whole times, and the mean over sensors at once.

Shapes: n images, d features, v targets, l layers, t times, b resamplings.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.errors import Refused, naming
from gradkern.hierarchy._latency import time_courses
from gradkern.ridge._cross_validation import CrossValidation
from gradkern.stats._bootstrap import Floats, Resampling, Scores, layer_scores, stack_layers

BYTES_AT_ONCE = 2**30
_COPIES = 12  # of a block's responses in float64: predictions, and what is computed from them


@naming("layer_time_courses")
def layer_time_courses(
    layers: Sequence[Any],
    Y: Any,
    targets: tuple[Any, Any],
    resampling: Resampling,
    cv: CrossValidation | None = None,
    *,
    max_memory: int = BYTES_AT_ONCE,
) -> tuple[Scores, Floats]:
    """Score every layer at every time, in the mean over sensors, by held-out Pearson r.

    A block of times is read after another. Predictions and resamplings are those of one layer and one block, so that
    memory does not depend on the number of targets or layers.

    Parameters
    ----------
    layers : features [n, d] of every layer
    Y : [n, v] responses, every sensor at every time; an array or a memory map
    targets : sensors [v] and times [v] of the targets
    resampling : of `resample_images`
    cv : cross-validation of the ridge
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
    courses = []
    for columns in whole_times(at, _width(n, len(resampling.counts), max_memory)):
        block, place = _standardized(Y[:, columns]), (sensors[columns], at[columns])
        courses.append(
            stack_layers([time_courses(layer_scores([X], block, resampling, cv), *place)[0] for X in layers])
        )
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


def whole_times(at: Floats, width: int) -> Iterator[NDArray[np.int64]]:
    """Targets by time [v], in blocks of at most `width`, but of one time at least, each sorted.

    Raises
    ------
    Refused : times of different numbers of targets
    """
    counts = np.unique(at, return_counts=True)[1]
    if (counts != counts[0]).any():
        raise Refused(f"every time must have every sensor once, got {counts.min()} to {counts.max()} sensors")
    order = np.argsort(at, kind="stable").reshape(len(counts), -1)
    together = max(1, width // order.shape[1])
    for start in range(0, len(counts), together):
        yield np.sort(order[start : start + together].ravel())
