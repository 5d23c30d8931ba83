"""Tests over few subjects, and over many targets; every result says what p it could have reached at best."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALTERNATIVES = ("two-sided", "greater")
_ENUMERATED = 12  # subjects, of whom all patterns of signs are tried


@dataclass(frozen=True)
class Fdr:
    """What is left of many p at a false discovery rate q.

    `rejected` and `adjusted` [v], False and NaN where p is missing; `n` p were tested and `missing` were not. `fewest`,
    if the smallest attainable p is known: fewer than so many can never be rejected, however strong they are.
    """

    test: str
    rejected: NDArray[np.bool_]
    adjusted: NDArray[np.float64]
    q: float
    n: int
    missing: int
    smallest_p: float | None
    fewest: int | None


def fdr(p: Any, q: float = 0.05, *, method: str = "bh", smallest_p: float | None = None) -> Fdr:
    """Control the false discovery rate over targets.

    Parameters
    ----------
    p : [v]; NaN where a target was not tested, which is counted
    method : "bh" (Benjamini and Hochberg 1995; independent or positively dependent tests) or "by" (Benjamini and
        Yekutieli 2001; any dependence)
    smallest_p : that the tests could reach, 1 / (1 + permutations)

    Raises
    ------
    ValueError : p outside 0..1, none at all, an unknown method

    Examples
    --------
    >>> fdr([0.001, 0.2, 0.01, float("nan")]).rejected.shape
    (4,)
    """
    from scipy.stats import false_discovery_control

    values = np.asarray(p, dtype=np.float64)
    if method not in ("bh", "by"):
        raise ValueError(f"fdr: method must be 'bh' or 'by', got {method!r}")
    if not 0 < q < 1:
        raise ValueError(f"fdr: q must lie between 0 and 1, got {q}")
    tested = ~np.isnan(values)
    n = int(tested.sum())
    if values.ndim != 1 or n == 0:
        raise ValueError(f"fdr: p must be [v] with at least one that is not NaN, got {n} in shape {values.shape}")
    _check_p("fdr", values[tested])
    adjusted = np.full(len(values), np.nan)
    adjusted[tested] = false_discovery_control(values[tested], method=method)
    rejected = np.zeros(len(values), dtype=bool)
    rejected[tested] = adjusted[tested] <= q
    fewest = None
    if smallest_p is not None:
        harmonic = float((1 / np.arange(1, n + 1)).sum()) if method == "by" else 1.0
        fewest = int(np.ceil(smallest_p * n * harmonic / q - 1e-9))
    name = {"bh": "Benjamini-Hochberg", "by": "Benjamini-Yekutieli"}[method]
    return Fdr(name, rejected, adjusted, q, n, len(values) - n, smallest_p, fewest)


@dataclass(frozen=True)
class SubjectTest:
    """A test over n subjects, whose p could not have been under `smallest_p`."""

    test: str
    statistic: float
    p: float
    n: int
    smallest_p: float
    alternative: str

    def significant(self, level: float = 0.05) -> bool:
        """Whether p is at most the level.

        Raises
        ------
        ValueError : no data of so many subjects could be significant: that is no finding
        """
        if self.smallest_p > level:
            raise ValueError(
                f"{self.test}: level must be at least {self.smallest_p:g}, the smallest p that {self.n} subjects can "
                f"reach, got {level:g}"
            )
        return self.p <= level


def wilcoxon(values: Any, *, alternative: str = "two-sided") -> SubjectTest:
    """Wilcoxon's signed-rank test of subjects' values, exact with ties too.

    Tests that each value is as likely as its negative. Values of zero keep their ranks and have no sign (Pratt 1959),
    so they do not count towards the smallest p: 2 / 2^n two-sided, .125 for 4 subjects.

    Parameters
    ----------
    values : [subjects], finite, not all zero
    alternative : "two-sided" or "greater" (than zero)

    Returns
    -------
    SubjectTest : the statistic is the sum of the ranks of positive values

    Examples
    --------
    >>> wilcoxon([0.1, 0.2, 0.3, 0.4]).p
    0.125
    """
    from scipy.stats import rankdata

    op = "wilcoxon"
    subjects = _subjects(op, values, alternative, 1)
    signed = subjects != 0
    # twice the ranks: mid-ranks are then whole
    ranks = np.rint(2 * rankdata(np.abs(subjects))).astype(np.int64)
    counts = np.ones(1)
    for rank in ranks[signed]:
        longer = np.zeros(len(counts) + rank)
        longer[: len(counts)] = counts / 2
        longer[rank:] += counts / 2
        counts = longer
    total = int(ranks[subjects > 0].sum())
    above, below = float(counts[total:].sum()), float(counts[: total + 1].sum())
    p = above if alternative == "greater" else min(1.0, 2 * min(above, below))
    sides = 1 if alternative == "greater" else 2
    smallest = min(1.0, sides * 0.5 ** int(signed.sum()))
    return SubjectTest("Wilcoxon signed-rank, exact", total / 2, p, len(subjects), smallest, alternative)


@dataclass(frozen=True)
class SignFlip:
    """Mean over n subjects beside those with random signs: `mean`, `p` and `p_max` (largest of all targets) [v]."""

    test: str
    mean: NDArray[np.float64]
    p: NDArray[np.float64]
    p_max: NDArray[np.float64]
    n: int
    smallest_p: float
    alternative: str


def sign_flip(values: Any, *, alternative: str = "two-sided", permutations: int = 10_000, seed: int = 0) -> SignFlip:
    """Test the mean over subjects by their signs: all 2^n patterns for 12 subjects or fewer, else random ones.

    Tests that a subject's values, all together, are as likely as their negative: symmetric about zero. Held-out r of
    nothing is a little under zero, which is on the safe side of alternative="greater".

    Parameters
    ----------
    values : [subjects] or [subjects, v], finite
    permutations, seed : of random patterns, for more than 12 subjects

    Raises
    ------
    ValueError : NaN or inf, fewer than 2 subjects, a target that is zero in all

    Examples
    --------
    >>> sign_flip([[0.1, -0.2], [0.2, 0.1], [0.3, 0.2]]).p.shape
    (2,)
    """
    op = "sign_flip"
    subjects = _subjects(op, values, alternative, 2)
    n, v = subjects.shape
    exact = n <= _ENUMERATED
    if exact:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        drawn = np.random.default_rng(seed).integers(0, 2, (permutations, n))
        signs = np.vstack([np.ones(n), 1.0 - 2.0 * drawn])  # the observed one is one of them
    side = np.abs if alternative == "two-sided" else np.asarray
    mean = subjects.mean(0)
    # equal means of other patterns may be rounded differently
    least = side(mean) - 1e-12 * np.abs(subjects).mean(0)
    reached, largest = np.zeros(v), np.full(len(signs), -np.inf)
    for start in range(0, v, 4096):
        part = slice(start, start + 4096)
        for number, pattern in enumerate(signs):
            flipped = side(pattern @ subjects[:, part] / n)
            reached[part] += flipped >= least[part]
            largest[number] = max(largest[number], flipped.max())
    p_max = np.array([(largest >= each).mean() for each in least])
    # a zero is its own negative
    signed = int((subjects != 0).sum(0).max())
    smallest = min(1.0, (2 if alternative == "two-sided" else 1) * 0.5**signed)
    smallest = smallest if exact else max(smallest, 1 / len(signs))
    name = f"sign flips of {n} subjects, {'all' if exact else 'random'} {len(signs)} patterns"
    return SignFlip(name, mean, reached / len(signs), p_max, n, smallest, alternative)


@dataclass(frozen=True)
class Combined:
    """p of n subjects as one, [v]; `ones` of the p that went in were 1 and veto Stouffer's sum."""

    test: str
    p: NDArray[np.float64]
    n: int
    ones: int
    smallest_p: float | None


