"""Scores and predictions on held-out samples, with alphas chosen inside each training fold."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradkern.errors import naming
from gradkern.ridge._alphas import DEFAULT_ALPHAS
from gradkern.ridge._cross_validation import CrossValidation, Nesting, resolve_setting
from gradkern.ridge._engine.folds import (
    are_others,
    check_groups,
    check_inner_cv,
    inner_folds,
    resolve_folds,
    selection_folds,
    subset,
)
from gradkern.ridge._engine.inputs import (
    Array,
    as_array,
    as_feature_spaces,
    as_targets,
    check_finite,
    check_sample_count,
    check_weights,
    column_names,
    device_plan,
    load,
)
from gradkern.ridge._engine.metrics import correlation
from gradkern.ridge._engine.nested import OuterFolds, outer_folds_of
from gradkern.ridge._engine.precision import multiplying
from gradkern.ridge._engine.solve import AlphaSelection, alpha_selection, check_scoring
from gradkern.ridge._engine.target_counts import warn
from gradkern.ridge._nested_scores import HeldOutScores, NestedProblem, OuterFold, Write, held_out_samples, score_all

_COLUMNS_AT_ONCE = 1024


@naming("cross_val_score")
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
    standardize: bool = False,
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
    inner_cv : inner folds, for ``selection="kfold"``: int, scikit-learn splitter, or "outer": the other outer folds,
        which takes about half of the time, as a fit without two folds serves both
    groups : [n] labels that neither the outer nor the inner folds may split ("loo" and "gcv" choose alpha
        without looking at them)
    sample_weight : [n] weights, not negative: a weight of w counts as w samples, in every choice, fit and score
    scoring : score of the held-out samples of a fold, "r" (Pearson) or "r2"; of several, s of them, the fits are the
        same
    selection : how alpha is chosen, as in `RidgeCV`
    standardize : whether every fit divides each feature by its standard deviation in the fit's training samples
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
    scorings = _scorings(scoring)
    spaces = dict(X) if isinstance(X, Mapping) else {"X": X}
    nesting = _nesting(next(iter(spaces.values()), ()), cv, inner_cv, alphas, selection, groups)
    if standardize and nesting.selection != "kfold":
        raise ValueError(f"standardize needs selection='kfold', got selection={nesting.selection!r}")
    nested = _nest(spaces, Y, nesting, groups, sample_weight, device, standardize=standardize)
    results = {name: HeldOutScores.empty(problem, scorings) for name, problem in nested.items()}

    def keep(name: str, targets: slice | Tensor, scored: HeldOutScores) -> None:
        results[name].scores[..., targets] = scored.scores
        results[name].alphas[:, targets] = scored.alphas

    _score_and_warn(nested, scorings, keep, is_named=isinstance(X, Mapping))
    single = isinstance(scoring, str)
    scores = {name: result.scores_to_caller(nested[name], single) for name, result in results.items()}
    chosen = {name: result.alphas_to_caller(nested[name]) for name, result in results.items()}
    if not isinstance(X, Mapping):
        return (scores["X"], chosen["X"]) if return_alphas else scores["X"]
    return (scores, chosen) if return_alphas else scores


@naming("cross_val_score")
def stream_scores(
    X: Mapping[str, Any],
    Y: Any,
    nesting: Nesting,
    groups: Any,
    scorings: tuple[str, ...],
    write: Write,
) -> None:
    """`cross_val_score` of several feature spaces, part by part of the targets, each given to `write` once it is known.

    Parameters
    ----------
    nesting : outer folds, as pairs of indices, inner folds, penalties and how they are chosen
    write : takes the name of a feature space, targets as a slice or numbers, and their scores. Targets may come again,
        by their numbers, in the place of what was given before.
    """
    nested = _nest(dict(X), Y, nesting, groups, None, None)
    _score_and_warn(nested, _scorings(scorings), write, is_named=True)


def _scorings(scoring: Any) -> tuple[str, ...]:
    if callable(scoring):
        check_scoring(scoring)
    scorings = (scoring,) if isinstance(scoring, str) else tuple(scoring)
    for name in scorings or (scoring,):
        check_scoring(name)
    return scorings


def _score_and_warn(
    nested: Mapping[str, NestedProblem], scorings: tuple[str, ...], write: Write, *, is_named: bool
) -> None:
    """Score all feature spaces, and warn of targets that have no score in a fold."""
    count = next(iter(nested.values())).responses.shape[1]
    undefined = {name: torch.zeros(count, dtype=torch.bool) for name in nested}

    def count_and_write(name: str, targets: slice | Tensor, scored: HeldOutScores) -> None:
        undefined[name][targets] = scored.scores.isnan().any(0).any(0).cpu()
        write(name, targets, scored)

    with multiplying("float32"):
        score_all(nested, scorings, count_and_write)
    for name, targets in undefined.items():
        if bool(targets.any()):
            source = f" of {name!r}" if is_named else ""
            warn(
                "cross_val_score",
                f"{int(targets.sum())} of {count} targets{source} have no defined score in some folds, "
                "where responses or predictions do not vary, or responses hold NaN; those scores are NaN",
            )


@naming("cross_val_predict")
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
    nesting = _nesting(X, cv, inner_cv, alphas, selection, groups)
    nested = _nest({"X": X}, Y, nesting, groups, sample_weight, device, scored=False)["X"]
    check_finite("Y", nested.responses)
    predictions = nested.plan.empty(*nested.responses.shape)
    with multiplying("float32"):
        for held in held_out_samples(nested):
            rows = torch.from_numpy(nested.outer[held.fold].test).to(predictions.device)
            predicted = held.predictions
            if not bool(predicted.isfinite().all()):
                raise ValueError(f"X and Y must be smaller, or float64: predictions overflow {predicted.dtype}")
            predictions[rows, held.columns] = predicted.to(predictions.device)
    return nested.plan.to_caller(predictions[:, 0] if nested.one_target else predictions)


@naming("pearson_r")
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
    first, second = as_array("y", y), as_array("yhat", yhat)
    if first.shape != second.shape or first.ndim not in (1, 2) or first.shape[0] < 2:
        raise ValueError(
            f"y and yhat must both be [n, v] or [n] with n of at least 2, got {tuple(first.shape)} and "
            f"{tuple(second.shape)}"
        )
    plan = device_plan(None, y, y=first, yhat=second)
    check_finite("y", first)
    check_finite("yhat", second)
    left, right = (array if array.ndim == 2 else array[:, None] for array in (first, second))
    r = plan.empty(left.shape[1])
    for start in range(0, left.shape[1], _COLUMNS_AT_ONCE):
        columns = slice(start, start + _COLUMNS_AT_ONCE)
        r[columns] = correlation(load(left, plan, columns=columns), load(right, plan, columns=columns))
    return plan.to_caller(r[0] if first.ndim == 1 else r)


def _nesting(X: Any, cv: Any, inner_cv: Any, alphas: Any, selection: str, groups: Any) -> Nesting:
    """The setting of a call, which a `CrossValidation` needs the number of samples for."""
    n = len(as_array("X", X)) if isinstance(cv, CrossValidation) else 0
    return resolve_setting(cv, inner_cv, alphas, selection, groups, n)


def _nest(
    spaces: dict[str, Any],
    Y: Any,
    nesting: Nesting,
    groups: Any,
    sample_weight: Any,
    device: Any,
    *,
    standardize: bool = False,
    scored: bool = True,
) -> dict[str, NestedProblem]:
    """Check everything before any work. All spaces have the same folds, whatever the splitter draws."""
    selection = alpha_selection(nesting.alphas, nesting.selection, "r2")
    if not spaces:
        raise ValueError("X must hold at least one feature space, got none")
    features = as_feature_spaces(spaces)
    n = next(iter(features.values())).shape[0]
    responses, one_target = as_targets(Y, n)
    plans = {
        name: device_plan(device, spaces[name], **{name: array, "Y": responses}) for name, array in features.items()
    }
    weights = check_weights(sample_weight, n)
    outer, shared = _outer_folds(nesting, selection, groups, weights, n, scored)
    shared = shared if scored and not standardize else None
    for name, array in features.items():
        check_finite(name, array, column_names(spaces[name]))
    return {
        name: NestedProblem(array, responses, one_target, plans[name], outer, standardize, shared=shared)
        for name, array in features.items()
    }


def _outer_folds(
    nesting: Nesting,
    selection: AlphaSelection,
    groups: Any,
    weights: NDArray[np.float64] | None,
    n: int,
    scored: bool,
) -> tuple[tuple[OuterFold, ...], OuterFolds | None]:
    """The outer folds, and inside each of them the inner ones, of the samples that have a weight.

    Also the folds whose statistics all fits can share; None where they cannot.
    """
    # a score needs two held-out samples, a prediction one
    folds = (selection_folds if scored else resolve_folds)(nesting.cv, n, groups)
    if not (scored or folds.tested_once):
        raise ValueError("cv must hold out every sample exactly once, got folds that do not")
    check_inner_cv(nesting.inner_cv)
    labels = None if groups is None else check_groups(groups, n)
    if weights is not None:
        subset(folds, np.flatnonzero(weights))  # are enough left?
    outer = []
    is_inner = folds.partition
    for number, (train, test) in enumerate((fold.train, fold.test) for fold in folds.folds):
        inner = inner_folds(nesting.inner_cv, folds, number, labels) if selection.method == "kfold" else None
        is_inner = is_inner and inner is not None and are_others(inner, folds, number)
        if weights is None:
            train_weights = test_weights = None
        else:
            kept = np.flatnonzero(weights[train])
            inner, train = inner and subset(inner, kept), train[kept]
            test = test[weights[test] > 0] if scored else test
            train_weights, test_weights = (torch.from_numpy(weights[rows]) for rows in (train, test))
        if inner is None:
            check_sample_count(len(train))
        outer.append(OuterFold(train, test, replace(selection, folds=inner), train_weights, test_weights))
    is_shared = folds.partition and weights is None and (is_inner or selection.method == "gcv")
    return tuple(outer), outer_folds_of([fold.test for fold in folds.folds], is_inner) if is_shared else None
