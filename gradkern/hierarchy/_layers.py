"""Which layer a target goes with: as a distribution over resampled images, and as a depth with its interval.

A best layer is a maximum of noisy numbers, so each comes with how often it wins and whether it can be told from the
second best. Shapes: b resamplings, l layers, v targets.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern.stats._bootstrap import Floats, Scores
from gradkern.stats._intervals import half_width

BY = ("best layer", "centre of mass", "softmax")


@dataclass(frozen=True, eq=False)
class BestLayers:
    """Layers by their places 0..l-1; -1 and NaN at targets that have no score.

    Attributes
    ----------
    share : [l, v], share of the resamplings in which a layer has the highest score; layers that tie share it
    best, second : [v], highest and second highest over all images
    modal, probability : [v], the layer that wins most resamplings, and its share
    difference, half_width : [v], score of the best minus that of the second best, and half its interval
    flat : [v], that interval contains 0: which layer is best is not identified
    """

    share: Floats
    best: NDArray[np.int64]
    second: NDArray[np.int64]
    modal: NDArray[np.int64]
    probability: Floats
    difference: Floats
    half_width: Floats
    flat: NDArray[np.bool_]
    images: int
    resamplings: int
    confidence: float = 0.95
    variant: str = "best layer: highest score; flat: symmetric bootstrap interval of best minus second best contains 0"

    @property
    def excluded(self) -> tuple[Excluded, ...]:
        """Targets without a score."""
        return _left_out(int((self.best < 0).sum()), "no score: responses do not vary, or no ceiling is known")

    @property
    def unidentified(self) -> int:
        """How many targets with scores are flat."""
        return int(self.flat[self.best >= 0].sum())


def best_layers(scores: Scores, confidence: float = 0.95) -> BestLayers:
    """Best layer of every target, how often it wins, and whether it differs from the second best.

    Every score may be divided by a ceiling of its target: nothing but `difference` and `half_width` changes.

    Raises
    ------
    ValueError : one layer, or scores of a jackknife
    """
    _check_bootstrap("best_layers", scores)
    r, resampled = scores.r, scores.resampled
    if len(r) < 2:
        raise ValueError(f"best_layers: scores must be of at least 2 layers, got {len(r)}")
    known = ~np.isnan(r[0])
    filled = np.where(known, r, 0.0)
    order = np.argsort(-filled, axis=0, kind="stable")
    best, second = order[0], order[1]
    wins = resampled == resampled.max(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        share = (wins / wins.sum(1, keepdims=True)).mean(0)
    difference = _at(r, best) - _at(r, second)
    width = half_width(difference, _at(resampled, best) - _at(resampled, second), confidence)
    modal = np.where(known, share, 0.0).argmax(0)
    return BestLayers(
        share=share,
        best=np.where(known, best, -1),
        second=np.where(known, second, -1),
        modal=np.where(known, modal, -1),
        probability=_at(share, modal),
        difference=difference,
        half_width=width,
        flat=~(difference - width > 0),
        images=scores.images,
        resamplings=len(resampled),
        confidence=confidence,
    )


def _at(values: NDArray[Any], layer: NDArray[np.int64]) -> Floats:
    """Of values [..., l, v] those of each target's layer [v]."""
    index = np.broadcast_to(layer, (*values.shape[:-2], 1, len(layer)))
    return np.take_along_axis(values, index, axis=-2)[..., 0, :]


