"""The features, centered once, in the coordinates where ridge is solved.

A sample of weight w counts as w samples: its row, and that of its targets, is multiplied by w^1/2. `root` [n] holds
these factors, which stand where an unweighted regression has a column of ones.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gradkern.ridge._engine.precision import product

# rows of X widened to float64 at a time: Gram matrices are float64, but no second X in float64 is wanted
_ROWS = 1024


@dataclass(frozen=True)
class Spectrum:
    """Eigenpairs of a Gram matrix without its null space, float64: values [r] ascend, vectors [d, r]."""

    values: Tensor
    vectors: Tensor


@dataclass(frozen=True)
class PrincipalCoordinates:
    """X about `offset` [d], as its `coordinates` Z [n, q] along the principal axes of its centered Gram matrix.

    Each coordinate is known to the precision of its own size; along the features, rounding of the large
    directions of X'Y would drown the small ones. Rows are multiplied by `root` [n]. `values` [q] are the eigenvalues,
    `mean` [q] and `gram` [q, q] the mean and the uncentred Gram matrix of Z as rounded, and `leftover` [d] the mean of
    X - offset, all in float64. The product of `outward` [d, q] takes coefficients of Z back to features, which were
    divided by `divisor` [d] if they are standardized. Without intercept nothing is centered: offset and leftover are
    zero.
    """

    coordinates: Tensor
    root: Tensor
    weighted: bool
    mean: Tensor
    gram: Tensor
    values: Tensor
    offset: Tensor
    leftover: Tensor
    leftover_placed: Tensor  # in coordinates [q]
    divisor: Tensor | None
    outward: tuple[Tensor, ...]
    intercept: bool

    def to_features(self, coefficients: Tensor) -> Tensor:
        """Coefficients [q, b] of the coordinates as coefficients [d, b] of the features."""
        for factor in reversed(self.outward):
            coefficients = product(factor, coefficients)
        return coefficients if self.divisor is None else coefficients / self.divisor[:, None]

    def to_samples(self, coefficients: Tensor) -> Tensor:
        """Coefficients [q, b] of the coordinates as dual ones, A [n, b]: samples(X)' A are those of the features."""
        return product(self.coordinates, coefficients / self.values.to(coefficients.dtype)[:, None])

    def samples(self, X: Tensor) -> Tensor:
        """Factor [n, d] of dual coefficients: the features X of the fit, centered and scaled."""
        rows = X - self.offset
        if self.divisor is not None:
            rows = rows / self.divisor.square()
        return rows * self.root[:, None].to(X.dtype) if self.weighted else rows

    def at_leftover(self, coefficients: Tensor) -> Tensor:
        """Predictions [b] of coefficients [q, b] of the coordinates at `leftover`, in float64."""
        return self.leftover_placed @ coefficients.double()

    def project(self, X: Tensor) -> Tensor:
        """Other samples' features [m, d] as coordinates [m, q], their rows not multiplied."""
        placed = X - self.offset - self.leftover.to(X.dtype)
        if self.divisor is not None:
            placed /= self.divisor
        for factor in self.outward:
            placed = placed @ factor
        return placed


@dataclass(frozen=True)
class CenteredFeatures:
    """X [n, d] about `offset` [d], over `divisor` [d] if standardized, times `root` [n], the weights' square roots.

    `mass` is the sum of the weights, `leftover` [d] the rows' weighted mean in float64: what `offset`, in the dtype of
    X, is off by.
    """

    rows: Tensor
    root: Tensor
    mass: Tensor
    offset: Tensor
    leftover: Tensor
    divisor: Tensor | None


def center_features(X: Tensor, intercept: bool, weights: Tensor | None, standardize: bool = False) -> CenteredFeatures:
    """Centre features [n, d] about their mean rounded to their dtype; without intercept about zero."""
    root = X.new_ones(len(X), dtype=torch.float64) if weights is None else weights.sqrt()
    mass = root.square().sum()
    # rounding the mean costs nothing: what it leaves is accounted for exactly, in `leftover`
    offset = (weighted_sum(X, root.square()) / mass).to(X.dtype) if intercept else X.new_zeros(X.shape[1])
    rows = X - offset if intercept else X
    divisor = _deviations(rows, root) if standardize else None
    if divisor is not None:
        rows = rows / divisor
    if weights is not None:
        rows = rows * root[:, None].to(X.dtype)
    leftover = weighted_sum(rows, root) / mass if intercept else offset.double()
    return CenteredFeatures(rows, root, mass, offset, leftover, divisor)


