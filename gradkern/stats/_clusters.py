"""Cluster tests over sensors and times, from the null maps of one subject or the maps of many."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.errors import Refused, naming
from gradkern.stats._arguments import check_alternative
from gradkern.stats._summary import Summary

_ENUMERATED = 1024  # sign patterns, which are all tried


@dataclass(frozen=True, repr=False)
class Cluster(Summary):
    """Neighboring points over the threshold, at `sensors` and `times` [points]; `mass` is the sum of the statistic."""

    sensors: NDArray[np.int64]
    times: NDArray[np.int64]
    mass: float
    p: float

    @property
    def brief(self) -> str:
        """Size, mass and p in a few words."""
        return f"{len(self.sensors)} points of mass {self.mass:.4g}, p {self.p:.4g}"


@dataclass(frozen=True, repr=False)
class ClusterTest(Summary):
    """Clusters by mass, the largest first, beside the largest of each null map, `null_max` [permutations].

    p belongs to the cluster as a whole: there is an effect somewhere in it, not at each of its points, and it need not
    start with the first or end with the last. `n` maps or subjects made the null distribution.
    """

    test: str
    clusters: tuple[Cluster, ...]
    null_max: NDArray[np.float64]
    n: int
    smallest_p: float


def sensor_adjacency(info: Any, kind: str = "mag") -> Any:
    """Find which sensors are neighbors, sparse [sensors, sensors], by mne (from its templates, or by triangles).

    Parameters
    ----------
    info : mne.Info
    kind : type of the sensors: "mag", "grad" or "eeg"
    """
    import mne

    return mne.channels.find_ch_adjacency(info, kind)[0]


@naming("cluster_test")
def cluster_test(
    observed: Any, null: Iterable[Any], adjacency: Any, *, threshold: Any, alternative: str = "greater"
) -> ClusterTest:
    """Test the clusters of a map against the largest clusters of null maps.

    The null hypothesis is that the whole map came about as the null maps did: for one subject, that its responses have
    nothing to do with the features. The level holds for any threshold that was fixed beforehand. A low one finds weak
    and wide clusters, a high one strong and small ones.

    Parameters
    ----------
    observed : [sensors, times], for example r of a `permutation_test`
    null : null maps [sensors, times], one after another or [permutations, sensors, times], all points permuted alike
    adjacency : sparse or dense [sensors, sensors], as from `sensor_adjacency`; neighbors in time are added
    threshold : above 0; one number, or [sensors, times]
    alternative : "greater" (clusters of points above the threshold), "less" (of points below minus the threshold) or
        "two-sided" (both)

    Raises
    ------
    ValueError : maps of different shapes, NaN, no null maps, a threshold that is not above 0, an unknown alternative

    Notes
    -----
    Maris and Oostenveld (2007), J. Neurosci. Methods 164:177; what the p of a cluster does not say: Sassenhagen and
    Draschkow (2019), Psychophysiology 56:e13335.

    Examples
    --------
    >>> import numpy as np
    >>> maps = np.random.default_rng(0).standard_normal((20, 3, 5))
    >>> cluster_test(maps[0] + 3, maps[1:], np.ones((3, 3)), threshold=2.0).null_max.shape
    (19,)
    """
    values = _map("observed", observed, None)
    check_alternative(alternative)
    limit = np.broadcast_to(np.asarray(threshold, dtype=np.float64), np.shape(threshold) or values.shape)
    if limit.shape != values.shape or not (limit > 0).all():
        raise ValueError(f"threshold must be over 0, one number or {values.shape}, got shape {limit.shape}")
    neighbors = _neighbors(adjacency, values.shape)
    largest = []
    for null_map in null:
        clusters_of_null = _clusters(_map("null", null_map, values.shape), limit, neighbors, alternative)
        largest.append(max((abs(mass) for _, mass in clusters_of_null), default=0.0))
    if not largest:
        raise ValueError("null must hold at least one map, got none")
    null_max, clusters = np.array(largest), []
    for points, mass in _clusters(values, limit, neighbors, alternative):
        # masses of the same points may be summed in another order
        p = (1 + int((null_max >= abs(mass) * (1 - 1e-9)).sum())) / (1 + len(null_max))
        clusters.append(Cluster(*np.divmod(points, values.shape[1]), mass, p))
    clusters.sort(key=lambda cluster: -abs(cluster.mass))
    test = f"largest cluster mass of {len(null_max)} null maps, {alternative}"
    return ClusterTest(test, tuple(clusters), null_max, len(null_max), 1 / (1 + len(null_max)))


@naming("group_cluster_test")
def group_cluster_test(
    maps: Any,
    adjacency: Any,
    *,
    threshold: float | None = None,
    alternative: str = "greater",
    permutations: int = 1000,
    seed: int = 0,
) -> ClusterTest:
    """Test the mean map of many subjects by flipping signs: clusters of t.

    The null hypothesis is that every subject's map is as likely as its negative. To reject it takes more subjects than
    data sets of images have: with 4, p cannot go below 1/16 (1/8 two-sided).

    Parameters
    ----------
    maps : [subjects, sensors, times]
    adjacency : sparse or dense [sensors, sensors], as from `sensor_adjacency`; neighbors in time are added
    threshold : of t, above 0; None for that of p = .05
    alternative : as in `cluster_test`
    permutations, seed : number of random sign patterns, with that of the data, and the seed of the generator; where
        there are at most 1,024 patterns (10 subjects; two-sided 11) each is tried once, and p is exact

    Raises
    ------
    Refused : fewer than 2 subjects; a point of one size in all subjects, as a dead sensor has, whose t is not finite
        under every sign pattern
    ValueError : NaN or inf, a threshold that is not above 0, an unknown alternative

    Notes
    -----
    Masses and thresholds are those of `mne.stats.spatio_temporal_cluster_1samp_test`, as are p where it is exact.
    One-sided with few subjects, mne counts the data's own pattern twice and leaves its negative out.

    Examples
    --------
    >>> import numpy as np
    >>> maps = 3 + np.random.default_rng(0).standard_normal((5, 3, 4))
    >>> group_cluster_test(maps, np.ones((3, 3))).null_max.shape
    (32,)
    """
    from scipy.stats import t

    check_alternative(alternative)
    values = np.asarray(maps, dtype=np.float64)
    if values.ndim != 3 or not np.isfinite(values).all():
        raise ValueError(f"maps must be finite [subjects, sensors, times], got {values.shape}")
    if len(values) < 2:
        raise Refused(f"maps must be of at least 2 subjects, got {len(values)}")
    _check_sizes(values)
    n, sides, shape = len(values), 2 if alternative == "two-sided" else 1, values.shape[1:]
    limit = float(t.isf(0.05 / sides, n - 1)) if threshold is None else float(threshold)
    if not limit > 0:
        raise ValueError(f"threshold must be over 0, got {limit:g}")
    neighbors, limits = _neighbors(adjacency, shape), np.full(shape, limit)
    signs = _sign_patterns(n, 2**n // sides, permutations, seed)
    null_max, clusters = np.zeros(len(signs)), []
    for number, pattern in enumerate(signs):
        clusters_of_pattern = _clusters(_t(pattern[:, None, None] * values), limits, neighbors, alternative)
        null_max[number] = max((abs(mass) for _, mass in clusters_of_pattern), default=0.0)
        if number == 0:
            observed = clusters_of_pattern
    for points, mass in observed:
        p = float((null_max >= abs(mass) * (1 - 1e-9)).mean())  # the first pattern is that of the data
        clusters.append(Cluster(*np.divmod(points, shape[1]), mass, p))
    clusters.sort(key=lambda cluster: -abs(cluster.mass))
    test = f"cluster mass of t over {n} subjects, {len(signs)} sign patterns, {alternative}"
    return ClusterTest(test, tuple(clusters), null_max, n, 1 / len(signs))


def _check_sizes(values: NDArray[np.float64]) -> None:
    """Refuse points [sensors, times] whose absolute value is the same in all subjects: some pattern has no t there."""
    size = np.abs(values)
    sensors, times = np.nonzero(np.ptp(size, axis=0) <= 1e-12 * size.max(0))
    if len(sensors):
        raise Refused(
            f"maps must differ in size between subjects at every point, got {size[0, sensors[0], times[0]]:g} in all "
            f"{len(values)} at {len(sensors)} of {size[0].size} points, the first at sensor {sensors[0]}, time "
            f"{times[0]}: leave dead sensors and constant times out"
        )


def _sign_patterns(n: int, distinct: int, permutations: int, seed: int) -> NDArray[np.float64]:
    """Patterns [patterns, n] of 1 and -1, the first of 1 alone: all `distinct` ones, or random ones that do not repeat.

    Two-sided, a pattern and its negative have the same largest cluster, and half of the patterns are distinct.
    """
    generator = np.random.default_rng(seed)
    if distinct <= max(_ENUMERATED, permutations):
        negative = (np.arange(distinct)[:, None] >> np.arange(n)) & 1
    elif n < 63:
        numbers = np.append(0, 1 + generator.choice(distinct - 1, permutations - 1, replace=False))
        negative = (numbers[:, None] >> np.arange(n)) & 1
    else:  # of so many, none comes twice
        negative = generator.integers(0, 2, (permutations, n))
        negative[:1] = 0
    signs: NDArray[np.float64] = np.where(negative, -1.0, 1.0)
    return signs


def _t(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Student's t of the mean of maps [subjects, sensors, times] over subjects."""
    t: NDArray[np.float64] = np.asarray(maps.mean(0) / (maps.std(0, ddof=1) / np.sqrt(len(maps))), dtype=np.float64)
    return t


