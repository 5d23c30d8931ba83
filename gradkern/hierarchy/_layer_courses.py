"""Scores over time of every layer, streamed: targets in blocks of whole times, and the mean over sensors at once.

Gradients are functions of the activations, so that their raw curves begin with the forward sweep, the deepest most: in
brains whose gradients all come at one time, deep layers then look early. Therefore gradients are scored at what is left
of the responses when all else that may explain them is taken out (`smoother`), out of fold.

A smoother errs in two ways, which bias r in opposite directions. What it leaves of the confounds is predicted by
gradients that the confounds explain. Its own noise, which comes from the other images' responses, is predicted wrongly
by gradients as they are, and rightly by residuals of gradients under the same smoother. (Brains without gradients, 750
images, a ceiling of .85: the last layer's gradients gave r = -.06, their residuals .08. Six-dimensional gradients of
240 images of which activations explain 95 % gave .09 at the end of the forward sweep, where a penalty that fits weak
responses leaves some of it, and their residuals .02.) Therefore a curve is the smaller of the two: what gradients tell,
and what is their own tells.

Shapes: n images, d features, v targets, l layers, t times, b resamplings.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradkern import _columns
from gradkern.errors import Refused, naming
from gradkern.hierarchy._latency import time_courses
from gradkern.ridge._cross_validation import CrossValidation
from gradkern.stats._bootstrap import Floats, Resampling, Scores, layer_scores, stack_layers

BYTES_AT_ONCE = 2**30
_RANK = 1e-6  # of the largest singular value: what float32 holds of features
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
    smoother : takes out of the responses what confounds explain: r is then the smaller of those by the features and by
        what it leaves of their principal components. None: responses and features as they are
    max_memory : bytes that a block may take, beside the features and what is left of them in float32; one time of all
        sensors is the least

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
    own = [None if smoother is None else residual_features(np.asarray(X), smoother) for X in layers]
    courses = []
    for columns in _whole_times(at, _width(n, len(resampling.counts), max_memory)):
        block = _standardized(Y[:, columns])
        if smoother is not None:
            block = np.asarray(smoother.residuals(block.astype(np.float32)), dtype=np.float64)
        place = sensors[columns], at[columns]
        by_layer = []
        for X, residual in zip(layers, own, strict=True):
            curve = time_courses(layer_scores([X], block, resampling, cv), *place)[0]
            if residual is not None:
                unique = residual.astype(np.float64)
                curve = _smaller(curve, time_courses(layer_scores([unique], block, resampling, cv), *place)[0])
            by_layer.append(curve)
        courses.append(stack_layers(by_layer))
    r, resampled = (np.concatenate([getattr(c, name) for c in courses], axis=-1) for name in ("r", "resampled"))
    return Scores(r, resampled, resampling.images, resampling.kind), np.unique(at)


def residual_features(X: NDArray[Any], smoother: Smoother) -> NDArray[np.float32]:
    """What a smoother leaves of features [n, d], of unit size, in their principal components.

    Each component has a penalty of its own: few of them are explained, and of the columns of a sketch, which all hold a
    share of those, none may be.
    """
    centered = X.astype(np.float64) - X.mean(0, dtype=np.float64)
    directions, sizes, _ = np.linalg.svd(centered, full_matrices=False)
    kept = sizes > _RANK * sizes[0]
    residual = smoother.residuals((directions * sizes)[:, kept].astype(np.float32))
    size = _columns.unit_size(np.asarray(residual, dtype=np.float64))
    unit: NDArray[np.float32] = np.asarray(residual, dtype=np.float32) / np.float32(size if size > 0 else 1)
    return unit


def _smaller(one: Scores, other: Scores) -> Scores:
    r, resampled = np.minimum(one.r, other.r), np.minimum(one.resampled, other.resampled)
    return replace(one, r=r, resampled=resampled)


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
