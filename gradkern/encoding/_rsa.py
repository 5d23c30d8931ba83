"""Second metrics beside encoding: representational dissimilarity and centred kernel alignment.

Both compare features [n, d] with responses [n, v] to the same n images without fitting anything. An RDM is kept as its
upper triangle [n (n - 1) / 2], row by row, as `scipy.spatial.distance.pdist` orders it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradkern._excluded import Excluded
from gradkern.stats._bootstrap import Floats, resample_images
from gradkern.stats._intervals import Interval, interval

DISTANCES = ("correlation", "euclidean", "cosine")
COMPARISONS = ("Spearman", "Kendall tau-a", "Pearson")
_LEAST_IMAGES = 4


def rdm(X: Any, distance: str = "correlation") -> Floats:
    """Dissimilarities of all pairs of rows of X [n, d], [n (n - 1) / 2].

    Parameters
    ----------
    distance : "correlation" (1 - Pearson r of two rows), "euclidean" or "cosine" (1 - cosine)

    Raises
    ------
    ValueError : fewer than 4 rows, values that are not finite; a constant row, or one of 0, whose distance is undefined
    """
    from scipy.spatial.distance import pdist

    if distance not in DISTANCES:
        raise ValueError(f"rdm: distance must be one of {DISTANCES}, got {distance!r}")
    values = _matrix("rdm", "X", X)
    undefined = {"correlation": np.ptp(values, axis=1) == 0, "cosine": ~values.any(axis=1)}.get(distance)
    if undefined is not None and undefined.any():
        what = "vary" if distance == "correlation" else "not be 0"
        raise ValueError(f"rdm: every row must {what} for {distance!r}, got row {int(np.flatnonzero(undefined)[0])}")
    found: Floats = pdist(values, distance)
    return found


def upper_triangle(square: Any) -> Floats:
    """An RDM [n, n] of a file as [n (n - 1) / 2].

    Raises
    ------
    ValueError : not square, not symmetric (to 1e-6 of its size), a diagonal that is not 0, values that are not finite
    """
    values = np.asarray(square, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or len(values) < _LEAST_IMAGES:
        raise ValueError(
            f"upper_triangle: the RDM must be [n, n], n at least {_LEAST_IMAGES}, got {list(values.shape)}"
        )
    slack = 1e-6 * np.abs(values).max()
    symmetric = np.allclose(values, values.T, rtol=0, atol=slack) and np.abs(values.diagonal()).max() <= slack
    if not np.isfinite(values).all() or not symmetric:
        raise ValueError("upper_triangle: the RDM must be finite, symmetric and 0 on the diagonal, got one that is not")
    triangle: Floats = values[np.triu_indices(len(values), 1)]
    return triangle


@dataclass(frozen=True)
class Similarity:
    """How alike two representations are: `value`, over so many `images`; `interval` over images where it was asked for.

    `excluded`: pairs of an image with itself, which a resampling holds, are left out of it; in the mean so many.
    """

    value: float
    images: int
    variant: str
    interval: Interval | None = None
    excluded: tuple[Excluded, ...] = ()


def compare_rdms(
    first: Any, second: Any, comparison: str = "Spearman", *, bootstraps: int = 0, seed: int = 0
) -> Similarity:
    """Correlation of two RDMs [n (n - 1) / 2] of the same images.

    Parameters
    ----------
    comparison : "Spearman", "Kendall tau-a" (pairs ordered alike minus pairs ordered otherwise, of all pairs, so that
        ties are no agreement) or "Pearson"
    bootstraps : resamplings of the images for the interval; the distances of an image to itself are left out of them

    Raises
    ------
    ValueError : RDMs of different sizes, or without variance
    """
    one, other = _triangle("first", first), _triangle("second", second)
    if one.shape != other.shape:
        raise ValueError(f"compare_rdms: RDMs must be of the same images, got {len(one)} and {len(other)} pairs")
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
    """How well a model's RDM can do on several subjects' (Nili et al. 2014): between `lower`, the mean of every subject
    with the mean of the others, and `upper`, with the mean of all, which no RDM much exceeds."""

    lower: float
    upper: float
    subjects: int
    images: int
    variant: str


def rdm_ceiling(rdms: Any, comparison: str = "Spearman") -> RDMCeiling:
    """Noise ceiling of the RDMs of several subjects [s, n (n - 1) / 2].

    The mean is taken of ranks for Spearman and Kendall (of which the upper bound is then approximate), and of RDMs
    without their mean and size for Pearson.

    Raises
    ------
    ValueError : fewer than 2 subjects, RDMs without variance
    """
    from scipy import stats

    each = np.array([_triangle("rdms", one) for one in rdms])
    if len(each) < 2:
        raise ValueError(f"rdm_ceiling: rdms must be of at least 2 subjects, got {len(each)}")
    if comparison == "Pearson":
        each = (each - each.mean(1, keepdims=True)) / each.std(1, keepdims=True)
    else:
        each = stats.rankdata(each, axis=1)
    total, s = each.sum(0), len(each)
    upper = [_compare(one, total, comparison) for one in each]
    lower = [_compare(one, total - one, comparison) for one in each]
    return RDMCeiling(float(np.mean(lower)), float(np.mean(upper)), s, _images(each.shape[1]), comparison)


def linear_cka(X: Any, Y: Any, *, unbiased: bool = False) -> Similarity:
    """Linear centred kernel alignment of X [n, d] and Y [n, v] (Kornblith et al. 2019).

    |Y'X|^2 / (|X'X| |Y'Y|) in Frobenius norms, columns without their mean. It grows with d and v over n, and is then
    near 1 of noise; `unbiased` puts the unbiased estimates of Song et al. (2012) in the place of the three, whose
    ratio is near 0 then and can be below. Memory: two matrices [n, n].

    Raises
    ------
    ValueError : different numbers of images, fewer than 4, values that are not finite, nothing that varies
    """
    one, other = _matrix("linear_cka", "X", X), _matrix("linear_cka", "Y", Y)
    if len(one) != len(other):
        raise ValueError(f"linear_cka: X and Y must be of the same images, got {len(one)} and {len(other)}")
    for name, values in (("X", one), ("Y", other)):
        if (np.ptp(values, axis=0) == 0).all():
            raise ValueError(f"linear_cka: {name} must vary over images, got the same row {len(values)} times")
    first, second = (_gram(values) for values in (one, other))
    product = _hsic if unbiased else np.vdot
    sizes = float(product(first, first)), float(product(second, second))
    for name, size, gram in zip("XY", sizes, (first, second), strict=True):
        if size <= 1e-12 * np.vdot(gram, gram):
            raise ValueError(f"linear_cka: {name} must differ between images by unequal amounts, got equal ones")
    value = float(product(first, second)) / float(np.sqrt(sizes[0] * sizes[1]))
    return Similarity(value, len(one), "unbiased linear CKA" if unbiased else "linear CKA")


def centred_products(X: Any) -> Floats:
    """Products of all pairs of rows of X [n, d], without what a row has in common with all others, [n (n - 1) / 2].

    The cosine of those of two matrices is `linear_cka(..., unbiased=True)`: the estimate of Song et al. (2012) is a
    product of U-centred matrices (Szekely and Rizzo 2014, Annals of Statistics 42).

    Raises
    ------
    ValueError : fewer than 4 rows, values that are not finite, rows that do not differ, or by equal amounts
    """
    values = _matrix("centred_products", "X", X)
    n, gram = len(values), _gram(values)
    size = np.vdot(gram, gram)
    np.fill_diagonal(gram, 0)
    rows = gram.sum(0)
    gram += rows.sum() / ((n - 1) * (n - 2)) - (rows[:, None] + rows) / (n - 2)
    products: Floats = gram[np.triu_indices(n, 1)]
    if (np.ptp(values, axis=0) == 0).all() or products @ products <= 1e-12 * size:
        raise ValueError("centred_products: rows of X must differ, by unequal amounts, got rows that do not")
    return products


def _gram(values: Floats) -> Floats:
    centred = values - values.mean(0)
    gram: Floats = centred @ centred.T
    return gram


def _hsic(first: Floats, second: Floats) -> float:
    """Song et al.'s unbiased estimate, but for a factor that the ratio loses; the diagonals do not count."""
    n = len(first)
    one, other = (gram - np.diag(gram.diagonal()) for gram in (first, second))
    rows = one.sum(0), other.sum(0)
    sums = rows[0].sum() * rows[1].sum() / ((n - 1) * (n - 2)) - 2 * (rows[0] @ rows[1]) / (n - 2)
    return float(np.vdot(one, other) + sums)


