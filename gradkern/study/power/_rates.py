"""How often each test found something in simulated brains, and what should have come out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

import numpy as np
import pandas as pd

from gradkern.features._engine.gradient_controls import CONTROLS
from gradkern.models._untrained import UNTRAINED
from gradkern.study._settings import EVERYTHING, IMAGE_PERMUTED

_BRAINS = ("none", "forward", "forward-then-backward", "gradient-misplaced")


@dataclass(frozen=True)
class Claim:
    """A test's `level`, and in which of the organisations what it tests for is `there`.

    Where it is `inherited`, gradients have it from the activations that they are functions of, and nothing is wanted.
    """

    level: float
    there: tuple[str, ...]
    inherited: tuple[str, ...] = ()

    def wanted(self, organisation: str) -> str:
        """ "power" where there is something to find, "level" where not, "inherited" where gradients are read off."""
        if organisation in self.there:
            return "power"
        return "inherited" if organisation in self.inherited else "level"


def _claims() -> dict[str, Claim]:
    signal, backward, late = _BRAINS[1:], _BRAINS[2:3], _BRAINS[2:]
    claims = {}
    for kind in ("activation", "gradient"):
        own = signal if kind == "activation" else backward
        # gradients predict what is made of activations: they are functions of them
        there, inherited = (signal, ()) if kind == "activation" else (late, signal[:1])
        for name in (
            "r, one subject",
            "r, all subjects",
            "r, largest of all vertices",
            "r, FDR of vertices",
            "r, Fisher over subjects",
            "r, count of subjects",
            "r, signs of subjects",
            "r, clusters in MEG",
        ):
            claims[f"{kind}: {name}"] = Claim(0.05, there, inherited)
        claims[f"{kind}: spatial order"] = Claim(0.025, own, tuple(name for name in signal if name not in own))
        claims[f"{kind}: order in time"] = Claim(0.025, own)
        claims[f"{kind}: order in time, images alone"] = Claim(0.025, own)
    # the difference has the order of activations in it
    claims["difference: order in time"] = Claim(0.025, backward, ("forward", "gradient-misplaced"))
    for kind, there in (("gradient", late), ("activation", signal)):
        other = "activations" if kind == "gradient" else "gradients"
        for name in (
            "one subject",
            "all subjects",
            "high areas, all subjects",
            "largest of all vertices",
            "unique variance, signs of subjects",
        ):
            claims[f"{kind} beyond {other}: {name}"] = Claim(0.05, there)
    for name in ("in MEG", "late in MEG"):
        claims[f"gradient beyond activations: {name}, all subjects"] = Claim(0.05, late)
    return claims


def _verdict_claims() -> dict[str, Claim]:
    signal, forward, backward, late = _BRAINS[1:], _BRAINS[1:2], _BRAINS[2:3], _BRAINS[2:]
    raw, beyond = Claim(0.05, late, forward), Claim(0.05, late)
    claims = {"activations map the hierarchy": Claim(0.05, signal)}
    for name in ("fMRI", "MEG"):
        predict = f"gradients predict {name}"
        claims |= {
            predict: raw,
            f"{predict} beyond activations": beyond,
            # those of other layers are in it
            f"{predict} beyond activations of the same layer": raw,
            f"gradients of unit norm predict {name} beyond activations": beyond,
            f"{predict} beyond nuisances": raw,
            f"{predict} beyond {EVERYTHING}": beyond,
        }
        for control in (IMAGE_PERMUTED, *CONTROLS, UNTRAINED):
            claims |= {f"{predict} {held} {control}": raw for held in ("beyond", "more than")}
    # planted in high areas alone
    claims["gradients predict higher areas more"] = Claim(0.05, _BRAINS[3:], _BRAINS[1:3])
    claims["gradients predict later than activations"] = Claim(0.025, late)
    others = tuple(name for name in signal if name not in backward)
    for where, level, inherited in (("spatial", 0.05, others), ("temporal", 0.025, ())):
        order = f"gradients have the {where} order of backpropagation"
        claims[order] = Claim(level, backward, inherited)
        # neighbouring layers are alike, so that orders come by chance (`layer_orders`)
        claims[f"{order} more than with layers in another order"] = Claim(0.05, backward, others)
    return claims


CLAIMS, VERDICT = (
    _claims(),
    _verdict_claims(),
)  # by the tests of `power.simulated_tests`, and the rows of `verdict.verdict`


@dataclass(frozen=True)
class Outcome:
    """What the tests found in one simulated brain.

    Attributes
    ----------
    organisation, images, subjects, ceiling, seed : of the brain
    found : test -> whether it found what it tests for, at its level
    values : a number a test -> what was measured
    refused : test -> why it could not be made; it found nothing then
    rows : test -> what it had left of the images, where that is told
    """

    organisation: str
    images: int
    subjects: int
    ceiling: float
    seed: int
    found: Mapping[str, bool]
    values: Mapping[str, float]
    refused: Mapping[str, str]
    rows: Mapping[str, int] = field(default_factory=dict)


def binomial_interval(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact (Clopper & Pearson 1934) interval of a chance, from k of n.

    Raises
    ------
    ValueError : k not in 0..n, no n, confidence not between 0 and 1

    Examples
    --------
    >>> binomial_interval(0, 200)[1] < 0.02
    True
    """
    from scipy.stats import beta

    if not 0 <= k <= n or n < 1:
        raise ValueError(f"binomial_interval: k must lie in 0..n with n at least 1, got {k} of {n}")
    if not 0 < confidence < 1:
        raise ValueError(f"binomial_interval: confidence must lie between 0 and 1, got {confidence}")
    outer = (1 - confidence) / 2
    low = 0.0 if k == 0 else float(beta.ppf(outer, k, n - k + 1))
    high = 1.0 if k == n else float(beta.ppf(1 - outer, k + 1, n - k))
    return low, high


