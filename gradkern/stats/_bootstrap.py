"""Scores of held-out predictions, resampled over images.

Predictions stay as they are: a resampling says how often each image counts. Shapes: b resamplings, l layers, n rows,
v targets, s subjects.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from gradkern.errors import naming
from gradkern.ridge._cross_val import cross_val_predict
from gradkern.ridge._cross_validation import CrossValidation
from gradkern.ridge._engine.folds import resolve_folds
from gradkern.stats._correlation import correlation

_BYTES_AT_ONCE = 256 * 2**20
_LEAST_IMAGES = 10  # of a fold: a resampling leaves so many out altogether in one case of 20,000

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Resampling:
    """How often every row counts, `counts` [b, n], of a "bootstrap" or a "jackknife" (`kind`) over so many `images`."""

    counts: Floats
    images: int
    kind: str


def resample_images(images: Any, bootstraps: int, seed: int = 0) -> Resampling:
    """Bootstrap over images: they are drawn with replacement, each with all its rows.

    Parameters
    ----------
    images : [n], which image each row belongs to

    Raises
    ------
    ValueError : fewer than 10 different images, or fewer than 2 resamplings
    """
    group, count = _groups("resample_images", images)
    if bootstraps < 2:
        raise ValueError(f"resample_images: bootstraps must be at least 2, got {bootstraps}")
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=bootstraps)
    return Resampling(drawn[:, group].astype(np.float64), count, "bootstrap")


def leave_out_images(images: Any) -> Resampling:
    """Jackknife over images: row i leaves out image i (in the order of their ids) with all its rows.

    Raises
    ------
    ValueError : fewer than 10 different images
    """
    group, count = _groups("leave_out_images", images)
    return Resampling((group != np.arange(count)[:, None]).astype(np.float64), count, "jackknife")


def _groups(op: str, images: Any) -> tuple[NDArray[np.int64], int]:
    ids = np.asarray(images)
    if ids.ndim != 1:
        raise ValueError(f"{op}: images must be [n], one id a row, got {list(ids.shape)}")
    names, group = np.unique(ids, return_inverse=True)
    if len(names) < _LEAST_IMAGES:
        raise ValueError(f"{op}: images must be at least {_LEAST_IMAGES} different ones, got {len(names)}")
    return group, len(names)


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of every layer at every target, and what they are when images are drawn anew.

    Parameters
    ----------
    r : [l, v] over all images; NaN at every layer of a target that has no score, and nowhere else
    resampled : [b, l, v]
    images : how many different ones were resampled
    kind : "bootstrap" or "jackknife"

    Raises
    ------
    ValueError : shapes that do not fit together; values missing at some layers of a target only, or infinite
    """

    r: Floats
    resampled: Floats
    images: int
    kind: str = "bootstrap"

    def __post_init__(self) -> None:
        shape = np.shape(self.r)
        if len(shape) != 2 or np.ndim(self.resampled) != 3 or np.shape(self.resampled)[1:] != shape:
            raise ValueError(
                "Scores: r must be [layers, targets] and resampled [resamplings, layers, targets], got "
                f"{list(shape)} and {list(np.shape(self.resampled))}"
            )
        missing = np.isnan(self.r)
        if (missing.any(0) != missing.all(0)).any():
            where = int(np.flatnonzero(missing.any(0) != missing.all(0))[0])
            raise ValueError(f"Scores: r must be known at all layers or at none, got some NaN at target {where}")
        known = ~missing.all(0)
        if not (np.isfinite(self.r[:, known]).all() and np.isfinite(self.resampled[:, :, known]).all()):
            raise ValueError("Scores: r and resampled must be finite where a target has scores, got NaN or infinity")

    @property
    def shape(self) -> tuple[int, int, int]:
        """b, l, v."""
        b, layers, v = np.shape(self.resampled)
        return b, layers, v

    def blocks(self) -> Iterator[tuple[slice, "Scores"]]:
        """So many targets at a time as 256 MiB hold, without a copy."""
        b, layers, v = self.shape
        step = max(1, _BYTES_AT_ONCE // (8 * layers * (1 + b)))
        for start in range(0, v, step):
            columns = slice(start, min(start + step, v))
            yield columns, replace(self, r=self.r[:, columns], resampled=self.resampled[:, :, columns])

    def over_ceiling(self, ceiling: Any) -> Self:
        """DividedDifferences by the noise ceiling [v], the highest r; a target without a positive one has no score."""
        highest = np.asarray(ceiling, dtype=np.float64)
        if highest.shape != self.r.shape[1:]:
            raise ValueError(f"over_ceiling: ceiling must be [{self.r.shape[1]}], got {list(highest.shape)}")
        highest = np.where(highest > 0, highest, np.nan)
        return replace(self, r=self.r / highest, resampled=self.resampled / highest)


def score_blocks(
    predictions: Any, responses: Any, resampling: Resampling, folds: Any = None
) -> Iterator[tuple[slice, Scores]]:
    """Pearson r of every layer's predictions, and resampled, so many targets at a time as 256 MiB hold.

    A target whose responses do not vary (within a fold) has no score: NaN. A prediction that does not vary scores 0.

    Parameters
    ----------
    predictions : [l, n, v], each row by a fit that did not see its image; an array or a memory map
    responses : [n, v]
    resampling : of `resample_images` or `leave_out_images`
    folds : [n], the fold that held a row out; r is then the mean of r within folds, as in `analysis.encode.score`.
        None: all rows were held out by one fit

    Raises
    ------
    ValueError : shapes that do not fit together, values that are not finite, a fold of fewer than 10 rows
    """
    shape, weights = tuple(np.shape(predictions)), resampling.counts
    if len(shape) != 3 or np.shape(responses) != shape[1:]:
        raise ValueError(
            "score_blocks: predictions must be [layers, n, targets] and responses [n, targets], got "
            f"{list(shape)} and {list(np.shape(responses))}"
        )
    layers, n, v = shape
    if weights.shape[1] != n:
        raise ValueError(f"score_blocks: the resampling must be of {n} rows, got {weights.shape[1]}")
    weights = np.concatenate([np.ones((1, n)), weights])
    parts = _parts(folds, n)
    step = max(1, _BYTES_AT_ONCE // (8 * 4 * layers * (n + len(weights))))
    for start in range(0, v, step):
        columns = slice(start, min(start + step, v))
        y = _finite("responses", responses[:, columns], start)
        yhat = _finite("predictions", predictions[:, :, columns], start)
        r = np.mean([correlation(y[part], yhat[:, part], weights[:, part]) for part in parts], axis=0)
        r[..., np.any([np.ptp(y[part], axis=0) == 0 for part in parts], axis=0)] = np.nan
        yield columns, Scores(r[:, 0], r[:, 1:].swapaxes(0, 1), resampling.images, resampling.kind)


@dataclass(frozen=True, eq=False)
class ScoreStream:
    """The scores that `resampled_scores` gives, computed block by block whenever they are asked for, and never kept.

    Of whole cortex `Scores` take 8 b l v bytes: 14 GB of 300,000 targets, 12 layers and 500 resamplings.

    Parameters
    ----------
    predictions, responses, resampling, folds : as of `score_blocks`, which says what it refuses
    """

    predictions: Any
    responses: Any
    resampling: Resampling
    folds: Any = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """b, l, v."""
        layers, _, v = np.shape(self.predictions)
        return len(self.resampling.counts), layers, v

    @property
    def images(self) -> int:
        return self.resampling.images

    @property
    def kind(self) -> str:
        return self.resampling.kind

    @property
    def r(self) -> Floats:
        """[l, v] over all images; computed anew, as all else."""
        alone = replace(self.resampling, counts=self.resampling.counts[:0])
        parts = score_blocks(self.predictions, self.responses, alone, self.folds)
        return np.concatenate([block.r for _, block in parts], axis=-1)

    def blocks(self) -> Iterator[tuple[slice, Scores]]:
        """So many targets at a time as 256 MiB hold."""
        return score_blocks(self.predictions, self.responses, self.resampling, self.folds)


def resampled_scores(predictions: Any, responses: Any, resampling: Resampling, folds: Any = None) -> Scores:
    """The same of all targets at once, which takes 8 b l v bytes; see `score_blocks`."""
    return joined([scores for _, scores in score_blocks(predictions, responses, resampling, folds)])


def layer_scores(layers: Sequence[Any], Y: Any, resampling: Resampling, cv: CrossValidation | None = None) -> Scores:
    """Scores of every layer's features [n, d] at Y [n, v], an alpha for each target chosen in every training part.

    Predictions of one layer, 8 n v bytes, are in memory at a time. Rows are images, one each.
    """
    cv = cv or CrossValidation()
    with naming("layer_scores"):
        parts = resolve_folds(cv, len(Y)).folds
    held_out = np.empty(len(Y), dtype=np.int64)
    for number, part in enumerate(parts):
        held_out[part.test] = number

    def of(X: Any) -> Scores:
        predictions = np.asarray(cross_val_predict(X, Y, cv=cv))
        return resampled_scores(predictions[None], Y, resampling, held_out)

    return stacked([of(X) for X in layers])


def stacked(layers: Sequence[Scores]) -> Scores:
    """Scores of layers [1, v] as one of all of them [l, v]."""
    r, resampled = (np.concatenate([getattr(one, name) for one in layers], axis=-2) for name in ("r", "resampled"))
    return replace(layers[0], r=r, resampled=resampled)


def _parts(folds: Any, n: int) -> list[Any]:
    if folds is None:
        return [slice(None)]
    numbers = np.asarray(folds)
    if numbers.shape != (n,):
        raise ValueError(f"score_blocks: folds must be [{n}], got {list(numbers.shape)}")
    parts = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
    least = min(len(part) for part in parts)
    if least < _LEAST_IMAGES:
        raise ValueError(f"score_blocks: every fold must hold out at least {_LEAST_IMAGES} rows, got {least}")
    return parts


def _finite(name: str, block: Any, start: int) -> Floats:
    values: Floats = np.asarray(block, dtype=np.float64)
    if not np.isfinite(values).all():
        where = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(
            f"score_blocks: {name} must be finite, got {values[tuple(where)]} at row {where[-2]}, target "
            f"{start + where[-1]}"
        )
    return values


_Result = TypeVar("_Result")


def joined(parts: Sequence[_Result]) -> _Result:
    """Results of blocks of targets as one: arrays are laid side by side along their last axis, that of targets.

    Raises
    ------
    ValueError : no parts, or parts that differ in how they were made
    """
    if not parts:
        raise ValueError("joined: parts must be at least one result, got none")
    whole: dict[str, Any] = {}
    for each in fields(parts[0]):  # type: ignore[arg-type]
        values = [getattr(part, each.name) for part in parts]
        if isinstance(values[0], np.ndarray):
            whole[each.name] = np.concatenate(values, axis=-1)
        elif any(value != values[0] for value in values):
            raise ValueError(f"joined: parts must have the same {each.name}, got {values}")
        else:
            whole[each.name] = values[0]
    return type(parts[0])(**whole)