def _compare(first: Floats, second: Floats, comparison: str) -> float:
    from scipy import stats

    if comparison not in COMPARISONS:
        raise ValueError(f"compare_rdms: comparison must be one of {COMPARISONS}, got {comparison!r}")
    if comparison == "Pearson":
        return float(stats.pearsonr(first, second)[0])
    if comparison == "Spearman":
        return float(stats.spearmanr(first, second)[0])
    # scipy knows tau-b, which divides by the pairs without ties
    untied = [1 - _tied_pairs(each) / (len(each) * (len(each) - 1)) for each in (first, second)]
    return float(stats.kendalltau(first, second)[0] * np.sqrt(untied[0] * untied[1]))


def _tied_pairs(values: Floats) -> int:
    counts = np.unique(values, return_counts=True)[1]
    return sum(count * (count - 1) for count in counts.tolist())


def _triangle(name: str, given: Any) -> Floats:
    values = np.asarray(given, dtype=np.float64)
    if values.ndim != 1 or _images(values.size) * (_images(values.size) - 1) // 2 != values.size or values.size < 6:
        raise ValueError(
            f"compare_rdms: {name} must be [n (n - 1) / 2] of at least {_LEAST_IMAGES} images (see `upper_triangle`), "
            f"got {list(values.shape)}"
        )
    if not np.isfinite(values).all() or np.ptp(values) == 0:
        raise ValueError(f"compare_rdms: {name} must be finite and vary, got NaN, infinity or one value")
    return values


def _images(pairs: int) -> int:
    return round((1 + float(np.sqrt(1 + 8 * pairs))) / 2)


def _matrix(op: str, name: str, given: Any) -> Floats:
    values = np.asarray(given, dtype=np.float64)
    if values.ndim != 2 or len(values) < _LEAST_IMAGES:
        raise ValueError(f"{op}: {name} must be [n, d] of at least {_LEAST_IMAGES} images, got {list(values.shape)}")
    if not np.isfinite(values).all():
        raise ValueError(f"{op}: {name} must be finite, got {int((~np.isfinite(values)).sum())} values that are not")
    return values