def rates(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """How often each test found something, by the brains' organisation, images, subjects and ceiling.

    Returns
    -------
    DataFrame : "organisation", "images", "subjects", "ceiling", "test", "rows" (the fewest that the test had of the
        images), "runs", "found", "refused" (counts), "rate", "low", "high" (95 %, exact binomial), "level", "claim"
        (see `Claim.wanted`) and "as wanted": of "level", that the interval does not lie above the level; of "power",
        that it does not lie under 0.8; else None

    Raises
    ------
    ValueError : no outcomes, unknown tests, brains with different tests, one brain twice
    """
    if not outcomes:
        raise ValueError("rates: outcomes must be at least one, got none")
    known = CLAIMS | VERDICT
    unknown = sorted({test for each in outcomes for test in each.found} - set(known))
    if unknown or len({frozenset(each.found) for each in outcomes}) > 1:
        raise ValueError(
            f"rates: outcomes must have the same tests, of CLAIMS or VERDICT, got {unknown or 'different ones'}"
        )
    keys = [(each.organisation, each.images, each.subjects, each.ceiling) for each in outcomes]
    brains = [(*key, each.seed) for key, each in zip(keys, outcomes, strict=True)]
    if len(set(brains)) < len(brains):
        raise ValueError(f"rates: outcomes must be of different brains, got {len(brains) - len(set(brains))} twice")
    rows = []
    for key in dict.fromkeys(keys):
        here = [each for each, of in zip(outcomes, keys, strict=True) if of == key]
        rows += [_row(key, test, here) for test in known if test in here[0].found]
    return pd.DataFrame(rows)


def simulated_rates() -> pd.DataFrame:
    """`rates` of the verdicts of simulated studies that come with the package: those of docs/power.md.

    Examples
    --------
    >>> sorted(set(simulated_rates()["organisation"]))
    ['forward', 'forward-then-backward', 'gradient-misplaced', 'none']
    """
    with files("gradkern.study.power").joinpath("power-verdict.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file)
    wanted = table["as wanted"].astype(object)  # a file has no None
    return table.assign(**{"as wanted": wanted.where(wanted.notna(), None)})


def _row(key: tuple[str, int, int, float], test: str, outcomes: Sequence[Outcome]) -> dict[str, object]:
    claim, runs = (CLAIMS | VERDICT)[test], len(outcomes)
    wanted, found = claim.wanted(key[0]), int(np.sum([each.found[test] for each in outcomes]))
    low, high = binomial_interval(found, runs)
    as_wanted = {"level": low <= claim.level, "power": high >= 0.8, "inherited": None}[wanted]
    return {
        **dict(zip(("organisation", "images", "subjects", "ceiling"), key, strict=True)),
        "test": test,
        "rows": min(each.rows.get(test, each.images) for each in outcomes),
        "runs": runs,
        "found": found,
        "refused": sum(test in each.refused for each in outcomes),
        "rate": found / runs,
        "low": low,
        "high": high,
        "level": claim.level,
        "claim": wanted,
        "as wanted": as_wanted,
    }


def power_of(table: pd.DataFrame, test: str, rows: int, subjects: int, ceiling: float) -> tuple[float, str]:
    """How often a test found what was there in the simulated studies that are nearest to one of such a size and larger
    in nothing, and which these were; of several organisations that where it found least.

    The power in the study is then no less, if the effect is as strong; NaN where all simulated studies are larger.

    Parameters
    ----------
    table : of `rates`
    rows : what the test had of the images, fewer where axes of other features were taken out
    ceiling : mean of the targets, or for MEG that of the best sensor at its best time; NaN: not known
    """
    if table.empty:
        return float("nan"), ""
    some = table[(table["test"] == test) & (table["claim"] == "power")]
    here = {"rows": rows, "subjects": subjects, "ceiling": ceiling}
    for name, value in here.items():
        some = some[some[name] <= value]
    if some.empty:
        return float("nan"), ""
    apart = sum((np.log(some[name] / value) ** 2 for name, value in here.items()), start=pd.Series(0.0, some.index))
    nearest = some[apart == apart.min()]
    like = nearest.loc[nearest["rate"].idxmin()]
    return float(like["rate"]), (
        f"{like['found']} of {like['runs']} {like['organisation']} brains, {like['images']} images, "
        f"{like['subjects']} subjects, ceiling {like['ceiling']:g}"
    )
