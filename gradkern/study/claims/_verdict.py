"""The verdict: a table of a study, each row a claim of Raugel et al. (2026), and what its test can carry.

Every row has an estimate with its 95 % interval, a p value of a null of its own with the smallest p it could attain,
the numbers of subjects, images and targets, the noise ceiling, what the estimate was tested against, and how often the
same test finds the same thing in simulated brains. A claim that the data cannot carry has a row that says why, and no
number.

Gradients are functions of activations, outputs and labels. "Beyond a linear readout of the activations" is therefore a
diagnostic: brains that read activations nonlinearly, or categories, pass it. Claims about prediction exclude random
readouts, linear and nonlinear, of everything that the study knows of its images (`encoding.conditional_test`).
"""

import json
from collections.abc import Collection, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from gradkern._progress import advanced, tracked
from gradkern.errors import Refused, naming
from gradkern.study._settings import Study, VerdictSettings
from gradkern.study._subject_checks import subject_checks
from gradkern.study.claims._beyond import beyond
from gradkern.study.claims._claim import Claim, Row
from gradkern.study.claims._decision import (
    CANNOT_DECIDE,
    NOT_FOUND,
    NOT_TESTED,
    SUPPORTED,
    conclusion,
    false_positives_of,
)
from gradkern.study.claims._leave_one_out import LeftOut, leave_one_out
from gradkern.study.claims._registry import claims_of
from gradkern.study.claims._scored import ScoredStudy, score_study
from gradkern.study.power._rates import Power, power_of, simulated_rates

__all__ = ["CANNOT_DECIDE", "NOT_FOUND", "NOT_TESTED", "SUPPORTED", "Study", "VerdictSettings", "verdict"]


@naming("verdict")
def verdict(
    study: Study,
    settings: VerdictSettings | None = None,
    power: pd.DataFrame | None = None,
    executor: Executor | None = None,
    only: Collection[str] | None = None,
) -> pd.DataFrame:
    """Test every claim that the study's recordings allow.

    Parameters
    ----------
    only : ids of the claims to test; None: all
    executor : runs the claims' tests, which are functions of modules with arguments that can be pickled; anything with
        the `map` of `concurrent.futures.Executor`. None: one after another, in this process
    power : of `power.rates`: how often the same tests find what is there in simulated studies; None: the rates that
        come with the package

    Returns
    -------
    DataFrame : one row per claim of `claims_of`: "id", "claim" (the text), "data" ("fMRI" or "MEG"), "conclusion"
        ("supported": p is at most .05 in the direction of the claim, or for claims in seconds .025, by their interval;
        "not found"; "cannot decide": not found by a test with a power below .5, or found by one that finds the same in
        simulated studies where it is false more often than its level; "not tested"), "estimate", "low", "high", "p",
        "units" (of the estimate: "r", "s", or "share" of the responses' variance), "smallest p", "subjects",
        "by subject" (JSON: the estimate in each subject; "" if the test has none), "low without one" and "high without
        one" (range of their mean without each subject in turn), "flag" (the subject that carries a supported claim
        alone), "layer" (which layers the estimate is of), "by layer" (JSON: the estimate at each layer; ""), "images",
        "rows" (fewer than the images where covariates are removed), "targets", "ceiling", "against", "power",
        "power counts" ("7 of 7") and
        "simulated" (how often the test found what was there in simulated studies, and in which), "wrong if" (in which
        case the claim is wrong although supported), "why" (the reason if it was not tested or cannot be decided).
        `attrs["notes"]` has what was left out of the targets, and which subjects look as if their images were in
        another order

    Raises
    ------
    ValueError : `settings.layer` is no layer of the study, `only` names other claims. A
        claim that the data cannot carry (`Refused`) is a row "not tested"; any other exception of a test is raised
    """
    settings = settings or VerdictSettings()
    layers = len(study.features["activation"])
    if settings.layer is not None and not 0 <= settings.layer < layers:
        raise ValueError(f"layer must be one of {layers}, got {settings.layer}")
    rates = simulated_rates() if power is None else power
    claims = claims_of(study)
    if only is not None:
        unknown = sorted(set(only) - {claim.id for claim in claims})
        if unknown or not only:
            raise ValueError(f"only must name claims of the study, got {unknown or 'none'}")
        claims = tuple(claim for claim in claims if claim.id in only)
    scored = score_study(study, settings, [claim.arguments for claim in claims if claim.test is beyond])
    run = executor.map if executor else map
    rows = []
    with tracked("verdict", len(claims), "claims"):
        for row in run(partial(_verdict_row, scored=scored, rates=rates), claims):
            rows.append(row)
            advanced(1, "claims")
    table = pd.DataFrame(rows)
    notes = [note for subjects in scored.subjects.values() for subject in subjects for note in subject.notes]
    table.attrs["notes"] = notes + (subject_checks(scored) if settings.subject_checks else [])
    return table


def _verdict_row(claim: Claim, scored: ScoredStudy, rates: pd.DataFrame) -> dict[str, Any]:
    why, row, power, left_out, concluded = "", Row(np.nan, np.nan), Power(), LeftOut(), NOT_TESTED
    subjects, images = scored.subjects[claim.modality], scored.images(claim.modality)
    try:
        row = claim.tested(scored)
    except Refused as error:
        why = str(error)
    else:
        false_positives = Power()
        if row.as_simulated:
            size = row.rows or images, len(subjects), scored.simulated_ceiling(claim.modality)
            power, false_positives = power_of(rates, claim, *size), false_positives_of(rates, claim, *size)
        concluded, why = conclusion(row, power, false_positives)
        left_out = leave_one_out(claim, row, scored)
    return {
        "id": claim.id,
        "claim": claim.text,
        "data": claim.modality,
        "conclusion": concluded,
        **{name: getattr(row, name) for name in ("estimate", "low", "high", "p")},
        "units": claim.units,
        "smallest p": row.smallest_p,
        "subjects": len(subjects),
        "by subject": _as_json(row.by_subject),
        "low without one": left_out.low,
        "high without one": left_out.high,
        "flag": left_out.flag,
        "layer": row.layer or _layer_in_words(claim, scored),
        "by layer": _as_json(row.by_layer),
        "images": images,
        "rows": row.rows or images,
        "targets": sum(subject.Y.shape[1] for subject in subjects),
        "ceiling": row.ceiling,
        "against": row.against,
        "power": power.rate,
        "power counts": power.counts,
        "simulated": power.study,
        "wrong if": claim.wrong_if,
        "why": why,
    }


def _as_json(values: Mapping[str, float]) -> str:
    """Numbers by name; NaN is null, which JSON has."""
    numbers = {name: float(value) if np.isfinite(value) else None for name, value in values.items()}
    return json.dumps(numbers, ensure_ascii=False) if numbers else ""


def _layer_in_words(claim: Claim, scored: ScoredStudy) -> str:
    """The tested layer for claims about prediction, or all layers."""
    count = len(scored.features["activation"])
    if "-predicts-" not in claim.id:
        return f"all {count} layers"
    middle = " (middle)" if scored.layer == count // 2 else ""
    return f"layer {scored.layer + 1} of {count}{middle}"
