"""The share of a population that has an effect, from how many subjects are significant each alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradkern.errors import naming
from gradkern.stats._arguments import check_confidence
from gradkern.stats._summary import Summary


@dataclass(frozen=True, repr=False)
class Prevalence(Summary):
    """The prevalence of an effect, from k significant subjects of n at level `alpha`.

    Attributes
    ----------
    map : most probable prevalence
    interval : the shortest with a posterior probability of `confidence`
    bound : the prevalence is above it with a posterior probability of `confidence`
    p : of k or more significant subjects if the prevalence were `null`: a test of the count
    smallest_p : the same if all subjects were significant
    """

    test: str
    k: int
    n: int
    alpha: float
    power: float
    map: float
    interval: tuple[float, float]
    bound: float
    confidence: float
    null: float
    p: float
    smallest_p: float


@naming("prevalence")
def prevalence(
    k: int, n: int, *, alpha: float = 0.05, power: float = 1.0, confidence: float = 0.95, null: float = 0.0
) -> Prevalence:
    """Estimate the prevalence of an effect from k of n subjects who are significant each alone.

    With prevalence g, a subject is significant with probability alpha + (power - alpha) g. Under a uniform prior of g
    the posterior of that probability is Beta(k + 1, n - k + 1) between alpha and power (Ince et al. 2021,
    eLife 10:e62461). power=1 asks for the share of people in whom the test, as it was done, comes out significant. The
    count test compares k with the binomial of `null`: 0 is the global null, 0.5 asks whether most people have the
    effect (as Allefeld, Görgen and Haynes 2016, NeuroImage 141:378, ask of minima).

    Parameters
    ----------
    k, n : number of significant subjects and of all; independent, drawn from the population
    alpha : the level at which each was tested, which their tests must hold
    power : the probability that a subject with an effect is significant
    confidence : posterior probability of the interval and above the bound
    null : the prevalence that the count test asks to be exceeded

    Raises
    ------
    ValueError : k not in 0..n; not 0 < alpha < power <= 1; confidence or null out of range

    Examples
    --------
    >>> round(prevalence(10, 20).map, 3)
    0.474
    """
    from scipy.optimize import minimize_scalar
    from scipy.stats import beta, binom

    _check(k, n, alpha, power, null)
    check_confidence(confidence)
    posterior = beta(k + 1, n - k + 1)
    low, high = posterior.cdf([alpha, power])

    def quantile(share: Any) -> Any:
        """Prevalence below which this share of the posterior lies."""
        return np.clip((posterior.ppf(low + share * (high - low)) - alpha) / (power - alpha), 0.0, 1.0)

    most = float(np.clip((k / n - alpha) / (power - alpha), 0.0, 1.0))
    if most == 0:
        start = 0.0
    elif most == 1:
        start = 1 - confidence
    else:
        width = minimize_scalar(
            lambda s: quantile(s + confidence) - quantile(s), bounds=(0, 1 - confidence), method="bounded"
        )
        candidates = [0.0, float(width.x), 1 - confidence]  # the bounded search stops short of its ends
        start = min(candidates, key=lambda s: float(quantile(s + confidence) - quantile(s)))
    chance = alpha + (power - alpha) * null
    return Prevalence(
        test=f"prevalence of an effect at level {alpha:g}; count against {null:g}",
        k=int(k),
        n=int(n),
        alpha=alpha,
        power=power,
        map=most,
        interval=(float(quantile(start)), float(quantile(start + confidence))),
        bound=float(quantile(1 - confidence)),
        confidence=confidence,
        null=null,
        p=float(binom.sf(k - 1, n, chance)),
        smallest_p=float(chance**n),
    )


def _check(k: int, n: int, alpha: float, power: float, null: float) -> None:
    for name, value in (("k", k), ("n", n)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            raise ValueError(f"{name} must be a whole number, got {value!r}")
    if not 0 <= k <= n or n < 1:
        raise ValueError(f"k must lie in 0..n, got {k} of {n}")
    if not 0 < alpha < power <= 1:
        raise ValueError(f"alpha and power must obey 0 < alpha < power <= 1, got alpha={alpha} and power={power}")
    if not 0 <= null < 1:
        raise ValueError(f"null must lie in 0..1, 1 not included, got {null}")
