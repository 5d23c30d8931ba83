"""Cluster tests over sensors and times, from the null maps of one subject or the maps of many."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TAILS = ("positive", "both")


@dataclass(frozen=True)
class Cluster:
    """Neighbouring points over the threshold: `sensors` and `times` [points] say where, `mass` sums their statistic."""

    sensors: NDArray[np.int64]
    times: NDArray[np.int64]
    mass: float
    p: float


@dataclass(frozen=True)
class ClusterTest:
    """Clusters by mass, the largest first, beside the largest of each null map (`null_max` [permutations]).

    p is of the cluster as a whole: that there is an effect somewhere, not that it is at each of its points, starts with
    the first or ends with the last. `n` maps or subjects made the null.
    """

    test: str
    clusters: tuple[Cluster, ...]
    null_max: NDArray[np.float64]
    n: int
    smallest_p: float


def sensor_adjacency(info: Any, kind: str = "mag") -> Any:
    """Which sensors are neighbours, sparse [sensors, sensors], by mne (from its templates, or by triangles).

    Parameters
    ----------
    info : mne.Info
    kind : of sensors: "mag", "grad" or "eeg"
    """
    import mne

    return mne.channels.find_ch_adjacency(info, kind)[0]


def cluster_test(
    observed: Any, null: Iterable[Any], adjacency: Any, *, threshold: Any, tail: str = "positive"
) -> ClusterTest:
    """Test the clusters of a map against the largest clusters of null maps.

    Tests that the whole map came about as the null maps did: of one subject, that its responses have nothing to do with
    the features. The level holds for any threshold that was fixed beforehand; a low one finds weak and wide clusters, a
    high one strong and small ones.

    Parameters
    ----------
    observed : [sensors, times], for example r of a `permutation_test`
    null : null maps [sensors, times], one after another or [permutations, sensors, times], made in the same orders
        for all points
    adjacency : sparse or dense [sensors, sensors], as `sensor_adjacency`; neighbours in time are added
    threshold : over 0; one number, or [sensors, times]
    tail : "positive", or "both" for clusters of negative points under minus the threshold too

    Raises
    ------
    ValueError : maps of different shapes, NaN, no null maps, a threshold that is not over 0

    Notes
    -----
    Maris and Oostenveld (2007), J. Neurosci. Methods 164:177; what p of a cluster does not say: Sassenhagen and
    Draschkow (2019), Psychophysiology 56:e13335.

    Examples
    --------
    >>> import numpy as np
    >>> maps = np.random.default_rng(0).standard_normal((20, 3, 5))
    >>> cluster_test(maps[0] + 3, maps[1:], np.ones((3, 3)), threshold=2.0).null_max.shape
    (19,)
    """
    op = "cluster_test"
    values = _map(op, "observed", observed, None)
    if tail not in TAILS:
        raise ValueError(f"{op}: tail must be one of {TAILS}, got {tail!r}")
    limit = np.broadcast_to(np.asarray(threshold, dtype=np.float64), np.shape(threshold) or values.shape)
    if limit.shape != values.shape or not (limit > 0).all():
        raise ValueError(f"{op}: threshold must be over 0, one number or {values.shape}, got shape {limit.shape}")
    neighbours = _neighbours(op, adjacency, values.shape)
    largest = []
    for each in null:
        masses = [abs(mass) for _, mass in _clusters(_map(op, "null", each, values.shape), limit, neighbours, tail)]
        largest.append(max(masses, default=0.0))
    if not largest:
        raise ValueError(f"{op}: null must hold at least one map, got none")
    null_max, clusters = np.array(largest), []
    for places, mass in _clusters(values, limit, neighbours, tail):
        # masses of the same points may be summed in another order
        p = (1 + int((null_max >= abs(mass) * (1 - 1e-9)).sum())) / (1 + len(null_max))
        clusters.append(Cluster(*np.divmod(places, values.shape[1]), mass, p))
    clusters.sort(key=lambda cluster: -abs(cluster.mass))
    test = f"largest cluster mass of {len(null_max)} null maps, tail {tail}"
    return ClusterTest(test, tuple(clusters), null_max, len(null_max), 1 / (1 + len(null_max)))


def group_cluster_test(
    maps: Any,
    adjacency: Any,
    *,
    threshold: float | None = None,
    tail: str = "positive",
    permutations: int = 1024,
    seed: int = 0,
) -> ClusterTest:
    """Test the mean map of many subjects by their signs: clusters of t, by mne.

    Tests that every subject's map is as likely as its negative, which takes more subjects than data sets of images
    have: of 4, p cannot go under 1/16 (1/8 with both tails).

    Parameters
    ----------
    maps : [subjects, sensors, times]
    adjacency : sparse or dense [sensors, sensors]
    threshold : of t; None for that of p = .05
    permutations, seed : of random signs; all patterns where there are no more

    Raises
    ------
    ValueError : fewer than 2 subjects, NaN or inf, an unknown tail
    """
    import mne
    from scipy.sparse import coo_array, csr_array
    from scipy.stats import t

    op = "group_cluster_test"
    values = np.asarray(maps, dtype=np.float64)
    if values.ndim != 3 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"{op}: maps must be finite [subjects, sensors, times] of 2 subjects, got {values.shape}")
    if tail not in TAILS:
        raise ValueError(f"{op}: tail must be one of {TAILS}, got {tail!r}")
    n, sides = len(values), 1 if tail == "positive" else 2
    limit = float(t.isf(0.05 / sides, n - 1)) if threshold is None else threshold
    statistic, found, p, null = mne.stats.spatio_temporal_cluster_1samp_test(
        values.transpose(0, 2, 1),
        threshold=limit,
        n_permutations=permutations,
        tail=1 if tail == "positive" else 0,
        adjacency=coo_array(csr_array(adjacency)),
        out_type="indices",
        seed=seed,
        verbose="error",
    )
    clusters = [
        Cluster(sensors, times, float(statistic[times, sensors].sum()), float(each))
        for (times, sensors), each in zip(found, p, strict=True)
    ]
    clusters.sort(key=lambda cluster: -abs(cluster.mass))
    test = f"cluster mass of t over {n} subjects, {len(null)} patterns of signs, tail {tail}"
    return ClusterTest(test, tuple(clusters), np.asarray(null, dtype=np.float64), n, 1 / len(null))


def _map(op: str, name: str, given: Any, shape: tuple[int, ...] | None) -> NDArray[np.float64]:
    values = np.asarray(given, dtype=np.float64)
    if values.ndim != 2 or (shape is not None and values.shape != shape):
        raise ValueError(f"{op}: {name} must be {shape or '[sensors, times]'}, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{op}: {name} must be finite, got {int((~np.isfinite(values)).sum())} NaN or inf")
    return values


def _neighbours(op: str, adjacency: Any, shape: tuple[int, ...]) -> Any:
    """Sparse [sensors * times, sensors * times]."""
    import mne
    from scipy.sparse import coo_array, csr_array

    between = csr_array(adjacency)
    if between.shape != (shape[0], shape[0]):
        raise ValueError(f"{op}: adjacency must be [{shape[0]}, {shape[0]}], got {list(between.shape)}")
    return csr_array(mne.stats.combine_adjacency(coo_array(between), shape[1]))


def _clusters(
    values: NDArray[np.float64], limit: NDArray[np.float64], neighbours: Any, tail: str
) -> list[tuple[NDArray[np.int64], float]]:
    """Places and masses of all clusters, of points over the limit and, if asked for, of those under minus the limit."""
    from scipy.sparse.csgraph import connected_components

    flat, least = values.ravel(), limit.ravel()
    found = []
    for over in (flat > least, flat < -least) if tail == "both" else (flat > least,):
        places = np.flatnonzero(over)
        count, number = connected_components(neighbours[places][:, places], directed=False)
        masses = np.bincount(number, weights=flat[places], minlength=count)
        found += [(places[number == each], float(masses[each])) for each in range(count)]
    return found
