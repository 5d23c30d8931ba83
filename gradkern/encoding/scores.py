"""Scores and predictions on held-out samples, with alphas chosen inside each training fold."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from gradkern.encoding.folds import Folds, Indices, check_groups, resolve_folds
from gradkern.encoding.inputs import (
    Array,
    Placement,
    Targets,
    as_array,
    as_targets,
    check_choice,
    check_finite,
    check_matrix,
    check_sample_count,
    load,
    place,
)
from gradkern.encoding.metrics import correlation, r_squared
from gradkern.encoding.ridge import DEFAULT_ALPHAS
from gradkern.encoding.solve import (
    SCORINGS,
    Choice,
    Fitting,
    factor,
    make_choice,
    selection_folds,
    solve,
)

_COLUMNS_AT_ONCE = 1024


def cross_val_score(
    X: Any,
    Y: Any,
    alphas: Any = DEFAULT_ALPHAS,
    *,
    cv: Any = 5,
    inner_cv: Any = 5,
    groups: Any = None,
    scoring: str = "r",
    selection: str = "kfold",
    device: Any = None,
) -> Array:
    """Score held-out samples with ridge whose alphas are chosen (by R2), per target, inside each training fold.

    Parameters
    ----------
    X : [n, d] features
    Y : [n, v] or [n] responses; may be a memory map, which is read block by block
    alphas : [a] positive penalties
    cv : outer folds (f of them): int, scikit-learn splitter, or iterable of (train, test) indices
    inner_cv : inner folds, for ``selection="kfold"``: int or scikit-learn splitter
    groups : [n] labels that neither the outer nor the inner folds may split ("loo" and "gcv" choose alpha
        without looking at them)
    scoring : score of the held-out samples of a fold, "r" (Pearson) or "r2"
    selection : how alpha is chosen, as in `RidgeCV`
    device : where to compute; by default where X lives

    Returns
    -------
    scores : [f, v], or [f] if Y was 1-D; NaN, with a warning, where responses or predictions do not vary

    Raises
    ------
    ValueError : NaN or inf in X or Y, wrong shapes or options, impossible folds

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 8))
    >>> Y = X @ rng.standard_normal((8, 3)) + rng.standard_normal((60, 3))
    >>> cross_val_score(X, Y, cv=4).shape
    (4, 3)
    """
    op = "cross_val_score"
    check_choice(op, "scoring", scoring, SCORINGS)
    nested = _nest(op, X, Y, make_choice(op, alphas, selection, "r2"), _Splits(cv, inner_cv, groups), device)
    scores = nested.placement.empty(len(nested.folds), nested.responses.shape[1])
    for part in _held_out(nested):
        scores[part.fold, part.columns] = (
            # r without the intercept: beside it, what a large alpha leaves would be rounded away
            correlation(part.responses, part.explained)
            if scoring == "r"
            else r_squared(part.responses, part.predictions)
        )
    missing = int(scores.isnan().any(0).sum())
    if missing:
        warnings.warn(
            f"{op}: {missing} of {scores.shape[1]} targets have no defined score in some folds, "
            "where responses or predictions do not vary; those scores are NaN",
            stacklevel=2,
        )
    return nested.placement.hand_back(scores[:, 0] if nested.one_target else scores)


def cross_val_predict(
    X: Any,
    Y: Any,
    alphas: Any = DEFAULT_ALPHAS,
    *,
    cv: Any = 5,
    inner_cv: Any = 5,
    groups: Any = None,
    selection: str = "kfold",
    device: Any = None,
) -> Array:
    """Predict every sample from the fold that holds it out, with alphas chosen inside each training fold.

    Small data sets need a score pooled over all samples: ``pearson_r(Y, cross_val_predict(X, Y))``.

    Parameters
    ----------
    X, Y, alphas, cv, inner_cv, groups, selection, device : as in `cross_val_score`; the outer folds must hold
    out
        every sample exactly once

    Returns
    -------
    predictions : [n, v], or [n] if Y was 1-D

    Raises
    ------
    ValueError : as `cross_val_score`, and where a sample is held out never or more than once

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 8))
    >>> Y = X @ rng.standard_normal((8, 3)) + rng.standard_normal((60, 3))
    >>> cross_val_predict(X, Y, cv=4).shape
    (60, 3)
    """
    op = "cross_val_predict"
    nested = _nest(op, X, Y, make_choice(op, alphas, selection, "r2"), _Splits(cv, inner_cv, groups), device)
    if not nested.folds.tested_once:
        raise ValueError(f"{op}: cv must hold out every sample exactly once, got folds that do not")
    predictions = nested.placement.empty(*nested.responses.shape)
    for part in _held_out(nested):
        rows = torch.from_numpy(nested.folds.folds[part.fold].test).to(predictions.device)
        predictions[rows, part.columns] = part.predictions.to(predictions.device)
    return nested.placement.hand_back(predictions[:, 0] if nested.one_target else predictions)


def pearson_r(y: Any, yhat: Any) -> Array:
    """Pearson correlation of each column of y with the same column of yhat, with sums in float64.

    Parameters
    ----------
    y, yhat : [n, v] or [n], on one device

    Returns
    -------
    r : [v], or a scalar for 1-D input; NaN where a column does not vary

    Raises
    ------
    ValueError : different shapes or devices, NaN or inf

    Examples
    --------
    >>> import numpy as np
    >>> pearson_r(np.arange(12.0).reshape(4, 3), np.ones((4, 3)) * [[1], [2], [3], [5]]).shape
    (3,)
    """
    op = "pearson_r"
    first, second = as_array(op, "y", y), as_array(op, "yhat", yhat)
    if first.shape != second.shape or first.ndim not in (1, 2) or first.shape[0] < 2:
        raise ValueError(
            f"{op}: y and yhat must both be [n, v] or [n] with n of at least 2, got {tuple(first.shape)} and "
            f"{tuple(second.shape)}"
        )
    placement = place(op, None, y=first, yhat=second)
    check_finite(op, "y", first)
    check_finite(op, "yhat", second)
    left, right = (each if each.ndim == 2 else each[:, None] for each in (first, second))
    r = placement.empty(left.shape[1])
    for start in range(0, left.shape[1], _COLUMNS_AT_ONCE):
        part = slice(start, start + _COLUMNS_AT_ONCE)
        r[part] = correlation(load(left, placement, columns=part), load(right, placement, columns=part))
    return placement.hand_back(r[0] if first.ndim == 1 else r)


@dataclass(frozen=True)
class _Splits:
    """How the caller wants samples split, not yet checked."""

    cv: Any
    inner_cv: Any
    groups: Any


@dataclass(frozen=True)
class _Nested:
    """Checked arrays, outer folds, and for each of them how alpha is chosen inside it."""

    features: Array
    responses: Array
    one_target: bool
    placement: Placement
    folds: Folds
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class _HeldOut:
    """The m samples that fold number `fold` holds out: responses, and predictions = explained + intercept."""

    fold: int
    columns: slice
    responses: Tensor  # [m, b]
    explained: Tensor  # [m, b]
    intercept: Tensor  # [b]

    @property
    def predictions(self) -> Tensor:
        return self.explained + self.intercept


def _nest(op: str, X: Any, Y: Any, choice: Choice, splits: _Splits, device: Any) -> _Nested:
    """Check everything before any work."""
    features = as_array(op, "X", X)
    check_matrix(op, "X", features)
    n = features.shape[0]
    responses, one_target = as_targets(op, Y, n)
    placement = place(op, device, X=features, Y=responses)
    # a score needs two held-out samples, a prediction one
    resolve = selection_folds if op == "cross_val_score" else resolve_folds
    folds = resolve(op, splits.cv, n, splits.groups)
    if hasattr(splits.inner_cv, "__iter__"):
        raise TypeError(
            f"{op}: inner_cv must be an int or a scikit-learn splitter (it splits each training fold), "
            f"got {splits.inner_cv!r}"
        )
    labels = None if splits.groups is None else check_groups(op, splits.groups, n)
    choices = tuple(_inner_choice(op, choice, splits.inner_cv, fold.train, labels) for fold in folds.folds)
    check_finite(op, "X", features)
    check_finite(op, "Y", responses)
    return _Nested(features, responses, one_target, placement, folds, choices)


def _inner_choice(op: str, choice: Choice, inner_cv: Any, train: Indices, labels: NDArray[Any] | None) -> Choice:
    """How alpha is chosen on the training samples of one outer fold."""
    if choice.selection != "kfold":
        check_sample_count(op, len(train))
        return choice
    groups = None if labels is None else labels[train]
    return replace(choice, folds=selection_folds(op, inner_cv, len(train), groups, argument="inner_cv"))


@torch.no_grad()
def _held_out(nested: _Nested) -> Iterator[_HeldOut]:
    """Fit each outer fold on its training samples alone and predict what it holds out, block by block."""
    placement = nested.placement
    for number, (fold, choice) in enumerate(zip(nested.folds.folds, nested.choices, strict=True)):
        solver = factor(load(nested.features, placement, fold.train), choice, Fitting())
        tested = load(nested.features, placement, fold.test) - solver.design.offset
        held_out = Targets(nested.responses, placement, fold.test)
        for block in solve(solver, Targets(nested.responses, placement, fold.train), None, choice.shared):
            explained = tested @ block.coefficients
            intercept = block.at_offset.to(tested.dtype)
            yield _HeldOut(number, block.columns, held_out.block(block.columns), explained, intercept)
