"""Ridge on bands of features, each on a scale of its own: each candidate for the band weights is a ridge problem.

Ridge that penalises band b by alpha / gamma_b is plain ridge on sqrt(gamma_b) X_b. A rotation inside a band commutes
with its scale, so each band is rotated once to its own principal axes, Z = [Z_1 .. Z_B], and with S the diagonal
matrix of the square roots the Gram matrix of a fold is S Z_k'Z_k S and its product with the targets S Z_k'Y_k. So the
folds' Gram matrices, and the products Z_k'Y_k of a block of targets, are computed once and serve every candidate. With
S V for V, the divided differences of `gradkern.ridge._engine.kfold` then score all alphas of a candidate, and no
product over samples and targets is left.

Where the bands together have more coordinates than there are samples, that would cost more. Each candidate is then
solved in the at most n - 1 coordinates that its scaled bands span, and so is each fold that standardizes its features.

Rounding of the shared products is relative to the large directions of all bands, not to each direction of a candidate.
In float32 that shows where bands nearly repeat each other and alpha is below 1e-8 of the largest eigenvalue: the error
of a score is then up to 1e-4, against 2e-5 of ridge on the scaled features. Refits compute these products in float64.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from gradkern.ridge._engine.blocks import on_all_cores
from gradkern.ridge._engine.folds import Folds
from gradkern.ridge._engine.inputs import Targets
from gradkern.ridge._engine.kfold import (
    FoldFactor,
    FoldFactors,
    FoldGram,
    factor_folds,
    factor_gram,
    factor_own,
    fold_gram,
    fold_sums,
    join_folds,
    score_folds,
)
from gradkern.ridge._engine.metrics import FoldScores
from gradkern.ridge._engine.precision import product
from gradkern.ridge._engine.principal_coordinates import (
    PrincipalCoordinates,
    Spectrum,
    eigenpairs,
    gram_of,
    principal_coordinates,
)
from gradkern.ridge._engine.solve import (
    AlphaSelection,
    CenteredTargets,
    FitOptions,
    center_targets,
    first_best,
    target_blocks,
)

# What the factors of all candidates that are scored in one pass over the targets may take. A further pass takes
# Z_k'Y_k again, which is cheap beside what a candidate costs where the factors are this large.
_FACTOR_BYTES = 512 * 2**20
_EIGH_BYTES = (
    256  # times r^2: what decomposing one more candidate at once took beside the results, measured at r = 1024
)
_ROWS = 1024  # widened to float64 at a time

T = TypeVar("T")


@dataclass(frozen=True)
class FoldBands:
    """A fold's training samples, with features standardized by them: their bands, and test samples' coordinates."""

    bands: "Bands"
    tested: Tensor


@dataclass(frozen=True)
class Bands:
    """Each band about its mean along its own principal axes, and the coordinates Z [n, q] of all, side by side.

    A band has at most min(d_b, n - 1) of the q coordinates. `whole` holds the coordinates Z of all bands, and `offset`
    and `leftover` [d] of all features; it has no Gram matrix where Z has no fewer columns than rows. `inside` holds the
    bands of every fold, where each fold standardizes the features.
    """

    per_band: tuple[PrincipalCoordinates, ...]
    whole: PrincipalCoordinates
    inside: tuple[FoldBands, ...] = ()

    @property
    def coordinates(self) -> Tensor:
        """Z."""
        return self.whole.coordinates

    @property
    def shared(self) -> bool:
        """Whether the candidates share the products of Z and the targets."""
        n, q = self.coordinates.shape
        return q < n

    def scale(self, gamma: Tensor) -> Tensor:
        """The square roots of gamma, for every coordinate [q], in float64."""
        widths = torch.tensor([len(principal.values) for principal in self.per_band], device=gamma.device)
        return gamma.sqrt().repeat_interleave(widths)

    def to_features(self, coefficients: Tensor) -> Tensor:
        """Coefficients [q, b] of the coordinates as coefficients [d, b] of the features."""
        parts = torch.split(coefficients, [len(principal.values) for principal in self.per_band])
        return torch.cat([principal.to_features(part) for principal, part in zip(self.per_band, parts, strict=True)])


@dataclass(frozen=True)
class BandedChoice:
    """What cross-validation chose for each of v targets.

    `score` is in float64, -inf where none was defined, `alpha` in float64, and `candidate` the row of gammas.
    `undefined` counts the folds that gave no score; `constant` marks targets with one value throughout, `missing`
    targets that hold a NaN.
    """

    score: Tensor
    alpha: Tensor
    candidate: Tensor
    undefined: Tensor
    constant: Tensor
    missing: Tensor


@dataclass(frozen=True)
class Refitted:
    """The model of the targets `chosen` [b] of the block `columns`: coefficients [d, b] of the features.

    `at_offset` [b] in float64 is the prediction where the features are at the bands' offset.
    """

    columns: slice
    chosen: Tensor
    coefficients: Tensor
    at_offset: Tensor


def make_bands(Xs: Sequence[Tensor], options: FitOptions, folds: Folds | None = None) -> Bands:
    """Centre and rotate each band X_b [n, d_b]; given folds, in each of them too where features are standardized."""
    per_band = [principal_coordinates(X, options.intercept, options.weights, options.standardize) for X in Xs]
    if folds is None or not options.standardize:
        return join_bands(per_band)
    inside = []
    for fold in folds.folds:
        train, test = (torch.from_numpy(side).to(Xs[0].device) for side in (fold.train, fold.test))
        weights = None if options.weights is None else options.weights[train]
        own = [principal_coordinates(X[train], options.intercept, weights, standardize=True) for X in Xs]
        tested = [principal.project(X[test]) for principal, X in zip(own, Xs, strict=True)]
        # without their way back to features, which a fold has no need of
        own = [replace(principal, outward=()) for principal in own]
        inside.append(FoldBands(join_bands(own), torch.cat(tested, 1)))
    return replace(join_bands(per_band), inside=tuple(inside))


def join_bands(per_band: Sequence[PrincipalCoordinates]) -> Bands:
    """Put bands of the same samples side by side."""
    Z = torch.cat([principal.coordinates for principal in per_band], 1)
    whole = replace(
        per_band[0],
        coordinates=Z,
        mean=torch.cat([principal.mean for principal in per_band]),
        gram=gram_of(Z) if Z.shape[1] < Z.shape[0] else per_band[0].gram[:0, :0],
        values=torch.cat([principal.values for principal in per_band]),
        offset=torch.cat([principal.offset for principal in per_band]),
        leftover=torch.cat([principal.leftover for principal in per_band]),
    )
    return Bands(tuple(per_band), whole)


def search(
    bands: Bands,
    gammas: Tensor,
    selection: AlphaSelection,
    targets: Targets,
    max_memory: int | None = None,
    all_scores: Tensor | None = None,
) -> BandedChoice:
    """Score every alpha of every candidate, gammas [m, bands] in float64, and choose for each target.

    Of equal scores the earlier candidate wins, and for one candidate the larger alpha. A target without a score gets
    the first candidate and the largest alpha. All scores are written to `all_scores` [v, m, a] if it is given.
    """
    if selection.folds is None:
        raise ValueError("folds are needed to choose on, got none")
    v, device = targets.n_targets, bands.coordinates.device
    alphas = selection.alphas.to(device)
    choice = BandedChoice(
        score=torch.full((v,), -torch.inf, dtype=torch.float64, device=device),
        alpha=alphas[:1].repeat(v),
        candidate=torch.zeros(v, dtype=torch.int64, device=device),
        undefined=torch.zeros(v, dtype=torch.int64, device=device),
        constant=torch.zeros(v, dtype=torch.bool, device=device),
        missing=torch.zeros(v, dtype=torch.bool, device=device),
    )
    f, a = len(selection.folds), len(alphas)
    at_once, bytes_per_target = _candidates_at_once(_bytes_to_factor(bands, f, a)), _bytes_to_score(bands, f, a)
    grams = _fold_grams(bands, selection.folds, selection.scoring)
    factor = partial(_factor_candidate, bands, grams, selection.folds, alphas, selection.scoring)
    for numbers in torch.split(torch.arange(len(gammas)), at_once):
        factored = _of_candidates(factor, gammas[numbers.to(device)], bands.coordinates)
        for columns in target_blocks(bytes_per_target, device, v, max_memory):
            block = center_targets(targets.block(columns), bands.whole.intercept)
            choice.missing[columns] = block.missing
            sums = fold_sums(factored[0], block.values) if bands.shared or bands.inside else None
            for number, factors in zip(numbers.tolist(), factored, strict=True):
                fold_scores = score_folds(factors, block.values, sums)
                fold_scores.scores[:, fold_scores.constant] = torch.nan
                choice.constant[columns] = fold_scores.constant & ~block.missing
                _keep_better(choice, columns, number, alphas, fold_scores, block.values.dtype)
                if all_scores is not None:
                    all_scores[columns, number] = fold_scores.scores.T.to(all_scores)
    return choice


def refit(
    bands: Bands, gammas: Tensor, choice: BandedChoice, targets: Targets, max_memory: int | None = None
) -> Iterator[Refitted]:
    """Solve for all samples, in blocks of targets; where not all candidates fit into memory, in several passes."""
    device, v = bands.coordinates.device, targets.n_targets
    used = torch.bincount(choice.candidate, minlength=len(gammas)).nonzero()[:, 0]
    for numbers in torch.split(used, _candidates_at_once(_bytes_to_solve(bands))):
        ridges = _of_candidates(partial(_whole_ridge, bands), gammas[numbers], bands.coordinates)
        for columns in target_blocks(_bytes_to_refit(bands), device, v, max_memory):
            candidate = choice.candidate[columns]
            chosen = torch.isin(candidate, numbers).nonzero()[:, 0]
            if not len(chosen):
                continue
            block = center_targets(targets.block(columns)[:, chosen], bands.whole.intercept)
            mean = _mean_of(bands, block.values)
            right_side = _products(bands, block.values) if bands.shared else block.values
            placed = block.values.new_zeros((bands.coordinates.shape[1], len(chosen)))
            for number, ridge in zip(numbers, ridges, strict=True):
                members = (candidate[chosen] == number).nonzero()[:, 0]
                if len(members):
                    alpha = choice.alpha[columns][chosen[members]]
                    placed[:, members] = ridge.solve(right_side[:, members], alpha).to(placed)
            yield _refitted(bands, columns, chosen, block, mean, placed, choice)


def _refitted(
    bands: Bands,
    columns: slice,
    chosen: Tensor,
    block: CenteredTargets,
    mean: Tensor,
    placed: Tensor,
    choice: BandedChoice,
) -> Refitted:
    constant = (choice.constant | choice.missing)[columns][chosen]
    coefficients = bands.to_features(placed)
    coefficients[:, constant] = 0
    at_offset = torch.zeros_like(mean)
    if bands.whole.intercept:
        at_offset = block.at_offset(mean, bands.whole.leftover @ coefficients.double(), constant)
    for result in (coefficients.T, at_offset):
        result[block.missing] = torch.nan
    return Refitted(columns, chosen, coefficients, at_offset)


@dataclass(frozen=True)
class _InCoordinates:
    """Ridge of one candidate, by the eigenpairs of S Z'Z S: `solve` takes Z'Y [q, b] in float64."""

    spectrum: Spectrum  # vectors times S

    def solve(self, products: Tensor, alpha: Tensor) -> Tensor:
        """Coefficients [q, b] of Z."""
        values, vectors = self.spectrum.values, self.spectrum.vectors
        return vectors @ ((vectors.T @ products).div_(values[:, None] + alpha))


@dataclass(frozen=True)
class _InSamples:
    """Ridge of one candidate on its scaled coordinates themselves: `solve` takes Y [n, b]."""

    principal: PrincipalCoordinates
    scale: Tensor

    def solve(self, Y: Tensor, alpha: Tensor) -> Tensor:
        """Coefficients [q, b] of Z."""
        principal = self.principal
        cross = product(principal.coordinates.T, Y * principal.root[:, None].to(Y.dtype) if principal.weighted else Y)
        inside = principal.to_features(cross / (principal.values[:, None] + alpha).to(Y.dtype))
        kept = self.scale.nonzero()[:, 0]
        placed = inside.new_zeros((len(self.scale), Y.shape[1]))
        placed[kept] = self.scale[kept, None].to(Y.dtype) * inside
        return placed


def _whole_ridge(bands: Bands, gamma: Tensor) -> _InCoordinates | _InSamples:
    scale, whole = bands.scale(gamma), bands.whole
    if not bands.shared:
        return _InSamples(_rescale(bands, scale), scale)
    return _InCoordinates(_scaled_eigenpairs(whole.gram, scale, len(whole.root) - whole.intercept))


def _mean_of(bands: Bands, Y: Tensor) -> Tensor:
    """Weighted mean of targets Y [n, b] in float64, zero without intercept."""
    weights = bands.whole.root.square()
    return weights @ Y.double() / weights.sum() if bands.whole.intercept else Y.new_zeros(Y.shape[1]).double()


def _products(bands: Bands, Y: Tensor) -> Tensor:
    """Z'Y [q, b] in float64, both about means that are zero to rounding: what that leaves is its square."""
    Z, root = bands.coordinates, bands.whole.root
    total = Y.new_zeros((Z.shape[1], Y.shape[1]), dtype=torch.float64)
    for start in range(0, len(Z), _ROWS):
        part = slice(start, start + _ROWS)
        rows = Y[part].double()
        total.addmm_(Z[part].T.double(), rows.mul_(root[part, None]) if bands.whole.weighted else rows)
    return total


