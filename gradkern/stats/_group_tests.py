"""Tests over few subjects and over many targets; every result says which p it could have reached at best."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.errors import Refused, naming
from gradkern.stats._arguments import check_alternative, in_direction
from gradkern.stats._summary import Summary

COMBINATIONS = ("fisher", "stouffer", "mean", "mean-z")
_ENUMERATED = 12  # subjects, for whom all sign patterns are tried


@dataclass(frozen=True, repr=False)
class Fdr(Summary):
    """Targets that are significant at a false discovery rate q.

    Attributes
    ----------
    test : the procedure, in words
    rejected, adjusted : [v], False and NaN where p is missing
    q : the false discovery rate
    n, missing : how many p were tested, and how many were NaN
    smallest_p : the smallest p that the tests could attain, if known
    fewest : the smallest number of targets that can be rejected at once with that p, however strong their effects are
    """

    test: str
    rejected: NDArray[np.bool_]
    adjusted: NDArray[np.float64]
    q: float
    n: int
    missing: int
    smallest_p: float | None
    fewest: int | None


@naming("fdr")
def fdr(p: Any, q: float = 0.05, *, method: str = "bh", smallest_p: float | None = None) -> Fdr:
    """Control the false discovery rate over targets.

    Parameters
    ----------
    p : [v]; NaN where a target was not tested, which is counted
    q : the false discovery rate
    method : "bh" (Benjamini and Hochberg 1995; independent or positively dependent tests) or "by" (Benjamini and
        Yekutieli 2001; any dependence)
    smallest_p : the smallest p that the tests could attain, 1 / (1 + permutations)

    Raises
    ------
    Refused : no p that is not NaN
    ValueError : p outside 0..1, an unknown method, q outside 0..1

    Examples
    --------
    >>> fdr([0.001, 0.2, 0.01, float("nan")]).rejected.shape
    (4,)
    """
    from scipy.stats import false_discovery_control

    values = np.asarray(p, dtype=np.float64)
    if method not in ("bh", "by"):
        raise ValueError(f"method must be 'bh' or 'by', got {method!r}")
    if not 0 < q < 1:
        raise ValueError(f"q must lie between 0 and 1, got {q}")
    if values.ndim != 1:
        raise ValueError(f"p must be [v], got shape {values.shape}")
    tested = ~np.isnan(values)
    n = int(tested.sum())
    if n == 0:
        raise Refused(f"p must be known for at least one target, got {n} of {len(values)}")
    _check_p(values[tested])
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


@dataclass(frozen=True, repr=False)
class SubjectTest(Summary):
    """A test over n subjects; `smallest_p` is the smallest attainable p."""

    test: str
    statistic: float
    p: float
    n: int
    smallest_p: float
    alternative: str

    def significant(self, level: float = 0.05) -> bool:
        """Say whether p is at most the level.

        Raises
        ------
        Refused : no data of that many subjects could be significant, so that the answer "no" would be no finding
        """
        if self.smallest_p > level:
            raise Refused(
                f"{self.test}: level must be at least {self.smallest_p:g}, the smallest p that {self.n} subjects can "
                f"reach, got {level:g}"
            )
        return self.p <= level


@naming("wilcoxon")
def wilcoxon(values: Any, *, alternative: str = "two-sided") -> SubjectTest:
    """Test subjects' values by Wilcoxon's signed ranks, exactly even with ties.

    The null hypothesis is that each value is as likely as its negative. Values of zero keep their ranks and have no
    sign (Pratt 1959), so they do not count towards the smallest p: 2 / 2^n two-sided, .125 for 4 subjects.

    Parameters
    ----------
    values : [subjects], finite, not all zero
    alternative : "two-sided", "greater" (than zero) or "less"

    Returns
    -------
    SubjectTest : the statistic is the sum of the ranks of positive values

    Raises
    ------
    Refused : fewer than 2 subjects, or zero for all of them
    ValueError : NaN or inf, an unknown alternative

    Examples
    --------
    >>> wilcoxon([0.1, 0.2, 0.3, 0.4]).p
    0.125
    """
    from scipy.stats import rankdata

    subjects = _subjects(values, alternative, 1)
    signed = subjects != 0
    # doubled, mid-ranks are whole numbers
    ranks = np.rint(2 * rankdata(np.abs(subjects))).astype(np.int64)
    counts = np.ones(1)
    for rank in ranks[signed]:
        longer = np.zeros(len(counts) + rank)
        longer[: len(counts)] = counts / 2
        longer[rank:] += counts / 2
        counts = longer
    total = int(ranks[subjects > 0].sum())
    above, below = float(counts[total:].sum()), float(counts[: total + 1].sum())
    p = {"greater": above, "less": below, "two-sided": min(1.0, 2 * min(above, below))}[alternative]
    sides = 2 if alternative == "two-sided" else 1
    smallest = min(1.0, sides * 0.5 ** int(signed.sum()))
    return SubjectTest("Wilcoxon signed-rank, exact", total / 2, p, len(subjects), smallest, alternative)


@dataclass(frozen=True, repr=False)
class SignFlip(Summary):
    """Means over n subjects beside those with random signs: `mean`, `p`, and the familywise `p_max`, all [v]."""

    test: str
    mean: NDArray[np.float64]
    p: NDArray[np.float64]
    p_max: NDArray[np.float64]
    n: int
    smallest_p: float
    alternative: str


@naming("sign_flip")
def sign_flip(values: Any, *, alternative: str = "two-sided", permutations: int = 1000, seed: int = 0) -> SignFlip:
    """Test the mean over subjects by flipping signs: all 2^n patterns for 12 subjects or fewer, else random ones.

    The null hypothesis is that a subject's values, all together, are as likely as their negative: symmetric about
    zero. Held-out r of unrelated features is slightly below zero, which is on the safe side of alternative="greater".

    Parameters
    ----------
    values : [subjects] or [subjects, v], finite
    alternative : "two-sided", "greater" (than zero) or "less"
    permutations, seed : number of random patterns for more than 12 subjects, and the seed of the generator

    Raises
    ------
    Refused : fewer than 2 subjects, or a target that is zero for all of them
    ValueError : NaN or inf, an unknown alternative

    Examples
    --------
    >>> sign_flip([[0.1, -0.2], [0.2, 0.1], [0.3, 0.2]]).p.shape
    (2,)
    """
    subjects = _subjects(values, alternative, 2)
    n, v = subjects.shape
    exact = n <= _ENUMERATED
    if exact:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        drawn = np.random.default_rng(seed).integers(0, 2, (permutations, n))
        signs = np.vstack([np.ones(n), 1.0 - 2.0 * drawn])  # the observed pattern is one of them
    mean = subjects.mean(0)
    # equal means of other patterns may be rounded differently
    least = in_direction(mean, alternative) - 1e-12 * np.abs(subjects).mean(0)
    reached, largest = np.zeros(v), np.full(len(signs), -np.inf)
    for start in range(0, v, 4096):
        columns = slice(start, start + 4096)
        for number, pattern in enumerate(signs):
            flipped = in_direction(pattern @ subjects[:, columns] / n, alternative)
            reached[columns] += flipped >= least[columns]
            largest[number] = max(largest[number], flipped.max())
    p_max = np.array([(largest >= threshold).mean() for threshold in least])
    # a zero is its own negative
    signed = int((subjects != 0).sum(0).max())
    smallest = min(1.0, (2 if alternative == "two-sided" else 1) * 0.5**signed)
    smallest = smallest if exact else max(smallest, 1 / len(signs))
    name = f"sign flips of {n} subjects, {'all' if exact else 'random'} {len(signs)} patterns"
    return SignFlip(name, mean, reached / len(signs), p_max, n, smallest, alternative)


@dataclass(frozen=True, repr=False)
class Combined(Summary):
    """One p from those of n subjects, `p` [v]; `ones` of the p that went in were 1, which veto Stouffer's sum."""

    test: str
    p: NDArray[np.float64]
    n: int
    ones: int
    smallest_p: float | None


