"""Ridge with an alpha per target: factor the features once, then solve targets block by block."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gradkern.encoding.closed_form import factor_closed_form, score_gcv, score_leave_one_out
from gradkern.encoding.design import Design, make_design
from gradkern.encoding.folds import Folds, resolve_folds
from gradkern.encoding.inputs import Targets, check_alphas, check_choice
from gradkern.encoding.kfold import factor_folds, score_folds
from gradkern.encoding.metrics import sum_about_mean
from gradkern.encoding.scored import Scored, constant_targets

SELECTIONS = ("kfold", "loo", "gcv")
SCORINGS = ("r2", "r")
_WORKING_SET_BYTES = 256 * 2**20
_MOST_TARGETS = {"cpu": 1024, "cuda": 16384}  # beyond this a block only leaves the cache


@dataclass(frozen=True)
class Choice:
    """How alpha is chosen: among `alphas` [a], float64 and largest first; `folds` for "kfold" only."""

    alphas: Tensor
    selection: str
    scoring: str
    folds: Folds | None = None


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
    bytes_per_target: int


@dataclass(frozen=True)
class Solution:
    """A block of b targets: alpha [b], score [b] and coefficients [d, b].

    `at_offset` [b] in float64 is the prediction where the features are at the solver's offset; `undefined`
    [b] counts folds that gave no score, and `constant` [b] marks targets with one value throughout.
    """

    columns: slice
    alpha: Tensor
    score: Tensor
    coefficients: Tensor
    at_offset: Tensor
    undefined: Tensor
    constant: Tensor


def factor(X: Tensor, intercept: bool, choice: Choice) -> Solver:
    """Eigendecompose all that the choice of alpha and the refit need, for features X [n, d]."""
    design = make_design(X, intercept)
    alphas = choice.alphas.to(X.device)
    score: Callable[[Tensor], Scored]
    n, q = design.coordinates.shape
    if choice.folds is not None:
        folds = factor_folds(design, choice.folds, alphas, choice.scoring)
        score = partial(score_folds, folds)
        held = 6 * n + (len(choice.folds) + 11) * q
    else:
        closed = factor_closed_form(design, alphas, choice.scoring)
        score = partial(score_leave_one_out if choice.selection == "loo" else score_gcv, closed)
        held = 10 * n + 4 * q
    bytes_per_target = X.element_size() * (held + X.shape[1]) + 8 * 4 * len(alphas)
    return Solver(alphas, score, design, bytes_per_target)


def blocks(solver: Solver, n_targets: int, block_size: int | None) -> Iterator[slice]:
    """Ranges of targets that fit the working set, or of the size asked for."""
    if block_size is None:
        most = _MOST_TARGETS[solver.alphas.device.type]
        block_size = max(1, min(most, _WORKING_SET_BYTES // solver.bytes_per_target))
    for start in range(0, n_targets, block_size):
        yield slice(start, min(start + block_size, n_targets))


def solve(solver: Solver, targets: Targets, block_size: int | None) -> Iterator[Solution]:
    """Choose alpha and solve, for every block of targets in turn."""
    for columns in blocks(solver, targets.n_targets, block_size):
        yield _solve_block(solver, targets.block(columns), columns)


def _solve_block(solver: Solver, responses: Tensor, columns: slice) -> Solution:
    design = solver.design
    mean = responses.double().mean(0)
    # the mean rounded to the targets' dtype: subtracting that is all but exact, and its rest is accounted for
    offset = mean.to(responses.dtype) if design.intercept else torch.zeros_like(responses[0])
    Y = responses - offset if design.intercept else responses
    spread = sum_about_mean(Y)
    constant = constant_targets(responses, slice(None), spread, spread + len(Y) * mean.square())
    scored = solver.score(Y)
    scores = scored.scores
    scores[:, constant] = torch.nan
    # alphas descend and argmax takes the first: of equals the larger wins, the largest where no score is
    best = torch.where(scores.isnan(), -torch.inf, scores).argmax(0)
    alpha = solver.alphas[best]
    coefficients = design.to_features(scored.cross / (design.values[:, None] + alpha).to(Y.dtype))
    coefficients[:, constant] = 0
    at_offset = torch.zeros_like(mean)
    if design.intercept:
        at_offset = offset + scored.mean - design.leftover @ coefficients.double()
        at_offset[constant] = responses[0, constant].double()
    return Solution(
        columns=columns,
        alpha=alpha,
        score=scores.gather(0, best[None])[0],
        coefficients=coefficients,
        at_offset=at_offset,
        undefined=scored.undefined,
        constant=constant,
    )


class Tally:
    """Counts the targets that could not be scored as asked, to say so once."""

    def __init__(self, n_targets: int) -> None:
        self.n_targets = n_targets
        self.constant = self.unscored = self.partly = 0

    def add(self, block: Solution) -> None:
        """Count a block."""
        missing = block.score.isnan()
        self.constant += int(block.constant.sum())
        self.unscored += int((missing & ~block.constant).sum())
        self.partly += int((~missing & (block.undefined > 0)).sum())

    def warn(self, op: str, stacklevel: int) -> None:
        """Warn of what was counted."""
        for count, what in (
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
