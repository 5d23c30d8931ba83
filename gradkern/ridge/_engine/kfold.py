"""Exact k-fold scores of every alpha, from statistics of the folds.

Sums over a fold's predictions come from divided differences (see `gradkern.ridge._engine.divided_differences`); only of
a few test
samples are the predictions formed. With weights all rows are multiplied by their square roots, `root`, which stand for
the column of ones; sums over samples are then weighted sums.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradkern.ridge._engine.divided_differences import DividedDifferences, divide, divided_sums
from gradkern.ridge._engine.folds import Fold, Folds
from gradkern.ridge._engine.metrics import FoldScores, Moments, moments, moments_of, stacked
from gradkern.ridge._engine.precision import product
from gradkern.ridge._engine.principal_coordinates import (
    PrincipalCoordinates,
    Spectrum,
    eigenpairs,
    gram_of,
    principal_coordinates,
    rotated,
    weighted_sum,
)

# Sums of squares of all samples along a direction of a fold, over the fold's own plus the smallest alpha, from which it
# multiplies Y by coordinates of its own. Folds whose features are not nearly collinear stay under 10.
_BLUR = 30
_FEW = 8  # test samples: so few are always predicted
_PREDICTED = 2**22  # predictions that are formed at a time, or those of one alpha


@dataclass(frozen=True)
class FoldFactor:
    """The factors of one fold that its scores need beside the targets.

    `vectors` V [q, r] (not `rotated`: none, V is the identity) and V' times the training mean, `mean` [r]. `sums` are
    the divided differences, or for small test sets s P [a, n_test, r], which predicts them: that is then as cheap, and
    keeps its precision when a few predictions hardly differ. `own` [n_train, r] are the training samples in coordinates
    of the fold's own, where features are standardized inside it or nearly collinear; B is then own' Y_train.
    """

    test: slice | Tensor
    train: slice | Tensor
    complement: bool  # training statistics are the total minus the fold
    test_mass: float
    train_mass: float
    vectors: Tensor
    mean: Tensor
    own: Tensor | None
    sums: DividedDifferences | Tensor
    rotated: bool = True


@dataclass(frozen=True)
class FoldGram:
    """A fold's statistics of coordinates Z [n, q] in float64, from which the factors of any scale of them are made.

    `gram` [q, q] is of the training samples about their `mean` [q], and has at most `most` eigenvalues; test samples
    are multiplied by `root` [n_test], and taken about `center` [q]. Of many test samples `triangle` R [q, q] has the
    same R'R, column by column as exact, and `total` [q] are their sums weighted by `root`. `r2_per_sum` is as in
    `gradkern.ridge._engine.divided_differences.divide`.
    """

    test: slice | Tensor
    train: slice | Tensor
    complement: bool
    test_mass: float
    train_mass: float
    root: Tensor
    mean: Tensor
    center: Tensor
    gram: Tensor
    most: int
    triangle: Tensor | None
    total: Tensor
    r2_per_sum: float | None

    def factor(
        self,
        vectors: Tensor,
        mean: Tensor,
        sums: DividedDifferences | Tensor,
        own: Tensor | None = None,
        rotated: bool = True,
    ) -> FoldFactor:
        """The factor of this fold, in the dtype of the coordinates."""
        return FoldFactor(
            test=self.test,
            train=self.train,
            complement=self.complement,
            test_mass=self.test_mass,
            train_mass=self.train_mass,
            vectors=vectors,
            mean=mean,
            own=own,
            sums=sums,
            rotated=rotated,
        )


@dataclass(frozen=True)
class FoldFactors:
    """The folds' factors, and what they share."""

    coordinates: Tensor
    root: Tensor
    weighted: bool
    mean: Tensor  # of the coordinates [q]
    alphas: Tensor
    factors: tuple[FoldFactor, ...]
    partition: bool
    intercept: bool
    scoring: str


def factor_folds(
    principal: PrincipalCoordinates,
    folds: Folds,
    alphas: Tensor,
    scoring: str,
    X: Tensor | None = None,
    sharp: bool = False,
) -> FoldFactors:
    """Eigendecompose every fold's training Gram matrix, once for all targets and alphas [a].

    Given the features X [n, d], every fold standardizes them by its own training samples. `sharp` keeps the digits of
    float32 in folds whose features are nearly collinear, at the cost of coordinates of their own.
    """
    factors = tuple(
        _factor_fold(principal, fold, alphas, scoring, sharp)
        if X is None
        else _factor_fold_standardized(X, principal, fold, alphas, scoring)
        for fold in folds.folds
    )
    return join_folds(principal, folds, alphas, scoring, factors)