@naming("combine")
def combine(p: Any, *, method: str = "fisher", smallest_p: float | None = None) -> Combined:
    """Combine subjects' p: does any of these subjects have an effect? (This says nothing about the population.)

    p of permutation tests are discrete and never below 1 / (1 + permutations). The combination is then conservative:
    its own p is too large, the more so the fewer the permutations.

    Parameters
    ----------
    p : [subjects] or [subjects, v], above 0; of independent subjects, unless the method is "mean" or "mean-z"
    method : "fisher" (the sum of log p; one strong subject suffices), "stouffer" (the sum of z; many weak ones), "mean"
        (twice their mean, valid however the subjects depend on each other: Rüschendorf 1982; all must be small) or
        "mean-z" (that of the mean z, valid for z that are normal together, whatever their correlations; a p of 1 counts
        as 1 - smallest_p / 2)
    smallest_p : the smallest p that a subject could attain

    Raises
    ------
    Refused : fewer than 2 subjects
    ValueError : p not above 0 and up to 1; an unknown method

    Examples
    --------
    >>> combine([0.01, 0.2, 0.03]).p.shape
    (1,)
    """
    from scipy.stats import chi2, norm

    values = np.asarray(p, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2:
        raise ValueError(f"p must be [subjects] or [subjects, v], got shape {np.shape(p)}")
    if len(values) < 2:
        raise Refused(f"p must be of at least 2 subjects, got {len(values)}")
    if method not in COMBINATIONS:
        raise ValueError(f"method must be one of {COMBINATIONS}, got {method!r}")
    _check_p(values.ravel())
    if (values == 0).any():
        raise ValueError("p must be over 0, got 0; count permutations as (1 + reached) / (1 + permutations)")
    n = len(values)

    def together(own: NDArray[np.float64]) -> NDArray[np.float64]:
        if method == "fisher":
            combined: NDArray[np.float64] = chi2.sf(-2 * np.log(own).sum(0), 2 * n)
        elif method == "mean":
            combined = np.minimum(2 * own.mean(0), 1)
        elif method == "mean-z":
            combined = norm.sf(norm.isf(np.minimum(own, 1 - (smallest_p or 0) / 2)).mean(0))
        else:
            combined = norm.sf(norm.isf(own).sum(0) / np.sqrt(n))
        return combined

    smallest = None if smallest_p is None else float(together(np.full((n, 1), smallest_p))[0])
    return Combined(f"{method.capitalize()}'s combination", together(values), n, int((values == 1).sum()), smallest)


def _check_p(p: NDArray[np.float64]) -> None:
    bad = ~((p >= 0) & (p <= 1))
    if bad.any():
        raise ValueError(f"p must lie in 0..1, got {p[bad][0]}")


def _subjects(values: Any, alternative: str, most_axes: int) -> NDArray[np.float64]:
    """Finite values [subjects], or [subjects, v] where there may be two axes."""
    check_alternative(alternative)
    array = np.asarray(values, dtype=np.float64)
    if most_axes == 2 and array.ndim == 1:
        array = array[:, None]
    if array.ndim != most_axes:
        raise ValueError(f"values must be [subjects]{' or [subjects, v]' * (most_axes - 1)}, got {np.shape(values)}")
    if len(array) < 2:
        raise Refused(f"values must be of at least 2 subjects, got {len(array)}")
    if not np.isfinite(array).all():
        raise ValueError(f"values must be finite, got {int((~np.isfinite(array)).sum())} NaN or inf")
    if not array.any(0).all():
        raise Refused("values must differ from zero in some subject, got only zeros")
    return array
