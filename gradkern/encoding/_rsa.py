"""Representational similarity analysis and centered kernel alignment: comparisons in which nothing is fitted.

Both compare features [n, d] with responses [n, v] to the same n images. An RDM (representational dissimilarity matrix)
is kept as its upper triangle [n (n - 1) / 2], row by row, as `scipy.spatial.distance.pdist` orders it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradkern._excluded import Excluded
from gradkern.errors import Refused, naming
from gradkern.stats._bootstrap import Floats, resample_images
from gradkern.stats._intervals import Interval, interval

DISTANCES = ("correlation", "euclidean", "cosine")
COMPARISONS = ("Spearman", "Kendall tau-a", "Pearson")
_LEAST_IMAGES = 4


@naming("rdm")
def rdm(X: Any, distance: str = "correlation") -> Floats:
    """Representational dissimilarity matrix of X [n, d]: distances of all pairs of rows, [n (n - 1) / 2].

    Parameters
    ----------
    distance : "correlation" (1 - Pearson r of two rows), "euclidean" or "cosine" (1 - cosine)

    Raises
    ------
    ValueError : fewer than 4 rows, values that are not finite
    Refused : a constant row (for "correlation") or a row of zeros (for "cosine"), which has no distance

    Examples
    --------
    >>> rdm(np.random.default_rng(0).standard_normal((5, 3))).shape
    (10,)
    """
    from scipy.spatial.distance import pdist

    if distance not in DISTANCES:
        raise ValueError(f"distance must be one of {DISTANCES}, got {distance!r}")
    values = _matrix("X", X)
    undefined = {"correlation": np.ptp(values, axis=1) == 0, "cosine": ~values.any(axis=1)}.get(distance)
    if undefined is not None and undefined.any():
        what = "vary" if distance == "correlation" else "not be 0"
        raise Refused(f"every row must {what} for {distance!r}, got row {int(np.flatnonzero(undefined)[0])}")
    distances: Floats = pdist(values, distance)
    return distances


@naming("upper_triangle")
def upper_triangle(square: Any) -> Floats:
    """Take the upper triangle [n (n - 1) / 2] of a square RDM [n, n], as files have it.

    Raises
    ------
    ValueError : not square, not symmetric (to 1e-6 of its size), a diagonal that is not 0, values that are not finite
    """
    values = np.asarray(square, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or len(values) < _LEAST_IMAGES:
        raise ValueError(f"the RDM must be [n, n], n at least {_LEAST_IMAGES}, got {list(values.shape)}")
    slack = 1e-6 * np.abs(values).max()
    symmetric = np.allclose(values, values.T, rtol=0, atol=slack) and np.abs(values.diagonal()).max() <= slack
    if not np.isfinite(values).all() or not symmetric:
        raise ValueError("the RDM must be finite, symmetric and 0 on the diagonal, got one that is not")
    triangle: Floats = values[np.triu_indices(len(values), 1)]
    return triangle


@dataclass(frozen=True)
class Similarity:
    """The similarity of two representations.

    Attributes
    ----------
    value : the similarity
    images : number of images compared
    variant : the measure
    interval : over images, where resamplings were asked for
    excluded : pairs of an image with itself, which resamplings hold, are left out of them: their mean number
    """

    value: float
    images: int
    variant: str
    interval: Interval | None = None
    excluded: tuple[Excluded, ...] = ()


@naming("compare_rdms")
def compare_rdms(
    first: Any, second: Any, comparison: str = "Spearman", *, bootstraps: int = 0, seed: int = 0
) -> Similarity:
    """Correlate two RDMs [n (n - 1) / 2] of the same images.

    Parameters
    ----------
    comparison : "Spearman", "Pearson" or "Kendall tau-a": concordant minus discordant pairs over all pairs, so that
        ties do not count as agreement
    bootstraps : number of resamplings of the images for the interval; 0: no interval. Distances of an image to itself
        are left out of them.

    Raises
    ------
    ValueError : RDMs of different sizes, or without variance
    """
    one, other = _triangle("first", first), _triangle("second", second)
    if one.shape != other.shape:
        raise ValueError(f"RDMs must be of the same images, got {len(one)} and {len(other)} pairs")
    value, n = _compare(one, other, comparison), _images(len(one))
    if not bootstraps:
        return Similarity(value, n, comparison)
    from scipy.spatial.distance import squareform

    squares = squareform(one), squareform(other)
    counts = resample_images(np.arange(n), bootstraps, seed).counts.astype(np.int64)
    upper = np.triu_indices(n, 1)
    again, same = [], 0
    for count in counts:
        drawn = np.repeat(np.arange(n), count)
        rows, columns = drawn[upper[0]], drawn[upper[1]]
        pairs = rows != columns
        same += int((~pairs).sum())
        again.append(_compare(squares[0][rows, columns][pairs], squares[1][rows, columns][pairs], comparison))
    left_out = Excluded("pairs", round(same / bootstraps), "of an image with itself, in the mean of the resamplings")
    over = interval(value, again, f"{n} images", bound=1)
    return Similarity(value, n, comparison, over, (left_out,))


@dataclass(frozen=True)
class RDMCeiling:
    """Noise ceiling of several subjects' RDMs (Nili et al. 2014).

    Attributes
    ----------
    lower : mean correlation of each subject's RDM with the mean of the others
    upper : mean correlation of each subject's RDM with the mean of all, which hardly any RDM exceeds
    """

    lower: float
    upper: float
    subjects: int
    images: int
    variant: str


@naming("rdm_ceiling")
def rdm_ceiling(rdms: Any, comparison: str = "Spearman") -> RDMCeiling:
    """Noise ceiling of the RDMs of several subjects [s, n (n - 1) / 2].

    RDMs are averaged as ranks for Spearman and Kendall (the upper bound of Kendall is then approximate), and as
    z-scores for Pearson.

    Raises
    ------
    ValueError : fewer than 2 subjects, RDMs without variance
    """
    from scipy import stats

    values = np.array([_triangle("rdms", triangle) for triangle in rdms])
    if len(values) < 2:
        raise ValueError(f"rdms must be of at least 2 subjects, got {len(values)}")
    if comparison == "Pearson":
        values = (values - values.mean(1, keepdims=True)) / values.std(1, keepdims=True)
    else:
        values = stats.rankdata(values, axis=1)
    total, s = values.sum(0), len(values)
    upper = [_compare(own, total, comparison) for own in values]
    lower = [_compare(own, total - own, comparison) for own in values]
    return RDMCeiling(float(np.mean(lower)), float(np.mean(upper)), s, _images(values.shape[1]), comparison)


@naming("linear_cka")
def linear_cka(X: Any, Y: Any, *, unbiased: bool = False) -> Similarity:
    """Linear centered kernel alignment of X [n, d] and Y [n, v] (Kornblith et al. 2019).

    It is |Y'X|^2 / (|X'X| |Y'Y|) in Frobenius norms, for centered columns. It grows with d / n and v / n, so that even
    noise comes near 1; with `unbiased` the three terms are the unbiased estimates of Song et al. (2012), whose ratio is
    near 0 for noise and can be negative. It takes two matrices [n, n] of memory.

    Raises
    ------
    ValueError : different numbers of images, fewer than 4, values that are not finite
    Refused : X or Y does not vary over images, or all images differ by equal amounts
    """
    one, other = _matrix("X", X), _matrix("Y", Y)
    if len(one) != len(other):
        raise ValueError(f"X and Y must be of the same images, got {len(one)} and {len(other)}")
    for name, values in (("X", one), ("Y", other)):
        if (np.ptp(values, axis=0) == 0).all():
            raise Refused(f"{name} must vary over images, got the same row {len(values)} times")
    first, second = (_gram(values) for values in (one, other))
    product = _hsic if unbiased else np.vdot
    sizes = float(product(first, first)), float(product(second, second))
    for name, size, gram in zip("XY", sizes, (first, second), strict=True):
        if size <= 1e-12 * np.vdot(gram, gram):
            raise Refused(f"{name} must differ between images by unequal amounts, got equal ones")
    value = float(product(first, second)) / float(np.sqrt(sizes[0] * sizes[1]))
    return Similarity(value, len(one), "unbiased linear CKA" if unbiased else "linear CKA")


@naming("centered_products")
def centered_products(X: Any) -> Floats:
    """U-centered inner products of all pairs of rows of X [n, d], [n (n - 1) / 2].

    The cosine of those of two matrices is `linear_cka(..., unbiased=True)`: the estimate of Song et al. (2012) is a
    product of U-centered matrices (Szekely and Rizzo 2014, Annals of Statistics 42).

    Raises
    ------
    ValueError : fewer than 4 rows, values that are not finite
    Refused : rows that do not differ, or differ by equal amounts
    """
    values = _matrix("X", X)
    n, gram = len(values), _gram(values)
    size = np.vdot(gram, gram)
    np.fill_diagonal(gram, 0)
    rows = gram.sum(0)
    gram += rows.sum() / ((n - 1) * (n - 2)) - (rows[:, None] + rows) / (n - 2)
    products: Floats = gram[np.triu_indices(n, 1)]
    if (np.ptp(values, axis=0) == 0).all() or products @ products <= 1e-12 * size:
        raise Refused("rows of X must differ, by unequal amounts, got rows that do not")
    return products


def _gram(values: Floats) -> Floats:
    centered = values - values.mean(0)
    gram: Floats = centered @ centered.T
    return gram


def _hsic(first: Floats, second: Floats) -> float:
    """Song et al.'s unbiased estimate, up to a factor that cancels in the ratio; the diagonals do not count."""
    n = len(first)
    one, other = (gram - np.diag(gram.diagonal()) for gram in (first, second))
    rows = one.sum(0), other.sum(0)
    sums = rows[0].sum() * rows[1].sum() / ((n - 1) * (n - 2)) - 2 * (rows[0] @ rows[1]) / (n - 2)
    return float(np.vdot(one, other) + sums)