def join_folds(
    principal: PrincipalCoordinates, folds: Folds, alphas: Tensor, scoring: str, factors: Iterable[FoldFactor]
) -> FoldFactors:
    """Put the folds' factors side by side."""
    Z, mean = principal.coordinates, principal.mean
    return FoldFactors(
        coordinates=Z,
        root=principal.root,
        weighted=principal.weighted,
        mean=mean.to(Z.dtype),
        alphas=alphas,
        factors=tuple(factors),
        partition=folds.partition,
        intercept=principal.intercept,
        scoring=scoring,
    )


def _factor_fold(principal: PrincipalCoordinates, fold: Fold, alphas: Tensor, scoring: str, sharp: bool) -> FoldFactor:
    gram, Z = fold_gram(principal, fold, scoring), principal.coordinates
    spectrum = eigenpairs(gram.gram, min(len(gram.mean), gram.most))
    own = None
    if sharp and Z.dtype == torch.float32 and is_blurred(principal, spectrum, alphas.min()):
        own = rotated(Z[gram.train], torch.outer(principal.root[gram.train], gram.mean), spectrum.vectors)
    return factor_gram(gram, spectrum, Z, alphas, own)


def fold_gram(principal: PrincipalCoordinates, fold: Fold, scoring: str, reused: bool = False) -> FoldGram:
    """A fold's statistics, from which factors are made for any scale of the coordinates, for several if `reused`."""
    Z, intercept = principal.coordinates, principal.intercept
    test, train = as_index(fold.test, Z), as_index(fold.train, Z)
    tested, root = Z[test].double(), principal.root[test]
    test_mass = root.square().sum()
    if fold.complement:
        train_mass = principal.root.square().sum() - test_mass
        train_sum = principal.root.square().sum() * principal.mean - root @ tested
        gram = principal.gram - tested.T @ tested
    else:
        train_mass = principal.root[train].square().sum()
        train_sum, gram = weighted_sum(Z[train], principal.root[train]), gram_of(Z[train])
    mean = train_sum / train_mass if intercept else torch.zeros_like(train_sum)
    gram.sub_(torch.outer(mean, train_mass * mean))
    # r2 measures errors about the training mean; r correlates about the test mean
    center = mean if scoring == "r2" else root @ tested / test_mass
    tested = tested - torch.outer(root, center)
    # so many are never predicted
    many = reused and len(tested) > max(_FEW, 2 * len(mean))
    return FoldGram(
        test=test,
        train=train,
        complement=fold.complement,
        test_mass=float(test_mass),
        train_mass=float(train_mass),
        root=root,
        mean=mean,
        center=center,
        gram=gram,
        most=len(fold.train) - intercept,
        triangle=torch.linalg.qr(tested, mode="r").R if many else None,
        total=root @ tested,
        r2_per_sum=float(train_mass / test_mass) if scoring == "r2" else None,
    )


def factor_gram(fold: FoldGram, spectrum: Spectrum, Z: Tensor, alphas: Tensor, own: Tensor | None = None) -> FoldFactor:
    """The factor of a fold from the eigenpairs of its training Gram matrix, its test samples being rows of Z [n, q].

    Eigenpairs may be those of S gram S for a diagonal S; their vectors are then multiplied by S.
    """
    vectors, values, center = spectrum.vectors, spectrum.values, spectrum.vectors.T @ fold.center
    sums: DividedDifferences | Tensor
    if fold.triangle is None:
        projected = (Z[fold.test].double() - torch.outer(fold.root, fold.center)) @ vectors
        sums = _test_sums(
            projected, fold.root, center, values, alphas, Z.dtype, keep=own is not None, r2_per_sum=fold.r2_per_sum
        )
    else:
        P, total = fold.triangle @ vectors, vectors.T @ fold.total
        sums = divide(P, total, center, values, alphas, Z.dtype, keep=False, r2_per_sum=fold.r2_per_sum)
    mean = vectors.T @ fold.mean if own is None else torch.zeros_like(values)
    return fold.factor(vectors.to(Z.dtype), mean.to(Z.dtype), sums, own)


def is_blurred(principal: PrincipalCoordinates, spectrum: Spectrum, alpha: Tensor) -> bool:
    """Whether all samples are so much larger along a direction of the fold that V'(X'Y) would be rounding there."""
    whole = principal.gram.diagonal() @ spectrum.vectors.square()
    return bool((whole > _BLUR * (spectrum.values + alpha)).any())


