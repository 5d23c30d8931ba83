"""What a row concludes: what its test found, and whether such data can decide."""

import numpy as np
import pandas as pd

from gradkern.study.claims._claim import FALSE, Claim, Row
from gradkern.study.power._rates import Power, binomial_interval, closest_study

SUPPORTED, NOT_FOUND, NOT_TESTED = "supported", "not found", "not tested"
CANNOT_DECIDE = "cannot decide"
_LEAST_POWER = 0.5  # a test that finds less than half of what is there cannot tell by not finding it


def conclusion(row: Row, power: Power, false_positives: Power) -> tuple[str, str]:
    """What a tested row concludes, and why if it cannot.

    A claim that was not found by a test with a power below .5 cannot be decided; nor can one that was found, if the
    same test finds it in simulated studies where it is false, more often than its level (95 % exact interval).
    """
    if row.is_supported():
        if not false_positives.counts:
            return SUPPORTED, ""
        return (
            CANNOT_DECIDE,
            f"such data cannot decide: it was found as well where it is false, in {false_positives.study}",
        )
    if power.rate < _LEAST_POWER:
        return CANNOT_DECIDE, f"such data cannot decide: where it is true, it was found in {power.study}"
    return NOT_FOUND, ""


def false_positives_of(table: pd.DataFrame, claim: Claim, rows: int, subjects: int, ceiling: float) -> Power:
    """The largest rate of a claim's test in the closest simulated studies where the claim is false, if above its level.

    A `Power` without counts if the rate may be the level, or if there are no such studies.
    """
    if table.empty:
        return Power()
    false = table[(table["id"] == (claim.level_of or claim.id)) & (table["expected"] == FALSE)]
    study = closest_study(false, claim, rows, subjects, ceiling, highest=True)
    if np.isnan(study.rate):
        return study
    low, _ = binomial_interval(study.found, study.runs)
    return study if low > claim.expected.level else Power()
