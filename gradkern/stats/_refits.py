"""Cross-validated scores of permuted responses, from features that are factored once.

A fold's features, their eigenpairs and what predicts its held-out samples do not depend on the responses. Only the
products with the responses and the choice of alpha are computed anew for every permutation.

With GCV, and folds that hold out each sample once, a fold takes little more than three products. With the coordinates
Z [n, q] of all features, C = Z'Y and C_f = Z_f'Y_f, the eigenpairs V diag(l) V' of its training Gram matrix, and the
means m, t of its training features and responses:

    U'Y   = l^-1/2 V' (C - C_f - n_train m t')       from which the alpha of the least GCV follows, and
    yhat  = P (U'Y / (l + alpha)),   P = (Z_f - mean(Z_f)) V l^1/2       its held-out predictions about their mean.

The term of the means is one more column of V', as a column of ones in Z gives the sums of Y.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from gradkern.kernels import ops
from gradkern.ridge._engine.folds import Fold, Folds
from gradkern.ridge._engine.inputs import DevicePlan, Targets
from gradkern.ridge._engine.kfold import fold_gram, sum_of
from gradkern.ridge._engine.metrics import correlation
from gradkern.ridge._engine.precision import product
from gradkern.ridge._engine.principal_coordinates import (
    PrincipalCoordinates,
    eigenpairs,
    principal_coordinates,
    rotated,
)
from gradkern.ridge._engine.solve import EQUAL, AlphaSelection, FitOptions, Solver, factor, solve

# Sum of squares of all samples along a direction, over that of a fold's training samples, beyond which C - C_f is
# rounding there. Without such folds it stays under 10.
_BLUR = 30


@dataclass(frozen=True)
class OrderScores:
    """Scores of b targets under one order of the responses.

    Attributes
    ----------
    r : [b] in float64, the mean over folds, to which a fold with an undefined r contributes 0
    undefined : bool [b], whether r was undefined in any fold, because responses or predictions did not vary there
    alphas : of every fold [b], the chosen penalties; none where nothing was fitted
    """

    r: Tensor
    undefined: Tensor
    alphas: tuple[Tensor, ...] = ()


# of responses Y [n, b] under an order [n]
Score: TypeAlias = Callable[[Tensor, Tensor], OrderScores]


def refit(X: Tensor, folds: Folds, choices: tuple[AlphaSelection, ...], plan: DevicePlan) -> Score:
    """Make the function that scores any order of the responses to X [n, d], choosing alphas by one of `choices` a fold.

    A fold whose held-out predictions or responses are constant contributes 0 to r and is marked as undefined. The
    statistic is then one function of the responses, the same for the measured order and for every permutation, and the
    permutation test of it is exact.
    """
    if choices[0].method == "gcv" and folds.partition:
        return make_refits(X, folds, choices[0].alphas.to(X.device)).score
    return Engine(X, folds, choices, plan).score


class Engine:
    """Every way to choose alpha and every kind of folds, by the solvers of `gradkern.cross_val_score`."""

    def __init__(self, X: Tensor, folds: Folds, choices: tuple[AlphaSelection, ...], plan: DevicePlan) -> None:
        self._folds, self._plan = folds.folds, plan
        self._solvers: list[tuple[Solver, Tensor]] = []
        for fold, choice in zip(folds.folds, choices, strict=True):
            solver = factor(X[torch.from_numpy(fold.train).to(X.device)], choice, FitOptions())
            tested = X[torch.from_numpy(fold.test).to(X.device)] - solver.principal.offset
            self._solvers.append((solver, torch.zeros_like(tested) if _same_rows(tested) else tested))

    def score(self, Y: Tensor, order: Tensor) -> OrderScores:
        total = Y.new_zeros(Y.shape[1], dtype=torch.float64)
        undefined, alphas = total.bool(), []
        rows = order.cpu().numpy()
        for fold, (solver, tested) in zip(self._folds, self._solvers, strict=True):
            held_out = Y[torch.from_numpy(rows[fold.test]).to(Y.device)]
            chosen = torch.empty_like(total)
            for block in solve(solver, Targets(Y, self._plan, rows[fold.train]), None, shared=False):
                r = correlation(held_out[:, block.columns], product(tested, block.coefficients))
                total[block.columns] += r.nan_to_num(0.0)
                undefined[block.columns] |= r.isnan()
                chosen[block.columns] = block.alpha.to(chosen)
            alphas.append(chosen)
        return OrderScores(total / len(self._folds), undefined, tuple(alphas))


@dataclass(frozen=True)
class FoldRefit:
    """What a fold needs besides the responses.

    `tested` Z_f' with a row of ones [q + 1, n_test], `turn` l^-1/2 V' with a column for the means [r, q + 1], or, where
    its features are nearly collinear, U' itself [r, n_train] (`own`); `values` l [r] in float64 and `kept`
    (alpha / (l + alpha))^2 with a row of ones [a + 1, r]; `freedom` [a], (1 - trace(H) / n_train)^2; `complete`,
    whether the features leave nothing of the responses over; `predictor` P [n_test, r].
    """

    rows: slice
    tested: Tensor
    turn: Tensor
    own: bool
    values: Tensor
    kept: Tensor
    freedom: Tensor
    complete: bool
    predictor: Tensor


@dataclass(frozen=True)
class Refits:
    """All folds, in whose order the samples are `arranged` [n]; alphas [a] descend."""

    arranged: Tensor
    alphas: Tensor
    folds: tuple[FoldRefit, ...]

    def score(self, Y: Tensor, order: Tensor) -> OrderScores:
        """Score Y [n, b], centered and of unit variance, under an order [n]."""
        rows = Y.index_select(0, order[self.arranged])
        crosses = [product(fold.tested, rows[fold.rows]) for fold in self.folds]
        squares = [rows[fold.rows].square().sum(0) for fold in self.folds]
        cross, square = sum_of(crosses), sum_of(squares)
        mean = Y.new_zeros(Y.shape[1], dtype=torch.float64)
        undefined, alphas = mean.bool(), []
        for fold, fold_cross, tested in zip(self.folds, crosses, squares, strict=True):
            inside = product(fold.turn, _others(rows, fold.rows) if fold.own else cross - fold_cross)
            n_train = len(rows) - len(fold.predictor)
            spread = square - tested - (cross[-1] - fold_cross[-1]).square() / n_train
            alpha = _best_alpha(fold, self.alphas, inside, spread)
            r, varies = _held_out_r(
                fold, ops.select_scale(inside, fold.values, alpha), rows[fold.rows], fold_cross[-1], tested
            )
            # where the training responses do not vary, their spread is rounding, and predictions are constant
            varies &= spread > _still(Y.dtype) * square
            mean += torch.where(varies, r, 0.0)
            undefined |= ~varies
            alphas.append(alpha)
        return OrderScores(mean / len(self.folds), undefined, tuple(alphas))


def _same_rows(tested: Tensor) -> bool:
    """Whether a fold's held-out features are constant. Its predictions are then, too, and not only up to rounding."""
    return bool((tested == tested[0]).all())


