"""Ridge with an alpha per target: factor the features once, then solve targets block by block."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gradkern import ops
from gradkern.encoding.closed_form import factor_closed_form, score_gcv, score_leave_one_out
from gradkern.encoding.design import Design, make_design
from gradkern.encoding.folds import Folds, resolve_folds
from gradkern.encoding.inputs import Targets, check_alphas, check_choice
from gradkern.encoding.kfold import factor_folds, score_folds
from gradkern.encoding.scored import Scored

SELECTIONS = ("kfold", "loo", "gcv")
SCORINGS = ("r2", "r")
_EQUAL = {torch.float32: 1e-7, torch.float64: 1e-11}  # scores: what their rounding leaves open
_WORKING_SET_BYTES = 256 * 2**20
_MOST_TARGETS = {"cpu": 1024, "cuda": 16384}  # beyond this a block only leaves the cache


_TO: dict[str, Callable[[Design, Tensor], Tensor]] = {
    "primal": Design.to_features,
    "dual": Design.to_samples,
    "none": lambda design, coefficients: coefficients[:0],
}
COEFS = tuple(_TO)


@dataclass(frozen=True)
class Choice:
    """How alpha is chosen: among `alphas` [a], float64 and largest first; `folds` for "kfold" only.

    `shared` is one alpha for all targets: the one with the best mean score.
    """

    alphas: Tensor
    selection: str
    scoring: str
    folds: Folds | None = None
    shared: bool = False


@dataclass(frozen=True)
class Fitting:
    """What is fitted besides: an intercept, standardised features, weights of samples [n] in float64, coefficients.

    `coef` is "primal", "dual" (of the samples) or "none".
    """

    intercept: bool = True
    standardise: bool = False
    weights: Tensor | None = None
    coef: str = "primal"


def make_choice(op: str, alphas: Any, selection: str, scoring: str) -> Choice:
    """Check the options of the choice; folds come later."""
    check_choice(op, "selection", selection, SELECTIONS)
    check_choice(op, "scoring", scoring, SCORINGS)
    if selection == "gcv" and scoring == "r":
        raise ValueError(
            f"{op}: scoring must be 'r2' with selection='gcv', got 'r' (GCV makes no held-out predictions)"
        )
    return Choice(torch.from_numpy(check_alphas(op, alphas)), selection, scoring)


def selection_folds(op: str, cv: Any, n_samples: int, groups: Any, *, argument: str = "cv") -> Folds:
    """Folds to choose alpha on: as `resolve_folds`, and each must test enough samples for a score."""
    folds = resolve_folds(op, cv, n_samples, groups, argument=argument)
    smallest = min(len(fold.test) for fold in folds.folds)
    if smallest < 2:
        raise ValueError(
            f"{op}: {argument} must test at least 2 samples in every fold, for a score, got {smallest} "
            f"(n_samples={n_samples})"
        )
    return folds


@dataclass(frozen=True)
class Solver:
    """Everything about the features that solving for targets needs."""

    alphas: Tensor
    score: Callable[[Tensor], Scored]
    design: Design
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


def factor(X: Tensor, choice: Choice, fitting: Fitting) -> Solver:
    """Eigendecompose all that the choice of alpha and the refit need, for features X [n, d]."""
    design = make_design(X, fitting.intercept, fitting.weights, fitting.standardise)
    alphas = choice.alphas.to(X.device)
    score: Callable[[Tensor], Scored]
    n, q = design.coordinates.shape
    if choice.folds is not None:
        folds = factor_folds(
            design, choice.folds, alphas, choice.scoring, X if fitting.standardise else None, sharp=True
        )
        score = partial(score_folds, folds)
        held = 6 * n + (len(choice.folds) + 11) * q
    else:
        closed = factor_closed_form(design, alphas, choice.scoring)
        score = partial(score_leave_one_out if choice.selection == "loo" else score_gcv, closed)
        held = 10 * n + 4 * q
    bytes_per_target = X.element_size() * (held + X.shape[1]) + 8 * 4 * len(alphas)
    return Solver(alphas, score, design, fitting.coef, bytes_per_target)


def blocks(solver: Solver, n_targets: int, max_memory: int | None) -> Iterator[slice]:
    """Ranges of targets whose working set fits into so many bytes."""
    memory = _WORKING_SET_BYTES if max_memory is None else max_memory
    most = _MOST_TARGETS[solver.alphas.device.type]
    size = max(1, min(most, memory // solver.bytes_per_target))
    for start in range(0, n_targets, size):
        yield slice(start, min(start + size, n_targets))


def solve(solver: Solver, targets: Targets, max_memory: int | None, shared: bool) -> Iterator[Solution]:
    """Choose alpha and solve, for every block of targets in turn; a shared alpha takes a first turn to choose."""
    chosen = None
    if shared:
        total = torch.zeros_like(solver.alphas)
        for columns in blocks(solver, targets.n_targets, max_memory):
            scores = _scored(solver, targets.block(columns))[1].scores
            total += torch.where(scores.isnan(), 0.0, scores).sum(1)
        chosen = first_best(total[:, None], torch.float32)[0]
    for columns in blocks(solver, targets.n_targets, max_memory):
        yield _solve_block(solver, targets.block(columns), columns, chosen)


def _scored(solver: Solver, responses: Tensor) -> tuple[Tensor, Scored, Tensor]:
    """What responses are taken about [b], their scores, and which have a NaN: these count as constant."""
    missing = responses.sum(0).isnan()
    if bool(missing.any()):
        missing = responses.isnan().any(0)  # a sum may overflow
        responses = responses.masked_fill(missing, 0.0)
    offset = torch.zeros_like(responses[0])
    if solver.design.intercept:
        # the mean rounded to the targets' dtype: subtracting that is all but exact, and its rest is accounted for
        offset = responses.mean(0)
        responses = responses - offset
    scored = solver.score(responses)
    scored.scores[:, scored.constant] = torch.nan
    return offset, scored, missing


def first_best(scores: Tensor, dtype: torch.dtype) -> Tensor:
    """Which alpha [b] has the best of scores [a, b], to rounding.

    Alphas descend: of equals the larger wins, the largest where no score is. A perfect fit has many equals.
    """
    ordered = torch.where(scores.isnan(), -torch.inf, scores)
    best = ordered.amax(0)
    enough = best - _EQUAL[dtype] * (1 + best.abs())
    return torch.where(best.isneginf(), True, ordered >= enough).int().argmax(0)


def _solve_block(solver: Solver, responses: Tensor, columns: slice, chosen: Tensor | None) -> Solution:
    design = solver.design
    offset, scored, missing = _scored(solver, responses)
    scores = scored.scores
    best = first_best(scores, responses.dtype)
    if chosen is not None:
        best = chosen.expand_as(best)
    alpha = solver.alphas[best]
    score = scores.gather(0, best[None])[0]
    placed = ops.select_scale(scored.cross, design.values, alpha)
    coefficients = _TO[solver.coef](design, placed)
    coefficients[:, scored.constant] = 0
    at_offset = torch.zeros_like(scored.mean)
    if design.intercept:
        at_offset = offset + scored.mean - design.at_leftover(placed)
        at_offset[scored.constant] = responses[0, scored.constant].double()
    for result in (alpha, score, scores.T, coefficients.T, at_offset):
        result[missing] = torch.nan
    return Solution(
        columns=columns,
        alpha=alpha,
        score=score,
        scores=scores,
        coefficients=coefficients,
        at_offset=at_offset,
        undefined=scored.undefined,
        constant=scored.constant & ~missing,
        missing=missing,
    )


class Tally:
    """Counts the targets that could not be scored as asked, to say so once."""

    def __init__(self, n_targets: int) -> None:
        self.n_targets = n_targets
        self.constant = self.unscored = self.partly = self.missing = 0

    def add(self, block: Solution) -> None:
        """Count a block."""
        unscored = block.score.isnan()
        self.missing += int(block.missing.sum())
        self.constant += int(block.constant.sum())
        self.unscored += int((unscored & ~block.constant & ~block.missing).sum())
        self.partly += int((~unscored & (block.undefined > 0)).sum())

    def warn(self, op: str, stacklevel: int) -> None:
        """Warn of what was counted."""
        for count, what in (
            (self.missing, "hold NaN; their scores, alphas and coefficients are NaN"),
            (self.constant, "are constant; their scores are NaN and their coefficients 0"),
            (
                self.unscored,
                "vary but have no defined score; their scores are NaN and their alpha is the largest",
            ),
            (
                self.partly,
                "have no defined score in some folds, where responses or predictions do not vary; "
                "their scores are means over the other folds",
            ),
        ):
            if count:
                warnings.warn(f"{op}: {count} of {self.n_targets} targets {what}", stacklevel=stacklevel)
