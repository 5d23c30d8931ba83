"""Sums over a fold's predictions of every alpha, from divided differences of the eigenvalues.

With eigenvalues l_j of the training Gram matrix, s_j = 1/(l_j + alpha), B = V' X_train' Y_train, P = X_test V and
M = P'P:

    sum(yhat * y) = sum_j s_j B_j (P'Y_test)_j
    sum(yhat^2)   = sum_jk s_j s_k M_jk B_j B_k
                  = 2 sum_j (s_j - c) B_j (N B)_j + sum_j s_j^2 B_j (M_near B)_j

because s_j s_k = (s_j - s_k) / (l_k - l_j): the antisymmetric N_jk = M_jk / (l_k - l_j) serves every alpha,
and any constant c drops out. Pairs too close to divide by go to M_near, by s_j s_k ~ (s_j^2 + s_k^2) / 2.

The terms of N B nearly cancel, the more the closer their eigenvalues. So they are multiplied in float64; of float32
targets that R2 is asked for, only where eigenvalues are close (see `_apart`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gradkern.kernels import ops
from gradkern.ridge._engine.precision import multiplying, product

# Closeness of a pair of eigenvalues, relative to their mean plus the smallest alpha. The neglected share of a
# near pair is tau^2 / 2 (first order) or tau^4 (second order); a far pair costs float64 a factor 1 / tau.
_TAU = {torch.float32: 4e-3, torch.float64: 1e-3}
_APART = 0.3  # of the larger eigenvalue: a pair that differs by more may be multiplied in float32
_MOST_MOVED = 1e-6  # R2, by that
_TILE = 64  # rows of a banded matrix that are multiplied at a time
# Compute capabilities of GPUs that compute float64 at half the rate of float32 (P100, V100, A100, H100 and H200, B200);
# others have a 32nd or a 64th of it (CUDA C++ programming guide, "Throughput of native arithmetic instructions").
_HALF_RATE = {(6, 0), (7, 0), (8, 0), (9, 0), (10, 0)}


@dataclass(frozen=True)
class Tile:
    """Rows of a banded matrix, cut to the columns where they are not zero."""

    rows: slice
    columns: slice
    values: Tensor


@dataclass(frozen=True)
class NearPairs:
    """One term of sum(yhat^2) over near pairs: weights [a, r] and a banded matrix."""

    weights: Tensor
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class DividedDifferences:
    """Divided differences: what turns B and D = P'Y_test into both sums for every alpha.

    `center` is V' times the point that test rows are taken about [r], `sums` the weighted column sums of P [r], and
    `projected` P [n_test, r] itself, where that is the cheaper way to D. N [r, r] is `differences` in float64 and
    `distant`, if any, in float32.
    """

    center: Tensor
    sums: Tensor
    projected: Tensor | None
    shrinkage: Tensor  # s [a, r] float64
    far_weights: Tensor  # 2 (s - c) [a, r] float64
    differences: tuple[Tile, ...]
    distant: Tensor | None
    near: tuple[NearPairs, ...]


def divide(
    P: Tensor,
    total: Tensor,
    center: Tensor,
    values: Tensor,
    alphas: Tensor,
    dtype: torch.dtype,
    *,
    keep: bool,
    r2_per_sum: float | None,
) -> DividedDifferences:
    """N for the pairs of eigenvalues that can be divided by their gap, and the expansion of the others.

    `total` [r] are the weighted column sums of P. `keep` says that P'Y needs P itself. `r2_per_sum` is by how much R2
    moves if sum(yhat^2) does, in units of the training targets' sum of squares; None where another score is wanted.
    """
    M = P.T @ P
    gap = values - values[:, None]
    near = _near_pairs(values, _TAU[dtype], alphas.min())
    shrinkage = 1 / (values + alphas[:, None])
    terms = [NearPairs(shrinkage**2, _tiles(M, near, dtype))]
    if dtype == torch.float64:
        # s_j s_k = (s_j^2 + s_k^2) / 2 - gap^2 (s_j s_k)^2 / 2, and once more for the last factor
        terms.append(NearPairs(shrinkage**4, _tiles(-(gap**2) / 2 * M, near, dtype)))
    # c = min(s) keeps the far terms as small as their sum when alpha is far above every eigenvalue; s - c itself
    # would then be rounding, so it is (l_max - l_j) s_j c
    far_weights = 2 * (values[-1:] - values) * shrinkage * shrinkage[:, -1:]
    N = M.div_(gap.masked_fill_(near, 1.0)).masked_fill_(near, 0.0)
    close = None if r2_per_sum is None or dtype == torch.float64 else _apart(N, values, far_weights[-1], r2_per_sum)
    return DividedDifferences(
        center=center.to(dtype),
        sums=total.to(dtype),
        projected=P.to(dtype) if keep or len(P) < len(center) else None,
        shrinkage=shrinkage,
        far_weights=far_weights,
        differences=(Tile(slice(None), slice(None), N),) if close is None else _tiles(N, close, torch.float64),
        distant=None if close is None else N.masked_fill(close, 0.0).to(dtype),
        near=tuple(terms),
    )


def _near_pairs(values: Tensor, tau: float, alpha: Tensor) -> Tensor:
    """|l_j - l_k| <= tau ((l_j + l_k) / 2 + alpha), of ascending values: a band around the diagonal, [r, r]."""
    return _band(values, (values * (1 + tau / 2) + tau * alpha) / (1 - tau / 2))


def _band(values: Tensor, most: Tensor) -> Tensor:
    """Pairs of ascending values of which the larger is at most `most` [r] of the smaller one, [r, r]."""
    stop = torch.searchsorted(values, most, right=True)
    place = torch.arange(len(values), device=values.device)
    return (place < stop[:, None]) & (place[:, None] < stop)


def has_fast_float64(device: torch.device) -> bool:
    """Whether the device is a GPU that multiplies float64 about as fast as it reads the operands."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) in _HALF_RATE


