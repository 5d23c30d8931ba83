"""Noise ceilings: the score that a perfect model would reach with responses as noisy as these."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.recordings._recording import Recording


@dataclass(frozen=True)
class Ceiling:
    """The highest Pearson correlation r [v] with responses, in the mean; NaN where none is known.

    `formula` says how it was found, `repeats` how many presentations a row is the mean of, `images` how many images
    there are, `unknown` counts the NaN.
    """

    r: NDArray[np.float64]
    formula: str
    repeats: str
    images: int

    @property
    def r2(self) -> NDArray[np.float64]:
        """The highest share of variance that can be explained, [v]."""
        return self.r**2

    @property
    def unknown(self) -> int:
        return int(np.isnan(self.r).sum())


def noise_ceiling(recording: Recording) -> Ceiling:
    """Ceiling of the responses as they are, from the recording's ncsnr s: r^2 = s^2 / (s^2 + mean(1 / repeats)).

    The mean over rows is that of Allen et al. (2022), Nature Neuroscience 25, for unequal repeats.

    Raises
    ------
    ValueError : the recording has no ncsnr
    """
    if recording.ncsnr is None:
        raise ValueError("noise_ceiling: the recording must have ncsnr, got none; estimate_ncsnr finds it from repeats")
    squared = np.asarray(recording.ncsnr, dtype=np.float64) ** 2
    with np.errstate(divide="ignore"):
        r = 1 / np.sqrt(1 + np.mean(1 / recording.repeats) / squared)  # so that no signal has 0, and no noise 1
    formula = "r^2 = ncsnr^2 / (ncsnr^2 + mean(1 / repeats))"
    return Ceiling(r, formula, _counts(recording.repeats), len(np.unique(recording.image_ids)))


def estimate_ncsnr(recording: Recording) -> NDArray[np.float64]:
    """Standard deviation of the signal over that of the noise, [v], from repeated images.

    The noise variance is that within images, pooled; the signal variance what is left of the variance of all
    presentations (both ddof 1). NaN where nothing is left, nothing varies, or a response is NaN. After Hebart et al.
    (2023), eLife 12.

    Raises
    ------
    ValueError : repeats were averaged, or no image was shown twice
    """
    groups, counts = _repeated("estimate_ncsnr", recording)
    freedom = float((counts - 1).sum())
    order = np.argsort(groups, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    result = np.empty(len(recording.targets))
    for columns, block in recording.blocks():
        values = block[order].astype(np.float64)
        values -= values.mean(0)
        total = (values**2).sum(0) / (len(values) - 1)
        means = np.add.reduceat(values, starts, axis=0) / counts[:, None]
        noise = np.maximum((values**2).sum(0) - (counts[:, None] * means**2).sum(0), 0) / freedom
        signal = np.where((total > noise) & (np.ptp(block, axis=0) > 0), total - noise, np.nan)
        with np.errstate(divide="ignore"):
            result[columns] = np.sqrt(signal / noise)
    return result


def split_half(recording: Recording, splits: int = 100, seed: int = 0) -> Ceiling:
    """Ceiling of the mean over all repeats: r = sqrt(2 h / (1 + h)), h the correlation over images of two random
    halves of their presentations, in the mean over splits.

    Images shown once are left out. An image shown an odd number of times leaves one out of each split, at random.
    NaN where h is not positive, or nothing varies.

    Raises
    ------
    ValueError : repeats were averaged, fewer than 3 images were shown twice, or no splits
    """
    if splits < 1:
        raise ValueError(f"split_half: splits must be at least 1, got {splits}")
    groups, counts = _repeated("split_half", recording)
    if int((counts > 1).sum()) < 3:
        raise ValueError(f"split_half: at least 3 images must be shown twice, got {int((counts > 1).sum())}")
    halves = _halves(groups, counts, splits, seed)
    result = np.empty(len(recording.targets))
    for columns, block in recording.blocks():
        values = block.astype(np.float64)
        total = np.zeros(values.shape[1])
        for first, second in halves:
            total += _correlation(first @ values, second @ values)
        flat = np.ptp(block[counts[groups] > 1], axis=0) == 0  # of rounding errors r can be 1
        result[columns] = np.where(flat, np.nan, total / splits)
    with np.errstate(invalid="ignore"):
        r = np.sqrt(np.where(result > 0, 2 * result / (1 + result), np.nan))
    repeated = counts[counts > 1]
    return Ceiling(r, f"r = sqrt(2 h / (1 + h)), h of {splits} split halves", _counts(repeated), len(repeated))


def _repeated(op: str, recording: Recording) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The image of every presentation as 0..m-1, and how often each was shown."""
    if (recording.repeats > 1).any():
        raise ValueError(f"{op}: single presentations are needed, got means over repeats")
    _, groups, counts = np.unique(recording.image_ids, return_inverse=True, return_counts=True)
    if counts.max() < 2:
        raise ValueError(f"{op}: images must be shown more than once, got {len(counts)} images shown once each")
    return groups, counts


def _halves(groups: NDArray[Any], counts: NDArray[Any], splits: int, seed: int) -> list[tuple[Any, Any]]:
    """For each split two sparse matrices [images shown twice, n] that average either half."""
    from scipy import sparse

    random = np.random.default_rng(seed)
    repeated = np.flatnonzero(counts > 1)
    place = np.full(len(counts), -1)
    place[repeated] = np.arange(len(repeated))
    found = []
    for _ in range(splits):
        order = random.permutation(len(groups))
        order = order[np.argsort(groups[order], kind="stable")]  # by image, at random within
        within = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        each = counts[groups[order]] // 2
        halves = []
        for number in range(2):
            kept = (within // np.maximum(each, 1) == number) & (each > 0)
            rows, columns, share = place[groups[order][kept]], order[kept], 1 / each[kept]
            halves.append(sparse.csr_array((share, (rows, columns)), shape=(len(repeated), len(groups))))
        found.append((halves[0], halves[1]))
    return found


def _correlation(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    x, y = x - x.mean(0), y - y.mean(0)
    norms = np.sqrt((x**2).sum(0) * (y**2).sum(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        r: NDArray[Any] = (x * y).sum(0) / norms
    return r


def _counts(repeats: NDArray[Any]) -> str:
    low, high = int(repeats.min()), int(repeats.max())
    return f"{low}" if low == high else f"{low} to {high}"
