"""Null maps of cortex that are as smooth as the map itself, and the correlation of two maps beside them.

Neighboring places of cortex are alike. A map of thousands of vertices therefore has few independent values, and a
parametric p of its correlation is far too small. Both kinds of null maps rest on assumptions that cortex does not
quite meet; two that agree are worth more than one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern._places import hemispheres as one_spelling
from gradkern.errors import Refused, naming
from gradkern.stats._correlation import LEAST_POINTS, correlation
from gradkern.stats._summary import Summary

ASSIGNMENTS = ("nearest", "one-to-one")
_MIRROR = np.diag([-1.0, 1.0, 1.0])
# of all places, that a surrogate is smoothed over: fine maps need small shares, which an even grid has not
_SHARES = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.9)
_BINS = 25  # of distance, in a variogram
_CUTOFF = 0.25  # of all pairs, the nearest, whose variogram is matched
_MOST_PAIRS = 50_000
_LEAST_PLACES = 20
_VALUES_AT_ONCE = 2**20


@dataclass(frozen=True, repr=False)
class NullMaps(Summary):
    """Maps [permutations, v] of the null distribution, NaN where one has no value; `what` says how they were made."""

    values: NDArray[np.float64]
    what: str


@dataclass(frozen=True, repr=False)
class MapCorrelation(Summary):
    """Pearson r of two maps, tested against null maps of the first.

    Attributes
    ----------
    test : what was tested, in words
    r, p : correlation over n places, and its two-sided p
    n : number of places
    fewest : smallest number of places that a null r was computed over
    smallest_p : the smallest attainable p
    null : [permutations], null r
    """

    test: str
    r: float
    p: float
    n: int
    fewest: int
    smallest_p: float
    null: NDArray[np.float64]


@naming("map_correlation")
def map_correlation(values: Any, other: Any, null: NullMaps) -> MapCorrelation:
    """Correlate a map with another one, and null maps of the first with the other one.

    Parameters
    ----------
    values : [v], the map that `null` was made of, for example each vertex' best layer
    other : [v], the map to compare it with, for example the distance from V1
    null : `spin_maps` or `variogram_maps` of `values`

    Raises
    ------
    Refused : fewer than 3 places; a map that does not vary; a null map that does not vary over 3 known places
    ValueError : maps of different lengths, NaN or inf in values or other

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> maps = rng.standard_normal((20, 50))
    >>> map_correlation(maps[0], rng.standard_normal(50), NullMaps(maps[1:], "noise")).null.shape
    (19,)
    """
    first = _values("values", values, None)
    second = _values("other", other, len(first))
    if null.values.ndim != 2 or null.values.shape[1] != len(first) or not len(null.values):
        raise ValueError(f"null must be maps [permutations, {len(first)}], got {null.values.shape}")
    null_r = np.array([correlation(null_map, second) for null_map in null.values])
    known = (~np.isnan(null.values)).sum(1)
    if np.isnan(null_r).any():
        number = int(np.isnan(null_r).argmax())
        raise Refused(f"null map {number} must vary over {LEAST_POINTS} known places, got {known[number]}")
    r = correlation(first, second)
    p = (1 + int((np.abs(null_r) >= abs(r) - 1e-12).sum())) / (1 + len(null_r))
    test = f"Pearson r of two maps against {len(null_r)} {null.what}, two-sided"
    fewest = min(len(first), int(known.min()))
    return MapCorrelation(test, r, p, len(first), fewest, 1 / (1 + len(null_r)), null_r)


def random_rotations(count: int, seed: int = 0) -> NDArray[np.float64]:
    """Draw rotations [count, 3, 3], uniform over all rotations."""
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((count, 3, 3)))
    q *= np.sign(np.einsum("nii->ni", r))[:, None, :]  # else not uniform
    q[:, :, 0] *= np.linalg.det(q)[:, None]
    rotations: NDArray[np.float64] = q
    return rotations


@naming("spin_maps")
def spin_maps(
    values: Any,
    coordinates: Any,
    hemispheres: Any,
    *,
    wall: tuple[Any, Any] | None = None,
    assignment: str = "nearest",
    permutations: int = 1000,
    seed: int = 0,
) -> NullMaps:
    """Turn a map on the sphere of each hemisphere by random rotations, the right one as the mirror image of the left.

    The test assumes that the map has the same statistics all over the sphere, so that a turned one is as likely. A map
    whose smoothness or variance differs between regions does not (best layers differ between early and late areas),
    and p may be too small. What is turned onto the medial wall is lost, so that null correlations rest on fewer places.

    Parameters
    ----------
    values : [v]
    coordinates : [v, 3] on a sphere about the origin, of vertices or of parcels (see `parcel_centers`)
    hemispheres : [v], "left" or "right", in any spelling (lh, rh, L, R)
    wall : coordinates [w, 3] and hemispheres [w] of vertices without a value. A place becomes NaN where the nearest
        point that was turned there belongs to the wall. None: it takes the nearest point that has a value.
    assignment : "nearest" (a value may come twice or never) or "one-to-one", which keeps every value, by the smallest
        sum of straight distances (the Hungarian assignment); meant for parcels, since it takes v^3 steps
    permutations, seed : number of rotations to draw, and the seed of the generator

    Raises
    ------
    Refused : a map that does not vary
    ValueError : lengths that do not fit, NaN, other hemispheres, coordinates that do not lie on a sphere

    Notes
    -----
    Alexander-Bloch et al. (2018), NeuroImage 178:540; variants of the assignment: Markello and Misic (2021), NeuroImage
    236:118052.

    Examples
    --------
    >>> import numpy as np
    >>> points = np.random.default_rng(0).standard_normal((30, 3))
    >>> points /= np.linalg.norm(points, axis=1, keepdims=True)
    >>> spin_maps(points[:, 0], points, ["left"] * 30, permutations=9).values.shape
    (9, 30)
    """
    original = _values("values", values, None)
    if assignment not in ASSIGNMENTS:
        raise ValueError(f"assignment must be one of {ASSIGNMENTS}, got {assignment!r}")
    if wall is not None and assignment == "one-to-one":
        raise ValueError("wall needs assignment='nearest', got 'one-to-one', which leaves no place out")
    points, sides = _on_sphere("coordinates", coordinates, hemispheres, len(original))
    wall_points, wall_sides = (np.empty((0, 3)), np.empty(0, dtype=sides.dtype))
    if wall is not None:
        wall_points, wall_sides = _on_sphere("wall", *wall, len(np.asarray(wall[0])))
    rotations = random_rotations(permutations, seed)
    maps = np.full((permutations, len(original)), np.nan)
    for side in np.unique(sides):
        members = np.flatnonzero(sides == side)
        every = np.vstack([points[members], wall_points[wall_sides == side]])
        with_wall = np.append(original[members], np.full(len(every) - len(members), np.nan))
        turns = rotations if side == "left" else _MIRROR @ rotations @ _MIRROR
        for number, sources in enumerate(_sources(points[members], every, turns, assignment)):
            maps[number, members] = with_wall[sources]
    return NullMaps(maps, f"spins, {assignment}{'' if wall is None else ', medial wall left out'}")


@naming("parcel_centers")
def parcel_centers(coordinates: Any, parcels: Any) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Compute the centers of parcels on the sphere of radius 1, [parcels, 3], and their sorted names.

    Parameters
    ----------
    coordinates : [v, 3] on a sphere about the origin
    parcels : [v], the name of every vertex' parcel, different in the two hemispheres

    Raises
    ------
    ValueError : lengths that do not fit
    """
    points, labels = np.asarray(coordinates, dtype=np.float64), np.asarray(parcels)
    if points.shape != (len(labels), 3):
        raise ValueError(f"coordinates must be [{len(labels)}, 3], got {points.shape}")
    names, number = np.unique(labels, return_inverse=True)
    sums = np.stack([np.bincount(number, weights=column) for column in points.T], axis=1)
    return sums / np.linalg.norm(sums, axis=1, keepdims=True), names


