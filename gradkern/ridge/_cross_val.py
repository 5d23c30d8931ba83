"""Scores and predictions on held-out samples, with alphas chosen inside each training fold."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradkern.ridge._cross_validation import CrossValidation, Nesting, resolve_setting
from gradkern.ridge._engine.folds import Indices, check_groups, resolve_folds, subset
from gradkern.ridge._engine.inputs import (
    Array,
    Placement,
    Targets,
    as_array,
    as_targets,
    check_choice,
    check_finite,
    check_matrix,
    check_sample_count,
    check_weights,
    column_names,
    load,
    place,
)
from gradkern.ridge._engine.metrics import correlation, r_squared
from gradkern.ridge._engine.precision import multiplying
from gradkern.ridge._engine.product import product
from gradkern.ridge._engine.solve import SCORINGS, Choice, Fitting, factor, make_choice, selection_folds, solve
from gradkern.ridge._ridge_cv import DEFAULT_ALPHAS

_COLUMNS_AT_ONCE = 1024
_BYTES_OF_Y = 2**30


def cross_val_score(
    X: Any,
    Y: Any,
    alphas: Any = DEFAULT_ALPHAS,
    *,
    cv: Any = 5,
    inner_cv: Any = 5,
    groups: Any = None,
    sample_weight: Any = None,
    scoring: str | Sequence[str] = "r",
    selection: str = "kfold",
    standardise: bool = False,
    return_alphas: bool = False,
    device: Any = None,
) -> Any:
    """Score held-out samples with ridge whose alphas are chosen (by R2), per target, inside each training fold.

    Parameters
    ----------
    X : [n, d] features; or a mapping of names to several such feature spaces, which share one read of Y
    Y : [n, v] or [n] responses; may be a memory map, which is read in parts of 1 GiB or less
    alphas : [a] positive penalties
    cv : outer folds (f of them): int, scikit-learn splitter, or iterable of (train, test) indices; or a
        `CrossValidation`, which also decides alphas, inner_cv and selection
    inner_cv : inner folds, for ``selection="kfold"``: int or scikit-learn splitter
    groups : [n] labels that neither the outer nor the inner folds may split ("loo" and "gcv" choose alpha
        without looking at them)
    sample_weight : [n] weights, not negative: a weight of w counts as w samples, in every choice, fit and score
    scoring : score of the held-out samples of a fold, "r" (Pearson) or "r2"; of several, s of them, the fits are the
        same
    selection : how alpha is chosen, as in `RidgeCV`
    standardise : whether every fit divides each feature by its standard deviation in the fit's training samples
    return_alphas : whether to return the chosen penalties as well
    device : where to compute; by default where X lives

    Returns
    -------
    scores : [f, v], or [f] if Y was 1-D; [s, f, v] or [s, f] of several scorings; NaN, with a warning, where responses
        or predictions do not vary or responses hold NaN. Of a mapping, a dict of them.
    alphas : with `return_alphas` only, [f, v] or [f] in float64: the penalty that each outer fold's training samples
        chose for each target, NaN where its training responses hold NaN. Of a mapping, a dict of them.

    Raises
    ------
    ValueError : NaN or inf in X, inf in Y, wrong shapes or options, impossible folds

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
    scorings = (scoring,) if isinstance(scoring, str) else tuple(scoring)
    for each_scoring in scorings or (scoring,):
        check_choice(op, "scoring", each_scoring, SCORINGS)
    spaces = dict(X) if isinstance(X, Mapping) else {"X": X}
    nesting = _nesting(op, next(iter(spaces.values()), ()), cv, inner_cv, alphas, selection, groups)
    choice = make_choice(op, nesting.alphas, nesting.selection, "r2")
    if standardise and nesting.selection != "kfold":
        raise ValueError(f"{op}: standardise needs selection='kfold', got selection={nesting.selection!r}")
    splits = _Splits(nesting.cv, nesting.inner_cv, groups, sample_weight)
    nested = _nest(op, spaces, Y, choice, splits, device, standardise)
    scores = {
        name: each.placement.empty(len(scorings), len(each.outer), each.responses.shape[1])
        for name, each in nested.items()
    }
    penalties = {name: torch.empty(found.shape[1:], dtype=torch.float64) for name, found in scores.items()}
    first = next(iter(nested.values()))
    with multiplying("float32"):
        for columns, part in _parts(first.responses):
            for name, each in nested.items():
                some = replace(each, responses=part, first=columns.start)
                _score_part(some, scorings, scores[name][..., columns], penalties[name][:, columns])
    for name, found in scores.items():
        missing = int(found.isnan().any(0).any(0).sum())
        if missing:
            where = f" of {name!r}" if isinstance(X, Mapping) else ""
            warnings.warn(
                f"{op}: {missing} of {found.shape[-1]} targets{where} have no defined score in some folds, "
                "where responses or predictions do not vary, or responses hold NaN; those scores are NaN",
                stacklevel=2,
            )
    results, chosen = {}, {}
    for name, found in scores.items():
        kept, alpha = (values[..., 0] if first.one_target else values for values in (found, penalties[name]))
        results[name] = nested[name].placement.hand_back(kept[0] if isinstance(scoring, str) else kept)
        chosen[name] = nested[name].placement.hand_back(alpha)
    if not isinstance(X, Mapping):
        return (results["X"], chosen["X"]) if return_alphas else results["X"]
    return (results, chosen) if return_alphas else results