def _apart(N: Tensor, values: Tensor, weights: Tensor, r2_per_sum: float) -> Tensor | None:
    """The pairs [r, r] to multiply in float64 if the others may be multiplied in float32; None if they may not.

    With |B_j| = l_j^1/2 |y| u_j, |u| <= 1, a pair's share of sum(yhat^2) is |y|^2 u_j u_k W_jk, where
    W_jk = w_j l_j^1/2 N_jk l_k^1/2 is largest for the smallest alpha. A sum of r terms is rounded r times, by 2^-24 of
    what it has come to and with random signs, in the mean square by a third of that squared: so no u moves R2 by more
    than the largest W does.
    """
    if has_fast_float64(N.device) or len(values) < 4 * _TILE:
        return None  # there is less to gain
    close = _band(values, values / (1 - _APART))
    size = values.sqrt()
    largest = ((weights * size)[:, None] * N * size).masked_fill_(close, 0.0).abs().amax()
    moved = r2_per_sum * 2**-24 * (len(values) / 3) ** 0.5 * largest / 2
    return close if bool(moved <= _MOST_MOVED) else None


def _tiles(matrix: Tensor, kept: Tensor, dtype: torch.dtype) -> tuple[Tile, ...]:
    """Part of a matrix in blocks of rows; eigenvalues ascend, so what is kept is contiguous."""
    tiles = []
    for start in range(0, len(matrix), _TILE):
        rows = slice(start, min(start + _TILE, len(matrix)))
        used = kept[rows].any(0).nonzero()
        columns = slice(int(used[0]), int(used[-1]) + 1)
        values = matrix[rows, columns].masked_fill(~kept[rows, columns], 0.0)
        tiles.append(Tile(rows, columns, values.to(dtype)))
    return tuple(tiles)


def divided_sums(divided: DividedDifferences, B: Tensor, D: Tensor) -> tuple[Tensor, Tensor]:
    """sum(yhat * y) and sum(yhat^2) [a, b] from B and D = P'Y_test [r, b]."""
    wide = B.double()
    far = _banded(divided.differences, wide)
    if divided.distant is not None:
        with multiplying("float32"):
            far += product(divided.distant, B)
    first, *more = divided.near
    cross, square = ops.fold_scores(
        B, D, far, _banded(first.tiles, B), divided.shrinkage, divided.far_weights, first.weights
    )
    for term in more:
        square.addmm_(term.weights, _banded(term.tiles, B).double().mul_(wide))
    return cross, square


def _banded(tiles: tuple[Tile, ...], B: Tensor) -> Tensor:
    """A banded matrix times B [r, b]."""
    result = torch.empty_like(B)
    for tile in tiles:
        torch.mm(tile.values, B[tile.columns], out=result[tile.rows])
    return result