@dataclass(frozen=True)
class Preference:
    """How scores over layers become one depth.

    Parameters
    ----------
    by : "best layer" (depth of the highest score), "centre of mass" (of the scores above 0 over depth; scores below 0
        count as 0) or "softmax" (depths weighted by exp(score / temperature))
    temperature : of the softmax, in units of the score; it is not used otherwise
    """

    by: str = "centre of mass"
    temperature: float = 0.02

    def __post_init__(self) -> None:
        if self.by not in BY:
            raise ValueError(f"Preference: by must be one of {BY}, got {self.by!r}")
        if not self.temperature > 0:
            raise ValueError(f"Preference: temperature must be positive, got {self.temperature}")

    @property
    def variant(self) -> str:
        return f"softmax, temperature {self.temperature:g}" if self.by == "softmax" else self.by

    def depth_of(self, r: Any, depth: Any) -> Floats:
        """Preferred depth [..., v] of scores [..., l, v] of layers at depth [l].

        NaN where the scores are, and for "centre of mass" where no layer is above 0.

        Raises
        ------
        ValueError : depths that are not finite, do not fit the scores, or are all the same
        """
        scores, at = np.asarray(r, dtype=np.float64), checked_depth("Preference", depth, np.shape(r)[-2])
        if self.by == "best layer":
            unknown = np.isnan(scores).any(-2)
            return np.where(unknown, np.nan, at[np.where(np.isnan(scores), 0.0, scores).argmax(-2)])
        if self.by == "softmax":
            weights = np.exp((scores - scores.max(-2, keepdims=True)) / self.temperature)
        else:
            weights = np.maximum(scores, 0.0)
        total = weights.sum(-2)
        preferred: Floats = np.full(total.shape, np.nan)
        np.divide(np.einsum("l,...lv->...v", at, weights), total, out=preferred, where=total > 0)
        return preferred


def predicted(r: Any, images: int) -> NDArray[np.bool_]:
    """Targets [v] that any layer predicts: the highest of their scores r [l, v] is above two standard errors of a
    correlation of nothing, 2 / sqrt(images).

    Others have no layer to prefer; where many of them lie far out, as outside visual cortex, they hide any order.
    """
    best: NDArray[np.bool_] = np.nan_to_num(np.asarray(r, dtype=np.float64)).max(0) > 2 / np.sqrt(images)
    return best


@dataclass(frozen=True, eq=False)
class PreferredDepth:
    """Preferred `depth` [v] of every target and half of its interval, `half_width` [v].

    `undefined` [v] is the share of the resamplings that give no depth; the interval is NaN where it is above 5 %.
    """

    depth: Floats
    half_width: Floats
    undefined: Floats
    variant: str
    images: int
    resamplings: int
    confidence: float = 0.95

    @property
    def excluded(self) -> tuple[Excluded, ...]:
        """Targets without a preferred depth."""
        return _left_out(int(np.isnan(self.depth).sum()), "no score, or none above 0 at any layer")


def preferred_depth(
    scores: Scores, depth: Any, preference: Preference | None = None, confidence: float = 0.95
) -> PreferredDepth:
    """Depth that every target prefers, with its interval over images.

    Parameters
    ----------
    depth : [l], of the layers, as `ModelSpec.depth` tells them
    preference : how; the centre of mass if not given

    Raises
    ------
    ValueError : depths that do not fit the scores or are all the same, scores of a jackknife
    """
    _check_bootstrap("preferred_depth", scores)
    preference = preference or Preference()
    at, again = preference.depth_of(scores.r, depth), preference.depth_of(scores.resampled, depth)
    return PreferredDepth(
        depth=at,
        half_width=half_width(at, again, confidence),
        undefined=np.isnan(again).mean(0),
        variant=preference.variant,
        images=scores.images,
        resamplings=len(again),
        confidence=confidence,
    )


def checked_depth(op: str, depth: Any, layers: int) -> Floats:
    """Depths of so many layers as an array: finite, and not all the same."""
    at = np.asarray(depth, dtype=np.float64)
    if at.shape != (layers,) or not np.isfinite(at).all():
        raise ValueError(f"{op}: depth must be {layers} finite numbers, one a layer, got {at.tolist()}")
    if layers and np.ptp(at) == 0:
        raise ValueError(f"{op}: depth must differ between layers, got {at[0]:g} for all {layers}")
    return at


def _check_bootstrap(op: str, scores: Scores) -> None:
    if scores.kind != "bootstrap":
        raise ValueError(f"{op}: scores must be resampled by a bootstrap, got a {scores.kind}")


def _left_out(count: int, reason: str) -> tuple[Excluded, ...]:
    return (Excluded("targets", count, reason),) if count else ()