def _scaled_eigenpairs(gram: Tensor, scale: Tensor, most: int) -> Spectrum:
    """Eigenpairs of S gram S for S = diag(scale) [q], their vectors multiplied by S."""
    kept = scale.nonzero()[:, 0]
    some = scale[kept]
    spectrum = eigenpairs(gram[kept[:, None], kept] * torch.outer(some, some), min(len(kept), most))
    vectors = gram.new_zeros((len(scale), len(spectrum.values)))
    vectors[kept] = some[:, None] * spectrum.vectors
    return replace(spectrum, vectors=vectors)


def _rescale(bands: Bands, scale: Tensor) -> PrincipalCoordinates:
    """Principal coordinates of Z times `scale`, where that is not zero."""
    kept, whole = scale.nonzero()[:, 0], bands.whole
    rows = bands.coordinates[:, kept] * scale[kept].to(bands.coordinates)
    if not whole.weighted:
        return principal_coordinates(rows, whole.intercept)
    # the rows are multiplied already, and will be again
    return principal_coordinates(rows / whole.root[:, None].to(rows.dtype), whole.intercept, whole.root.square())


def _fold_grams(bands: Bands, folds: Folds, scoring: str) -> tuple[FoldGram, ...]:
    """Statistics of the folds that all candidates share, if they share any."""
    if bands.inside or not bands.shared:
        return ()
    return tuple(fold_gram(bands.whole, fold, scoring, reused=True) for fold in folds.folds)


