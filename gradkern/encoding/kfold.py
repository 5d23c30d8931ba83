"""Exact k-fold scores of every alpha, from statistics of the folds.

With the training Gram matrix V diag(l) V', s_j = 1/(l_j + alpha), B = V' X_train' Y_train, P = X_test V and
M = P'P:

    sum(yhat * y) = sum_j s_j B_j (P'Y_test)_j
    sum(yhat^2)   = sum_jk s_j s_k M_jk B_j B_k
                  = 2 sum_j (s_j - c) B_j (N B)_j + sum_j s_j^2 B_j (M_near B)_j

because s_j s_k = (s_j - s_k) / (l_k - l_j): the antisymmetric N_jk = M_jk / (l_k - l_j) serves every alpha,
and any constant c drops out. Pairs too close to divide by go to M_near, by s_j s_k ~ (s_j^2 + s_k^2) / 2.
Only of a few test samples are the predictions formed.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gradkern.encoding.design import Design, eigenpairs, gram_of, sum_of_rows
from gradkern.encoding.folds import Fold, Folds
from gradkern.encoding.scored import Scored, constant_targets

# Closeness of a pair of eigenvalues, relative to their mean plus the smallest alpha. The neglected share of a
# near pair is tau^2 / 2 (first order) or tau^4 (second order); a far pair costs float64 a factor 1 / tau.
_TAU = {torch.float32: 4e-3, torch.float64: 1e-3}
_FEW = 8  # test samples: so few are always predicted
_TILE = 64  # rows of the banded M_near that are multiplied at a time


@dataclass(frozen=True)
class Tile:
    """Rows of M_near, cut to the columns where they are not zero."""

    rows: slice
    columns: slice
    values: Tensor


@dataclass(frozen=True)
class NearPairs:
    """One term of sum(yhat^2) over near pairs: weights [a, r] and a banded matrix."""

    weights: Tensor
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Divided:
    """Divided differences: what turns B and D = P'Y_test into both sums for every alpha.

    `centre` is V' times the point that test rows are taken about [r], `sums` the column sums of P [r], and
    `projected` P [n_test, r] itself, where that is the cheaper way to D.
    """

    centre: Tensor
    sums: Tensor
    projected: Tensor | None
    shrinkage: Tensor  # s [a, r] float64
    far_weights: Tensor  # 2 (s - c) [a, r] float64
    differences: Tensor  # N [r, r] float64
    near: tuple[NearPairs, ...]


@dataclass(frozen=True)
class FoldFactor:
    """All that the scores of one fold need beside the targets.

    `vectors` V [q, r] and V' times the training mean, `mean` [r]. `sums` are the divided differences, or for small
    test sets s P [a, n_test, r], which predicts them: that is then as cheap, and keeps its precision when a few
    predictions hardly differ.
    """

    test: slice | Tensor
    train: slice | Tensor
    complement: bool  # training statistics are the total minus the fold
    n_test: int
    n_train: int
    vectors: Tensor
    mean: Tensor
    sums: Divided | Tensor


@dataclass(frozen=True)
class KFold:
    """The folds' factors, and what they share."""

    coordinates: Tensor
    mean: Tensor  # of the coordinates [q]
    alphas: Tensor
    factors: tuple[FoldFactor, ...]
    partition: bool
    intercept: bool
    scoring: str


@dataclass(frozen=True)
class _Sums:
    """What some samples add up to: X'Y [q, b], and of the targets [b], in float64, sum and squares.

    `square` is the sum of squares about zero, `spread` that about the samples' own mean.
    """

    cross: Tensor
    sum: Tensor
    square: Tensor
    spread: Tensor


def factor_folds(design: Design, folds: Folds, alphas: Tensor, scoring: str) -> KFold:
    """Eigendecompose every fold's training Gram matrix, once for all targets and alphas [a]."""
    factors = tuple(_factor_fold(design, fold, alphas, scoring) for fold in folds.folds)
    X = design.coordinates
    return KFold(X, design.mean.to(X.dtype), alphas, factors, folds.partition, design.intercept, scoring)


