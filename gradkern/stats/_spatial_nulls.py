"""Null maps of cortex that are as smooth as the map itself, and what a correlation of two maps is worth beside them.

Neighbouring places of cortex are alike, so a map of thousands of vertices has few independent values, and a parametric
p of its correlation is far too small. Both nulls here rest on assumptions that cortex does not quite meet; two that
agree are worth more than one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ASSIGNMENTS = ("nearest", "one-to-one")
_MIRROR = np.diag([-1.0, 1.0, 1.0])
# of all places, that a surrogate is smoothed over: fine maps need small shares, which an even grid has not
_SHARES = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.9)
_BINS = 25  # of distance, in a variogram
_CUTOFF = 0.25  # of all pairs, the nearest, whose variogram is matched
_MOST_PAIRS = 50_000
_VALUES_AT_ONCE = 2**20


@dataclass(frozen=True)
class NullMaps:
    """Maps [permutations, v] that could have been, NaN where one says nothing; `what` made them."""

    values: NDArray[np.float64]
    what: str


@dataclass(frozen=True)
class MapCorrelation:
    """Pearson r of two maps over n places, with p (two-sided) from null maps, and `null` r [permutations].

    `fewest` is the smallest number of places that a null r was taken over; no p can go under `smallest_p`.
    """

    test: str
    r: float
    p: float
    n: int
    fewest: int
    smallest_p: float
    null: NDArray[np.float64]


def map_correlation(values: Any, axis: Any, null: NullMaps) -> MapCorrelation:
    """Correlate a map with another, and with it null maps of the first.

    Parameters
    ----------
    values : [v], the map that `null` was made of, for example each vertex' best layer
    axis : [v], what it is held against, for example the distance from V1
    null : `spin_maps` or `variogram_maps` of `values`

    Raises
    ------
    ValueError : maps of different lengths, NaN or inf in values or axis, fewer than 3 places, a map that does not vary

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> maps = rng.standard_normal((20, 50))
    >>> map_correlation(maps[0], rng.standard_normal(50), NullMaps(maps[1:], "noise")).null.shape
    (19,)
    """
    op = "map_correlation"
    first = _values(op, "values", values, None)
    second = _values(op, "axis", axis, len(first))
    if null.values.ndim != 2 or null.values.shape[1] != len(first) or not len(null.values):
        raise ValueError(f"{op}: null must be maps [permutations, {len(first)}], got {null.values.shape}")
    found = np.empty(len(null.values))
    fewest = len(first)
    for number, each in enumerate(null.values):
        known = np.isfinite(each)
        fewest = min(fewest, int(known.sum()))
        if known.sum() < 3 or np.ptp(each[known]) == 0 or np.ptp(second[known]) == 0:
            raise ValueError(f"{op}: null map {number} must vary over 3 known places, got {int(known.sum())}")
        found[number] = np.corrcoef(each[known], second[known])[0, 1]
    r = float(np.corrcoef(first, second)[0, 1])
    p = (1 + int((np.abs(found) >= abs(r) - 1e-12).sum())) / (1 + len(found))
    test = f"Pearson r of two maps against {len(found)} {null.what}, two-sided"
    return MapCorrelation(test, r, p, len(first), fewest, 1 / (1 + len(found)), found)


def random_rotations(count: int, seed: int) -> NDArray[np.float64]:
    """Rotations [count, 3, 3], uniform over all."""
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((count, 3, 3)))
    q *= np.sign(np.einsum("nii->ni", r))[:, None, :]  # else not uniform
    q[:, :, 0] *= np.linalg.det(q)[:, None]
    rotations: NDArray[np.float64] = q
    return rotations


def spin_maps(
    values: Any,
    coordinates: Any,
    hemispheres: Any,
    *,
    wall: tuple[Any, Any] | None = None,
    assignment: str = "nearest",
    permutations: int = 1000,
    seed: int,
) -> NullMaps:
    """Turn a map on the sphere of each hemisphere by random rotations, the right one as the mirror image of the left.

    Assumes that the map is of one kind all over the sphere, so that a turned one is as likely: a map whose smoothness
    or variance differs between regions (best layers do, between early and late areas) is not, and p may be too small.
    What is turned onto the medial wall is lost there, so that null correlations rest on fewer places.

    Parameters
    ----------
    values : [v]
    coordinates : [v, 3] on a sphere about the origin, of vertices or of parcels (see `parcel_centres`)
    hemispheres : [v], "left" or "right"
    wall : coordinates [w, 3] and hemispheres [w] of vertices without a value: a place is NaN where the nearest of all
        was turned there from the wall. None: it takes the nearest that has a value.
    assignment : "nearest" (a value may come twice or never) or "one-to-one", which keeps every value, by the smallest
        sum of distances; for parcels: it takes v^3 steps
    permutations, seed : rotations to draw

    Raises
    ------
    ValueError : lengths that do not fit, NaN, other hemispheres, coordinates that lie on no sphere

    Notes
    -----
    Alexander-Bloch et al. (2018), NeuroImage 178:540; variants of the assignment: Markello and Misic (2021), NeuroImage
    236:118052.

    Examples
    --------
    >>> import numpy as np
    >>> points = np.random.default_rng(0).standard_normal((30, 3))
    >>> points /= np.linalg.norm(points, axis=1, keepdims=True)
    >>> spin_maps(points[:, 0], points, ["left"] * 30, permutations=9, seed=0).values.shape
    (9, 30)
    """
    op = "spin_maps"
    given = _values(op, "values", values, None)
    if assignment not in ASSIGNMENTS:
        raise ValueError(f"{op}: assignment must be one of {ASSIGNMENTS}, got {assignment!r}")
    if wall is not None and assignment == "one-to-one":
        raise ValueError(f"{op}: wall needs assignment='nearest', got 'one-to-one', which leaves no place out")
    points, sides = _on_sphere(op, "coordinates", coordinates, hemispheres, len(given))
    holes, hole_sides = (np.empty((0, 3)), np.empty(0, dtype=sides.dtype))
    if wall is not None:
        holes, hole_sides = _on_sphere(op, "wall", *wall, len(np.asarray(wall[0])))
    rotations = random_rotations(permutations, seed)
    maps = np.full((permutations, len(given)), np.nan)
    for side in np.unique(sides):
        here = np.flatnonzero(sides == side)
        every = np.vstack([points[here], holes[hole_sides == side]])
        known = np.append(given[here], np.full(len(every) - len(here), np.nan))
        turns = rotations if side == "left" else _MIRROR @ rotations @ _MIRROR
        for number, sources in enumerate(_sources(points[here], every, turns, assignment)):
            maps[number, here] = known[sources]
    return NullMaps(maps, f"spins, {assignment}{'' if wall is None else ', medial wall left out'}")


def parcel_centres(coordinates: Any, parcels: Any) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Centres of parcels on the sphere of radius 1, [parcels, 3], and their names, sorted.

    Parameters
    ----------
    coordinates : [v, 3] on a sphere about the origin
    parcels : [v], a name for every vertex that differs between hemispheres
    """
    points, names = np.asarray(coordinates, dtype=np.float64), np.asarray(parcels)
    if points.shape != (len(names), 3):
        raise ValueError(f"parcel_centres: coordinates must be [{len(names)}, 3], got {points.shape}")
    known, number = np.unique(names, return_inverse=True)
    sums = np.stack([np.bincount(number, weights=column) for column in points.T], axis=1)
    return sums / np.linalg.norm(sums, axis=1, keepdims=True), known


