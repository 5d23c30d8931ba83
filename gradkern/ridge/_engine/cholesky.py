"""Exact k-fold scores without eigendecompositions: a Cholesky factorisation for every fold and alpha.

With G + a0 I = L L' of the centered features and a0 the smallest alpha, the coordinates are Z = X L^-T. All of them
have one size, as orthogonal ones would, so that float32 loses no direction. The penalty there is alpha w'W w
with W = L^-1 L^-T:

    predictions of a test set = Z_test (Z_train'Z_train + alpha W)^-1 Z_train'Y_train
    coefficients              = L^-T (Z'Z + alpha W)^-1 Z'Y

Any invertible L^-1 would do, so how exact the factorisation of an ill-conditioned G was does not matter, as long as
there is one. What stands before the targets' products is computed in float64 once, and rounded.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from gradkern.ridge._engine.folds import Fold, Folds
from gradkern.ridge._engine.kfold import FoldFactor, FoldFactors, fold_gram, join_folds
from gradkern.ridge._engine.precision import product
from gradkern.ridge._engine.principal_coordinates import (
    PrincipalCoordinates,
    center_features,
    gram_of,
    rotated,
    weighted_sum,
)

# Bounds above which eigenpairs are used: on the condition of G + a0 I (beyond it: a tiny alpha on features that repeat
# each other), and on |(Z_train'Z_train + a0 W)^-1| (beyond it: directions that only test samples have, so that a tiny
# alpha would multiply the rounding of Z'Y), both in the 1-norm.
MOST_CONDITION = 1e12
MOST_AMPLIFIED = 1e4
_WIDE = 4096
_MORE_PRODUCTS = 1.25
_SHARE_OF_MEMORY = 0.25


@dataclass(frozen=True)
class Whitened:
    """The features in the coordinates Z = X L^-T as `principal`, which has no eigenvalues, and `penalty` W [d, d].

    `inverses` keeps (Z'Z + alpha W)^-1 [d, d] of the alphas that were asked for.
    """

    principal: PrincipalCoordinates
    penalty: Tensor
    inverses: dict[float, Tensor] = field(default_factory=dict)

    def shrink(self, cross: Tensor, alpha: Tensor) -> Tensor:
        """Coefficients [d, b] in coordinates from Z'Y [d, b], for the alpha [b] of each target."""
        placed = torch.empty_like(cross)
        for penalty in torch.unique(alpha).tolist():
            if penalty not in self.inverses:
                mass, mean = self.principal.root.square().sum(), self.principal.mean
                gram = self.principal.gram - torch.outer(mean, mass * mean) + penalty * self.penalty
                self.inverses[penalty] = torch.cholesky_inverse(torch.linalg.cholesky(gram)).to(cross.dtype)
            which = (alpha == penalty).nonzero()[:, 0]
            placed[:, which] = product(self.inverses[penalty], cross[:, which])
        return placed


def suits_cholesky(X: Tensor, folds: Folds, n_alphas: int) -> bool:
    """Whether to factor features X [n, d] here instead of by eigenpairs: only on a GPU, for n > d and large d.

    There eigenpairs in float64 are expected to take most of the time, and what this path pays instead is one product of
    each test set per alpha. So it is taken where its products with the targets, 2 n d (a + 1) + 4 d^2 a target, are at
    most 1.25 of the 2 n d + (6 f + 4) d^2 of divided differences, which it may then lose at worst, if d is at least
    4,096, and if its predictors take no more than a quarter of the device's memory. This is a model: not run on a GPU.
    """
    n, d = X.shape
    if not X.is_cuda or not n > d >= _WIDE:
        return False
    room = torch.cuda.get_device_properties(X.device).total_memory
    return pays(X, folds, n_alphas) and _bytes(X, folds, n_alphas) <= _SHARE_OF_MEMORY * room


def pays(X: Tensor, folds: Folds, n_alphas: int) -> bool:
    """Whether the products with the targets are few enough for `suits_cholesky`."""
    n, d = X.shape
    tested = sum(len(fold.test) for fold in folds.folds)
    ours = 2 * n * d + 2 * n_alphas * tested * d + 4 * d * d
    return ours <= _MORE_PRODUCTS * (2 * n * d + (6 * len(folds) + 4) * d * d)


def _bytes(X: Tensor, folds: Folds, n_alphas: int) -> int:
    """Bytes of predictors and inverses for all alphas."""
    tested = sum(len(fold.test) for fold in folds.folds)
    return n_alphas * X.shape[1] * (tested + X.shape[1]) * X.element_size()


def whiten(X: Tensor, intercept: bool, weights: Tensor | None, alpha: float) -> Whitened | None:
    """Centre X [n, d] about its mean rounded to its dtype, and whiten it for penalties from `alpha` on.

    None where G + alpha I has a condition above `MOST_CONDITION`, by the product of the 1-norms of it and of W.
    """
    d = X.shape[1]
    centered = center_features(X, intercept, weights)
    rows, root, mass, leftover = centered.rows, centered.root, centered.mass, centered.leftover
    gram = gram_of(rows).sub_(torch.outer(leftover, mass * leftover))
    gram.diagonal().add_(alpha)
    lower, failed = torch.linalg.cholesky_ex(gram)
    if int(failed):
        return None
    inverse = torch.linalg.solve_triangular(lower, torch.eye(d, dtype=lower.dtype, device=X.device), upper=False)
    penalty = inverse @ inverse.T
    condition = torch.linalg.matrix_norm(gram, 1) * torch.linalg.matrix_norm(penalty, 1)
    if not bool(condition <= MOST_CONDITION):
        return None
    coordinates = rotated(rows, torch.outer(root, leftover), inverse.T)
    principal = PrincipalCoordinates(
        coordinates=coordinates,
        root=root,
        weighted=weights is not None,
        mean=weighted_sum(coordinates, root) / mass if intercept else torch.zeros_like(leftover),
        gram=gram_of(coordinates),
        values=leftover[:0],
        offset=centered.offset,
        leftover=leftover,
        leftover_placed=inverse @ leftover,
        divisor=None,
        outward=(inverse.T.to(X.dtype),),
        intercept=intercept,
    )
    return Whitened(principal, penalty)


def factor_folds_by_cholesky(whitened: Whitened, folds: Folds, alphas: Tensor, scoring: str) -> FoldFactors | None:
    """Predictors of every fold's test samples for every alpha [a], largest first; `score_folds` scores them.

    None where a fold would multiply rounding by more than `MOST_AMPLIFIED`.
    """
    principal, factors = whitened.principal, []
    for fold in folds.folds:
        factor = _factor_fold(whitened, fold, alphas, scoring)
        if factor is None:
            return None
        factors.append(factor)
    return join_folds(principal, folds, alphas, scoring, factors)


def _factor_fold(whitened: Whitened, fold: Fold, alphas: Tensor, scoring: str) -> FoldFactor | None:
    Z, held = whitened.principal.coordinates, fold_gram(whitened.principal, fold, scoring)
    centered = Z[held.test].double() - torch.outer(held.root, held.center)
    lower, failed = torch.linalg.cholesky_ex(held.gram + alphas[-1] * whitened.penalty)
    amplified = torch.linalg.matrix_norm(torch.cholesky_inverse(lower), 1)
    if int(failed) or not bool(amplified <= MOST_AMPLIFIED):
        return None
    predictors = Z.new_empty((len(alphas), *centered.shape))
    for number, alpha in enumerate(alphas):
        lower = torch.linalg.cholesky(held.gram + alpha * whitened.penalty)
        predictors[number] = torch.cholesky_solve(centered.T, lower).T
    return held.factor(Z[:0], held.mean.to(Z.dtype), predictors, rotated=False)