def _factor_fold_standardized(
    X: Tensor, principal: PrincipalCoordinates, fold: Fold, alphas: Tensor, scoring: str
) -> FoldFactor:
    test, train = as_index(fold.test, X), as_index(fold.train, X)
    weights = principal.root[train].square() if principal.weighted else None
    inner = principal_coordinates(X[train], principal.intercept, weights, standardize=True)
    return factor_own(principal, inner, fold, inner.project(X[test]), alphas, scoring)


def factor_own(
    principal: PrincipalCoordinates,
    inner: PrincipalCoordinates,
    fold: Fold,
    tested: Tensor,
    alphas: Tensor,
    scoring: str,
) -> FoldFactor:
    """The factor of a fold whose training samples have principal coordinates of their own, `inner`.

    `tested` [n_test, r] are the coordinates of the test samples there, their rows not multiplied.
    """
    test, train = as_index(fold.test, tested), as_index(fold.train, tested)
    root, mass = principal.root[test], principal.root[test].square().sum()
    tested = tested.double()
    if scoring == "r":
        tested = tested - (root.square() @ tested) / mass
    projected = (tested - (inner.mean if scoring == "r2" else 0)) * root[:, None]
    center = torch.zeros_like(inner.values)
    return FoldFactor(
        test=test,
        train=train,
        complement=False,
        test_mass=float(mass),
        train_mass=float(inner.root.square().sum()),
        vectors=inner.outward[-1],
        mean=inner.mean.to(inner.coordinates.dtype),
        own=inner.coordinates,
        sums=_test_sums(
            projected,
            root,
            center,
            inner.values,
            alphas,
            inner.coordinates.dtype,
            keep=True,
            r2_per_sum=float(inner.root.square().sum() / mass) if scoring == "r2" else None,
        ),
    )


def _test_sums(
    P: Tensor,
    root: Tensor,
    center: Tensor,
    values: Tensor,
    alphas: Tensor,
    dtype: torch.dtype,
    *,
    keep: bool,
    r2_per_sum: float | None,
) -> DividedDifferences | Tensor:
    """Predictors of few test samples, or the divided differences of many; `keep` says that P'Y needs P itself."""
    if _are_few(len(P), P.shape[1], len(alphas)):
        return (P / (values + alphas[:, None, None])).to(dtype)
    return divide(P, root @ P, center, values, alphas, dtype, keep=keep, r2_per_sum=r2_per_sum)


