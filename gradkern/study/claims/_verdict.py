"""The verdict: a table of a study, each row a claim of Raugel et al. (2026), and what its test can carry.

Every row has an estimate with its 95 % interval, a p value of a null of its own with the smallest p it could attain,
the numbers of subjects, images and targets, the noise ceiling, what the estimate was tested against, and how often the
same test finds the same thing in simulated brains. A claim that the data cannot carry has a row that says why, and no
number.

Gradients residualised on activations have no row. A ridge leaves some of the activations in what it leaves of the
gradients, and its errors in held-out images are activations again: at a level of 5 % what was left predicted responses
made of activations alone in 21 of 100 simulations. "Beyond activations" is the same question with a test that holds:
all principal components of the activations are removed from gradients and responses alike
(`encoding.partial_permutation_test`).
"""

from concurrent.futures import Executor
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from gradkern.errors import Refused, naming
from gradkern.study._settings import Study, VerdictSettings
from gradkern.study.claims._claim import Claim, Row
from gradkern.study.claims._registry import claims_of
from gradkern.study.claims._scored import ScoredStudy, score_study
from gradkern.study.power._rates import Power, power_of, simulated_rates

__all__ = ["NOT_FOUND", "NOT_TESTED", "SUPPORTED", "Study", "VerdictSettings", "verdict"]

SUPPORTED, NOT_FOUND, NOT_TESTED = "supported", "not found", "not tested"


@naming("verdict")
def verdict(
    study: Study,
    settings: VerdictSettings | None = None,
    power: pd.DataFrame | None = None,
    executor: Executor | None = None,
) -> pd.DataFrame:
    """Test every claim that the study's recordings allow.

    Parameters
    ----------
    executor : runs the claims' tests, which are functions of modules with arguments that can be pickled; anything with
        the `map` of `concurrent.futures.Executor`. None: one after another, in this process
    power : of `power.rates`: how often the same tests find what is there in simulated studies; None: the rates that
        come with the package

    Returns
    -------
    DataFrame : one row per claim of `claims_of`: "id", "claim" (the text), "data" ("fMRI" or "MEG"), "conclusion"
        ("supported": p is at most .05 in the direction of the claim, or for claims in seconds .025, by their interval;
        "not found"; "not tested"), "estimate", "low", "high", "p", "units" (of the estimate: "r" or "s"), "smallest p",
        "subjects", "images", "rows" (fewer than the images where covariates are removed), "targets", "ceiling",
        "against", "power" and "simulated" (how often the test found what was there in simulated studies, and in which),
        "why" (the reason if it was not tested)

    Raises
    ------
    ValueError : `settings.layer` is no layer of the study, MEG does not fit into memory. A claim that the data cannot
        carry (`Refused`) is a row "not tested"; any other exception of a test is raised
    """
    settings = settings or VerdictSettings()
    layers = len(study.features["activation"])
    if settings.layer is not None and not 0 <= settings.layer < layers:
        raise ValueError(f"layer must be one of {layers}, got {settings.layer}")
    rates = simulated_rates() if power is None else power
    scored = score_study(study, settings)
    run = executor.map if executor else map
    return pd.DataFrame(run(partial(_verdict_row, scored=scored, rates=rates), claims_of(study, settings)))


def _verdict_row(claim: Claim, scored: ScoredStudy, rates: pd.DataFrame) -> dict[str, Any]:
    why, row = "", Row(np.nan, np.nan)
    try:
        row = claim.tested(scored)
    except Refused as error:
        why = str(error)
    subjects, images = scored.subjects[claim.modality], scored.images(claim.modality)
    power = Power() if why or not row.as_simulated else _power(claim, row, scored, rates)
    return {
        "id": claim.id,
        "claim": claim.text,
        "data": claim.modality,
        "conclusion": NOT_TESTED if why else SUPPORTED if row.is_supported() else NOT_FOUND,
        **{name: getattr(row, name) for name in ("estimate", "low", "high", "p")},
        "units": claim.units,
        "smallest p": row.smallest_p,
        "subjects": len(subjects),
        "images": images,
        "rows": row.rows or images,
        "targets": sum(subject.Y.shape[1] for subject in subjects),
        "ceiling": row.ceiling,
        "against": row.against,
        "power": power.rate,
        "simulated": power.study,
        "why": why,
    }


def _power(claim: Claim, row: Row, scored: ScoredStudy, rates: pd.DataFrame) -> Power:
    rows, ceiling = row.rows or scored.images(claim.modality), scored.simulated_ceiling(claim.modality)
    return power_of(rates, claim, rows, len(scored.subjects[claim.modality]), ceiling)