def _factor_candidate(
    bands: Bands, grams: tuple[FoldGram, ...], folds: Folds, alphas: Tensor, scoring: str, gamma: Tensor
) -> FoldFactors:
    """The folds' factors of one candidate: of Z where the candidates share sums, else of what the scaled bands span."""
    factors: list[FoldFactor] = []
    scale = bands.scale(gamma)
    if bands.inside:
        for fold, inside in zip(folds.folds, bands.inside, strict=True):
            scale = inside.bands.scale(gamma)
            principal, kept = _rescale(inside.bands, scale), scale.nonzero()[:, 0]
            tested = principal.project(inside.tested[:, kept] * scale[kept].to(inside.tested))
            factors.append(factor_own(bands.whole, principal, fold, tested, alphas, scoring))
    elif not bands.shared:
        return factor_folds(_rescale(bands, scale), folds, alphas, scoring)
    for gram in grams:
        spectrum = _scaled_eigenpairs(gram.gram, scale, gram.most)
        factors.append(factor_gram(gram, spectrum, bands.coordinates, alphas))
    return join_folds(bands.whole, folds, alphas, scoring, factors)


def _keep_better(
    choice: BandedChoice,
    columns: slice,
    number: int,
    alphas: Tensor,
    candidate: FoldScores,
    dtype: torch.dtype,
) -> None:
    """Choose candidate `number` for the targets that it scores better than what was chosen before."""
    scores = candidate.scores
    best = first_best(scores, dtype)
    score = torch.where(scores.isnan(), -torch.inf, scores).gather(0, best[None])[0]
    better = score > choice.score[columns]
    for chosen, new in (
        (choice.score, score),
        (choice.alpha, alphas[best]),
        (choice.candidate, torch.full_like(best, number)),
        (choice.undefined, candidate.undefined),
    ):
        chosen[columns] = torch.where(better, new, chosen[columns])


