"""A verdict in words: what each row says, how many rows say it, and in which case a claim is wrong."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from gradkern.study.claims._decision import CANNOT_DECIDE, NOT_FOUND, NOT_TESTED, SUPPORTED
from gradkern.study.power._rates import ENOUGH

CONCLUSIONS = (SUPPORTED, NOT_FOUND, CANNOT_DECIDE, NOT_TESTED)  # in the order of the summary
_ORDER = "gradients have it as functions of the activations, whose order they inherit, or"
# by the end of a claim's id, the most particular first
_WRONG_IF = {
    "activation-maps-hierarchy": "areas prefer deeper layers because of something that is as smooth over the cortex as "
    "the hierarchy, such as receptive-field size or eccentricity, and not because of their place in it",
    "-beyond:activations": "responses are nonlinear functions of the activations, or follow the image's category or "
    "low-level statistics: only linear readouts of the activations are excluded",
    "-beyond:same-layer": "responses follow activations of other layers, or nonlinear functions of these: only linear "
    "readouts of the same layer are excluded",
    "-beyond:nuisances": "responses follow the activations, of which gradients are functions: only the nuisances are "
    "excluded",
    "-beyond:everything": "responses depend nonlinearly on what is removed, or on something about the images that is "
    "neither among the activations, nor the nuisances, nor the controls",
    "-beyond:": "responses follow something that gradients share with the activations and this does not hold",
    "-spatial-order-more-than:layer-permutation": "neighbouring layers are alike, so that few permutations differ",
    "-temporal-order-more-than:layer-permutation": "neighbouring layers are alike, so that few permutations differ",
    "-more-than:": "the control has fewer dimensions or more noise than the gradients, which lowers its r whatever it "
    "says",
    "-higher-areas-more": "what activations or categories tell rises along the hierarchy, or the noise ceiling does "
    "so in a way that dividing by it does not remove",
    "-later-than-activation": "something that gradients correlate with, such as the image's category or difficulty, "
    "reaches the brain later than what else the activations predict",
    "-spatial-order": f"{_ORDER} something else that is as smooth over the cortex runs along the hierarchy",
    "-temporal-order": f"{_ORDER} all gradients come at once and those of deep layers look early because the forward "
    "sweep tells them",
    "gradient-predicts-": "responses follow activations, categories or image statistics, of which gradients are "
    "functions: none of these is excluded",
}


def in_words(row: Mapping[str, Any]) -> str:
    """What a row of a verdict says, for somebody who reads nothing else."""
    if row["conclusion"] == NOT_TESTED:
        return f"Not tested: {row['why']}."
    if row["conclusion"] == CANNOT_DECIDE:
        return f"{row['why'][:1].upper()}{row['why'][1:]}."
    if row["conclusion"] == SUPPORTED:
        return f"Supported, tested against {row['against']}."
    if np.isnan(row["power"]):
        return "Not found. The test's power for a study of this size is unknown."
    if row["power"] >= ENOUGH:
        worth = "An effect of the simulated size would probably have been detected"
    else:
        worth = "This null result says little"
    return f"Not found. {worth}: the test detected the effect in {row['simulated']}."


def counts_in_words(table: pd.DataFrame) -> str:
    """How many claims have each conclusion: "3 supported, 5 not found, 1 cannot decide, 2 not tested"."""
    counts = table["conclusion"].value_counts()
    return ", ".join(f"{counts.get(name, 0)} {name}" for name in CONCLUSIONS)


def wrong_if(row: Mapping[str, Any]) -> str:
    """In which case the claim of a row is wrong although its test supports it: the claim's own words, or those of its
    kind; "" if there are none."""
    if row.get("wrong if"):
        return str(row["wrong if"])
    id = str(row["id"])
    return next((words for part, words in _WRONG_IF.items() if part in id), "")