@naming("variogram_maps")
def variogram_maps(values: Any, distances: Any, *, permutations: int = 1000, seed: int = 0) -> NullMaps:
    """Make random maps with the variogram of a map: shuffled, smoothed, and mixed with white noise.

    Each map is smoothed over one of ten shares of nearest places, the one with which its variogram comes nearest to
    that of the original over the nearest quarter of all pairs. A linear regression scales it by its slope and adds
    noise by its intercept. The test assumes that values have one variogram everywhere, the same in all directions, and
    no structure beyond pairs of places: a map with a few sharp patches does not keep them, nor its values.

    Parameters
    ----------
    values : [v]
    distances : [v, v] in any unit, geodesic rather than Euclidean; of one hemisphere, or of parcels. A few thousand
        places at most, since matrices of that size are formed.
    permutations, seed : number of maps to draw, and the seed of the generator

    Raises
    ------
    Refused : fewer than 20 places, or a map that does not vary
    ValueError : lengths that do not fit, NaN or inf, negative distances

    Notes
    -----
    Burt et al. (2020), NeuroImage 220:117038; here with equal bins of distance, shares down to 1/50, and at most
    50,000 random pairs.

    Examples
    --------
    >>> import numpy as np
    >>> points = np.random.default_rng(0).random((40, 2))
    >>> distances = np.linalg.norm(points[:, None] - points, axis=2)
    >>> variogram_maps(points[:, 0], distances, permutations=9).values.shape
    (9, 40)
    """
    original = _values("values", values, None)
    lengths = np.asarray(distances, dtype=np.float64)
    v = len(original)
    if lengths.shape != (v, v) or not np.isfinite(lengths).all() or (lengths < 0).any():
        raise ValueError(f"distances must be finite, not negative, [{v}, {v}], got {lengths.shape}")
    if v < _LEAST_PLACES:
        raise Refused(f"values must be of at least {_LEAST_PLACES} places, got {v}")
    generator = np.random.default_rng(seed)
    pairs = variogram_pairs(lengths, generator)
    wanted = variogram(original[None], pairs)[0]
    centered = original - original.mean()
    shuffled = np.stack([generator.permutation(centered) for _ in range(permutations)])
    best, maps = np.full(permutations, np.inf), np.empty_like(shuffled)
    noise = generator.standard_normal(shuffled.shape)
    order = np.argsort(lengths, axis=1, kind="stable")
    for share in _SHARES:
        smooth = shuffled @ _kernel(lengths, order, max(2, round(share * v))).T
        slope, intercept, error = _matched(variogram(smooth, pairs), wanted)
        better = error < best
        mixed = np.sqrt(slope)[:, None] * smooth + np.sqrt(intercept)[:, None] * noise
        maps[better], best[better] = mixed[better], error[better]
    return NullMaps(maps, "surrogates of the same variogram")


