"""Ridge on bands of features, each on a scale of its own: one ratio of the scales is one ridge problem.

Ridge that penalises band b by alpha / gamma_b is plain ridge on sqrt(gamma_b) X_b. A rotation inside a band commutes
with its scale, so each band is rotated once to its own principal axes, Z = [Z_1 .. Z_B], and with S the diagonal
matrix of the square roots the Gram matrix of a fold is S Z_k'Z_k S and its product with the targets S Z_k'Y_k: the
products Z_k'Y_k of a block of targets, taken once, serve every ratio. With S V for V the divided differences of
`gradkern.encoding.kfold` then score all alphas of a ratio, and no product over samples and targets is left.

Where the bands together have more coordinates than there are samples, that would be the dearer way: then each ratio
is solved in the at most n - 1 coordinates that its scaled bands span.

Rounding of the shared products is relative to the large directions of all bands, not to each direction of a ratio. In
float32 that shows where bands nearly repeat each other and alpha is below 1e-8 of the largest eigenvalue: scores are
then known to 1e-4, against 2e-5 of ridge on the scaled features themselves. Refits are that ridge.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gradkern.encoding.design import Design, gram_of, make_design
from gradkern.encoding.inputs import Targets
from gradkern.encoding.kfold import KFold, factor_folds, fold_sums, score_folds
from gradkern.encoding.metrics import constant_columns
from gradkern.encoding.solve import _MOST_TARGETS, _WORKING_SET_BYTES, Choice, first_best

# What the factors of all ratios that are scored in one pass over the targets may take. A further pass takes
# Z_k'Y_k again, which is cheap beside what a ratio costs where the factors are this large.
_FACTOR_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Bands:
    """Each band about its mean along its own principal axes, and the `coordinates` Z [n, q] of all, side by side.

    A band has at most min(d_b, n - 1) of the q coordinates. `offset` and `leftover` [d] are those of
    `gradkern.encoding.design.Design`, `mean` [q] that of Z, in float64.
    """

    designs: tuple[Design, ...]
    coordinates: Tensor
    mean: Tensor
    offset: Tensor
    leftover: Tensor
    intercept: bool

    @property
    def widths(self) -> list[int]:
        """How many coordinates each band has."""
        return [len(design.values) for design in self.designs]

    @property
    def shared(self) -> bool:
        """Whether the ratios share the products of Z and the targets."""
        n, q = self.coordinates.shape
        return q < n

    def to_features(self, coefficients: Tensor) -> Tensor:
        """Coefficients [q, b] of the coordinates as coefficients [d, b] of the features."""
        parts = torch.split(coefficients, self.widths)
        return torch.cat([design.to_features(part) for design, part in zip(self.designs, parts, strict=True)])


@dataclass(frozen=True)
class Scaled:
    """The coordinates [n, k] that a ratio does not leave out, times their scales.

    `kept` [k] are their places among the q, `scale` [k] the square roots of gamma in the dtype of the coordinates.
    """

    coordinates: Tensor
    kept: Tensor
    scale: Tensor


@dataclass(frozen=True)
class Found:
    """What cross-validation chose for each of v targets.

    `score` in float64, -inf where none was defined; `alpha` in float64; `ratio` the row of gammas; `undefined` counts
    the folds that gave no score; `constant` marks targets with one value throughout.
    """

    score: Tensor
    alpha: Tensor
    ratio: Tensor
    undefined: Tensor
    constant: Tensor


@dataclass(frozen=True)
class Refitted:
    """The model of the targets `columns` [b], all of one ratio: coefficients [d, b] of the features.

    `at_offset` [b] in float64 is the prediction where the features are at the bands' offset.
    """

    columns: Tensor
    coefficients: Tensor
    at_offset: Tensor


@dataclass(frozen=True)
class _Centred:
    """A block of targets about `offset` [b], their mean rounded to their dtype, and which of them are `constant`.

    `first` [b] are the responses to the first sample.
    """

    values: Tensor
    offset: Tensor
    constant: Tensor
    first: Tensor


def make_bands(Xs: Sequence[Tensor], intercept: bool) -> Bands:
    """Centre and rotate each band X_b [n, d_b]."""
    return join_bands([make_design(X, intercept) for X in Xs])


def join_bands(designs: Sequence[Design]) -> Bands:
    """Put bands of the same samples side by side."""
    return Bands(
        designs=tuple(designs),
        coordinates=torch.cat([design.coordinates for design in designs], 1),
        mean=torch.cat([design.mean for design in designs]),
        offset=torch.cat([design.offset for design in designs]),
        leftover=torch.cat([design.leftover for design in designs]),
        intercept=designs[0].intercept,
    )


def search(bands: Bands, gammas: Tensor, choice: Choice, targets: Targets) -> Found:
    """Score every alpha of every ratio, gammas [m, bands] in float64, and choose for each target.

    Of equal scores the earlier ratio wins, and of one ratio the larger alpha. A target without a score gets the first
    ratio and the largest alpha.
    """
    v, device = targets.n_targets, bands.coordinates.device
    alphas = choice.alphas.to(device)
    found = Found(
        score=torch.full((v,), -torch.inf, dtype=torch.float64, device=device),
        alpha=alphas[:1].repeat(v),
        ratio=torch.zeros(v, dtype=torch.int64, device=device),
        undefined=torch.zeros(v, dtype=torch.int64, device=device),
        constant=torch.zeros(v, dtype=torch.bool, device=device),
    )
    at_once, block_size = _ratios_at_once(bands, choice), _block_size(bands, choice)
    for start in range(0, len(gammas), at_once):
        factored = [_factor_ratio(bands, gamma, choice, alphas) for gamma in gammas[start : start + at_once]]
        for first in range(0, v, block_size):
            columns = slice(first, min(first + block_size, v))
            block = _centred(targets.block(columns), bands.intercept)
            found.constant[columns] = block.constant
            sums = fold_sums(factored[0], block.values) if bands.shared else None
            for number, kfold in enumerate(factored, start):
                scored = score_folds(kfold, block.values, sums)
                scored.scores[:, block.constant] = torch.nan
                _keep_better(found, columns, number, alphas, scored.scores, scored.undefined, block.values.dtype)
    return found


def refit(bands: Bands, gammas: Tensor, found: Found, targets: Targets) -> Iterator[Refitted]:
    """Solve for all samples, ratio after ratio of those that some target chose, in blocks of its targets."""
    block_size = _block_size(bands, None)
    for number in torch.bincount(found.ratio).nonzero()[:, 0].tolist():
        scaled = _scale(bands, gammas[number])
        design = make_design(scaled.coordinates, bands.intercept)
        for columns in (found.ratio == number).nonzero()[:, 0].split(block_size):
            # as a list, it picks columns of tensors on any device and of NumPy arrays
            some = Targets(targets.values[:, columns.tolist()], targets.placement, targets.rows)
            block = _centred(some.block(slice(None)), bands.intercept)
            inside = _solve(design, block.values, found.alpha[columns])
            outside = inside.new_zeros((bands.coordinates.shape[1], len(columns)))
            outside[scaled.kept] = scaled.scale[:, None] * inside
            coefficients = bands.to_features(outside)
            coefficients[:, block.constant] = 0
            yield Refitted(columns, coefficients, _at_offset(bands, block, coefficients))


def _solve(design: Design, Y: Tensor, alpha: Tensor) -> Tensor:
    """Coefficients [k, b] of what `design` was made of."""
    cross = design.coordinates.T @ Y
    if design.intercept:
        cross.addr_(design.mean.to(Y.dtype), Y.double().mean(0).to(Y.dtype), alpha=-len(Y))
    return design.to_features(cross / (design.values[:, None] + alpha).to(Y.dtype))


def _at_offset(bands: Bands, block: _Centred, coefficients: Tensor) -> Tensor:
    if not bands.intercept:
        return torch.zeros_like(block.offset, dtype=torch.float64)
    at_offset = block.offset + block.values.double().mean(0) - bands.leftover @ coefficients.double()
    at_offset[block.constant] = block.first[block.constant].double()
    return at_offset


def _centred(responses: Tensor, intercept: bool) -> _Centred:
    # the mean rounded to the targets' dtype: subtracting that is all but exact, and its rest is accounted for
    offset = responses.double().mean(0).to(responses.dtype) if intercept else torch.zeros_like(responses[0])
    values = responses - offset if intercept else responses
    return _Centred(values, offset, constant_columns(responses), responses[0])


def _scale(bands: Bands, gamma: Tensor) -> Scaled:
    widths = torch.tensor(bands.widths, device=gamma.device)
    scale = gamma.sqrt().repeat_interleave(widths).to(bands.coordinates)
    kept = scale.nonzero()[:, 0]
    return Scaled(bands.coordinates[:, kept] * scale[kept], kept, scale[kept])


def _factor_ratio(bands: Bands, gamma: Tensor, choice: Choice, alphas: Tensor) -> KFold:
    """The folds' factors of one ratio: of Z where the ratios share sums, else of what the scaled bands span."""
    if choice.folds is None:
        raise ValueError("bands: folds are needed to choose on, got none")
    scaled = _scale(bands, gamma)
    if not bands.shared:
        return factor_folds(make_design(scaled.coordinates, bands.intercept), choice.folds, alphas, choice.scoring)
    # the folds read these three of a design, and what is the same for every band
    design = replace(
        bands.designs[0],
        coordinates=scaled.coordinates,
        mean=bands.mean[scaled.kept] * scaled.scale,
        gram=gram_of(scaled.coordinates),
    )
    kfold = factor_folds(design, choice.folds, alphas, choice.scoring)
    factors = []
    for factor in kfold.factors:
        vectors = factor.vectors.new_zeros((bands.coordinates.shape[1], factor.vectors.shape[1]))
        vectors[scaled.kept] = scaled.scale[:, None] * factor.vectors
        factors.append(replace(factor, vectors=vectors))
    mean = bands.mean.to(bands.coordinates.dtype)
    return replace(kfold, coordinates=bands.coordinates, mean=mean, factors=tuple(factors))


