"""Scores of held-out predictions, resampled over images.

Predictions stay as they are: a resampling says how often each image counts. Shapes: b resamplings, l layers, n rows,
v targets, s subjects.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from gradkern.errors import Refused, naming
from gradkern.ridge._cross_val import cross_val_predict
from gradkern.ridge._cross_validation import CrossValidation
from gradkern.ridge._engine.folds import resolve_folds
from gradkern.stats._correlation import weighted_correlation
from gradkern.stats._summary import Summary

BYTES_AT_ONCE = 256 * 2**20
_LEAST_IMAGES = 10  # of a fold: a resampling leaves so many out altogether in one case of 20,000

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Resampling(Summary):
    """How often every row counts, `counts` [b, n], in a "bootstrap" or a "jackknife" (`kind`) over `images` images."""

    counts: Floats
    images: int
    kind: str


@naming("resample_images")
def resample_images(images: Any, bootstraps: int, seed: int = 0) -> Resampling:
    """Draw images with replacement, each with all its rows.

    Parameters
    ----------
    images : [n], the image that each row belongs to
    bootstraps, seed : how many resamplings to draw, and the seed of the generator

    Raises
    ------
    Refused : fewer than 10 different images
    ValueError : fewer than 2 resamplings; images that are not [n]

    Examples
    --------
    >>> resample_images(list(range(12)), bootstraps=5).counts.shape
    (5, 12)
    """
    group, count = _groups(images)
    if bootstraps < 2:
        raise ValueError(f"bootstraps must be at least 2, got {bootstraps}")
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=bootstraps)
    return Resampling(drawn[:, group].astype(np.float64), count, "bootstrap")


@naming("leave_out_images")
def leave_out_images(images: Any) -> Resampling:
    """Leave out each image in turn with all its rows, for a jackknife; resampling i leaves out the i-th sorted id.

    Raises
    ------
    Refused : fewer than 10 different images
    ValueError : images that are not [n]
    """
    group, count = _groups(images)
    return Resampling((group != np.arange(count)[:, None]).astype(np.float64), count, "jackknife")


def _groups(images: Any) -> tuple[NDArray[np.int64], int]:
    ids = np.asarray(images)
    if ids.ndim != 1:
        raise ValueError(f"images must be [n], one id per row, got {list(ids.shape)}")
    names, group = np.unique(ids, return_inverse=True)
    if len(names) < _LEAST_IMAGES:
        raise Refused(f"images must be at least {_LEAST_IMAGES} different ones, got {len(names)}")
    return group, len(names)


@dataclass(frozen=True, eq=False, repr=False)
class Scores(Summary):
    """Scores of every layer at every target, with their resamplings over images.

    Parameters
    ----------
    r : [l, v] over all images; NaN at every layer of a target without a score, and nowhere else
    resampled : [b, l, v]
    images : number of different images that were resampled
    kind : "bootstrap" or "jackknife"
    noise_ratio : standard error of noise alone, in standard deviations of its resamplings. Resamplings leave held-out
        predictions as they are, but without a signal every pair of images counts twice in these: sqrt(2)
    noise : [l, v], standard error of noise alone where it is known by itself; None: by `noise_ratio`

    Raises
    ------
    ValueError : shapes that do not fit together; scores that are NaN at some layers of a target only, or infinite
    """

    r: Floats
    resampled: Floats
    images: int
    kind: str = "bootstrap"
    noise_ratio: float = 2**0.5
    noise: Floats | None = None

    @naming("Scores")
    def __post_init__(self) -> None:
        shape = np.shape(self.r)
        if len(shape) != 2 or np.ndim(self.resampled) != 3 or np.shape(self.resampled)[1:] != shape:
            raise ValueError(
                "r must be [layers, targets] and resampled [resamplings, layers, targets], got "
                f"{list(shape)} and {list(np.shape(self.resampled))}"
            )
        if self.noise is not None and np.shape(self.noise) != shape:
            raise ValueError(f"noise must be {list(shape)}, as r, got {list(np.shape(self.noise))}")
        missing = np.isnan(self.r)
        if (missing.any(0) != missing.all(0)).any():
            target = int(np.flatnonzero(missing.any(0) != missing.all(0))[0])
            raise ValueError(f"r must be known at all layers or at none, got some NaN at target {target}")
        known = ~missing.all(0)
        if not (np.isfinite(self.r[:, known]).all() and np.isfinite(self.resampled[:, :, known]).all()):
            raise ValueError("r and resampled must be finite where a target has scores, got NaN or infinity")

    @property
    def shape(self) -> tuple[int, int, int]:
        """b, l, v."""
        b, layers, v = np.shape(self.resampled)
        return b, layers, v

    def blocks(self, max_memory: int = BYTES_AT_ONCE) -> Iterator[tuple[slice, "Scores"]]:
        """Cut the targets into blocks of at most `max_memory` bytes, without a copy."""
        b, layers, v = self.shape
        step = max(1, max_memory // (8 * layers * (1 + b)))
        for start in range(0, v, step):
            columns = slice(start, min(start + step, v))
            noise = None if self.noise is None else self.noise[:, columns]
            yield columns, replace(self, r=self.r[:, columns], resampled=self.resampled[:, :, columns], noise=noise)

    @naming("over_ceiling")
    def over_ceiling(self, ceiling: Any) -> Self:
        """Divide by the noise ceiling [v], the highest possible r; a target without a positive one loses its score."""
        highest = np.asarray(ceiling, dtype=np.float64)
        if highest.shape != self.r.shape[1:]:
            raise ValueError(f"ceiling must be [{self.r.shape[1]}], got {list(highest.shape)}")
        highest = np.where(highest > 0, highest, np.nan)
        noise = None if self.noise is None else self.noise / highest
        return replace(self, r=self.r / highest, resampled=self.resampled / highest, noise=noise)


def score_blocks(
    predictions: Any, responses: Any, resampling: Resampling, folds: Any = None, *, max_memory: int = BYTES_AT_ONCE
) -> Iterator[tuple[slice, Scores]]:
    """Score every layer's predictions by Pearson r, with resamplings over images, block by block of targets.

    A target whose responses do not vary (within a fold) has no score: NaN. A layer whose predictions do not vary (in a
    fold, or in a resampling) has no correlation there either, but is a layer that tells the images apart no better
    than chance. It counts as r = 0, so that it can be compared with the other layers. The number of such correlations
    over all images is warned of.

    Parameters
    ----------
    predictions : [l, n, v], each row by a fit that did not see its image; an array or a memory map
    responses : [n, v]
    resampling : of `resample_images` or `leave_out_images`
    folds : [n], the fold that held a row out; r is then the mean of r within folds, as in `encoding.score`. None: all
        rows were held out by one fit
    max_memory : bytes that a block may take

    Raises
    ------
    Refused : a fold of fewer than 10 rows
    ValueError : shapes that do not fit together, values that are not finite
    """
    with naming("score_blocks"):
        shape, weights = tuple(np.shape(predictions)), resampling.counts
        if len(shape) != 3 or np.shape(responses) != shape[1:]:
            raise ValueError(
                "predictions must be [layers, n, targets] and responses [n, targets], got "
                f"{list(shape)} and {list(np.shape(responses))}"
            )
        layers, n, v = shape
        if weights.shape[1] != n:
            raise ValueError(f"the resampling must be of {n} rows, got {weights.shape[1]}")
        weights = np.concatenate([np.ones((1, n)), weights])
        rows_of_folds = _rows_of_folds(folds, n)
        step, constant = max(1, max_memory // (8 * 4 * layers * (n + len(weights)))), 0
        for start in range(0, v, step):
            columns = slice(start, min(start + step, v))
            y = _finite("responses", responses[:, columns], start)
            yhat = _finite("predictions", predictions[:, :, columns], start)
            by_fold = [weighted_correlation(y[rows], yhat[:, rows], weights[:, rows]) for rows in rows_of_folds]
            unscored = np.any([np.ptp(y[rows], axis=0) == 0 for rows in rows_of_folds], axis=0)
            constant += int(np.any([np.isnan(r[:, 0]) for r in by_fold], axis=0)[:, ~unscored].sum())
            r = np.mean([np.where(np.isnan(r), 0.0, r) for r in by_fold], axis=0)
            r[..., unscored] = np.nan
            yield columns, Scores(r[:, 0], r[:, 1:].swapaxes(0, 1), resampling.images, resampling.kind)
    if constant:
        warnings.warn(
            f"score_blocks: predictions do not vary in a fold for {constant} of {layers * v} pairs of layer and "
            "target; their r counts as 0 there",
            stacklevel=2,
        )


@dataclass(frozen=True, eq=False, repr=False)
class ScoreStream(Summary):
    """The scores that `resampled_scores` computes, block by block on every use, and never held as a whole.

    `Scores` of a whole cortex take 8 b l v bytes: 14 GB for 300,000 targets, 12 layers and 500 resamplings.

    Parameters
    ----------
    predictions, responses, resampling, folds, max_memory : as of `score_blocks`, which checks them
    """

    predictions: Any
    responses: Any
    resampling: Resampling
    folds: Any = None
    max_memory: int = BYTES_AT_ONCE

    @property
    def shape(self) -> tuple[int, int, int]:
        """b, l, v."""
        layers, _, v = np.shape(self.predictions)
        return len(self.resampling.counts), layers, v

    @property
    def images(self) -> int:
        """Number of different images that are resampled."""
        return self.resampling.images

    @property
    def kind(self) -> str:
        """Either "bootstrap" or "jackknife"."""
        return self.resampling.kind

    @property
    def r(self) -> Floats:
        """[l, v] over all images, computed on every access."""
        alone = replace(self.resampling, counts=self.resampling.counts[:0])
        blocks = score_blocks(self.predictions, self.responses, alone, self.folds, max_memory=self.max_memory)
        return np.concatenate([block.r for _, block in blocks], axis=-1)

    def blocks(self) -> Iterator[tuple[slice, Scores]]:
        """Compute the scores in blocks of at most `max_memory` bytes."""
        return score_blocks(self.predictions, self.responses, self.resampling, self.folds, max_memory=self.max_memory)


def resampled_scores(predictions: Any, responses: Any, resampling: Resampling, folds: Any = None) -> Scores:
    """Score all targets at once, in 8 b l v bytes; see `score_blocks`.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> resampling = resample_images(np.arange(30), bootstraps=5)
    >>> resampled_scores(rng.random((3, 30, 2)), rng.random((30, 2)), resampling).resampled.shape
    (5, 3, 2)
    """
    return concatenate_targets([scores for _, scores in score_blocks(predictions, responses, resampling, folds)])


def layer_scores(layers: Sequence[Any], Y: Any, resampling: Resampling, cv: CrossValidation | None = None) -> Scores:
    """Score every layer's features [n, d] at responses Y [n, v], with an alpha per target chosen in every training set.

    Predictions of one layer, 8 n v bytes, are in memory at a time. Every row is an image of its own.
    """
    cv = cv or CrossValidation()
    with naming("layer_scores"):
        folds = resolve_folds(cv, len(Y)).folds
    held_out = np.empty(len(Y), dtype=np.int64)
    for number, fold in enumerate(folds):
        held_out[fold.test] = number

    def of(X: Any) -> Scores:
        predictions = np.asarray(cross_val_predict(X, Y, cv=cv))
        return resampled_scores(predictions[None], Y, resampling, held_out)

    return stack_layers([of(X) for X in layers])


def stack_layers(layers: Sequence[Scores]) -> Scores:
    """Join scores of single layers [1, v] into those of all layers [l, v]."""
    r, resampled = (np.concatenate([getattr(layer, name) for layer in layers], axis=-2) for name in ("r", "resampled"))
    known = [layer.noise for layer in layers if layer.noise is not None]
    noise = np.concatenate(known) if len(known) == len(layers) else None
    return replace(layers[0], r=r, resampled=resampled, noise=noise)


def _rows_of_folds(folds: Any, n: int) -> list[Any]:
    if folds is None:
        return [slice(None)]
    numbers = np.asarray(folds)
    if numbers.shape != (n,):
        raise ValueError(f"folds must be [{n}], got {list(numbers.shape)}")
    rows = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
    least = min(len(held_out) for held_out in rows)
    if least < _LEAST_IMAGES:
        raise Refused(
            f"every fold must hold out at least {_LEAST_IMAGES} rows, got {least} ({n} rows in {len(rows)} folds)"
        )
    return rows


def _finite(name: str, block: Any, start: int) -> Floats:
    values: Floats = np.asarray(block, dtype=np.float64)
    if not np.isfinite(values).all():
        index = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(
            f"{name} must be finite, got {values[tuple(index)]} at row {index[-2]}, target {start + index[-1]}"
        )
    return values


_Result = TypeVar("_Result")


@naming("concatenate_targets")
def concatenate_targets(results: Sequence[_Result]) -> _Result:
    """Join results of blocks of targets into one: arrays are concatenated along their last axis, that of targets.

    Raises
    ------
    ValueError : no results, or results that differ in anything but their arrays
    """
    if not results:
        raise ValueError("results must be at least one, got none")
    whole: dict[str, Any] = {}
    for field in fields(results[0]):  # type: ignore[arg-type]
        values = [getattr(result, field.name) for result in results]
        if isinstance(values[0], np.ndarray):
            whole[field.name] = np.concatenate(values, axis=-1)
        elif any(value != values[0] for value in values):
            raise ValueError(f"results must have the same {field.name}, got {values}")
        else:
            whole[field.name] = values[0]
    return type(results[0])(**whole)
