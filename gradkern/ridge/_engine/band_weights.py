"""Weights of bands: the points of the simplex that a banded model chooses among."""

from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gradkern.ridge._engine.inputs import check_choice

# Of a point near a corner: what the one band has, the others share the rest. Penalties are alpha / gamma, so the
# other bands are penalised about a hundred times as much.
_NEAR_CORNER = 0.99
SAMPLINGS = ("random", "grid")
_CONCENTRATIONS = (1.0, 0.1)  # of the Dirichlet draws in turn: anywhere, and near edges and corners


def resolve_band_weights(band_weights: Any, n_bands: int, seed: Any, sampling: str = "random") -> NDArray[np.float64]:
    """Weights gamma [m, bands], whose rows add up to 1.

    With "random" sampling an integer m gives the equal weights, then for every band the point with 0.99 of it, then
    draws from Dirichlet distributions of concentration 1 and 0.1 in turn; the first m of them. With "grid" it gives all
    multiples of 1/s that add up to 1, for the largest s that makes at most m of them. One band has one candidate. The
    rows of an array [m, bands] are divided by their sums.

    Raises
    ------
    ValueError : fewer than one candidate, or on a grid fewer than there are bands; another number of bands; weights
        that are negative, not finite, or all zero
    """
    check_choice("sampling", sampling, SAMPLINGS)
    if isinstance(band_weights, int | np.integer) and not isinstance(band_weights, bool):
        if band_weights < 1:
            raise ValueError(f"band_weights must be at least 1, got {band_weights}")
        return _drawn(int(band_weights), n_bands, seed) if sampling == "random" else _grid(int(band_weights), n_bands)
    values = np.asarray(band_weights.detach().cpu() if isinstance(band_weights, Tensor) else band_weights)
    if values.ndim != 2 or values.shape[1] != n_bands or len(values) == 0:
        raise ValueError(f"band_weights must be an integer or of shape [m, {n_bands} bands], got shape {values.shape}")
    if values.dtype.kind not in "fiu":
        raise ValueError(f"band_weights must be real numbers, got {values.dtype}")
    values = values.astype(np.float64)
    for wanted, good in (
        ("finite", np.isfinite(values.sum(1))),  # and so must be their sum
        ("non-negative", (values >= 0).all(1)),
        ("positive for at least one band", (values > 0).any(1)),
    ):
        if not good.all():
            row = int(np.argmin(good))
            raise ValueError(f"band_weights must be {wanted}, got {values[row].tolist()} in row {row}")
    return _normalized(values)


def without_band(band_weights: NDArray[np.float64], band: int) -> NDArray[np.float64]:
    """The candidates [m', bands - 1] that the other bands have among themselves, each once, in their order.

    Raises
    ------
    ValueError : no candidate has anything but this band
    """
    rest = np.delete(band_weights, band, axis=1)
    used = rest.any(1)
    if not used.any():
        raise ValueError(
            f"band_weights must have, in some row, more than band {band}, to compare with a model without it"
        )
    rest = _normalized(rest[used])
    _, first = np.unique(rest.round(12), axis=0, return_index=True)
    kept: NDArray[np.float64] = rest[np.sort(first)]
    return kept


def _normalized(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    rows: NDArray[np.float64] = weights / weights.sum(1, keepdims=True)
    return rows


def _drawn(m: int, n_bands: int, seed: Any) -> NDArray[np.float64]:
    if n_bands == 1:
        return np.ones((1, 1))
    corners = np.full((n_bands, n_bands), (1 - _NEAR_CORNER) / (n_bands - 1))
    np.fill_diagonal(corners, _NEAR_CORNER)
    rng = np.random.default_rng(seed)
    points = [np.full(n_bands, 1 / n_bands), *corners]
    while len(points) < m:
        concentration = _CONCENTRATIONS[(len(points) - n_bands - 1) % len(_CONCENTRATIONS)]
        points.append(rng.dirichlet(np.full(n_bands, concentration)))
    return np.stack(points[:m])


def _grid(m: int, n_bands: int) -> NDArray[np.float64]:
    if n_bands == 1:
        return np.ones((1, 1))
    if m < n_bands:
        raise ValueError(f"band_weights must be at least the number of bands, {n_bands}, for a grid, got {m}")
    steps = 1
    while comb(steps + n_bands, n_bands - 1) <= m:
        steps += 1
    # steps, parted by bands - 1 bars: as many of each as lie between two bars
    bars = np.array(list(combinations(range(steps + n_bands - 1), n_bands - 1)))
    edges = np.pad(bars, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, steps + n_bands - 1)))
    weights: NDArray[np.float64] = (np.diff(edges, axis=1) - 1) / steps
    return weights
