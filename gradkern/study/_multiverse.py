"""The same analysis under every choice that studies make: which conclusions survive them.

After Steegen et al. (2016), Perspectives on Psychological Science 11:702, and Simonsohn et al. (2020), Nature Human
Behaviour 4:1208 (the specification curve).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

REFUSED = "refused"


@dataclass(frozen=True)
class Estimate:
    """A number, its 95 % interval, and what was concluded, in words; NaN where there is none, and `why`."""

    value: float
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    conclusion: str = ""
    why: str = ""


def multiverse(
    analysis: Callable[..., Mapping[str, Estimate]],
    choices: Mapping[str, Mapping[str, Any]],
    *,
    together: bool = False,
) -> pd.DataFrame:
    """Run an analysis once as it is, and again with each choice made otherwise.

    Parameters
    ----------
    analysis : takes one keyword a choice, gives a claim's name -> `Estimate`
    choices : choice -> name of an option -> what `analysis` is given; the first option is that of the analysis as it is
    together : every combination, instead of one choice at a time

    Returns
    -------
    DataFrame : a row a run and claim: a column a choice with the option's name; "changed", the choices that are not as
        they were; "claim", "value", "low", "high", "p", "conclusion", and "why": the estimate's; where an analysis
        refuses (ValueError) its claims are NaN, their conclusion "refused" and this the reason

    Raises
    ------
    ValueError : no choices, a choice without options, different claims in different runs; every run refused

    Examples
    --------
    >>> def analysis(delay, alpha):
    ...     return {"spatial order": Estimate(delay * alpha)}
    >>> table = multiverse(analysis, {"delay": {"5.5 s": 5.5, "4 s": 4.0}, "alpha": {"k-fold": 1, "one": 2}})
    >>> table["value"].tolist()
    [5.5, 4.0, 11.0]
    """
    if not choices or not all(choices.values()):
        raise ValueError(f"multiverse: choices must have options, got { ({k: list(v) for k, v in choices.items()}) }")
    base = {name: next(iter(options)) for name, options in choices.items()}
    runs = [(made, *_run(analysis, choices, made)) for made in _specifications(choices, base, together)]
    done = [set(found) for _, found, why in runs if not why]
    if not done:
        raise ValueError(f"multiverse: analysis must allow some choices, got only refusals, first: {runs[0][2]}")
    if any(claims != done[0] for claims in done):
        raise ValueError(f"multiverse: analysis must always have the same claims, got {sorted(map(sorted, done))}")
    claims = next(list(found) for _, found, why in runs if not why)
    rows = []
    for made, found, why in runs:
        changed = ", ".join(name for name in choices if made[name] != base[name])
        for claim in claims:
            one = found.get(claim, Estimate(np.nan, conclusion=REFUSED))
            rows.append({**made, "changed": changed, "claim": claim, **vars(one), "why": why or one.why})
    return pd.DataFrame(rows)


def _specifications(
    choices: Mapping[str, Mapping[str, Any]], base: dict[str, str], together: bool
) -> Iterator[dict[str, str]]:
    if together:
        yield from (dict(zip(choices, made, strict=True)) for made in product(*choices.values()))
        return
    yield base
    for name, options in choices.items():
        yield from (base | {name: option} for option in options if option != base[name])


def _run(
    analysis: Callable[..., Mapping[str, Estimate]], choices: Mapping[str, Mapping[str, Any]], made: dict[str, str]
) -> tuple[Mapping[str, Estimate], str]:
    try:
        return analysis(**{name: choices[name][option] for name, option in made.items()}), ""
    except ValueError as error:
        return {}, str(error)


def survival(table: pd.DataFrame) -> pd.DataFrame:
    """A row a claim: its `value` and conclusion as the analysis is, the range over all runs, how many runs conclude the
    same, of those that have a number, and how many were "refused" or have none."""
    rows = []
    for claim, runs in table.groupby("claim", sort=False):
        first, kept = runs.iloc[0], runs[runs["value"].notna()]
        rows.append(
            {
                "claim": claim,
                "value": first["value"],
                "conclusion": first["conclusion"],
                "lowest": kept["value"].min(),
                "highest": kept["value"].max(),
                "same conclusion": int((kept["conclusion"] == first["conclusion"]).sum()),
                "runs": len(kept),
                "refused": len(runs) - len(kept),
            }
        )
    return pd.DataFrame(rows)
