"""How often each test found something in simulated brains, and what it should have found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

import numpy as np
import pandas as pd

from gradkern.errors import naming
from gradkern.study.claims._claim import FALSE, INHERITED, TRUE, Claim, Expectation
from gradkern.study.claims._registry import simulated_claims
from gradkern.study.power._code import code_hash

ENOUGH = 0.8  # a detection rate at which a null result says something
EARLIER_CODE = "measured with an earlier version of this test"
_FORWARD, _BACKWARD, _MISPLACED = "forward", "forward-then-backward", "gradient-misplaced"
_SIGNAL, _GRADIENTS = (_FORWARD, _BACKWARD, _MISPLACED), (_BACKWARD, _MISPLACED)
_SIZES = ("organisation", "images", "subjects", "ceiling")


def _single_tests() -> dict[str, Expectation]:
    """Tests of `simulated_tests` by their names."""
    expected = {}
    for kind in ("activation", "gradient"):
        ordered = _SIGNAL if kind == "activation" else (_BACKWARD,)
        # gradients predict what is made of activations: they are functions of them
        true, inherited = (_SIGNAL, ()) if kind == "activation" else (_GRADIENTS, (_FORWARD,))
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
            expected[f"{kind}: {name}"] = Expectation(0.05, true, inherited)
        unordered = tuple(name for name in _SIGNAL if name not in ordered)
        expected[f"{kind}: spatial order"] = Expectation(0.025, ordered, unordered)
        expected[f"{kind}: order in time"] = Expectation(0.025, ordered)
        expected[f"{kind}: order in time, images alone"] = Expectation(0.025, ordered)
    # the difference contains the order of the activations
    expected["difference: order in time"] = Expectation(0.025, (_BACKWARD,), (_FORWARD, _MISPLACED))
    for kind, true in (("gradient", _GRADIENTS), ("activation", _SIGNAL)):
        other = "activations" if kind == "gradient" else "gradients"
        for name in (
            "one subject",
            "all subjects",
            "high areas, all subjects",
            "largest of all vertices",
            "unique variance, signs of subjects",
        ):
            expected[f"{kind} beyond {other}: {name}"] = Expectation(0.05, true)
    for name in ("in MEG", "late in MEG"):
        expected[f"gradient beyond activations: {name}, all subjects"] = Expectation(0.05, _GRADIENTS)
    return expected


SINGLE_TESTS = _single_tests()
SIMULATED_CLAIMS = simulated_claims()


@dataclass(frozen=True)
class Outcome:
    """What the tests found in one simulated brain.

    Attributes
    ----------
    organisation, images, subjects, ceiling, seed : of the brain
    found : id of a test -> whether it found what it tests for, at its level
    values : id -> the number that it measured
    refused : id -> why it could not be made; it found nothing then
    rows : id -> rows that it used, where that is not the number of images
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

    def __repr__(self) -> str:
        size = f"{self.images} images, {self.subjects} subjects, ceiling {self.ceiling:g}, seed {self.seed}"
        return f"Outcome({self.organisation}, {size}; {sum(self.found.values())} of {len(self.found)} tests found)"


@dataclass(frozen=True)
class Power:
    """The detection rate of a test in the closest simulated study, and which study that is; NaN where there is none.

    `found` of `runs` simulated studies make the rate.
    """

    rate: float = np.nan
    study: str = ""
    found: int = 0
    runs: int = 0

    @property
    def counts(self) -> str:
        """ "7 of 7", or "" where there is no study."""
        return f"{self.found} of {self.runs}" if self.runs else ""


