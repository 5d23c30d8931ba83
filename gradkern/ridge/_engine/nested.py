"""Held-out scores of outer folds that partition the samples, from statistics of the folds that all fits share.

With coordinates Z of all samples (a rotation, which no response decides), the training samples of every fit are some of
the outer folds, so that Z_j'Y_j [q, b] and Z_j'Z_j of each fold j are formed once:

    B = V' sum_j Z_j'(Y_j - ybar)       over the folds j that are trained on; V, l: eigenpairs of their Gram matrix
    yhat_i = (Z_i - zbar) V B / (l + alpha)

Every fold's responses are taken about their own mean, so that no bit of a fit depends on responses that it holds out.
Alpha is chosen by generalized cross-validation, whose errors need no residuals, |e|^2 = |y|^2 - sum_j w_j B_j^2 with
w = (l + 2 alpha) / (l + alpha)^2; or by inner folds that are the other outer folds: the eigenpairs of all folds but i
and j then serve both the choice for i that tests j and the choice for j that tests i.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradkern.kernels import ops
from gradkern.ridge._engine.divided_differences import DividedDifferences, divided_sums
from gradkern.ridge._engine.folds import Indices
from gradkern.ridge._engine.kfold import FoldFactor, FoldGram, factor_gram, is_blurred, sums_of_predictions
from gradkern.ridge._engine.metrics import Moments, moments
from gradkern.ridge._engine.precision import product
from gradkern.ridge._engine.principal_coordinates import (
    PrincipalCoordinates,
    Spectrum,
    eigenpairs,
    gram_of,
    principal_coordinates,
)
from gradkern.ridge._engine.solve import AlphaSelection, first_best

_SPARE = 1.1  # training samples for each coordinate: with fewer, nearly every fit interpolates
# Share of the variance that a fit must leave: where it leaves less, |y|^2 - sum w B^2 is mostly rounding.
_LEAST_LEFT = {torch.float32: 0.05, torch.float64: 1e-4}


@dataclass(frozen=True)
class OuterFolds:
    """Outer folds that partition n samples, each of which is trained on in all other folds.

    Attributes
    ----------
    order : [n] samples, fold after fold
    tests : where the samples of each fold are in that order
    inner : whether inner folds are the other outer folds
    """

    order: Indices
    tests: tuple[slice, ...]
    inner: bool

    @property
    def sizes(self) -> list[int]:
        return [test.stop - test.start for test in self.tests]


def outer_folds_of(tests: Sequence[Indices], inner: bool) -> OuterFolds:
    """The folds by the samples that each tests."""
    ends = np.cumsum([len(test) for test in tests]).tolist()
    starts = [0, *ends[:-1]]
    slices = tuple(slice(start, stop) for start, stop in zip(starts, ends, strict=True))
    return OuterFolds(np.concatenate(list(tests)), slices, inner)


@dataclass(frozen=True)
class _Trained:
    """Eigenpairs of the training samples of a fit: `vectors` V [q, r] and `values` l [r] in float64.

    `folds` are those trained on, `sums` [r, f'] the sums of their coordinates, and `mass` their samples; `narrow` is V
    in the dtype of the coordinates.
    """

    folds: tuple[int, ...]
    vectors: Tensor
    values: Tensor
    narrow: Tensor
    sums: Tensor
    mean: Tensor  # of the training samples, [q] in float64
    mass: int


@dataclass(frozen=True)
class _Outer:
    """What scores the samples that an outer fold holds out.

    `center` [r] is where their coordinates are on average, `shift` [r] that less the training samples' mean, and
    `triangle` R has R'R = P'P of the coordinates P about their mean.
    """

    trained: _Trained
    center: Tensor
    shift: Tensor
    triangle: Tensor


@dataclass(frozen=True)
class _Pair:
    """All folds but two: factors that test the first and the second."""

    folds: tuple[int, int]
    trained: _Trained
    factors: tuple[FoldFactor, FoldFactor]


@dataclass(frozen=True)
class NestedFactor:
    """All about the features that scores of every outer fold need."""

    coordinates: Tensor  # [n, q] in the order of the folds
    folds: OuterFolds
    alphas: Tensor
    outer: tuple[_Outer, ...]
    pairs: tuple[_Pair, ...]


class FoldResponses(NamedTuple):
    """Responses [n, b] in the order of the folds, each fold about its `offset` [f, b]; moments of what is left."""

    rows: Tensor
    offset: Tensor
    moments: Moments

    @property
    def means(self) -> Tensor:
        """Means of the folds [f, b] in float64."""
        return self.offset.double() + self.moments.mean

    def about(self, folds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Mean [b] of some folds, and their sum of squares about it [b], in float64."""
        chosen = list(folds)
        mass, means = self.moments.mass[chosen], self.means[chosen]
        mean = (mass @ means) / mass.sum()
        return mean, self.moments.spread[chosen].sum(0) + mass @ (means - mean).square()


class NestedScores(NamedTuple):
    """Scores of held-out samples and chosen alphas [f, b], in float64; `unsure` [b] targets are scored otherwise."""

    r: Tensor
    r2: Tensor
    alpha: Tensor
    unsure: Tensor


def factor_nested(X: Tensor, folds: OuterFolds, selection: AlphaSelection) -> NestedFactor | None:
    """Decompose the features X [n, d], in the order of the folds, once for all targets.

    None where float32 would lose digits (the features of a fold are nearly collinear), or there are hardly more samples
    than coordinates: fits are then made one by one.
    """
    principal = principal_coordinates(X, True)
    Z, n = principal.coordinates, len(X)
    if Z.shape[1] == 0 or n - max(folds.sizes) < _SPARE * Z.shape[1]:
        return None
    alphas = selection.alphas.to(Z.device)
    statistics = _Statistics(principal, folds, float(alphas.min()))
    outer, pairs = [], []
    for number in range(len(folds.tests)):
        trained = statistics.trained((number,))
        if trained is None:
            return None
        outer.append(_outer(statistics, trained, number))
    for pair in combinations(range(len(folds.tests)), 2) if folds.inner else ():
        trained = statistics.trained(pair)
        if trained is None:
            return None
        first, second = (statistics.factor(trained, tested, alphas) for tested in pair)
        pairs.append(_Pair(pair, trained, (first, second)))
    return NestedFactor(Z, folds, alphas, tuple(outer), tuple(pairs))


class _Statistics:
    """Sums [q] and Gram matrices [q, q] of the coordinates of every fold, in float64."""

    def __init__(self, principal: PrincipalCoordinates, folds: OuterFolds, alpha: float) -> None:
        self.principal, self.folds, self.alpha = principal, folds, alpha
        self.Z = principal.coordinates
        self.sums = torch.stack([self.Z[test].double().sum(0) for test in folds.tests])
        self.grams = [gram_of(self.Z[test]) for test in folds.tests]
        self.whole = torch.stack(self.grams).sum(0)

    def trained(self, left_out: tuple[int, ...]) -> _Trained | None:
        """Eigenpairs of all folds but some; None where they are nearly collinear."""
        kept = tuple(number for number in range(len(self.grams)) if number not in left_out)
        mass = sum(self.folds.sizes[number] for number in kept)
        sums = self.sums[list(kept)]
        mean = sums.sum(0) / mass
        gram = self.whole - torch.outer(mean, mass * mean)
        for number in left_out:
            gram -= self.grams[number]
        spectrum = eigenpairs(gram, min(len(mean), mass - 1))
        narrow = self.Z.dtype == torch.float32
        smallest = torch.tensor(self.alpha, dtype=torch.float64, device=gram.device)
        if len(spectrum.values) == 0 or (narrow and is_blurred(self.principal, spectrum, smallest)):
            return None
        V = spectrum.vectors
        return _Trained(kept, V, spectrum.values, V.to(self.Z.dtype), V.T @ sums.T, mean, mass)

    def factor(self, trained: _Trained, tested: int, alphas: Tensor) -> FoldFactor:
        """What scores a fold for every alpha, by R2, after the fit of others."""
        test, mass = self.folds.tests[tested], self.folds.sizes[tested]
        root = torch.ones(mass, dtype=torch.float64, device=self.Z.device)
        gram = FoldGram(
            test=test,
            train=slice(0, 0),
            complement=False,
            test_mass=float(mass),
            train_mass=float(trained.mass),
            root=root,
            mean=trained.mean,
            center=trained.mean,
            gram=self.whole[:0],
            most=len(trained.values),
            triangle=None,
            total=self.sums[tested] - mass * trained.mean,
            r2_per_sum=trained.mass / mass,
        )
        return factor_gram(gram, Spectrum(trained.values, trained.vectors), self.Z, alphas)


def _outer(statistics: _Statistics, trained: _Trained, number: int) -> _Outer:
    test, mass = statistics.folds.tests[number], statistics.folds.sizes[number]
    mean = statistics.sums[number] / mass
    P = (statistics.Z[test].double() - mean) @ trained.vectors
    triangle = torch.linalg.qr(P, mode="r").R if len(P) > P.shape[1] else P
    center = trained.vectors.T @ mean
    shift = center - trained.vectors.T @ trained.mean
    return _Outer(trained, center, shift, triangle.to(statistics.Z.dtype))


def fold_responses(Y: Tensor, folds: OuterFolds) -> FoldResponses:
    """Responses Y [n, b], in the order of the folds, about the mean of every fold; Y is overwritten."""
    offset = torch.stack([Y[test].mean(0) for test in folds.tests])
    for test, mean in zip(folds.tests, offset, strict=True):
        Y[test] -= mean
    return FoldResponses(Y, offset, moments(Y, folds.tests))


def score_nested(factored: NestedFactor, responses: FoldResponses) -> NestedScores:
    """Choose alpha inside the training samples of every outer fold, fit and score, for all targets of a block."""
    Z, tests = factored.coordinates, factored.folds.tests
    crosses = [product(Z[test].T, responses.rows[test]) for test in tests]
    unsure = torch.zeros(responses.rows.shape[1], dtype=torch.bool, device=Z.device)
    inner = _inner_scores(factored, responses, crosses) if factored.pairs else None
    r, r2, alphas = [], [], []
    for number, fold in enumerate(factored.outer):
        mean, spread = responses.about(fold.trained.folds)
        B = _trained_cross(fold.trained, responses, crosses, mean)
        if inner is None:
            scores, few = _gcv(fold.trained, factored.alphas, B, spread)
            unsure |= few
        else:
            scores = inner[number]
        alpha = factored.alphas[first_best(scores, Z.dtype)]
        coefficients = ops.select_scale(B, fold.trained.values, alpha)
        scored = _held_out(fold, coefficients, crosses[number], responses, number, mean)
        unsure |= ~torch.isfinite(scored[1])
        r.append(scored[0])
        r2.append(scored[1])
        alphas.append(alpha)
    return NestedScores(torch.stack(r), torch.stack(r2), torch.stack(alphas), unsure)


def _trained_cross(trained: _Trained, responses: FoldResponses, crosses: Sequence[Tensor], mean: Tensor) -> Tensor:
    """B = V' sum_j (Z_j - zbar)'(Y_j - ybar) [r, b] of the folds that are trained on."""
    kept = list(trained.folds)
    total = crosses[kept[0]].clone()
    for number in kept[1:]:
        total += crosses[number]
    B = product(trained.narrow.T, total)
    moved = responses.offset[kept].double() - mean
    return B.addmm_(trained.sums.to(B.dtype), moved.to(B.dtype))


def _gcv(trained: _Trained, alphas: Tensor, B: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """1 - n GCV / SST of every alpha [a, b] (see `loo_gcv`), and for which targets [b] that is mostly rounding."""
    shrunk = trained.values + alphas[:, None]
    removed = ((trained.values + 2 * alphas[:, None]) / shrunk**2) @ B.double().square()
    left = spread - removed
    freedom = (trained.mass - 1 - len(trained.values) + (alphas[:, None] / shrunk).sum(1)) / trained.mass
    return 1 - left / freedom[:, None] ** 2 / spread, ~(left.amin(0) > _LEAST_LEFT[B.dtype] * spread)


def _held_out(
    fold: _Outer, coefficients: Tensor, cross: Tensor, responses: FoldResponses, number: int, mean: Tensor
) -> tuple[Tensor, Tensor]:
    """Pearson r and R2 [b] of the samples that a fold holds out, from sums over them."""
    about = responses.moments
    D = product(fold.trained.narrow.T, cross)
    D.addr_(fold.center.to(D.dtype), about.total[number].to(D.dtype), alpha=-1)
    wide = coefficients.double()
    together = (wide * D.double()).sum(0)
    squares = product(fold.triangle, coefficients).double().square().sum(0)
    spread, mass = about.spread[number], about.mass[number]
    r = torch.where(squares > 0, together / (squares * spread).sqrt(), torch.nan)
    apart = responses.means[number] - mean - fold.shift @ wide
    return r, 1 - (spread - 2 * together + squares + mass * apart.square()) / spread


def _inner_scores(factored: NestedFactor, responses: FoldResponses, crosses: Sequence[Tensor]) -> list[Tensor]:
    """Mean R2 [a, b] over the inner folds of every outer fold."""
    count = len(factored.folds.tests)
    shape = (len(factored.alphas), responses.rows.shape[1])
    totals = [torch.zeros(shape, dtype=torch.float64, device=responses.rows.device) for _ in range(count)]
    for pair in factored.pairs:
        mean, _ = responses.about(pair.trained.folds)
        B = _trained_cross(pair.trained, responses, crosses, mean)
        for tested, held_out, factor in zip(pair.folds, reversed(pair.folds), pair.factors, strict=True):
            totals[held_out] += _inner_r2(factor, pair.trained, B, crosses[tested], responses, tested, mean)
    return [total / (count - 1) for total in totals]


def _inner_r2(
    factor: FoldFactor,
    trained: _Trained,
    B: Tensor,
    cross: Tensor,
    responses: FoldResponses,
    tested: int,
    mean: Tensor,
) -> Tensor:
    """R2 [a, b] of the samples of a fold, after the fit of others."""
    about = responses.moments
    moved = responses.offset[tested].double() - mean
    if isinstance(factor.sums, DividedDifferences):
        D = product(trained.narrow.T, cross)
        D.addr_(factor.sums.center, about.total[tested].to(D.dtype), alpha=-1)
        D.addr_(factor.sums.sums, moved.to(D.dtype))
        together, squares = divided_sums(factor.sums, B, D)
    else:
        values = responses.rows[factor.test].double() + moved
        together, squares = sums_of_predictions(factor.sums, B, values)
    spread, mass = about.spread[tested], about.mass[tested]
    outcome = spread + mass * (responses.means[tested] - mean).square()
    return 1 - (outcome - 2 * together + squares) / spread