def principal_coordinates(
    X: Tensor, intercept: bool, weights: Tensor | None = None, standardize: bool = False
) -> PrincipalCoordinates:
    """Centre X [n, d] about its mean rounded to its dtype, and find its coordinates.

    Primal (n > d), from the d x d Gram matrix V diag(l) V': Z = X V. Dual (n <= d), from the n x n one,
    U diag(l) U': Z = U sqrt(l). Either way all of X is kept, in at most min(d, n - 1) coordinates.
    """
    n, d = X.shape
    centered = center_features(X, intercept, weights, standardize)
    rows, root, mass, leftover, divisor = (
        centered.rows,
        centered.root,
        centered.mass,
        centered.leftover,
        centered.divisor,
    )
    outward: tuple[Tensor, ...]
    if n > d:
        gram = gram_of(rows).sub_(torch.outer(leftover, mass * leftover))
        spectrum = eigenpairs(gram, min(d, n - intercept))
        coordinates = rotated(rows, torch.outer(root, leftover), spectrum.vectors)
        outward = (spectrum.vectors.to(X.dtype),)
        placed = leftover @ spectrum.vectors
    else:
        outer = _gram_of_columns(rows)
        if intercept:
            outer = _without(outer, root / mass.sqrt())
        spectrum = eigenpairs(outer, n - intercept)
        scale = spectrum.values.sqrt()
        coordinates = (spectrum.vectors * scale).to(X.dtype)
        outward = (rows.T, (spectrum.vectors / scale).to(X.dtype))
        placed = weighted_sum(rows.T, leftover) @ (spectrum.vectors / scale)
    return PrincipalCoordinates(
        coordinates=coordinates,
        root=root,
        weighted=weights is not None,
        mean=weighted_sum(coordinates, root) / mass if intercept else torch.zeros_like(spectrum.values),
        gram=gram_of(coordinates),
        values=spectrum.values,
        offset=centered.offset,
        leftover=leftover if divisor is None else leftover * divisor,
        leftover_placed=placed,
        divisor=divisor,
        outward=outward,
        intercept=intercept,
    )


def _deviations(rows: Tensor, root: Tensor) -> Tensor:
    """Standard deviations [d] about the mean in the dtype of the rows; 1 where a feature does not vary."""
    weights = root.square()
    mass = weights.sum()
    mean = weighted_sum(rows, weights) / mass
    total = rows.new_zeros(rows.shape[1], dtype=torch.float64)
    for start in range(0, rows.shape[0], _ROWS):
        part = slice(start, start + _ROWS)
        total += weights[part] @ (rows[part].double() - mean).square()
    varies = rows.amin(0) != rows.amax(0)
    return torch.where(varies, (total / mass).sqrt(), 1.0).to(rows.dtype)


def _without(outer: Tensor, unit: Tensor) -> Tensor:
    """(1 - uu') K (1 - uu') of a symmetric K [n, n], for a vector u [n] of length 1."""
    along = outer @ unit
    return outer - torch.outer(along, unit) - torch.outer(unit, along - (unit @ along) * unit)


def rotated(X: Tensor, center: Tensor, vectors: Tensor) -> Tensor:
    """(X - center) V, multiplied in float64 and rounded to the dtype of X."""
    rotated = X.new_empty((X.shape[0], vectors.shape[1]))
    for start in range(0, X.shape[0], _ROWS):
        rows = slice(start, start + _ROWS)
        rotated[rows] = (X[rows].double() - center[rows]) @ vectors
    return rotated


def weighted_sum(X: Tensor, weights: Tensor) -> Tensor:
    """Sums of the columns [d] with weights [n], in float64."""
    total = X.new_zeros(X.shape[1], dtype=torch.float64)
    for start in range(0, X.shape[0], _ROWS):
        part = slice(start, start + _ROWS)
        total += weights[part] @ X[part].double()
    return total


def gram_of(X: Tensor) -> Tensor:
    """X'X [d, d] in float64."""
    total = X.new_zeros((X.shape[1], X.shape[1]), dtype=torch.float64)
    for start in range(0, X.shape[0], _ROWS):
        wide = X[start : start + _ROWS].double()
        total.addmm_(wide.T, wide)
    return total


def _gram_of_columns(X: Tensor) -> Tensor:
    """XX' [n, n] in float64, for X that is wider than tall."""
    total = X.new_zeros((X.shape[0], X.shape[0]), dtype=torch.float64)
    for start in range(0, X.shape[1], _ROWS):
        wide = X[:, start : start + _ROWS].double()
        total.addmm_(wide, wide.T)
    return total


def eigenpairs(gram: Tensor, most: int) -> Spectrum:
    """The `most` largest eigenpairs of a float64 Gram matrix, less those that are zero to rounding.

    Raises
    ------
    RuntimeError : the eigenpairs do not reproduce the matrix (GPU solvers have been seen to fail in silence)
    """
    size = gram.shape[0]
    if size == 0:
        return Spectrum(gram.new_zeros(0), gram)
    values, vectors = torch.linalg.eigh(gram)
    largest = values[-1].clamp(min=0)
    rounding = size * torch.finfo(gram.dtype).eps
    probe = torch.ones(size, dtype=gram.dtype, device=gram.device)
    error = (gram @ (vectors @ probe) - vectors @ (values * probe)).norm()
    # negated, so that NaN fails too
    if not bool(error <= 1e3 * rounding * largest * size**0.5 + torch.finfo(gram.dtype).tiny):
        raise RuntimeError(f"eigh of a {size} x {size} Gram matrix failed, residual {float(error):.3g}")
    kept = values[-most:] > rounding * largest if most > 0 else values[:0] > 0
    start = size - int(kept.sum())
    return Spectrum(values[start:], vectors[:, start:])
