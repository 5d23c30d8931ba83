"""Which layer a target prefers: as a distribution over resampled images, and as a depth with its interval.

A best layer is the maximum of noisy numbers, so each comes with how often it wins and whether it can be told from the
second best. Shapes: b resamplings, l layers, v targets.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern._excluded import Excluded
from gradkern.errors import Refused, naming
from gradkern.stats._bootstrap import Floats, Scores
from gradkern.stats._intervals import half_width
from gradkern.stats._summary import Summary

PREFERENCES = ("best layer", "centre of mass", "softmax")
_PREDICTED = 5.0  # a layer's r times sqrt(images); docs/hierarchy.md has what passes


@dataclass(frozen=True, eq=False, repr=False)
class BestLayers(Summary):
    """The best layer of every target, as an index 0..l-1; -1 and NaN at targets without a score.

    Attributes
    ----------
    share : [l, v], share of the resamplings in which a layer has the highest score; layers that tie share it
    best, second : [v], highest and second highest over all images
    modal, probability : [v], the layer that wins most resamplings, and its share
    difference, half_width : [v], score of the best minus that of the second best, and half its interval
    flat : [v], that interval contains 0: the best layer is not identified
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
    bootstraps: int
    confidence: float = 0.95
    variant: str = "best layer: highest score; flat: symmetric bootstrap interval of best minus second best contains 0"

    @property
    def excluded(self) -> tuple[Excluded, ...]:
        """Targets without a score."""
        return _left_out(int((self.best < 0).sum()), "no score: responses do not vary, or no ceiling is known")

    @property
    def unidentified(self) -> int:
        """Number of flat targets among those with scores."""
        return int(self.flat[self.best >= 0].sum())


@naming("best_layers")
def best_layers(scores: Scores, confidence: float = 0.95) -> BestLayers:
    """Find the best layer of every target, how often it wins, and whether it differs from the second best.

    Scores may be divided by the noise ceiling of their target: only `difference` and `half_width` change.

    Parameters
    ----------
    scores : of every layer, with bootstraps
    confidence : of the interval of the difference

    Raises
    ------
    Refused : only one layer
    ValueError : scores of a jackknife, a confidence that does not lie between 0 and 1

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> best_layers(Scores(rng.random((3, 5)), rng.random((20, 3, 5)), 60)).best.shape
    (5,)
    """
    _check_bootstrap(scores)
    r, resampled = scores.r, scores.resampled
    if len(r) < 2:
        raise Refused(f"scores must be of at least 2 layers, got {len(r)}")
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
        bootstraps=len(resampled),
        confidence=confidence,
    )


def _at(values: NDArray[Any], layer: NDArray[np.int64]) -> Floats:
    """Select of values [..., l, v] those of each target's layer [v]."""
    index = np.broadcast_to(layer, (*values.shape[:-2], 1, len(layer)))
    return np.take_along_axis(values, index, axis=-2)[..., 0, :]


@dataclass(frozen=True)
class Preference:
    """How scores over layers become one preferred depth.

    Parameters
    ----------
    by : "best layer" (depth of the highest score), "centre of mass" (of the scores above 0 over depth; scores below 0
        count as 0) or "softmax" (depths weighted by exp(score / temperature))
    temperature : of the softmax, in units of the score; not used otherwise

    Raises
    ------
    ValueError : an unknown `by`, a temperature that is not positive
    """

    by: str = "centre of mass"
    temperature: float = 0.02

    @naming("Preference")
    def __post_init__(self) -> None:
        if self.by not in PREFERENCES:
            raise ValueError(f"by must be one of {PREFERENCES}, got {self.by!r}")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")

    @property
    def variant(self) -> str:
        """The preference in words."""
        return f"softmax, temperature {self.temperature:g}" if self.by == "softmax" else self.by

    @naming("Preference")
    def depth_of(self, r: Any, depth: Any) -> Floats:
        """Compute the preferred depth [..., v] of scores [..., l, v] of layers at depth [l].

        It is NaN where the scores are, and for "centre of mass" where no layer is above 0.

        Raises
        ------
        Refused : depths that are all the same
        ValueError : depths that are not finite or do not fit the scores
        """
        scores, depths = np.asarray(r, dtype=np.float64), checked_depth(depth, np.shape(r)[-2])
        if self.by == "best layer":
            unknown = np.isnan(scores).any(-2)
            return np.where(unknown, np.nan, depths[np.where(np.isnan(scores), 0.0, scores).argmax(-2)])
        if self.by == "softmax":
            weights = np.exp((scores - scores.max(-2, keepdims=True)) / self.temperature)
        else:
            weights = np.maximum(scores, 0.0)
        total = weights.sum(-2)
        preferred: Floats = np.full(total.shape, np.nan)
        np.divide(np.einsum("l,...lv->...v", depths, weights), total, out=preferred, where=total > 0)
        return preferred


