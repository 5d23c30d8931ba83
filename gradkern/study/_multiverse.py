"""The same analysis under every choice that studies make, and which conclusions survive them.

After Steegen et al. (2016), Perspectives on Psychological Science 11:702, and Simonsohn et al. (2020), Nature Human
Behaviour 4:1208 (the specification curve).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from gradkern._progress import advanced, tracked
from gradkern.errors import Refused, naming

REFUSED = "refused"


@dataclass(frozen=True)
class Estimate:
    """A number, its 95 % interval, its p value, and the conclusion in words; NaN and `why` where there is no number."""

    value: float
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    conclusion: str = ""
    why: str = ""


@naming("multiverse")
def multiverse(
    analysis: Callable[..., Mapping[str, Estimate]],
    choices: Mapping[str, Mapping[str, Any]],
    *,
    together: bool = False,
) -> pd.DataFrame:
    """Run an analysis as it is, and again with other options of each choice.

    Parameters
    ----------
    analysis : takes a keyword argument per choice, returns the name of each claim -> its `Estimate`
    choices : choice -> name of an option -> the argument of `analysis`; the first option is that of the analysis as it
        is
    together : run every combination of options, instead of changing one choice at a time

    Returns
    -------
    DataFrame : a row per run and claim: one column per choice with the option's name; "changed", the choices that
        differ from the analysis as it is; "claim", "value", "low", "high", "p", "conclusion" and "why" of the
        estimate. Where the analysis raises `Refused`, values are NaN, the conclusion is "refused", and "why" is its
        message

    Raises
    ------
    ValueError : no choices, a choice without options, different claims in different runs
    Refused : every run was refused. Other exceptions of the analysis are raised

    Examples
    --------
    >>> def analysis(delay, alpha):
    ...     return {"spatial order": Estimate(delay * alpha)}
    >>> table = multiverse(analysis, {"delay": {"5.5 s": 5.5, "4 s": 4.0}, "alpha": {"k-fold": 1, "one": 2}})
    >>> table["value"].tolist()
    [5.5, 4.0, 11.0]
    """
    if not choices or not all(choices.values()):
        names = {name: list(options) for name, options in choices.items()}
        raise ValueError(f"choices must have options, got {names}")
    base = {name: next(iter(options)) for name, options in choices.items()}
    specifications = list(_specifications(choices, base, together))
    runs = []
    with tracked("multiverse", len(specifications), "analyses"):
        for options in specifications:
            runs.append((options, *_run(analysis, choices, options)))
            advanced(1, "analyses")
    claims = [list(estimates) for _, estimates, why in runs if not why]
    if not claims:
        raise Refused(f"analysis must allow some choices, got only refusals, first: {runs[0][2]}")
    if any(set(names) != set(claims[0]) for names in claims):
        raise ValueError(f"analysis must always have the same claims, got {sorted(map(sorted, claims))}")
    rows = []
    for options, estimates, why in runs:
        changed = ", ".join(name for name in choices if options[name] != base[name])
        for claim in claims[0]:
            estimate = estimates.get(claim, Estimate(np.nan, conclusion=REFUSED))
            rows.append({**options, "changed": changed, "claim": claim, **vars(estimate), "why": why or estimate.why})
    return pd.DataFrame(rows)


def _specifications(
    choices: Mapping[str, Mapping[str, Any]], base: dict[str, str], together: bool
) -> Iterator[dict[str, str]]:
    if together:
        yield from (dict(zip(choices, options, strict=True)) for options in product(*choices.values()))
        return
    yield base
    for name, options in choices.items():
        yield from (base | {name: option} for option in options if option != base[name])


def _run(
    analysis: Callable[..., Mapping[str, Estimate]], choices: Mapping[str, Mapping[str, Any]], options: dict[str, str]
) -> tuple[Mapping[str, Estimate], str]:
    try:
        return analysis(**{name: choices[name][option] for name, option in options.items()}), ""
    except Refused as error:
        return {}, str(error)


def survival(table: pd.DataFrame) -> pd.DataFrame:
    """Summarise a multiverse: one row per claim.

    Returns
    -------
    DataFrame : "id" (if the table has ids), "claim", "value" and "conclusion" of the analysis as it is, "lowest" and
        "highest" value over all runs, "same conclusion": how many runs conclude the same, of the "runs" that have a
        number, and how many were "refused" or have none
    """
    names = [name for name in ("id", "claim") if name in table]
    rows = []
    for _, runs in table.groupby(names[0], sort=False):
        first, valued = runs.iloc[0], runs[runs["value"].notna()]
        rows.append(
            {
                **{name: first[name] for name in names},
                "value": first["value"],
                "conclusion": first["conclusion"],
                "lowest": valued["value"].min(),
                "highest": valued["value"].max(),
                "same conclusion": int((valued["conclusion"] == first["conclusion"]).sum()),
                "runs": len(valued),
                "refused": len(runs) - len(valued),
            }
        )
    return pd.DataFrame(rows)