@naming("binomial_interval")
def binomial_interval(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact (Clopper & Pearson 1934) interval of a probability, from k of n.

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
        raise ValueError(f"k must lie in 0..n with n at least 1, got {k} of {n}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    outer = (1 - confidence) / 2
    low = 0.0 if k == 0 else float(beta.ppf(outer, k, n - k + 1))
    high = 1.0 if k == n else float(beta.ppf(1 - outer, k + 1, n - k))
    return low, high


@naming("rates")
def rates(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """How often each test found something, by the brains' organisation, images, subjects and ceiling.

    Returns
    -------
    DataFrame : "organisation", "images", "subjects", "ceiling", "id" and "text" of the test, "code" (hash of the code
        that decides it, see `power.code_hash`; "" of single tests), "rows" (the fewest that the test used), "runs",
        "found", "refused" (counts), "rate", "low", "high" (95 %, exact binomial), "level", "expected" ("true": the rate
        is the test's power; "false": its false-positive rate; "inherited": gradients have the property from the
        activations) and "as expected": of "false", that the interval does not lie above the level; of "true", that it
        does not lie below 0.8; otherwise None

    Raises
    ------
    ValueError : no outcomes, unknown tests, brains with different tests, one brain twice
    """
    if not outcomes:
        raise ValueError("outcomes must be at least one, got none")
    tests = [*SINGLE_TESTS, *SIMULATED_CLAIMS]
    unknown = sorted({test for outcome in outcomes for test in outcome.found} - set(tests))
    if unknown or len({frozenset(outcome.found) for outcome in outcomes}) > 1:
        raise ValueError(
            f"outcomes must have the same tests, of SINGLE_TESTS or SIMULATED_CLAIMS, got {unknown or 'different ones'}"
        )
    sizes = [tuple(getattr(outcome, name) for name in _SIZES) for outcome in outcomes]
    brains = {(*size, outcome.seed) for size, outcome in zip(sizes, outcomes, strict=True)}
    if len(brains) < len(outcomes):
        raise ValueError(f"outcomes must be of different brains, got {len(outcomes) - len(brains)} twice")
    rows = []
    for size in dict.fromkeys(sizes):
        alike = [outcome for outcome, other in zip(outcomes, sizes, strict=True) if other == size]
        rows += [_rate(size, test, alike) for test in tests if test in alike[0].found]
    return pd.DataFrame(rows)


@cache
def _recorded_rates() -> pd.DataFrame:
    with files("gradkern.study.power").joinpath("power-verdict.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file, dtype={"code": str, "expected": str})
    as_expected = table["as expected"].astype(object)  # a file has no None
    return table.assign(**{"as expected": as_expected.where(as_expected.notna(), None)})


def simulated_rates() -> pd.DataFrame:
    """`rates` of the verdicts of simulated studies that come with the package: those of docs/power.md.

    Examples
    --------
    >>> {"forward", "forward-then-backward", "none"} <= set(simulated_rates()["organisation"])
    True
    """
    return _recorded_rates().copy()


def is_current(id: str, code: object) -> bool:
    """Whether a rate with this `code` was measured with the running code of the claim with this id."""
    claim = SIMULATED_CLAIMS.get(id)
    return claim is not None and code == code_hash(claim)


def _rate(size: tuple[object, ...], test: str, outcomes: Sequence[Outcome]) -> dict[str, object]:
    claim = SIMULATED_CLAIMS.get(test)
    expectation = SINGLE_TESTS[test] if claim is None else claim.expected
    runs, found = len(outcomes), int(np.sum([outcome.found[test] for outcome in outcomes]))
    expected, (low, high) = expectation.of(str(size[0])), binomial_interval(found, runs)
    as_expected = {FALSE: low <= expectation.level, TRUE: high >= ENOUGH, INHERITED: None}[expected]
    return {
        **dict(zip(_SIZES, size, strict=True)),
        "id": test,
        "text": test if claim is None else claim.text,
        "code": "" if claim is None else code_hash(claim),
        "rows": min(outcome.rows.get(test, outcome.images) for outcome in outcomes),
        "runs": runs,
        "found": found,
        "refused": sum(test in outcome.refused for outcome in outcomes),
        "rate": found / runs,
        "low": low,
        "high": high,
        "level": expectation.level,
        "expected": expected,
        "as expected": as_expected,
    }


def power_of(table: pd.DataFrame, claim: Claim, rows: int, subjects: int, ceiling: float) -> Power:
    """Detection rate of a claim's test in the closest simulated study that has no more rows, subjects or ceiling.

    If several organisations tie, the one with the lowest rate counts. The power in the study is no less, if the effect
    is as strong as the simulated one. NaN where all simulated studies are larger. A rate that was measured with other
    code than the running one is given with the words "measured with an earlier version of this test".

    Parameters
    ----------
    table : of `rates`
    rows : rows that the test used, fewer than the images where covariates are removed
    ceiling : mean of the targets, or for MEG that of the best sensor at its best time; NaN: unknown
    """
    if table.empty:
        return Power()
    smaller = table[(table["id"] == claim.id) & (table["expected"] == TRUE)]
    for name, value in {"rows": rows, "subjects": subjects, "ceiling": ceiling}.items():
        smaller = smaller[smaller[name] <= value]
    return closest_study(smaller, claim, rows, subjects, ceiling)


def closest_study(
    table: pd.DataFrame, claim: Claim, rows: int, subjects: int, ceiling: float, *, highest: bool = False
) -> Power:
    """The lowest rate of a claim in the closest of these simulated studies, or the highest; NaN if there are none."""
    sizes = {"rows": rows, "subjects": subjects, "ceiling": ceiling}
    if table.empty or not all(value > 0 for value in sizes.values()):  # nor where one is NaN
        return Power()
    distance = sum(
        (np.log(table[name] / value) ** 2 for name, value in sizes.items()), start=pd.Series(0.0, table.index)
    )
    closest = table[distance == distance.min()]
    row = closest.loc[closest["rate"].idxmax() if highest else closest["rate"].idxmin()]
    words = (
        f"{row['found']} of {row['runs']} {row['organisation']} brains, {row['images']} images, "
        f"{row['subjects']} subjects, ceiling {row['ceiling']:g}"
    )
    current = row.get("code") == code_hash(claim)
    study = words if current else f"{words}, {EARLIER_CODE}"
    return Power(float(row["rate"]), study, int(row["found"]), int(row["runs"]))
