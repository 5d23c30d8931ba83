"""What every way of choosing alpha reports about a block of targets."""

from dataclasses import dataclass

from torch import Tensor

from gradkern.encoding.metrics import constant_columns


@dataclass(frozen=True)
class Scored:
    """Scores of a block of b targets, and the statistics of all samples that a refit needs.

    `scores` [a, b] in float64, NaN where none is defined; `cross` [q, b] is Z'Y of the centred
    coordinates Z and Y; `mean` of Y [b] in float64, zero without intercept; `undefined` [b] counts the folds
    that could give a target no score.
    """

    scores: Tensor
    cross: Tensor
    mean: Tensor
    undefined: Tensor


def constant_targets(Y: Tensor, rows: slice | Tensor, spread: Tensor, scale: Tensor) -> Tensor:
    """Which targets [b] hold one value in all these rows.

    `spread`, the sum of squares about their mean, finds suspects cheaply: it is small beside `scale`.
    """
    constant = spread <= 1e-6 * scale
    suspects = constant.nonzero()[:, 0]
    if len(suspects):
        constant[suspects] = constant_columns(Y[:, suspects][rows])
    return constant
