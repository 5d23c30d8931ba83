"""Ridge with an alpha per target: factor the features once, then solve targets block by block."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gradkern.kernels import ops
from gradkern.ridge._engine.blocks import Gpu, StreamedTargets, TargetBlock, blocks_of
from gradkern.ridge._engine.cholesky import factor_folds_by_cholesky, suits_cholesky, whiten
from gradkern.ridge._engine.folds import Folds
from gradkern.ridge._engine.inputs import Targets, check_alphas, check_choice
from gradkern.ridge._engine.kfold import factor_folds, score_folds
from gradkern.ridge._engine.loo_gcv import factor_closed_form, score_gcv, score_leave_one_out
from gradkern.ridge._engine.metrics import FoldScores
from gradkern.ridge._engine.principal_coordinates import PrincipalCoordinates, principal_coordinates

SELECTIONS = ("kfold", "loo", "gcv")
SCORINGS = ("r2", "r")
_ERRORS = ("neg_mean_squared_error", "neg_root_mean_squared_error", "mean_squared_error", "mse")
EQUAL = {torch.float32: 1e-7, torch.float64: 1e-11}  # scores: what their rounding leaves open
_WORKING_SET_BYTES = {"cpu": 256 * 2**20, "cuda": 4 * 2**30}  # by default
_MOST_TARGETS = {"cpu": 1024, "cuda": 16384}  # beyond this a block only leaves the cache


_COEFFICIENTS: dict[str, Callable[[PrincipalCoordinates, Tensor], Tensor]] = {
    "primal": PrincipalCoordinates.to_features,
    "dual": PrincipalCoordinates.to_samples,
    "none": lambda principal, coefficients: coefficients[:0],
}
COEFS = tuple(_COEFFICIENTS)


@dataclass(frozen=True)
class AlphaSelection:
    """How alpha is chosen: the grid `alphas` [a] in float64, largest first, and the `folds` of "kfold".

    `shared` is one alpha for all targets: the one with the best mean score.
    """

    alphas: Tensor
    method: str
    scoring: str
    folds: Folds | None = None
    shared: bool = False


@dataclass(frozen=True)
class FitOptions:
    """Options of a fit: intercept, standardized features, weights of samples [n] in float64, kind of coefficients.

    `coef` is "primal", "dual" (of the samples) or "none".
    """

    intercept: bool = True
    standardize: bool = False
    weights: Tensor | None = None
    coef: str = "primal"


def check_scoring(scoring: Any) -> None:
    """ValueError unless the scores of all alphas come from sums, without predictions."""
    if callable(scoring):
        raise ValueError(
            "scoring must be one of 'r2', 'r', got a function: it would need the predictions of every alpha, which are "
            "never formed; cross_val_predict gives those of the chosen alpha"
        )
    if scoring in _ERRORS:
        raise ValueError(
            f"scoring must be one of 'r2', 'r', got {scoring!r}; in a fold, R2 orders a target's alphas as its squared "
            "error does"
        )
    check_choice("scoring", scoring, SCORINGS)


def alpha_selection(alphas: Any, selection: str, scoring: str) -> AlphaSelection:
    """Check the options of the selection; folds come later."""
    check_choice("selection", selection, SELECTIONS)
    check_scoring(scoring)
    if selection == "gcv" and scoring == "r":
        raise ValueError("scoring must be 'r2' with selection='gcv', got 'r' (GCV makes no held-out predictions)")
    return AlphaSelection(torch.from_numpy(check_alphas(alphas)), selection, scoring)


@dataclass(frozen=True)
class Solver:
    """Everything about the features that solving for targets needs.

    `shrink` makes of Z'Y [q, b] and the alpha [b] of each target the coefficients [q, b] of the coordinates Z.
    """

    alphas: Tensor
    score: Callable[[Tensor], FoldScores]
    shrink: Callable[[Tensor, Tensor], Tensor]
    principal: PrincipalCoordinates
    coef: str
    bytes_per_target: int


@dataclass(frozen=True)
class Solution:
    """A block of b targets: alpha [b], score [b], the scores of all alphas [a, b], coefficients [d, b] or [n, b].

    `at_offset` [b] in float64 is the prediction where the features are at the solver's offset; `undefined`
    [b] counts folds that gave no score, `constant` [b] marks targets with one value throughout, and `missing` [b] those
    with a NaN.
    """

    columns: slice
    alpha: Tensor
    score: Tensor
    scores: Tensor
    coefficients: Tensor
    at_offset: Tensor
    undefined: Tensor
    constant: Tensor
    missing: Tensor


def factor(X: Tensor, selection: AlphaSelection, options: FitOptions) -> Solver:
    """Decompose all that the selection of alpha and the refit need, for features X [n, d].

    By eigenpairs, or where it suits (see `suits_cholesky`) by Cholesky factors for every alpha.
    """
    folds = selection.folds
    plain = not options.standardize and options.coef != "dual"
    if folds is not None and plain and suits_cholesky(X, folds, len(selection.alphas)):
        solver = factor_by_cholesky(X, selection, folds, options)
        if solver is not None:
            return solver
    principal = principal_coordinates(X, options.intercept, options.weights, options.standardize)
    alphas = selection.alphas.to(X.device)
    score: Callable[[Tensor], FoldScores]
    n, q = principal.coordinates.shape
    if folds is not None:
        factored = factor_folds(
            principal, folds, alphas, selection.scoring, X if options.standardize else None, sharp=True
        )
        score = partial(score_folds, factored)
        held = 6 * n + (len(folds) + 11) * q
    else:
        closed = factor_closed_form(principal, alphas, selection.scoring)
        score = partial(score_leave_one_out if selection.method == "loo" else score_gcv, closed)
        held = 10 * n + 4 * q
    bytes_per_target = _bytes_per_target(X, held + X.shape[1], len(alphas))
    shrink = lambda cross, alpha: ops.select_scale(cross, principal.values, alpha)  # noqa: E731
    return Solver(alphas, score, shrink, principal, options.coef, bytes_per_target)


def factor_by_cholesky(X: Tensor, selection: AlphaSelection, folds: Folds, options: FitOptions) -> Solver | None:
    """`factor` without eigenpairs; None where features [n, d] are too close to singular for it."""
    whitened = whiten(X, options.intercept, options.weights, float(selection.alphas[-1]))
    if whitened is None:
        return None
    alphas = selection.alphas.to(X.device)
    factored = factor_folds_by_cholesky(whitened, folds, alphas, selection.scoring)
    if factored is None:
        return None
    tested = max(len(fold.test) for fold in folds.folds)
    held = 6 * len(X) + (len(folds) + 12) * X.shape[1] + 10 * tested
    size = _bytes_per_target(X, held, len(alphas))
    return Solver(alphas, partial(score_folds, factored), whitened.shrink, whitened.principal, options.coef, size)


def _bytes_per_target(X: Tensor, held: int, a: int) -> int:
    """Bytes a target takes, of `held` values; on a GPU two more blocks are read and copied while one is solved."""
    ahead = 2 * len(X) if X.is_cuda else 0
    return X.element_size() * (held + ahead) + 8 * 4 * a


def blocks(solver: Solver, n_targets: int, max_memory: int | None) -> Iterator[slice]:
    """Ranges of targets whose working set fits into so many bytes."""
    return target_blocks(solver.bytes_per_target, solver.alphas.device, n_targets, max_memory)


def target_blocks(
    bytes_per_target: int, device: torch.device, n_targets: int, max_memory: int | None
) -> Iterator[slice]:
    """Ranges of targets that take at most so many bytes, or the engine's own limit where None are given."""
    memory = _WORKING_SET_BYTES[device.type] if max_memory is None else max_memory
    size = max(1, min(_MOST_TARGETS[device.type], memory // bytes_per_target))
    for start in range(0, n_targets, size):
        yield slice(start, min(start + size, n_targets))


def solve(
    solver: Solver, targets: Targets | StreamedTargets, max_memory: int | None, shared: bool
) -> Generator[Solution, None, None]:
    """Choose alpha and solve, for every block of targets in turn; a shared alpha takes a first turn to choose."""
    chosen = None
    if shared:
        total = torch.zeros_like(solver.alphas)
        for _, responses in _read(solver, targets, max_memory):
            scores = _center_and_score(solver, responses)[1].scores
            total += torch.where(scores.isnan(), 0.0, scores).sum(1)
        chosen = first_best(total[:, None], torch.float32)[0]
    with closing(_read(solver, targets, max_memory)) as read:
        for columns, responses in read:
            yield _solve_block(solver, responses, columns, chosen)


def _read(
    solver: Solver, targets: Targets | StreamedTargets, max_memory: int | None
) -> Generator[tuple[slice, Tensor], None, None]:
    """Blocks of targets to compute with, and which they are."""
    pieces = (
        TargetBlock(slice(start + within.start, start + within.stop), part, within)
        for start, part in targets.parts()
        for within in blocks(solver, part.n_targets, max_memory)
    )
    return blocks_of(pieces, Gpu(targets.plan.device) if targets.on_host else None)


@dataclass(frozen=True)
class CenteredTargets:
    """A block of targets [n, b] about `offset` [b]; those that are `missing` [b] hold a NaN, and are zeros here.

    `first` [b] are the responses to the first sample.
    """

    values: Tensor
    offset: Tensor
    missing: Tensor
    first: Tensor

    def at_offset(self, mean: Tensor, moved: Tensor, constant: Tensor) -> Tensor:
        """Predictions [b] at the offset of the features, in float64; exact for constant targets.

        `mean` [b] is that of the values, `moved` [b] what the coefficients predict at the mean of the features.
        """
        predicted = self.offset + mean - moved
        predicted[constant] = self.first[constant].double()
        return predicted


def center_targets(responses: Tensor, intercept: bool) -> CenteredTargets:
    """Responses [n, b] about their means if there is an intercept, and which have a NaN."""
    missing, first = responses.sum(0).isnan(), responses[0]
    if bool(missing.any()):
        missing = responses.isnan().any(0)  # a sum may overflow
        responses = responses.masked_fill(missing, 0.0)
    if not intercept:
        return CenteredTargets(responses, torch.zeros_like(first), missing, first)
    # the mean rounded to the targets' dtype: subtracting that is all but exact, and its rest is accounted for
    offset = responses.mean(0)
    return CenteredTargets(responses - offset, offset, missing, first)


def _center_and_score(solver: Solver, responses: Tensor) -> tuple[CenteredTargets, FoldScores]:
    """Responses about their means, and their scores; those with a NaN count as constant."""
    block = center_targets(responses, solver.principal.intercept)
    fold_scores = solver.score(block.values)
    fold_scores.scores[:, fold_scores.constant] = torch.nan
    return block, fold_scores


def first_best(scores: Tensor, dtype: torch.dtype) -> Tensor:
    """Index [b] of the alpha with the best of scores [a, b], to rounding.

    Alphas descend: of equals the larger wins, the largest where no score is. A perfect fit has many equals.
    """
    ordered = torch.where(scores.isnan(), -torch.inf, scores)
    best = ordered.amax(0)
    enough = best - EQUAL[dtype] * (1 + best.abs())
    return torch.where(best.isneginf(), True, ordered >= enough).int().argmax(0)


def _solve_block(solver: Solver, responses: Tensor, columns: slice, chosen: Tensor | None) -> Solution:
    principal = solver.principal
    block, fold_scores = _center_and_score(solver, responses)
    scores = fold_scores.scores
    best = first_best(scores, responses.dtype)
    if chosen is not None:
        best = chosen.expand_as(best)
    alpha = solver.alphas[best]
    score = scores.gather(0, best[None])[0]
    placed = solver.shrink(fold_scores.cross, alpha)
    coefficients = _COEFFICIENTS[solver.coef](principal, placed)
    coefficients[:, fold_scores.constant] = 0
    at_offset = torch.zeros_like(fold_scores.mean)
    if principal.intercept:
        at_offset = block.at_offset(fold_scores.mean, principal.at_leftover(placed), fold_scores.constant)
    for result in (alpha, score, scores.T, coefficients.T, at_offset):
        result[block.missing] = torch.nan
    return Solution(
        columns=columns,
        alpha=alpha,
        score=score,
        scores=scores,
        coefficients=coefficients,
        at_offset=at_offset,
        undefined=fold_scores.undefined,
        constant=fold_scores.constant & ~block.missing,
        missing=block.missing,
    )