def variogram_maps(values: Any, distances: Any, *, permutations: int = 1000, seed: int) -> NullMaps:
    """Random maps whose variogram is that of a map: shuffled, smoothed, and mixed with white noise.

    Each is smoothed over the share of nearest places, of ten, with which its variogram can be brought nearest to that
    of the map, over the nearest quarter of all pairs, by a linear regression whose slope scales it and whose intercept
    is the noise. Assumes that values have one variogram everywhere, the same in all directions, and nothing
    beyond pairs of places: a map with a few sharp patches is not kept as such, nor are its values.

    Parameters
    ----------
    values : [v]
    distances : [v, v] in any unit, geodesic rather than Euclidean; of one hemisphere, or of parcels: a few thousand
        places, since matrices of their size are formed
    permutations, seed : maps to draw

    Raises
    ------
    ValueError : lengths that do not fit, NaN or inf, negative distances, fewer than 20 places, a map that does not vary

    Notes
    -----
    Burt et al. (2020), NeuroImage 220:117038; here with equal bins of distance, shares down to 1/50 and, of
    many, 50,000 random pairs.

    Examples
    --------
    >>> import numpy as np
    >>> points = np.random.default_rng(0).random((40, 2))
    >>> distances = np.linalg.norm(points[:, None] - points, axis=2)
    >>> variogram_maps(points[:, 0], distances, permutations=9, seed=0).values.shape
    (9, 40)
    """
    op = "variogram_maps"
    given = _values(op, "values", values, None)
    lengths = np.asarray(distances, dtype=np.float64)
    v = len(given)
    if lengths.shape != (v, v) or not np.isfinite(lengths).all() or (lengths < 0).any() or v < 20:
        raise ValueError(f"{op}: distances must be finite, not negative, [{v}, {v}] of 20 places, got {lengths.shape}")
    generator = np.random.default_rng(seed)
    pairs = _make_pairs(lengths, generator)
    wanted = variogram(given[None], pairs)[0]
    centred = given - given.mean()
    shuffled = np.stack([generator.permutation(centred) for _ in range(permutations)])
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