@dataclass(frozen=True, repr=False)
class VariogramPairs(Summary):
    """Pairs of places `first` and `second` [m], sorted by bins of distance; the i-th bin begins at ``starts[i]``."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    starts: NDArray[np.int64]


def variogram(values: NDArray[np.float64], pairs: VariogramPairs) -> NDArray[np.float64]:
    """Compute half the mean squared difference of maps [m, v] over the pairs in each bin of distance, [m, bins]."""
    result = np.empty((len(values), len(pairs.starts)))
    sizes = np.diff(np.append(pairs.starts, len(pairs.first)))
    step = max(1, _VALUES_AT_ONCE // len(pairs.first))
    for start in range(0, len(values), step):
        rows = np.ascontiguousarray(values[start : start + step].T)  # whole rows are gathered faster
        apart = rows[pairs.first]
        apart -= rows[pairs.second]
        np.square(apart, out=apart)
        result[start : start + step] = np.add.reduceat(apart, pairs.starts, axis=0).T / (2 * sizes)
    return result


def variogram_pairs(distances: NDArray[np.float64], generator: np.random.Generator) -> VariogramPairs:
    """Sort the nearest quarter of all pairs of places [v, v] by bins of distance, at most 50,000 random ones."""
    first, second = np.triu_indices(len(distances), 1)
    apart = distances[first, second]
    near = np.flatnonzero(apart <= np.quantile(apart, _CUTOFF))
    if len(near) > _MOST_PAIRS:
        near = generator.choice(near, _MOST_PAIRS, replace=False)
    edges = np.linspace(apart[near].min(), apart[near].max(), _BINS + 1)
    bins = np.digitize(apart[near], edges[1:-1])
    ordered = near[np.argsort(bins, kind="stable")]
    starts = np.searchsorted(np.sort(bins), np.unique(bins))
    return VariogramPairs(first[ordered], second[ordered], starts)


def _kernel(lengths: NDArray[np.float64], order: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Weights [v, v] of the k nearest places, falling by e over their distance; rows add up to 1."""
    near = order[:, :k]
    apart = np.take_along_axis(lengths, near, axis=1)
    weights = np.exp(-apart / np.maximum(apart[:, -1:], np.finfo(float).tiny))
    kernel = np.zeros_like(lengths)
    np.put_along_axis(kernel, near, weights / weights.sum(1, keepdims=True), axis=1)
    return kernel


