"""What every way of choosing alpha reports about a block of targets."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Scored:
    """Scores of a block of b targets, and the statistics of all samples that a refit needs.

    `scores` [a, b] in float64, NaN where none is defined; `cross` [q, b] is Z'Y of the centred
    coordinates Z and Y; `mean` of Y [b] in float64, zero without intercept; `undefined` [b] counts the folds
    that could give a target no score; `constant` [b] marks targets with one value throughout.
    """

    scores: Tensor
    cross: Tensor
    mean: Tensor
    undefined: Tensor
    constant: Tensor
