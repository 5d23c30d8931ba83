"""Does a claim hold without each of the subjects?"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradkern.errors import Refused
from gradkern.stats._leave_one_out import leave_one_out as without_each
from gradkern.study.claims._claim import LEVEL, Claim, Row
from gradkern.study.claims._scored import ScoredStudy


@dataclass(frozen=True)
class LeftOut:
    """The range of the mean over subjects without each one in turn, and which of them carries the claim, in words."""

    low: float = np.nan
    high: float = np.nan
    flag: str = ""


def leave_one_out(claim: Claim, row: Row, scored: ScoredStudy) -> LeftOut:
    """The range of the mean without each subject, and the subject that carries a supported claim, if one does.

    A supported claim is carried by the subject with the largest estimate in the claim's direction if, without it, the
    mean of the others is 0 or of the other sign, or if the same test of the others does not support the claim.
    """
    known = {name: value for name, value in row.by_subject.items() if np.isfinite(value)}
    names, values = list(known), np.array(list(known.values()), dtype=np.float64)
    if len(values) < 2:
        return LeftOut()
    others = without_each(values, names).without
    low, high = float(others.min()), float(others.max())
    if not row.is_supported() or not scored.settings.subject_checks:
        return LeftOut(low, high)
    strongest = int(np.argmax(np.sign(row.estimate) * values))
    if np.sign(others[strongest]) != np.sign(row.estimate):
        found = f"without it the mean is {others[strongest]:.3g} {claim.units}"
    elif row.p_without:
        p = row.p_without[names[strongest]]
        found = "" if p <= LEVEL else f"without it not found, p = {p:.3g}"
    else:
        found = _without(claim, scored, names[strongest])
    return LeftOut(low, high, f"carried by one subject: {names[strongest]} ({found})" if found else "")


def _without(claim: Claim, scored: ScoredStudy, name: str) -> str:
    """Why the other subjects do not support the claim; "" if they do."""
    others = tuple(subject for subject in scored.subjects[claim.modality] if subject.name != name)
    fewer = replace(
        scored, subjects={**scored.subjects, claim.modality: others}, computed=_of_others(scored, claim.modality)
    )
    try:
        row = claim.tested(fewer)
    except Refused as error:
        return f"without it not tested: {error}"
    return "" if row.is_supported() else f"without it not found, p = {row.p:.3g}"


def _of_others(scored: ScoredStudy, modality: str) -> dict[tuple[str, ...], Any]:
    """Scores that stay as they are without a subject: of each subject, if all saw the same images."""
    rows = [subject.rows for subject in scored.subjects[modality]]
    if not all(np.array_equal(other, rows[0]) for other in rows):  # images would be resampled otherwise
        return {}
    return {name: value for name, value in scored.computed.items() if name[:2] == ("scores", modality)}