def _factor_fold(design: Design, fold: Fold, alphas: Tensor, scoring: str) -> FoldFactor:
    X, intercept = design.coordinates, design.intercept
    test, train = _as_index(fold.test, X), _as_index(fold.train, X)
    tested = X[test].double()
    if fold.complement:
        train_sum = X.shape[0] * design.mean - tested.sum(0)
        gram = design.gram - tested.T @ tested
    else:
        train_sum, gram = sum_of_rows(X[train]), gram_of(X[train])
    n_train, n_test = len(fold.train), len(fold.test)
    mean = train_sum / n_train if intercept else torch.zeros_like(train_sum)
    gram.sub_(torch.outer(mean, n_train * mean))
    spectrum = eigenpairs(gram, min(X.shape[1], n_train - intercept))
    # r2 measures errors about the training mean; r correlates about the test mean
    centre = mean if scoring == "r2" else tested.mean(0)
    projected = (tested - centre) @ spectrum.vectors
    sums: Divided | Tensor
    if n_test <= max(_FEW, 2 * X.shape[1] // len(alphas)):
        sums = (projected / (spectrum.values + alphas[:, None, None])).to(X.dtype)
    else:
        sums = _divide(projected, spectrum.vectors.T @ centre, spectrum.values, alphas, X.dtype)
    return FoldFactor(
        test=test,
        train=train,
        complement=fold.complement,
        n_test=n_test,
        n_train=n_train,
        vectors=spectrum.vectors.to(X.dtype),
        mean=(spectrum.vectors.T @ mean).to(X.dtype),
        sums=sums,
    )


def _divide(P: Tensor, centre: Tensor, values: Tensor, alphas: Tensor, dtype: torch.dtype) -> Divided:
    """N for the pairs of eigenvalues that can be divided by their gap, and the expansion of the others."""
    M = P.T @ P
    gap = values - values[:, None]
    near = gap.abs() <= _TAU[dtype] * ((values + values[:, None]) / 2 + alphas.min())
    close = torch.where(near, M, 0.0)
    shrinkage = 1 / (values + alphas[:, None])
    terms = [NearPairs(shrinkage**2, _tiles(close, near, dtype))]
    if dtype == torch.float64:
        # s_j s_k = (s_j^2 + s_k^2) / 2 - gap^2 (s_j s_k)^2 / 2, and once more for the last factor
        terms.append(NearPairs(shrinkage**4, _tiles(-(gap**2) / 2 * close, near, dtype)))
    return Divided(
        centre=centre.to(dtype),
        sums=P.sum(0).to(dtype),
        projected=P.to(dtype) if len(P) < len(centre) else None,
        shrinkage=shrinkage,
        # c = min(s) keeps the far terms as small as their sum when alpha is far above every eigenvalue
        far_weights=2 * (shrinkage - shrinkage[:, -1:]),
        differences=torch.where(near, 0.0, M / torch.where(near, 1.0, gap)),
        near=tuple(terms),
    )


def _as_index(indices: object, X: Tensor) -> slice | Tensor:
    """A slice where the indices are consecutive: rows are then taken without a copy."""
    index = torch.as_tensor(indices)
    start, stop = int(index[0]), int(index[-1]) + 1
    if stop - start == len(index) and bool((index.diff() == 1).all()):
        return slice(start, stop)
    return index.to(X.device)


def _tiles(matrix: Tensor, near: Tensor, dtype: torch.dtype) -> tuple[Tile, ...]:
    """Cut a banded matrix into blocks of rows; eigenvalues ascend, so what is near is contiguous."""
    tiles = []
    for start in range(0, len(matrix), _TILE):
        rows = slice(start, min(start + _TILE, len(matrix)))
        used = near[rows].any(0).nonzero()
        columns = slice(int(used[0]), int(used[-1]) + 1)
        tiles.append(Tile(rows, columns, matrix[rows, columns].to(dtype).contiguous()))
    return tuple(tiles)


def score_folds(kfold: KFold, Y: Tensor) -> Scored:
    """Mean score over folds of every alpha, for targets Y [n, b] about any offset.

    A fold counts in a target's mean only where its score is defined: r2 needs test responses that vary, r
    needs predictions that vary too.
    """
    X = kfold.coordinates
    parts = [_sums(X[f.test], Y[f.test]) for f in kfold.factors]
    total = _added(parts, len(Y)) if kfold.partition else _sums(X, Y)
    scores = Y.new_zeros((len(kfold.alphas), Y.shape[1]), dtype=torch.float64)
    counted = torch.zeros_like(scores)
    for factor, part in zip(kfold.factors, parts, strict=True):
        if factor.complement:
            training = _difference(total, part, factor.n_train)
        else:
            training = _sums(X[factor.train], Y[factor.train])
        fold_scores = _score_fold(kfold, factor, training, part, Y)
        defined = ~fold_scores.isnan()
        scores += torch.where(defined, fold_scores, 0.0)
        counted += defined
    mean = total.sum / len(Y) if kfold.intercept else torch.zeros_like(total.sum)
    cross = total.cross.addr_(kfold.mean, mean.to(Y.dtype), alpha=-len(Y))
    # 0 / 0 is NaN: no fold gave a score
    return Scored(scores / counted, cross, mean, len(parts) - counted.amax(0))


def _score_fold(kfold: KFold, factor: FoldFactor, training: _Sums, part: _Sums, Y: Tensor) -> Tensor:
    """Scores of one fold [a, b], NaN where undefined."""
    mean = training.sum / factor.n_train
    still = constant_targets(Y, factor.test, part.spread, part.square)
    untrained = constant_targets(Y, factor.train, training.spread, training.square)
    if not kfold.intercept:
        mean = torch.zeros_like(mean)
    about = mean if kfold.scoring == "r2" else part.sum / factor.n_test

    B = factor.vectors.T @ training.cross
    B.addr_(factor.mean, mean.to(B.dtype), alpha=-factor.n_train)
    if kfold.intercept:
        B[:, untrained] = 0
    if isinstance(factor.sums, Divided):
        D = _rotated_test(factor, factor.sums, part, Y, about)
        product, square = _divided_sums(factor.sums, B, D)
    else:
        product, square = _sums_of_predictions(factor.sums, B, Y[factor.test], about)
    if kfold.scoring == "r2":
        outcome = part.spread + factor.n_test * (part.sum / factor.n_test - about) ** 2
        error = outcome - 2 * product + square
        scores = 1 - error / part.spread
    else:
        scores = torch.where(square > 0, product / (square * part.spread).sqrt(), torch.nan)
    scores[:, still] = torch.nan
    return scores


def _sums_of_predictions(predictor: Tensor, B: Tensor, Y: Tensor, about: Tensor) -> tuple[Tensor, Tensor]:
    """sum(yhat * y) and sum(yhat^2) [a, b] of predictions that are formed; responses are taken about `about`."""
    a, n_test, r = predictor.shape
    predicted = (predictor.reshape(a * n_test, r) @ B).double().view(a, n_test, -1)
    return (predicted * (Y.double() - about)).sum(1), predicted.square().sum(1)


def _divided_sums(divided: Divided, B: Tensor, D: Tensor) -> tuple[Tensor, Tensor]:
    """sum(yhat * y) and sum(yhat^2) [a, b] from B and D = P'Y_test [r, b]; far terms nearly cancel: float64."""
    wide = B.double()
    product = divided.shrinkage @ (wide * D)
    square = divided.far_weights @ (divided.differences @ wide).mul_(wide)
    for term in divided.near:
        near = torch.empty_like(wide)
        for tile in term.tiles:
            torch.mul(tile.values @ B[tile.columns], wide[tile.rows], out=near[tile.rows])
        square.addmm_(term.weights, near)
    return product, square


def _rotated_test(factor: FoldFactor, divided: Divided, part: _Sums, Y: Tensor, about: Tensor) -> Tensor:
    """D = P' (Y_test - about) [r, b]."""
    if divided.projected is not None:
        D = divided.projected.T @ Y[factor.test]
    else:
        D = factor.vectors.T @ part.cross
        D.addr_(divided.centre, part.sum.to(D.dtype), alpha=-1)
    return D.addr_(divided.sums, about.to(D.dtype), alpha=-1)


def _sums(X: Tensor, Y: Tensor) -> _Sums:
    wide = Y.double()
    total = wide.sum(0)
    spread = (wide - total / len(Y)).square_().sum(0)
    return _Sums(X.T @ Y, total, spread + total**2 / len(Y), spread)


def _added(parts: list[_Sums], n: int) -> _Sums:
    cross, total, square = parts[0].cross.clone(), parts[0].sum.clone(), parts[0].square.clone()
    for part in parts[1:]:
        cross.add_(part.cross)
        total.add_(part.sum)
        square.add_(part.square)
    return _Sums(cross, total, square, square - total**2 / n)


def _difference(total: _Sums, part: _Sums, n: int) -> _Sums:
    rest, square = total.sum - part.sum, total.square - part.square
    return _Sums(total.cross - part.cross, rest, square, square - rest**2 / n)
