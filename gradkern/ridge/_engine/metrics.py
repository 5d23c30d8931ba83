"""Column-wise statistics and scores of predictions, in float64."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradkern.kernels import ops


@dataclass(frozen=True)
class Moments:
    """Statistics of every group of rows [f] and column [b]: weighted sums, and sums of squares about the group's mean.

    `mass` [f] are the sums of the weights; `low` and `high` the extremes of each column.
    """

    mass: Tensor
    total: Tensor
    spread: Tensor
    low: Tensor
    high: Tensor

    @property
    def mean(self) -> Tensor:
        return self.total / self.mass[:, None]

    @property
    def constant(self) -> Tensor:
        """Mask [f, b] of columns with a single value in a group; exact, where a sum of squares would leave rounding."""
        return self.low == self.high

    def together(self) -> "Moments":
        """Merge all groups into one, [1, b]."""
        mass, total = self.mass.sum(0, keepdim=True), self.total.sum(0, keepdim=True)
        between = (self.mass[:, None] * (self.mean - total / mass) ** 2).sum(0, keepdim=True)
        spread = self.spread.sum(0, keepdim=True) + between
        return Moments(mass, total, spread, self.low.amin(0, keepdim=True), self.high.amax(0, keepdim=True))

    def without(self, group: int) -> "Moments":
        """Merge all groups but one, [1, b]."""
        others = [i for i in range(len(self.mass)) if i != group]
        fields = (getattr(self, name)[others] for name in ("mass", "total", "spread", "low", "high"))
        return Moments(*fields).together()


def moments(Y: Tensor, rows: Sequence[slice | Tensor], weights: Tensor | None = None) -> Moments:
    """Moments of the columns of Y [n, b] in disjoint groups of rows, with weights [n] in float64."""
    if weights is not None:
        parts = [_weighted_moments(Y[index], weights[index]) for index in rows]
        return Moments(*(torch.stack(part) for part in zip(*parts, strict=True)))
    group = torch.full((len(Y),), -1, dtype=torch.int32, device=Y.device)
    for number, index in enumerate(rows):
        group[index] = number
    mass = torch.bincount(group[group >= 0], minlength=len(rows)).double()
    return Moments(mass, *ops.column_moments(Y if Y.stride(1) == 1 else Y.contiguous(), group, len(rows)))


def moments_of(Y: Tensor, rows: slice | Tensor, weights: Tensor | None = None) -> Moments:
    """Moments of one group of rows, which may contain a row several times."""
    return moments(Y[rows], [slice(None)], None if weights is None else weights[rows])


def stacked(groups: Iterable[Moments]) -> Moments:
    """Put several groups into one object."""
    parts = list(groups)
    names = ("mass", "total", "spread", "low", "high")
    return Moments(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def _weighted_moments(Y: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    wide, mass = Y.double(), weights.sum()
    total = weights @ wide
    return mass, total, weights @ (wide - total / mass).square_(), Y.amin(0), Y.amax(0)


def correlation(x: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
    """Pearson r of the columns of x and y [n, b] in float64, with weights [n]; NaN where a column does not vary."""
    still = constant_columns(x) | constant_columns(y)
    root = x.new_ones(len(x), dtype=torch.float64) if weights is None else weights.sqrt()
    x, y = x.double(), y.double()
    if weights is not None:
        x, y = x * root[:, None], y * root[:, None]
    return torch.where(still, torch.nan, correlation_of_rows(root, x, y))


def correlation_of_rows(root: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Pearson r of columns [n, b] in float64 whose rows were multiplied by the `root` [n] of their weights."""
    unit = root / root.norm()
    x, y = x - torch.outer(unit, unit @ x), y - torch.outer(unit, unit @ y)
    norms = x.square().sum(0).sqrt() * y.square().sum(0).sqrt()
    return (x * y).sum(0) / torch.where(norms > 0, norms, torch.nan)


def r_squared(y: Tensor, yhat: Tensor, weights: Tensor | None = None) -> Tensor:
    """1 - |y - yhat|^2 / |y - mean(y)|^2 of the columns [b] in float64; NaN where y does not vary."""
    about = moments(y, [slice(None)], weights)
    error = (y.double() - yhat.double()).square()
    error = error.sum(0) if weights is None else weights @ error
    return 1 - error / torch.where(about.constant[0], torch.nan, about.spread[0])


def sum_about_mean(Y: Tensor) -> Tensor:
    """Sum of squares of the columns [b] about their means, in float64."""
    wide = Y.double()
    return (wide - wide.mean(0)).square().sum(0)


def constant_columns(y: Tensor) -> Tensor:
    """Mask [b] of the columns with a single value."""
    return y.amin(0) == y.amax(0)


@dataclass(frozen=True)
class FoldScores:
    """Scores of a block of b targets, and the statistics of all samples that a refit needs.

    `scores` [a, b] in float64, NaN where none is defined; `cross` [q, b] is Z'Y of the centered
    coordinates Z and Y; `mean` of Y [b] in float64, zero without intercept; `undefined` [b] counts the folds
    that could give a target no score; `constant` [b] marks targets with one value throughout.
    """

    scores: Tensor
    cross: Tensor
    mean: Tensor
    undefined: Tensor
    constant: Tensor