def _map(name: str, given: Any, shape: tuple[int, ...] | None) -> NDArray[np.float64]:
    values = np.asarray(given, dtype=np.float64)
    if values.ndim != 2 or (shape is not None and values.shape != shape):
        raise ValueError(f"{name} must be {shape or '[sensors, times]'}, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got {int((~np.isfinite(values)).sum())} NaN or inf")
    return values


def _neighbors(adjacency: Any, shape: tuple[int, ...]) -> Any:
    """Sparse [sensors * times, sensors * times]."""
    from scipy.sparse import csr_array, eye_array, kron

    between = csr_array(adjacency)
    if between.shape != (shape[0], shape[0]):
        raise ValueError(f"adjacency must be [{shape[0]}, {shape[0]}], got {list(between.shape)}")
    in_time = eye_array(shape[1], k=1) + eye_array(shape[1], k=-1)
    return csr_array(kron(between, eye_array(shape[1])) + kron(eye_array(shape[0]), in_time))


def _clusters(
    values: NDArray[np.float64], limit: NDArray[np.float64], neighbors: Any, alternative: str
) -> list[tuple[NDArray[np.int64], float]]:
    """Points and masses of all clusters on the sides that the alternative asks for."""
    from scipy.sparse.csgraph import connected_components

    flat, least = values.ravel(), limit.ravel()
    sides = {"greater": (flat > least,), "less": (flat < -least,), "two-sided": (flat > least, flat < -least)}
    clusters = []
    for over in sides[alternative]:
        points = np.flatnonzero(over)
        count, number = connected_components(neighbors[points][:, points], directed=False)
        masses = np.bincount(number, weights=flat[points], minlength=count)
        clusters += [(points[number == i], float(masses[i])) for i in range(count)]
    return clusters