def predicted_targets(r: Any, images: int) -> NDArray[np.bool_]:
    """Find the targets [v] that some layer predicts.

    Their highest score r [l, v] is above 5 / sqrt(images). Held-out r of noise that is correlated from trial to trial
    has a standard deviation of about 1.4 / sqrt(images), and the highest of some layers is above twice that in many
    targets. Targets that no layer predicts have none to prefer: noise draws them to the middle of all layers, and where
    many of them lie far out, as outside visual cortex, they hide an order or look like one.
    """
    highest: NDArray[np.bool_] = np.nan_to_num(np.asarray(r, dtype=np.float64)).max(0) > _PREDICTED / np.sqrt(images)
    return highest


@dataclass(frozen=True, eq=False, repr=False)
class PreferredDepth(Summary):
    """The preferred depth of every target.

    Attributes
    ----------
    depth, half_width : [v], preferred depth and half its interval
    undefined : [v], share of the resamplings that give no depth; the interval is NaN where it is above 5 %
    """

    depth: Floats
    half_width: Floats
    undefined: Floats
    variant: str
    images: int
    bootstraps: int
    confidence: float = 0.95

    @property
    def excluded(self) -> tuple[Excluded, ...]:
        """Targets without a preferred depth."""
        return _left_out(int(np.isnan(self.depth).sum()), "no score, or none above 0 at any layer")


@naming("preferred_depth")
def preferred_depth(
    scores: Scores, depth: Any, preference: Preference | None = None, confidence: float = 0.95
) -> PreferredDepth:
    """Compute the depth that every target prefers, with its interval over images.

    Parameters
    ----------
    scores : of every layer, with bootstraps
    depth : [l], of the layers, as `models.ModelSpec.depth` has them
    preference : how scores become a depth; the center of mass if not given
    confidence : of the interval

    Raises
    ------
    Refused : depths that are all the same
    ValueError : depths that do not fit the scores, scores of a jackknife

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> preferred_depth(Scores(rng.random((3, 5)), rng.random((20, 3, 5)), 60), [0, 0.5, 1]).depth.shape
    (5,)
    """
    _check_bootstrap(scores)
    preference = preference or Preference()
    preferred, again = preference.depth_of(scores.r, depth), preference.depth_of(scores.resampled, depth)
    return PreferredDepth(
        depth=preferred,
        half_width=half_width(preferred, again, confidence),
        undefined=np.isnan(again).mean(0),
        variant=preference.variant,
        images=scores.images,
        bootstraps=len(again),
        confidence=confidence,
    )


def checked_depth(depth: Any, layers: int) -> Floats:
    """Check depths of that many layers: finite, and not all the same."""
    depths = np.asarray(depth, dtype=np.float64)
    if depths.shape != (layers,) or not np.isfinite(depths).all():
        raise ValueError(f"depth must be {layers} finite numbers, one per layer, got {depths.tolist()}")
    if layers and np.ptp(depths) == 0:
        raise Refused(f"depth must differ between layers, got {depths[0]:g} for all {layers}")
    return depths


def _check_bootstrap(scores: Scores) -> None:
    if scores.kind != "bootstrap":
        raise ValueError(f"scores must be resampled by a bootstrap, got a {scores.kind}")


def _left_out(count: int, reason: str) -> tuple[Excluded, ...]:
    return (Excluded("targets", count, reason),) if count else ()
