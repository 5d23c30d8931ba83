"""Column-wise scores of predictions, in float64."""

import torch
from torch import Tensor


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson r of the columns of x and y [n, b] in float64; NaN where a column does not vary."""
    still = constant_columns(x) | constant_columns(y)
    x, y = x.double(), y.double()
    x, y = x - x.mean(0), y - y.mean(0)
    norms = x.square().sum(0).sqrt() * y.square().sum(0).sqrt()
    return (x * y).sum(0) / torch.where(still, torch.nan, norms)


def r_squared(y: Tensor, yhat: Tensor) -> Tensor:
    """1 - |y - yhat|^2 / |y - mean(y)|^2 of the columns [b] in float64; NaN where y does not vary."""
    total = sum_about_mean(y)
    error = (y.double() - yhat.double()).square().sum(0)
    return 1 - error / torch.where(constant_columns(y), torch.nan, total)


def sum_about_mean(Y: Tensor) -> Tensor:
    """Sum of squares of the columns [b] about their means, in float64."""
    wide = Y.double()
    return (wide - wide.mean(0)).square().sum(0)


def constant_columns(y: Tensor) -> Tensor:
    """Which columns [b] hold one value only (exactly: sums of squares would leave rounding)."""
    return y.amin(0) == y.amax(0)
