"""In how many people of a population is there an effect: from how many subjects have one at a level."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Prevalence:
    """Of the population, from k significant subjects of n at level `alpha`.

    Parameters
    ----------
    map : most probable prevalence
    interval : the shortest with a probability of `mass`
    bound : the prevalence is over it with a probability of `mass`
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
    mass: float
    null: float
    p: float
    smallest_p: float


def prevalence(
    k: int, n: int, *, alpha: float = 0.05, power: float = 1.0, mass: float = 0.96, null: float = 0.0
) -> Prevalence:
    """Prevalence of an effect in the population, from k of n subjects who are significant each alone.

    With prevalence g, a subject is significant with probability alpha + (power - alpha) g. Under a uniform prior of g
    the posterior of that probability is Beta(k + 1, n - k + 1) between alpha and power (Ince et al. 2021,
    eLife 10:e62461). power=1 asks for the share of people in whom the test, as it was done, comes out significant. The
    count test is that of k against the binomial of `null`: 0 is the global null, 0.5 asks whether most people
    have the effect (as Allefeld, Görgen and Haynes 2016, NeuroImage 141:378, ask of minima).

    Parameters
    ----------
    k, n : significant subjects of all; independent, drawn from the population
    alpha : the level at which each was tested, which their tests must hold
    power : the chance that a subject with an effect is significant
    mass : probability of the interval and over the bound

    Raises
    ------
    ValueError : k not in 0..n; not 0 < alpha < power <= 1; mass or null out of range

    Examples
    --------
    >>> round(prevalence(10, 20).map, 3)
    0.474
    """
    from scipy.optimize import minimize_scalar
    from scipy.stats import beta, binom

    _check(k, n, alpha, power, mass, null)
    posterior = beta(k + 1, n - k + 1)
    low, high = posterior.cdf([alpha, power])

    def at(share: Any) -> Any:
        """The prevalence that so much of the posterior lies under."""
        return np.clip((posterior.ppf(low + share * (high - low)) - alpha) / (power - alpha), 0.0, 1.0)

    most = float(np.clip((k / n - alpha) / (power - alpha), 0.0, 1.0))
    if most == 0:
        start = 0.0
    elif most == 1:
        start = 1 - mass
    else:
        width = minimize_scalar(lambda s: at(s + mass) - at(s), bounds=(0, 1 - mass), method="bounded")
        candidates = [0.0, float(width.x), 1 - mass]  # the bounded search stops short of its ends
        start = min(candidates, key=lambda s: float(at(s + mass) - at(s)))
    chance = alpha + (power - alpha) * null
    return Prevalence(
        test=f"prevalence of an effect at level {alpha:g}; count against {null:g}",
        k=int(k),
        n=int(n),
        alpha=alpha,
        power=power,
        map=most,
        interval=(float(at(start)), float(at(start + mass))),
        bound=float(at(1 - mass)),
        mass=mass,
        null=null,
        p=float(binom.sf(k - 1, n, chance)),
        smallest_p=float(chance**n),
    )


def _check(k: int, n: int, alpha: float, power: float, mass: float, null: float) -> None:
    for name, value in (("k", k), ("n", n)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            raise ValueError(f"prevalence: {name} must be a whole number, got {value!r}")
    if not 0 <= k <= n or n < 1:
        raise ValueError(f"prevalence: k must lie in 0..n, got {k} of {n}")
    if not 0 < alpha < power <= 1:
        raise ValueError(f"prevalence: 0 < alpha < power <= 1 is wanted, got alpha={alpha} and power={power}")
    if not 0 < mass < 1:
        raise ValueError(f"prevalence: mass must lie between 0 and 1, got {mass}")
    if not 0 <= null < 1:
        raise ValueError(f"prevalence: null must lie in 0..1, 1 not included, got {null}")
