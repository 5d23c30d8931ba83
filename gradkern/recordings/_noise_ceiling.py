"""Noise ceilings: the score of a perfect model with responses as noisy as these."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern._columns import pearson
from gradkern._display import Rows, as_html, as_text
from gradkern.errors import Refused, naming
from gradkern.recordings._recording import Recording


@dataclass(frozen=True, repr=False)
class Ceiling:
    """The expected Pearson correlation r [v] of a perfect model with the responses; NaN where it is unknown.

    `formula` is how it was computed, `repeats` the number of presentations that a row is the mean of, `images` the
    number of images, and `unknown` the number of NaN.
    """

    r: NDArray[np.float64]
    formula: str
    repeats: str
    images: int

    @property
    def r2(self) -> NDArray[np.float64]:
        """The largest share of variance that can be explained, [v]."""
        return self.r**2

    def __repr__(self) -> str:
        return as_text(*self._summary())

    def _repr_html_(self) -> str:
        return as_html(*self._summary())

    def _summary(self) -> tuple[str, Rows]:
        defined = self.r[~np.isnan(self.r)]
        low, middle, high = np.quantile(defined, [0.05, 0.5, 0.95]) if len(defined) else [np.nan] * 3
        return "Noise ceiling", [
            ("r", f"median {middle:.2f}, 5 % to 95 % of targets: {low:.2f} to {high:.2f}"),
            ("targets", f"{len(self.r)}, unknown at {self.unknown}"),
            ("images", f"{self.images}, repeats: {self.repeats}"),
            ("formula", self.formula),
        ]

    @property
    def unknown(self) -> int:
        return int(np.isnan(self.r).sum())


@naming("noise_ceiling")
def noise_ceiling(recording: Recording) -> Ceiling:
    """Noise ceiling of the responses as they are, from the recording's ncsnr.

    With the ncsnr s, r^2 = s^2 / (s^2 + mean(1 / repeats)). The mean over rows accounts for unequal repeats, after
    Allen et al. (2022), Nature Neuroscience 25.

    Raises
    ------
    Refused : the recording has no ncsnr

    Examples
    --------
    >>> from gradkern.recordings import load_kay2017, noise_ceiling
    >>> noise_ceiling(load_kay2017()).r.shape
    (2,)
    """
    if recording.ncsnr is None:
        raise Refused("the recording must have ncsnr, got none; estimate_ncsnr finds it from repeats")
    squared = np.asarray(recording.ncsnr, dtype=np.float64) ** 2
    with np.errstate(divide="ignore"):
        r = 1 / np.sqrt(1 + np.mean(1 / recording.repeats) / squared)  # 0 without signal, 1 without noise
    formula = "r^2 = ncsnr^2 / (ncsnr^2 + mean(1 / repeats))"
    return Ceiling(r, formula, _counts(recording.repeats), len(np.unique(recording.image_ids)))


@naming("estimate_ncsnr")
def estimate_ncsnr(recording: Recording) -> NDArray[np.float64]:
    """Standard deviation of the signal divided by that of the noise, [v], from repeated images.

    The noise variance is the pooled variance within images (ddof 1). The signal variance is the variance of all n
    presentations (ddof 1) minus the noise variance, times (n - 1) / (n - sum(repeats^2) / n), which makes it unbiased
    however often each image was shown: the presentations of an image share its signal. The result is NaN where the
    difference is not positive, a target does not vary, or a response is NaN. After Hebart et al. (2023), eLife 12, who
    leave that factor out, which is near 1 for many images.

    Raises
    ------
    Refused : repeats were averaged, or no image was shown twice

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from gradkern.recordings import Recording, estimate_ncsnr
    >>> table, label = pd.DataFrame({"image": [0, 1, 2, 3, 0, 1, 2, 3]}), pd.DataFrame({"label": ["v", "w"]})
    >>> recording = Recording(np.random.default_rng(0).random((8, 2)), table, label, "s", "u")
    >>> estimate_ncsnr(recording).shape
    (2,)
    """
    groups, counts = _repeated_images(recording)
    freedom = float((counts - 1).sum())
    order = np.argsort(groups, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    n = len(groups)
    factor = (n - 1) / (n - (counts**2).sum() / n)
    result = np.empty(len(recording.targets))
    for columns, block in recording.blocks():
        values = block[order].astype(np.float64)
        values -= values.mean(0)
        total = (values**2).sum(0) / (len(values) - 1)
        means = np.add.reduceat(values, starts, axis=0) / counts[:, None]
        noise = np.maximum((values**2).sum(0) - (counts[:, None] * means**2).sum(0), 0) / freedom
        signal = np.where((total > noise) & (np.ptp(block, axis=0) > 0), factor * (total - noise), np.nan)
        with np.errstate(divide="ignore"):
            result[columns] = np.sqrt(signal / noise)
    return result


@naming("split_half")
def split_half(recording: Recording, splits: int = 100, seed: int = 0) -> Ceiling:
    """Noise ceiling of the mean over all repeats, from random halves of each image's presentations.

    With h the correlation over images between the means of both halves, averaged over splits,
    r^2 = h / (h + k (1 - h)). k is the share of the halves' noise that the mean over all repeats has,
    mean(1 / repeats) / mean(1 / half): 1/2 for even repeats, for which this is Spearman and Brown's 2 h / (1 + h).
    Images shown once are left out, and so is one random presentation per split of an image shown an odd number of
    times: of three repeats k is 1/3. The result is NaN where h is not positive or a target does not vary.

    Raises
    ------
    ValueError : there are no splits
    Refused : repeats were averaged, or fewer than 3 images were shown twice

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from gradkern.recordings import Recording, split_half
    >>> table, label = pd.DataFrame({"image": [0, 1, 2, 3, 0, 1, 2, 3]}), pd.DataFrame({"label": ["v", "w"]})
    >>> recording = Recording(np.random.default_rng(0).random((8, 2)), table, label, "s", "u")
    >>> split_half(recording, splits=10).r.shape
    (2,)
    """
    if splits < 1:
        raise ValueError(f"splits must be at least 1, got {splits}")
    groups, counts = _repeated_images(recording)
    if int((counts > 1).sum()) < 3:
        raise Refused(f"at least 3 images must be shown twice, got {int((counts > 1).sum())}")
    halves = _halves(groups, counts, splits, seed)
    result = np.empty(len(recording.targets))
    for columns, block in recording.blocks():
        values = block.astype(np.float64)
        total = np.zeros(values.shape[1])
        for first, second in halves:
            total += pearson(first @ values, second @ values)
        flat = np.ptp(block[counts[groups] > 1], axis=0) == 0  # r of rounding errors can be 1
        result[columns] = np.where(flat, np.nan, total / splits)
    repeated = counts[counts > 1]
    share = float(np.mean(1 / repeated) / np.mean(1 / (repeated // 2)))
    h = np.where(result > 0, result, np.nan)
    r = np.sqrt(h / (h + share * (1 - h)))
    formula = f"r^2 = h / (h + {share:.3g} (1 - h)), h of {splits} split halves"
    return Ceiling(r, formula, _counts(repeated), len(repeated))


def _repeated_images(recording: Recording) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The image of every presentation as 0..m-1, and how often each image was shown."""
    if (recording.repeats > 1).any():
        raise Refused("single presentations are needed, got means over repeats")
    _, groups, counts = np.unique(recording.image_ids, return_inverse=True, return_counts=True)
    if counts.max() < 2:
        raise Refused(f"images must be shown more than once, got {len(counts)} images shown once each")
    return groups, counts


def _halves(groups: NDArray[Any], counts: NDArray[Any], splits: int, seed: int) -> list[tuple[Any, Any]]:
    """For each split two sparse matrices [images shown twice, n] that average the first and the second half."""
    from scipy import sparse

    random = np.random.default_rng(seed)
    repeated = np.flatnonzero(counts > 1)
    row = np.full(len(counts), -1)
    row[repeated] = np.arange(len(repeated))
    pairs = []
    for _ in range(splits):
        order = random.permutation(len(groups))
        order = order[np.argsort(groups[order], kind="stable")]  # by image, in random order within an image
        within = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        half = counts[groups[order]] // 2
        halves = []
        for number in range(2):
            members = (within // np.maximum(half, 1) == number) & (half > 0)
            rows, columns, share = row[groups[order][members]], order[members], 1 / half[members]
            halves.append(sparse.csr_array((share, (rows, columns)), shape=(len(repeated), len(groups))))
        pairs.append((halves[0], halves[1]))
    return pairs


def _counts(repeats: NDArray[Any]) -> str:
    low, high = int(repeats.min()), int(repeats.max())
    return f"{low}" if low == high else f"{low} to {high}"
