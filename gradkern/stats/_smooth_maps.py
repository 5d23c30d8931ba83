"""The correlation of a smooth map with another one, beside random maps of all the smoothness that fits it.

A map that varies over half the cortex has a handful of independent values, and does not show how smooth it is: maps of
the one variogram that fits it best are too rough on average. Here the smoothness is not estimated but averaged over.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradkern.errors import Refused, naming
from gradkern.stats._arguments import check_alternative, check_confidence, in_direction
from gradkern.stats._summary import Summary

_ORDERS = (0.5, 1.5, 2.5, np.inf)  # of the Matérn covariances, from rough to smooth
_SHORTEST, _LONGEST, _LENGTHS = 1 / 40, 1.5, 8  # their lengths, in units of the largest distance
_NOISE = np.array([0.001, 0.01, 0.03, 0.1, 0.3, 0.6, 1.0])  # shares of the variance that no two places have in common
_MEASURED = 0.03  # share of noise that every map is taken to have; without noise, the finest detail would decide
_LEAST_PLACES = 20
_LARGEST_Z = 37.0  # whose p is the smallest number above 0

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class SmoothMapTest(Summary):
    """Correlation of two maps, tested as the slope of a smooth random map on the other one.

    Attributes
    ----------
    test : what was tested, in words
    r, p : correlation without the covariates, and its p
    low, high : interval of r over random maps as smooth as this one
    n, independent : number of places, and the number of independent ones that would give random maps the same
        correlations
    smallest_p : the smallest attainable p
    null : [permutations], r of the random maps
    """

    test: str
    r: float
    p: float
    low: float
    high: float
    n: int
    independent: float
    smallest_p: float
    null: Floats


@naming("smooth_map_test")
def smooth_map_test(
    values: Any,
    other: Any,
    distances: Any,
    *,
    covariates: Any = None,
    alternative: str = "two-sided",
    permutations: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> SmoothMapTest:
    """Test whether a smooth map follows another one: generalized least squares beside random maps.

    The null hypothesis is that the map is a Gaussian random map plus a linear function of the covariates. Its
    covariance is a Matérn function of distance, of order 1/2, 3/2, 5/2 or infinity (squared exponential), with a share
    of independent noise. Order, length and share are not estimated: p of the slope by generalized least squares is
    averaged over a grid of them, weighted by their restricted likelihood, which the slope does not enter. All of it is
    computed as if maps had been measured with noise of 3 % of their variance besides, since no covariance fits the
    finest detail. That p is the statistic, and is compared with those of random maps drawn from the same weights. The
    interval holds the correlation that the slope alone
    would have beside what else varies in the map, for other random maps.

    Parameters
    ----------
    values : [v], the map, for example each vertex' preferred layer
    other : [v], the map to compare it with, for example the distance from V1
    distances : [v, v], between places, in any unit. Some hundred places; matrices of that size are decomposed 32 times
    covariates : [m, v], regressed out of both maps; None: only their means
    alternative : "two-sided", "greater" (the map rises with the other one) or "less"
    permutations, seed : number of random maps, and the seed of the generator
    confidence : of the interval

    Raises
    ------
    Refused : fewer than 20 places, all at one place; maps that do not vary beside the covariates
    ValueError : lengths that do not fit, NaN or inf, negative distances, an unknown alternative

    Notes
    -----
    Restricted likelihood of spatial covariances: Stein (1999), Interpolation of Spatial Data; why correlations of
    smooth maps need it: Clifford, Richardson and Hémon (1989), Biometrics 45:123. The number of independent places is
    theirs, 1 + 1 / variance of r.

    Examples
    --------
    >>> import numpy as np
    >>> points = np.random.default_rng(0).random((40, 2))
    >>> distances = np.linalg.norm(points[:, None] - points, axis=2)
    >>> smooth_map_test(points[:, 0], points[:, 1], distances, permutations=19).null.shape
    (19,)
    """
    check_alternative(alternative)
    check_confidence(confidence)
    if permutations < 1:
        raise ValueError(f"permutations must be at least 1, got {permutations}")
    lengths = _checked_distances(distances)
    v = len(lengths)
    design = np.vstack([np.ones((1, v)), np.zeros((0, v)) if covariates is None else np.atleast_2d(covariates)])
    map_, along, design = _finite("values", values, v), _finite("other", other, v), _finite("covariates", design, v)
    contrasts = _contrasts(design, along)
    coordinates = contrasts.T @ map_[:, None]
    size = np.linalg.norm(coordinates)
    if size <= 1e-10 * max(np.linalg.norm(map_ - map_.mean()), np.abs(map_).max() * 1e-3):
        raise Refused("values must vary beside the covariates, got a map that these describe")
    coordinates /= size
    model = _Model(lengths, contrasts)
    fitted = model.fit(coordinates)
    random = model.draw(fitted.weights[:, 0], permutations, np.random.default_rng(seed))
    null_fit = model.fit(random)
    reached = in_direction(null_fit.z, alternative) >= in_direction(fitted.z, alternative) - 1e-9
    ratio, null_ratio = _ratio(coordinates)[0], _ratio(random)
    width = float(np.quantile(np.abs(null_ratio) / null_fit.spread, confidence) * fitted.spread[0])
    low, r, high = (float(_correlation_of(ratio + off)) for off in (-width, 0.0, width))
    null = _correlation_of(null_ratio)
    return SmoothMapTest(
        test=f"slope of two maps beside {permutations} random ones of Matérn covariances, {alternative}",
        r=r,
        p=float((1 + reached.sum()) / (1 + permutations)),
        low=low,
        high=high,
        n=v,
        independent=float(1 + 1 / np.mean(null**2)),
        smallest_p=1 / (1 + permutations),
        null=null,
    )


class _Fit(NamedTuple):
    """Of maps: weights [covariances, maps] by restricted likelihood; averaged over them z [maps] of the slope, and the
    standard deviation [maps] of what is along the other map, in units of what is not."""

    weights: Floats
    z: Floats
    spread: Floats


class _Model:
    """Maps in coordinates [v - m, maps]: the first is along the other map, the rest do not know the slope on it."""

    def __init__(self, distances: Floats, contrasts: Floats) -> None:
        self.parts = [_Part(contrasts.T @ covariance @ contrasts) for covariance in _covariances(distances)]

    def fit(self, maps: Floats) -> _Fit:
        from scipy import stats

        freedom = len(maps) - 1
        each = [part.fit(maps[0], maps[1:]) for part in self.parts]
        likelihood, t, variance = (np.concatenate(values) for values in zip(*each, strict=True))
        weights = np.exp(likelihood - likelihood.max(0))
        weights /= weights.sum(0)
        # of the nearer tail, where p has all its digits
        below, above = ((weights * stats.t.sf(sign * t, freedom)).sum(0) for sign in (-1, 1))
        z = np.where(above < below, stats.norm.isf(above), stats.norm.ppf(below))
        rest = np.maximum((maps[1:] ** 2).sum(0), np.finfo(float).tiny)
        spread = np.sqrt((weights * variance).sum(0) / rest)
        return _Fit(weights, np.clip(z, -_LARGEST_Z, _LARGEST_Z), spread)

    def draw(self, weights: Floats, maps: int, generator: np.random.Generator) -> Floats:
        """Random maps [v - m, maps] without a slope, of covariances with these weights."""
        counts = generator.multinomial(maps, weights).reshape(len(self.parts), len(_NOISE))
        drawn = [
            part.draw(number, int(count), generator)
            for part, row in zip(self.parts, counts, strict=True)
            for number, count in enumerate(row)
            if count
        ]
        return np.concatenate(drawn, axis=1)


class _Part:
    """One Matérn covariance [v - m, v - m] beside every share of noise."""

    def __init__(self, covariance: Floats) -> None:
        eigenvalues, self.vectors = np.linalg.eigh(covariance[1:, 1:])
        self.variances = np.maximum(eigenvalues, 0) * (1 - _NOISE[:, None]) + _NOISE[:, None]  # [shares, v - m - 1]
        shared = (1 - _NOISE[:, None]) * (self.vectors.T @ covariance[1:, 0])
        self.regression = shared / self.variances
        self.alone = covariance[0, 0] * (1 - _NOISE) + _NOISE
        self.left = np.maximum(self.alone - (self.regression * shared).sum(1), _NOISE)

    def fit(self, first: Floats, rest: Floats) -> tuple[Floats, Floats, Floats]:
        """Log likelihood of the other coordinates, t of the first one given these, and its variance, [shares, maps]."""
        turned = self.vectors.T @ rest
        squares = turned**2
        squares += _MEASURED * squares.mean(0)  # as they are expected of a map with noise added
        # a map that is the other one alone has nothing left
        scale = (1 / self.variances) @ squares + np.finfo(float).eps * first**2
        likelihood = -0.5 * (len(rest) * np.log(scale) + np.log(self.variances).sum(1)[:, None])
        error = np.sqrt(self.left[:, None] * scale / len(rest))
        variance = self.alone[:, None] * scale / len(rest)
        return likelihood, (first - self.regression @ turned) / error, variance

    def draw(self, share: int, maps: int, generator: np.random.Generator) -> Floats:
        turned = np.sqrt(self.variances[share])[:, None] * generator.standard_normal((len(self.vectors), maps))
        first = self.regression[share] @ turned + np.sqrt(self.left[share]) * generator.standard_normal(maps)
        return np.vstack([first, self.vectors @ turned])


def _covariances(distances: Floats) -> Iterator[Floats]:
    """Matérn covariances [v, v] of every order and length."""
    for order in _ORDERS:
        for length in np.geomspace(_SHORTEST, _LONGEST, _LENGTHS) * distances.max():
            if np.isinf(order):
                yield np.exp(-((distances / length) ** 2) / 2)
                continue
            apart = np.sqrt(2 * order) * distances / length
            polynomial = {0.5: 1.0, 1.5: 1 + apart, 2.5: 1 + apart + apart**2 / 3}[order]
            yield polynomial * np.exp(-apart)


def _contrasts(design: Floats, along: Floats) -> Floats:
    """Orthonormal contrasts [v, v - m] without the design [m, v], the first along the other map.

    Raises
    ------
    Refused : the design describes the other map; too few places are left
    """
    centered = design - np.where(np.arange(len(design))[:, None] > 0, design.mean(1, keepdims=True), 0)
    sizes = np.linalg.norm(centered, axis=1, keepdims=True)
    _, strengths, basis = np.linalg.svd(centered / np.where(sizes > 0, sizes, 1), full_matrices=False)
    basis = basis[strengths > 1e-10 * strengths[0]]
    left = along - along @ basis.T @ basis
    if np.linalg.norm(left) <= 1e-10 * max(np.linalg.norm(along - along.mean()), np.abs(along).max() * 1e-3):
        raise Refused("other must vary beside the covariates, got a map that these describe")
    v, m = len(along), len(basis)
    if v - m < _LEAST_PLACES:
        raise Refused(f"values must be of at least {_LEAST_PLACES + m} places, got {v}")
    contrasts = np.linalg.qr(np.vstack([basis, left]).T, mode="complete")[0][:, m:]
    contrasts[:, 0] = left / np.linalg.norm(left)  # qr may turn it around
    return contrasts


def _ratio(maps: Floats) -> Floats:
    """What is along the other map, in units of what is not, [maps]."""
    return np.asarray(maps[0] / np.maximum(np.linalg.norm(maps[1:], axis=0), np.finfo(float).tiny))


def _correlation_of(ratio: Any) -> Floats:
    return np.asarray(np.sin(np.arctan(ratio)), dtype=np.float64)


def _checked_distances(distances: Any) -> Floats:
    lengths = np.asarray(distances, dtype=np.float64)
    if lengths.ndim != 2 or len(set(lengths.shape)) > 1 or not np.isfinite(lengths).all() or (lengths < 0).any():
        raise ValueError(f"distances must be finite, not negative, [v, v], got {list(lengths.shape)}")
    if len(lengths) < _LEAST_PLACES:
        raise Refused(f"values must be of at least {_LEAST_PLACES} places, got {len(lengths)}")
    if not lengths.any():
        raise Refused(f"distances must differ from 0, got {len(lengths)} targets at one place")
    return lengths


def _finite(name: str, given: Any, v: int) -> Floats:
    values = np.asarray(given, dtype=np.float64)
    if values.shape[-1:] != (v,) or values.ndim > 2 - (name != "covariates"):
        raise ValueError(f"{name} must be of {v} places, got shape {list(values.shape)}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got {int((~np.isfinite(values)).sum())} NaN or inf")
    return values