def cross_val_predict(
    X: Any,
    Y: Any,
    alphas: Any = DEFAULT_ALPHAS,
    *,
    cv: Any = 5,
    inner_cv: Any = 5,
    groups: Any = None,
    sample_weight: Any = None,
    selection: str = "kfold",
    device: Any = None,
) -> Array:
    """Predict every sample from the fold that holds it out, with alphas chosen inside each training fold.

    Small data sets need a score pooled over all samples: ``pearson_r(Y, cross_val_predict(X, Y))``.

    Parameters
    ----------
    X, Y, alphas, cv, inner_cv, groups, sample_weight, selection, device : as in `cross_val_score`, but X is one feature
        space, and the outer folds must hold out every sample exactly once. A sample of weight 0 is predicted too.

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
    nesting = _nesting(op, X, cv, inner_cv, alphas, selection, groups)
    splits = _Splits(nesting.cv, nesting.inner_cv, groups, sample_weight)
    choice = make_choice(op, nesting.alphas, nesting.selection, "r2")
    nested = _nest(op, {"X": X}, Y, choice, splits, device)["X"]
    check_finite(op, "Y", nested.responses)
    predictions = nested.placement.empty(*nested.responses.shape)
    with multiplying("float32"):
        for part in _held_out(nested):
            rows = torch.from_numpy(nested.outer[part.fold].test).to(predictions.device)
            found = part.predictions
            if not bool(found.isfinite().all()):
                raise ValueError(f"{op}: X and Y must be smaller, or float64: predictions overflow {found.dtype}")
            predictions[rows, part.columns] = found.to(predictions.device)
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
    placement = place(op, None, y, y=first, yhat=second)
    check_finite(op, "y", first)
    check_finite(op, "yhat", second)
    left, right = (each if each.ndim == 2 else each[:, None] for each in (first, second))
    r = placement.empty(left.shape[1])
    for start in range(0, left.shape[1], _COLUMNS_AT_ONCE):
        part = slice(start, start + _COLUMNS_AT_ONCE)
        r[part] = correlation(load(left, placement, columns=part), load(right, placement, columns=part))
    return placement.hand_back(r[0] if first.ndim == 1 else r)


def _nesting(op: str, X: Any, cv: Any, inner_cv: Any, alphas: Any, selection: str, groups: Any) -> Nesting:
    """What the caller wants, of one setting or of arguments one by one."""
    if not isinstance(cv, CrossValidation):
        return Nesting(cv, inner_cv, alphas, selection)
    n = len(as_array(op, "X", X))
    return resolve_setting(cv, inner_cv, alphas, selection, groups, n)


@dataclass(frozen=True)
class _Splits:
    """How the caller wants samples split, not yet checked."""

    cv: Any
    inner_cv: Any
    groups: Any
    sample_weight: Any


@dataclass(frozen=True)
class _Outer:
    """One outer fold: samples to fit on, how alpha is chosen among them, and samples held out, with their weights."""

    train: Indices
    test: Indices
    choice: Choice
    train_weights: Tensor | None
    test_weights: Tensor | None


@dataclass(frozen=True)
class _Nested:
    """Checked arrays of one feature space, and the outer folds; `op` opens error messages."""

    op: str
    features: Array
    responses: Array
    one_target: bool
    placement: Placement
    outer: tuple[_Outer, ...]
    standardise: bool
    first: int = 0  # number of the first target, where the responses are a part


@dataclass(frozen=True)
class _HeldOut:
    """The m samples that fold number `fold` holds out: responses, and predictions = explained + intercept."""

    fold: int
    columns: slice
    responses: Tensor  # [m, b]
    explained: Tensor  # [m, b]
    intercept: Tensor  # [b]
    alpha: Tensor  # [b]

    @property
    def predictions(self) -> Tensor:
        return self.explained + self.intercept


def _nest(
    op: str, spaces: dict[str, Any], Y: Any, choice: Choice, splits: _Splits, device: Any, standardise: bool = False
) -> dict[str, _Nested]:
    """Check everything before any work. All spaces have the same folds, whatever the splitter draws."""
    if not spaces:
        raise ValueError(f"{op}: X must hold at least one feature space, got none")
    features = {name: as_array(op, name, space) for name, space in spaces.items()}
    for name, each in features.items():
        check_matrix(op, name, each)
    first, *others = features
    n = features[first].shape[0]
    for name in others:
        if features[name].shape[0] != n:
            raise ValueError(
                f"{op}: all feature spaces must have the same number of samples, got {n} in {first} and "
                f"{features[name].shape[0]} in {name}"
            )
    responses, one_target = as_targets(op, Y, n)
    placements = {
        name: place(op, device, spaces[name], **{name: each, "Y": responses}) for name, each in features.items()
    }
    outer = _outer_folds(op, n, choice, splits)
    for name, each in features.items():
        check_finite(op, name, each, column_names(spaces[name]))
    return {
        name: _Nested(op, each, responses, one_target, placements[name], outer, standardise)
        for name, each in features.items()
    }


def _outer_folds(op: str, n: int, choice: Choice, splits: _Splits) -> tuple[_Outer, ...]:
    """The outer folds, and inside each of them the inner ones, of the samples that have a weight."""
    weights = check_weights(op, splits.sample_weight, n)
    scored = op == "cross_val_score"
    # a score needs two held-out samples, a prediction one
    folds = (selection_folds if scored else resolve_folds)(op, splits.cv, n, splits.groups)
    if not (scored or folds.tested_once):
        raise ValueError(f"{op}: cv must hold out every sample exactly once, got folds that do not")
    if hasattr(splits.inner_cv, "__iter__"):
        raise TypeError(
            f"{op}: inner_cv must be an int or a scikit-learn splitter (it splits each training fold), "
            f"got {splits.inner_cv!r}"
        )
    labels = None if splits.groups is None else check_groups(op, splits.groups, n)
    if weights is not None:
        subset(op, folds, np.flatnonzero(weights))  # are enough left?
    outer = []
    for train, test in ((fold.train, fold.test) for fold in folds.folds):
        inner = None
        if choice.selection == "kfold":
            groups = None if labels is None else labels[train]
            inner = selection_folds(op, splits.inner_cv, len(train), groups, argument="inner_cv")
        if weights is None:
            train_weights = test_weights = None
        else:
            kept = np.flatnonzero(weights[train])
            inner, train = inner and subset(op, inner, kept), train[kept]
            test = test[weights[test] > 0] if scored else test
            train_weights, test_weights = (torch.from_numpy(weights[part]) for part in (train, test))
        if inner is None:
            check_sample_count(op, len(train))
        outer.append(_Outer(train, test, replace(choice, folds=inner), train_weights, test_weights))
    return tuple(outer)


@torch.no_grad()
def _held_out(nested: _Nested) -> Iterator[_HeldOut]:
    """Fit each outer fold on its training samples alone and predict what it holds out, block by block."""
    placement = nested.placement
    for number, fold in enumerate(nested.outer):
        weights = None if fold.train_weights is None else fold.train_weights.to(placement.device)
        fitting = Fitting(standardise=nested.standardise, weights=weights)
        solver = factor(load(nested.features, placement, fold.train), fold.choice, fitting)
        tested = load(nested.features, placement, fold.test) - solver.design.offset
        held_out = Targets(nested.responses, placement, fold.test, nested.op, nested.first)
        trained = Targets(nested.responses, placement, fold.train, nested.op, nested.first)
        for block in solve(solver, trained, None, shared=False):
            explained = product(tested, block.coefficients)
            intercept = block.at_offset.to(tested.dtype)
            yield _HeldOut(number, block.columns, held_out.block(block.columns), explained, intercept, block.alpha)


def _parts(responses: Array) -> Iterator[tuple[slice, Array]]:
    """Columns of Y in memory, as many at a time as 1 GiB holds: what is on a disk is read once."""
    n, v = responses.shape
    step = max(1, _BYTES_OF_Y // (n * 8))
    for start in range(0, v, step):
        columns = slice(start, min(start + step, v))
        yield columns, responses[:, columns] if isinstance(responses, Tensor) else np.array(responses[:, columns])


def _score_part(nested: _Nested, scorings: Sequence[str], scores: Tensor, alphas: Tensor) -> None:
    """Write scores [s, f, v] and chosen alphas [f, v]."""
    for part in _held_out(nested):
        alphas[part.fold, part.columns] = part.alpha.to(alphas.device)
        weights = nested.outer[part.fold].test_weights
        if weights is not None:
            weights = weights.to(part.responses.device)
        for number, scoring in enumerate(scorings):
            scores[number, part.fold, part.columns] = (
                # r without the intercept: beside it, what a large alpha leaves would be rounded away
                correlation(part.responses, part.explained, weights)
                if scoring == "r"
                else r_squared(part.responses, part.predictions, weights)
            )