def _others(rows: Tensor, held_out: slice) -> Tensor:
    return torch.cat([rows[: held_out.start], rows[held_out.stop :]])


def _still(dtype: torch.dtype) -> float:
    """The share of a sum of squares about another mean that rounding leaves, where the responses do not vary."""
    return 16 * torch.finfo(dtype).eps


def _best_alpha(fold: FoldRefit, alphas: Tensor, inside: Tensor, spread: Tensor) -> Tensor:
    """The alpha [b] of the least GCV, from U'Y [r, b] and the sums of squares of the training responses [b].

    Of equals, to rounding, the largest: as `gradkern.ridge._engine.solve.first_best` chooses, in fewer passes.
    """
    sums = fold.kept @ inside.square()
    over = torch.zeros_like(spread) if fold.complete else (spread - sums[-1]).clamp_(min=0)
    scores = 1 - (sums[:-1] + over) / (fold.freedom[:, None] * spread)
    best = scores.amax(0)
    enough = best - EQUAL[inside.dtype] * (1 + best.abs())
    return torch.where(scores >= enough, alphas[:, None], 0.0).amax(0)


def _held_out_r(fold: FoldRefit, shrunk: Tensor, Y: Tensor, total: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
    """r [b] of the predictions of `shrunk` [r, b] with Y [n_test, b], whose sums and sums of squares are known, and
    whether both vary [b]; where they do not, r means nothing."""
    predicted = product(fold.predictor, shrunk)
    spread = square - total.square() / len(Y)
    size = predicted.square().sum(0) * torch.where(spread > _still(Y.dtype) * square, spread, 0.0)
    return (predicted * Y).sum(0) / size.sqrt(), size > 0


def make_refits(X: Tensor, folds: Folds, alphas: Tensor) -> Refits:
    """Factor features X [n, d] for folds that are a partition, and alphas [a], largest first."""
    arranged = torch.cat([torch.from_numpy(fold.test) for fold in folds.folds])
    design = principal_coordinates(X[arranged.to(X.device)], intercept=True)
    position = torch.empty_like(arranged)
    position[arranged] = torch.arange(len(arranged))
    moved = [
        replace(fold, train=position[fold.train].sort().values.numpy(), test=position[fold.test].numpy())
        for fold in folds.folds
    ]
    refits = []
    for fold, arranged_fold in zip(folds.folds, moved, strict=True):
        refit = _make_fold(design, arranged_fold, alphas)
        if _same_rows(X[torch.from_numpy(fold.test).to(X.device)]):
            refit = replace(refit, predictor=torch.zeros_like(refit.predictor))
        refits.append(refit)
    return Refits(arranged.to(X.device), alphas, tuple(refits))


def _make_fold(design: PrincipalCoordinates, fold: Fold, alphas: Tensor) -> FoldRefit:
    Z, gram = design.coordinates, fold_gram(design, fold, "r")
    spectrum = eigenpairs(gram.gram, min(len(gram.mean), gram.most))
    values, vectors = spectrum.values, spectrum.vectors
    n_train, r = len(fold.train), len(values)
    whole = design.gram.diagonal() @ vectors.square()
    own = bool((whole > _BLUR * values).any())
    test, root = slice(int(fold.test[0]), int(fold.test[-1]) + 1), design.root
    if own:
        trained = rotated(Z[gram.train], torch.outer(root[gram.train], gram.mean), vectors)
        turn = (trained.double() / values.sqrt()).T
    else:
        turn = torch.cat([vectors.T, -(vectors.T @ gram.mean)[:, None]], 1) / values.sqrt()[:, None]
    tested = torch.cat([Z[test], Z.new_ones(len(fold.test), 1)], 1)
    kept = alphas[:, None] / (values + alphas[:, None])
    predictor = ((Z[test].double() - gram.center) @ vectors) * values.sqrt()
    return FoldRefit(
        rows=test,
        tested=tested.T.contiguous(),
        turn=turn.to(Z.dtype).contiguous(),
        own=own,
        values=values,
        kept=torch.cat([kept.square(), torch.ones_like(kept[:1])]).to(Z.dtype),
        freedom=((n_train - 1 - r + kept.sum(1)) / n_train).square().to(Z.dtype),
        complete=r >= n_train - 1,
        predictor=predictor.to(Z.dtype),
    )
