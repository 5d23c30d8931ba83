"""The answer of a verdict in five sentences, what a null result could have missed, and a paragraph of methods."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gradkern.study.claims._decision import CANNOT_DECIDE, NOT_FOUND, NOT_TESTED, SUPPORTED

DECIDING = {  # what only a brain that holds gradients in the order of backpropagation has, in words
    "gradient-predicts-fmri-beyond:everything": "gradients beyond all that was excluded, in fMRI",
    "gradient-predicts-meg-beyond:everything": "the same in MEG",
    "gradient-has-spatial-order": "the order in space",
    "gradient-has-temporal-order": "the order in time",
}
_REFERENCES = {  # beginnings of ids of claims -> what their tests rest on
    "": (
        "Raugel et al. (2026). arXiv:2605.28693.",
        "Phipson & Smyth (2010). Permutation p-values should never be zero. Stat. Appl. Genet. Mol. Biol. 9:39.",
    ),
    "activation-maps-hierarchy": ("Burt et al. (2020). Generative modeling of brain maps. NeuroImage 220:117038.",),
    "gradient-has-spatial-order": ("Burt et al. (2020). Generative modeling of brain maps. NeuroImage 220:117038.",),
}


def answer(table: pd.DataFrame) -> list[str]:
    """The question and the answer in five sentences, the study's own numbers first."""
    rows = {row["id"]: row for row in table.to_dict("records")}
    beyond = [_said(rows, id, words) for id, words in list(DECIDING.items())[:2] if id in rows]
    return [
        f"{_sizes(table)} in {len(table)} test{'s' if len(table) != 1 else ''}.",
        "The question is whether these responses hold a network's gradients where, and in the order in which, "
        "backpropagation computes them.",
        f"Activations first: {_said(rows, 'activation-maps-hierarchy', 'they map the hierarchy')}.",
        f"Gradients, beyond what activations and images tell: {'; '.join(beyond) or 'this was not asked'}.",
        _together(rows),
    ]


def _sizes(table: pd.DataFrame) -> str:
    parts = []
    for data, rows in table[table["conclusion"] != NOT_TESTED].groupby("data", sort=False):
        ceiling = rows["ceiling"].dropna()
        known = f", mean noise ceiling r = {ceiling.iloc[0]:.2g}" if len(ceiling) else ""
        subjects = int(rows["subjects"].max())
        parts.append(
            f"{subjects} subject{'s' if subjects != 1 else ''} with {data} of {int(rows['images'].min()):,} images at "
            f"{int(rows['targets'].max()):,} targets{known}"
        )
    if not parts:
        return "No recording could be tested"
    return f"{', and '.join(parts)}, were compared with a network's activations and gradients"


def _said(rows: Mapping[str, Mapping[str, Any]], id: str, words: str) -> str:
    """ "the order in time: supported (-0.1 s, 95 % interval -0.2 to -0.05, p = 0.01)"."""
    if id not in rows:
        return f"{words}: not asked"
    row = rows[id]
    numbers = []
    if not np.isnan(row["estimate"]):
        numbers.append(_amount(row["estimate"], row["units"]))
        if not np.isnan(row["low"]):
            numbers.append(f"95 % interval {row['low']:.3g} to {row['high']:.3g}")
        numbers.append(f"p = {row['p']:.3g}")
    return f"{words}: {row['conclusion']}{' (' + ', '.join(numbers) + ')' if numbers else ''}"


def _amount(value: float, units: str) -> str:
    """ "r = 0.3", "-0.1 s" or "0.2 of the variance"."""
    return {"r": f"r = {value:.3g}", "share": f"{value:.3g} of the variance"}.get(units, f"{value:.3g} {units}")


def _together(rows: Mapping[str, Mapping[str, Any]]) -> str:
    asked = {id: rows[id]["conclusion"] for id in DECIDING if id in rows}
    if not asked:
        return "None of the tests that could tell were run, so that this page has no answer."
    orders = [_said(rows, id, words) for id, words in list(DECIDING.items())[2:] if id in rows]
    supported = [id for id, conclusion in asked.items() if conclusion == SUPPORTED]
    counted = f"{len(supported)} of {len(asked)} tests that only ordered gradients should pass were passed"
    if len(supported) == len(asked):
        sense = "this is what backpropagation predicts, but no proof of it: read in which case each claim is wrong"
    elif supported:
        sense = "the answer is mixed"
    elif set(asked.values()) == {NOT_FOUND}:
        sense = "nothing speaks for such gradients here, as far as the power of the tests goes"
    else:
        sense = "such data cannot answer the question"
    words = "; ".join([*orders, counted])
    return f"{words[:1].upper()}{words[1:]}: {sense}."


def missed(table: pd.DataFrame) -> list[dict[str, Any]]:
    """What null results could have missed: a row for each claim that was tested and not supported.

    Returns
    -------
    "claim", "estimate", "units", "largest" (the upper end of the interval, NaN where there is none), "smallest p",
    "power" (in words) of each
    """
    open_rows = table[table["conclusion"].isin([NOT_FOUND, CANNOT_DECIDE])]
    return [
        {
            "claim": row["claim"],
            "estimate": row["estimate"],
            "units": row["units"],
            "largest": row["high"],
            "smallest p": row["smallest p"],
            "power": f"where it is true, found in {row['simulated']}" if row["power counts"] else "not known",
        }
        for row in open_rows.to_dict("records")
    ]


def methods(table: pd.DataFrame, facts: Mapping[str, Any]) -> str:
    """A paragraph of methods, of what this study did and with the numbers of its settings."""
    setting = {name.removeprefix("settings."): value for name, value in facts.items() if name.startswith("settings.")}
    ids = list(table["id"])
    sentences = [
        f"Encoding models were fitted with gradkern {facts.get('gradkern', '(version unknown)')} "
        f"(PyTorch {facts.get('torch', '?')}, NumPy {facts.get('numpy', '?')}).",
        "Responses were predicted from activations and from backpropagated gradients of every layer by ridge "
        "regression; each target's penalty was chosen inside the training images, and r is of held-out images.",
        f"p values are from {setting.get('permutations', '?')} permutations of images, counting the observed order "
        f"(Phipson & Smyth, 2010), and intervals from {setting.get('bootstraps', '?')} resamplings of images.",
    ]
    if any("-beyond:" in id for id in ids):
        sentences.append(
            "What gradients tell beyond activations, outputs, categories, image statistics and difficulty was tested "
            "by conditional randomization, readouts of these being removed from responses and gradients out of fold."
        )
    if _spatial(ids):
        sentences.append(
            "The correlation of the preferred layer with the cortical hierarchy was compared with that of random maps "
            "of the same smoothness (Burt et al., 2020), with predictability as a covariate."
        )
    if any("temporal-order" in id or "later-than" in id for id in ids):
        sentences.append(
            "Latencies of gradients and activations were compared after both were brought to one size and noise, and "
            "their order with that of layers in permuted order."
        )
    sentences.append("Power and false-positive rates are of the same tests in simulated studies of known truth.")
    return " ".join(sentences)


def references(ids: Sequence[str]) -> list[str]:
    """What the methods of these claims cite, each once."""
    cited = [text for start, texts in _REFERENCES.items() if any(id.startswith(start) for id in ids) for text in texts]
    return list(dict.fromkeys(cited))


def _spatial(ids: Sequence[str]) -> bool:
    return any(id == "activation-maps-hierarchy" or "spatial-order" in id for id in ids)