def _of_candidates(call: Callable[[Tensor], T], gammas: Tensor, coordinates: Tensor) -> list[T]:
    """Call for each candidate, on as many cores as memory allows: eigensolvers hardly gain from a second core."""
    if gammas.is_cuda:
        return [call(gamma) for gamma in gammas]
    largest = min(coordinates.shape)
    return on_all_cores(call, list(gammas), max(1, _FACTOR_BYTES // max(1, _EIGH_BYTES * largest**2)))


def _candidates_at_once(bytes_per_candidate: int) -> int:
    return max(1, _FACTOR_BYTES // max(1, bytes_per_candidate))


def _bytes_to_factor(bands: Bands, f: int, a: int) -> int:
    """Bytes of a candidate's factors: V, N and the projected or predicted test samples of every fold, and its own Z."""
    n, q = bands.coordinates.shape
    r, size = min(q, n), bands.coordinates.element_size()
    own = size * n * r * (f if bands.inside else not bands.shared)
    return own + f * r * (size * (r + max(8 * a, r)) + 8 * r)


def _bytes_to_solve(bands: Bands) -> int:
    """Bytes of a candidate's ridge on all samples."""
    n, q = bands.coordinates.shape
    return 8 * q * q if bands.shared else bands.coordinates.element_size() * n * (q + 2 * n)


def _bytes_to_score(bands: Bands, f: int, a: int) -> int:
    """Bytes of a target while candidates are scored; means are taken in float64."""
    n, q = bands.coordinates.shape
    return bands.coordinates.element_size() * (3 * n + (2 * f + 3) * q) + 8 * (2 * n + 4 * q + 6 * a)


def _bytes_to_refit(bands: Bands) -> int:
    """Bytes of a target that is solved for."""
    n, q = bands.coordinates.shape
    return bands.coordinates.element_size() * (3 * n + 3 * q + len(bands.whole.offset)) + 8 * (n + 4 * q)