def _matched(
    variograms: NDArray[np.float64], wanted: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Slope and intercept [m], neither negative, that bring variograms [m, bins] nearest to one, and the error left."""
    deviation = variograms - variograms.mean(1, keepdims=True)
    slope = np.maximum((deviation @ wanted) / (deviation**2).sum(1), 0.0)
    intercept = wanted.mean() - slope * variograms.mean(1)
    # noise cannot be taken away: then the smooth part alone
    alone = (variograms @ wanted) / (variograms**2).sum(1)
    slope = np.where(intercept < 0, alone, slope)
    intercept = np.maximum(intercept, 0.0)
    error = ((slope[:, None] * variograms + intercept[:, None] - wanted) ** 2).sum(1)
    return slope, intercept, error


def _sources(
    points: NDArray[np.float64], every: NDArray[np.float64], turns: NDArray[np.float64], assignment: str
) -> Iterator[NDArray[np.int64]]:
    """For each rotation, the index in `every` of what comes to each of the points."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial import cKDTree
    from scipy.spatial.distance import cdist

    tree = cKDTree(every)
    for turn in turns:
        back = points @ turn  # each point turned back, by the transpose
        yield tree.query(back)[1] if assignment == "nearest" else linear_sum_assignment(cdist(back, every))[1]


def _values(name: str, given: Any, length: int | None) -> NDArray[np.float64]:
    values = np.asarray(given, dtype=np.float64)
    if values.ndim != 1 or (length is not None and len(values) != length):
        raise ValueError(f"{name} must be [{length or 'v'}], got shape {values.shape}")
    if len(values) < LEAST_POINTS:
        raise Refused(f"{name} must be of at least {LEAST_POINTS} places, got {len(values)}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got {int((~np.isfinite(values)).sum())} NaN or inf")
    if np.ptp(values) == 0:
        raise Refused(f"{name} must vary, got {values[0]:g} throughout")
    return values


def _on_sphere(name: str, coordinates: Any, hemispheres: Any, v: int) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Directions [v, 3] of length 1 and their hemispheres."""
    points, sides = np.asarray(coordinates, dtype=np.float64), one_spelling(hemispheres)
    if points.shape != (v, 3) or sides.shape != (v,):
        raise ValueError(f"{name} must be [{v}, 3] with a hemisphere each, got {points.shape} and {sides.shape}")
    known = np.isin(sides, ("left", "right"))
    if not known.all():
        raise ValueError(f"hemispheres must be 'left' or 'right', got none at {int((~known).sum())} places")
    radius = np.linalg.norm(points, axis=1)
    if not (np.isfinite(radius).all() and radius.min() > 0 and np.ptp(radius) <= 0.01 * radius.mean()):
        raise ValueError(f"{name} must lie on a sphere about the origin, got radii {radius.min()}..{radius.max()}")
    return points / radius[:, None], sides