def combine(p: Any, *, method: str = "fisher", smallest_p: float | None = None) -> Combined:
    """Combine subjects' p: does any of these subjects have an effect? (Of the population it says nothing.)

    p of permutations are discrete and never under 1 / (1 + permutations). The combination is then conservative: its own
    p is too large, more so the fewer the permutations.

    Parameters
    ----------
    p : [subjects] or [subjects, v], over 0; of independent subjects, unless the method is "mean"
    method : "fisher" (the sum of log p; one strong subject suffices), "stouffer" (the sum of z; many weak ones) or
        "mean" (twice their mean, valid however the subjects depend on each other: Rüschendorf 1982; all must be small)
    smallest_p : that a subject's p could reach

    Raises
    ------
    ValueError : p not over 0 and up to 1; fewer than 2 subjects

    Examples
    --------
    >>> combine([0.01, 0.2, 0.03]).p.shape
    (1,)
    """
    from scipy.stats import chi2, norm

    values = np.asarray(p, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(f"combine: p must be [subjects] or [subjects, v] of 2 at least, got shape {np.shape(p)}")
    if method not in ("fisher", "stouffer", "mean"):
        raise ValueError(f"combine: method must be 'fisher', 'stouffer' or 'mean', got {method!r}")
    _check_p("combine", values.ravel())
    if (values == 0).any():
        raise ValueError("combine: p must be over 0, got 0; count permutations as (1 + reached) / (1 + permutations)")
    n = len(values)

    def together(each: NDArray[np.float64]) -> NDArray[np.float64]:
        if method == "fisher":
            found: NDArray[np.float64] = chi2.sf(-2 * np.log(each).sum(0), 2 * n)
        elif method == "mean":
            found = np.minimum(2 * each.mean(0), 1)
        else:
            found = norm.sf(norm.isf(each).sum(0) / np.sqrt(n))
        return found

    smallest = None if smallest_p is None else float(together(np.full((n, 1), smallest_p))[0])
    return Combined(f"{method.capitalize()}'s combination", together(values), n, int((values == 1).sum()), smallest)


def _check_p(op: str, p: NDArray[np.float64]) -> None:
    bad = ~((p >= 0) & (p <= 1))
    if bad.any():
        raise ValueError(f"{op}: p must lie in 0..1, got {p[bad][0]}")


def _subjects(op: str, values: Any, alternative: str, most_axes: int) -> NDArray[np.float64]:
    """Finite values [subjects], or [subjects, v] where there may be two axes."""
    if alternative not in ALTERNATIVES:
        raise ValueError(f"{op}: alternative must be one of {ALTERNATIVES}, got {alternative!r}")
    array = np.asarray(values, dtype=np.float64)
    if most_axes == 2 and array.ndim == 1:
        array = array[:, None]
    if array.ndim != most_axes or len(array) < 2:
        raise ValueError(f"{op}: values must be of at least 2 subjects, got shape {np.shape(values)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{op}: values must be finite, got {int((~np.isfinite(array)).sum())} NaN or inf")
    if not array.any(0).all():
        raise ValueError(f"{op}: values must differ from zero in some subject, got only zeros")
    return array
