"""Scores without folds: exact leave-one-out, and generalised cross-validation (GCV).

With the centered features U diag(l^1/2) V' and w_j = alpha / (l_j + alpha), the residuals of a fit are

    e = y_perp + U (w * U'y),   y_perp = y - mean(y) - U U'y,

and one minus the leverages are 1 - h = h_perp + (U * U) w with h_perp the part outside the span of the
features and the intercept. Written with w rather than 1 - w nothing cancels, however well the features
interpolate. Leave-one-out residuals are e / (1 - h); GCV replaces each h by their mean. With weights all rows are
multiplied by their square roots, `root`, which stand for the column of ones.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gradkern.ridge._engine.metrics import FoldScores, Moments, correlation_of_rows, moments
from gradkern.ridge._engine.precision import product
from gradkern.ridge._engine.principal_coordinates import PrincipalCoordinates


@dataclass(frozen=True)
class ClosedForm:
    """Left singular vectors U [n, r] of the centered features and their shrinkage w [a, r].

    `scale` l^1/2 [r] are their singular values, `outside` [n] is h_perp (these and w in float64), and
    `complete` says that nothing lies outside.
    """

    root: Tensor
    weighted: bool
    left: Tensor
    scale: Tensor
    kept: Tensor
    outside: Tensor
    complete: bool
    intercept: bool
    scoring: str


def factor_closed_form(principal: PrincipalCoordinates, alphas: Tensor, scoring: str) -> ClosedForm:
    """Leverages and shrinkage, once for all targets and alphas [a]."""
    n, r = principal.coordinates.shape
    scale = principal.values.sqrt()
    left = principal.coordinates / scale.to(principal.coordinates.dtype)
    share = principal.root.square() / principal.root.square().sum()  # of a sample in the intercept
    outside = 1 - principal.intercept * share - left.double().square().sum(1)
    complete = r >= n - principal.intercept
    outside = torch.zeros_like(outside) if complete else outside.clamp(min=0)
    kept = alphas[:, None] / (principal.values + alphas[:, None])
    return ClosedForm(
        principal.root, principal.weighted, left, scale, kept, outside, complete, principal.intercept, scoring
    )


def score_leave_one_out(factor: ClosedForm, Y: Tensor) -> FoldScores:
    """1 - PRESS / SST, or Pearson r with leave-one-out predictions, of every alpha, for Y [n, b]."""
    about = _about(factor, Y)
    centered, inside, perpendicular = _split(factor, Y, about)
    leverage_left = factor.outside + factor.kept @ factor.left.double().square().T
    scores = []
    for kept, left_over in zip(factor.kept, leverage_left, strict=True):
        errors = product(factor.left, kept.to(Y.dtype)[:, None] * inside).add_(perpendicular)
        errors /= left_over.to(Y.dtype)[:, None]
        if factor.scoring == "r2":
            scores.append(1 - errors.double().square().sum(0) / about.spread[0])
        else:
            scores.append(correlation_of_rows(factor.root, centered.double(), (centered - errors).double()))
    return _scored(factor, about, torch.stack(scores), inside)


def score_gcv(factor: ClosedForm, Y: Tensor) -> FoldScores:
    """1 - n GCV / SST of every alpha, GCV = (|e|^2 / n) / (1 - trace(H) / n)^2, for Y [n, b]; n sums the weights."""
    about = _about(factor, Y)
    _, inside, perpendicular = _split(factor, Y, about)
    mass = about.mass[0]
    squares = inside.double().square()
    errors = perpendicular.double().square().sum(0) + factor.kept.square() @ squares
    freedom = (mass - len(Y) + factor.outside.sum() + factor.kept.sum(1)) / mass
    return _scored(factor, about, 1 - errors / freedom[:, None] ** 2 / about.spread[0], inside)


def _about(factor: ClosedForm, Y: Tensor) -> Moments:
    return moments(Y, [slice(None)], factor.root.square() if factor.weighted else None)


def _scored(factor: ClosedForm, about: Moments, scores: Tensor, inside: Tensor) -> FoldScores:
    mean = about.mean[0]
    cross = factor.scale.to(inside.dtype)[:, None] * inside
    undefined = torch.zeros(len(mean), dtype=torch.int64, device=mean.device)
    return FoldScores(scores, cross, mean if factor.intercept else torch.zeros_like(mean), undefined, about.constant[0])


def _split(factor: ClosedForm, Y: Tensor, about: Moments) -> tuple[Tensor, Tensor, Tensor]:
    """Y centered [n, b], its coordinates U'Y [r, b], and what is outside the features [n, b]."""
    centered = Y - about.mean[0].to(Y.dtype) if factor.intercept else Y
    if factor.weighted:
        centered = centered * factor.root[:, None].to(Y.dtype)
    inside = product(factor.left.T, centered)
    # where nothing can be outside, the difference would be rounding, divided by a vanishing 1 - h
    outside = torch.zeros_like(centered) if factor.complete else centered - product(factor.left, inside)
    return centered, inside, outside