@dataclass(frozen=True)
class Pairs:
    """Pairs of places [m] in order of their distance's bin, of which the i-th begins at `starts`[i]."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    starts: NDArray[np.int64]


def variogram(values: NDArray[np.float64], pairs: Pairs) -> NDArray[np.float64]:
    """Half the mean squared difference of maps [m, v] over the pairs in each bin of distance, [m, bins]."""
    found = np.empty((len(values), len(pairs.starts)))
    sizes = np.diff(np.append(pairs.starts, len(pairs.first)))
    step = max(1, _VALUES_AT_ONCE // len(pairs.first))
    for start in range(0, len(values), step):
        rows = np.ascontiguousarray(values[start : start + step].T)  # whole rows are gathered faster
        apart = rows[pairs.first]
        apart -= rows[pairs.second]
        np.square(apart, out=apart)
        found[start : start + step] = np.add.reduceat(apart, pairs.starts, axis=0).T / (2 * sizes)
    return found


def _make_pairs(lengths: NDArray[np.float64], generator: np.random.Generator) -> Pairs:
    first, second = np.triu_indices(len(lengths), 1)
    apart = lengths[first, second]
    near = np.flatnonzero(apart <= np.quantile(apart, _CUTOFF))
    if len(near) > _MOST_PAIRS:
        near = generator.choice(near, _MOST_PAIRS, replace=False)
    edges = np.linspace(apart[near].min(), apart[near].max(), _BINS + 1)
    bins = np.digitize(apart[near], edges[1:-1])
    ordered = near[np.argsort(bins, kind="stable")]
    starts = np.searchsorted(np.sort(bins), np.unique(bins))
    return Pairs(first[ordered], second[ordered], starts)


def _kernel(lengths: NDArray[np.float64], order: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Weights [v, v] of the k nearest places, falling by e over their distance; rows add up to 1."""
    near = order[:, :k]
    apart = np.take_along_axis(lengths, near, axis=1)
    weights = np.exp(-apart / np.maximum(apart[:, -1:], np.finfo(float).tiny))
    kernel = np.zeros_like(lengths)
    np.put_along_axis(kernel, near, weights / weights.sum(1, keepdims=True), axis=1)
    return kernel


def _matched(
    found: NDArray[np.float64], wanted: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Slope and intercept [m], neither negative, that bring variograms [m, bins] nearest to one, and the error left."""
    about = found - found.mean(1, keepdims=True)
    slope = np.maximum((about @ wanted) / (about**2).sum(1), 0.0)
    intercept = wanted.mean() - slope * found.mean(1)
    # noise cannot be taken away: then the smooth part alone
    alone = (found @ wanted) / (found**2).sum(1)
    slope = np.where(intercept < 0, alone, slope)
    intercept = np.maximum(intercept, 0.0)
    error = ((slope[:, None] * found + intercept[:, None] - wanted) ** 2).sum(1)
    return slope, intercept, error


def _sources(
    points: NDArray[np.float64], every: NDArray[np.float64], turns: NDArray[np.float64], assignment: str
) -> Iterator[NDArray[np.int64]]:
    """For each rotation, which of `every` comes to each of the points."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial import cKDTree

    tree = cKDTree(every)
    for turn in turns:
        back = points @ turn  # each point turned back, by the transpose
        yield tree.query(back)[1] if assignment == "nearest" else linear_sum_assignment(-back @ every.T)[1]


def _values(op: str, name: str, given: Any, length: int | None) -> NDArray[np.float64]:
    values = np.asarray(given, dtype=np.float64)
    if values.ndim != 1 or len(values) < 3 or (length is not None and len(values) != length):
        raise ValueError(f"{op}: {name} must be [{length or 'v, at least 3'}], got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{op}: {name} must be finite, got {int((~np.isfinite(values)).sum())} NaN or inf")
    if np.ptp(values) == 0:
        raise ValueError(f"{op}: {name} must vary, got {values[0]:g} throughout")
    return values


def _on_sphere(
    op: str, name: str, coordinates: Any, hemispheres: Any, v: int
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Directions [v, 3] of length 1 and their hemispheres."""
    points, sides = np.asarray(coordinates, dtype=np.float64), np.asarray(hemispheres)
    if points.shape != (v, 3) or sides.shape != (v,):
        raise ValueError(f"{op}: {name} must be [{v}, 3] and a hemisphere each, got {points.shape} and {sides.shape}")
    unknown = sorted(set(sides.tolist()) - {"left", "right"})
    if unknown:
        raise ValueError(f"{op}: hemispheres must be 'left' or 'right', got {unknown[0]!r}")
    radius = np.linalg.norm(points, axis=1)
    if not (np.isfinite(radius).all() and radius.min() > 0 and np.ptp(radius) <= 0.01 * radius.mean()):
        raise ValueError(
            f"{op}: {name} must lie on a sphere about the origin, got radii {radius.min()}..{radius.max()}"
        )
    return points / radius[:, None], sides