def _keep_better(
    found: Found, columns: slice, number: int, alphas: Tensor, scores: Tensor, undefined: Tensor, dtype: torch.dtype
) -> None:
    best = first_best(scores, dtype)
    score = torch.where(scores.isnan(), -torch.inf, scores).gather(0, best[None])[0]
    better = score > found.score[columns]
    for kept, new in (
        (found.score, score),
        (found.alpha, alphas[best]),
        (found.ratio, torch.full_like(best, number)),
        (found.undefined, undefined),
    ):
        kept[columns] = torch.where(better, new, kept[columns])


def _ratios_at_once(bands: Bands, choice: Choice) -> int:
    """How many ratios' factors may be held: V, N, and the projected or predicted test samples of every fold."""
    n, q = bands.coordinates.shape
    r, size = min(q, n), bands.coordinates.element_size()
    fold = r * (size * (r + max(8 * len(choice.alphas), r)) + 8 * r)
    own = 0 if bands.shared else size * n * r
    return max(1, _FACTOR_BYTES // max(1, own + len(choice.folds or ()) * fold))


def _block_size(bands: Bands, choice: Choice | None) -> int:
    """How many targets fit the working set: to score them if there is a choice, else to refit them."""
    n, q = bands.coordinates.shape
    size, device = bands.coordinates.element_size(), bands.coordinates.device.type
    if choice is None:
        held = size * (3 * n + 3 * q + len(bands.offset))
    else:
        held = size * (3 * n + (2 * len(choice.folds or ()) + 3) * q) + 8 * (4 * q + 6 * len(choice.alphas))
    # the targets' means are taken in float64
    return max(1, min(_MOST_TARGETS[device], _WORKING_SET_BYTES // (held + 16 * n)))