def _compare(first: Floats, second: Floats, comparison: str) -> float:
    from scipy import stats

    if comparison not in COMPARISONS:
        raise ValueError(f"comparison must be one of {COMPARISONS}, got {comparison!r}")
    if comparison == "Pearson":
        return float(stats.pearsonr(first, second)[0])
    if comparison == "Spearman":
        return float(stats.spearmanr(first, second)[0])
    # scipy has tau-b, which divides by the pairs without ties
    untied = [1 - _tied_pairs(values) / (len(values) * (len(values) - 1)) for values in (first, second)]
    return float(stats.kendalltau(first, second)[0] * np.sqrt(untied[0] * untied[1]))


def _tied_pairs(values: Floats) -> int:
    counts = np.unique(values, return_counts=True)[1]
    return sum(count * (count - 1) for count in counts.tolist())


def _triangle(name: str, triangle: Any) -> Floats:
    values = np.asarray(triangle, dtype=np.float64)
    if values.ndim != 1 or _images(values.size) * (_images(values.size) - 1) // 2 != values.size or values.size < 6:
        raise ValueError(
            f"{name} must be [n (n - 1) / 2] of at least {_LEAST_IMAGES} images (see `upper_triangle`), "
            f"got {list(values.shape)}"
        )
    if not np.isfinite(values).all() or np.ptp(values) == 0:
        raise ValueError(f"{name} must be finite and vary, got NaN, infinity or one value")
    return values


def _images(pairs: int) -> int:
    return round((1 + float(np.sqrt(1 + 8 * pairs))) / 2)


def _matrix(name: str, matrix: Any) -> Floats:
    values = np.asarray(matrix, dtype=np.float64)
    if values.ndim != 2 or len(values) < _LEAST_IMAGES:
        raise ValueError(f"{name} must be [n, d] of at least {_LEAST_IMAGES} images, got {list(values.shape)}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got {int((~np.isfinite(values)).sum())} values that are not")
    return values