def _are_few(n_test: int, r: int, a: int) -> bool:
    """Whether predicting n_test samples for a alphas costs no more than the divided differences."""
    return n_test <= max(_FEW, 2 * r // a)


def as_index(indices: object, X: Tensor) -> slice | Tensor:
    """A slice where the indices are consecutive: rows are then taken without a copy."""
    index = torch.as_tensor(indices)
    start, stop = int(index[0]), int(index[-1]) + 1
    if stop - start == len(index) and bool((index.diff() == 1).all()):
        return slice(start, stop)
    return index.to(X.device)


@dataclass(frozen=True)
class FoldSums:
    """Sums over the samples of the folds for targets Y [n, b], shared by the scores of several factors of one Z.

    `rows` are Y multiplied by `root`; X'Y of each fold's test samples and of all [q, b]; moments of the test samples,
    of all, and of each fold's training samples.
    """

    rows: Tensor
    crosses: tuple[Tensor, ...]
    total: Tensor
    tested: Moments
    whole: Moments
    trained: tuple[Moments, ...]


def fold_sums(factored: FoldFactors, Y: Tensor) -> FoldSums:
    """Sums over the samples of every fold, for targets Y [n, b] about any offset."""
    Z, weights = factored.coordinates, factored.root.square() if factored.weighted else None
    rows = Y * factored.root[:, None].to(Y.dtype) if factored.weighted else Y
    tests = [factor.test for factor in factored.factors]
    # test sets that share samples are taken one by one
    tested = (
        moments(Y, tests, weights) if factored.partition else stacked(moments_of(Y, rows, weights) for rows in tests)
    )
    crosses = tuple(product(Z[factor.test].T, rows[factor.test]) for factor in factored.factors)
    if factored.partition:
        trained = tuple(tested.without(number) for number in range(len(factored.factors)))
        return FoldSums(rows, crosses, sum_of(crosses), tested, tested.together(), trained)
    trained = tuple(moments_of(Y, factor.train, weights) for factor in factored.factors)
    return FoldSums(rows, crosses, product(Z.T, rows), tested, moments_of(Y, slice(None), weights), trained)


def score_folds(factored: FoldFactors, Y: Tensor, sums: FoldSums | None = None) -> FoldScores:
    """Mean score over folds of every alpha, for targets Y [n, b] about any offset.

    A fold counts in a target's mean only where its score is defined: r2 needs test responses that vary, r
    needs predictions that vary too.
    """
    sums = sums or fold_sums(factored, Y)
    scores = Y.new_zeros((len(factored.alphas), Y.shape[1]), dtype=torch.float64)
    counted = torch.zeros_like(scores)
    zero = torch.zeros_like(sums.whole.total[0])
    for number, (factor, trained) in enumerate(zip(factored.factors, sums.trained, strict=True)):
        mean = trained.mean[0] if factored.intercept else zero
        B = _products(factor, factored.coordinates, sums, number, mean)
        if factored.intercept:
            B[:, trained.constant[0]] = 0
        tested = _TestSamples(
            sums.rows[factor.test], factored.root[factor.test], sums.crosses[number], sums.tested, number
        )
        fold_scores = _score_fold(factor, factored.scoring, B, mean, tested)
        defined = ~fold_scores.isnan()
        scores += torch.where(defined, fold_scores, 0.0)
        counted += defined
    mean = sums.whole.mean[0] if factored.intercept else zero
    cross = torch.addr(sums.total, factored.mean, mean.to(Y.dtype), alpha=-float(sums.whole.mass[0]))
    # 0 / 0 is NaN: no fold gave a score
    undefined = len(factored.factors) - counted.amax(0).long()
    return FoldScores(scores / counted, cross, mean, undefined, sums.whole.constant[0])


def sum_of(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0].clone()
    for part in parts[1:]:
        total.add_(part)
    return total


def _products(factor: FoldFactor, Z: Tensor, sums: FoldSums, number: int, mean: Tensor) -> Tensor:
    """B = V' X_train' (Y_train - mean) [r, b]."""
    if factor.own is not None:
        B = product(factor.own.T, sums.rows[factor.train])
    else:
        rest = sums.total - sums.crosses[number] if factor.complement else None
        cross = product(Z[factor.train].T, sums.rows[factor.train]) if rest is None else rest
        B = product(factor.vectors.T, cross) if factor.rotated else cross
    return B.addr_(factor.mean, mean.to(B.dtype), alpha=-factor.train_mass)


@dataclass(frozen=True)
class _TestSamples:
    """The samples that a fold tests: responses [n_test, b] and `root` [n_test], X'Y [q, b], and their moments."""

    rows: Tensor
    root: Tensor
    cross: Tensor
    moments: Moments
    number: int


def _score_fold(factor: FoldFactor, scoring: str, B: Tensor, mean: Tensor, tested: _TestSamples) -> Tensor:
    """Scores of one fold [a, b], NaN where undefined."""
    total, spread = tested.moments.total[tested.number], tested.moments.spread[tested.number]
    about = mean if scoring == "r2" else total / factor.test_mass
    if isinstance(factor.sums, DividedDifferences):
        product, square = divided_sums(factor.sums, B, _rotated_test(factor, factor.sums, tested, total, about))
    else:
        responses = tested.rows.double() - torch.outer(tested.root, about)
        product, square = sums_of_predictions(factor.sums, B, responses)
    if scoring == "r2":
        outcome = spread + factor.test_mass * (total / factor.test_mass - about) ** 2
        error = outcome - 2 * product + square
        scores = 1 - error / spread
    else:
        scores = torch.where(square > 0, product / (square * spread).sqrt(), torch.nan)
    scores[:, tested.moments.constant[tested.number]] = torch.nan
    return scores


def sums_of_predictions(predictor: Tensor, B: Tensor, responses: Tensor) -> tuple[Tensor, Tensor]:
    """sum(yhat * y) and sum(yhat^2) [a, b] of predictions that are formed, for responses y [n_test, b] in float64."""
    _, n_test, r = predictor.shape
    products, squares = [], []
    for predictors in torch.split(predictor, max(1, _PREDICTED // (n_test * B.shape[1]))):
        predicted = product(predictors.reshape(-1, r), B).double().view(len(predictors), n_test, -1)
        products.append((predicted * responses).sum(1))
        squares.append(predicted.square().sum(1))
    return torch.cat(products), torch.cat(squares)


def _rotated_test(
    factor: FoldFactor, divided: DividedDifferences, tested: _TestSamples, total: Tensor, about: Tensor
) -> Tensor:
    """D = P' (Y_test - about) [r, b]."""
    if divided.projected is not None:
        D = product(divided.projected.T, tested.rows)
    else:
        D = product(factor.vectors.T, tested.cross)
        D.addr_(divided.center, total.to(D.dtype), alpha=-1)
    return D.addr_(divided.sums, about.to(D.dtype), alpha=-1)
