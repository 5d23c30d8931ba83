"""One self-contained HTML page: what was done, the numbers, the figures, and what they do and do not say."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from gradkern.plotting._claims import numbers_by_name
from gradkern.study._demo.layers import GRADIENT_KINDS
from gradkern.study.claims._claim import INHERITED
from gradkern.study.power._rates import EARLIER_CODE, SIMULATED_CLAIMS, is_current, simulated_rates
from gradkern.study.report._answer import answer, methods, missed, references
from gradkern.study.report._contents import contents_of
from gradkern.study.report._picture import Picture
from gradkern.study.report._words import CONCLUSIONS, counts_in_words, in_words, wrong_if


@dataclass(frozen=True)
class Best:
    """The best layer of one kind and objective for one target."""

    target: str
    kind: str
    objective: str
    layer: str
    r: float
    low: float
    high: float


def best_layers(scores: xr.Dataset) -> list[Best]:
    """For each target, the layer with the largest r of the activations and of each gradient (of unit length)."""
    found = []
    for target in scores.target.values[::-1]:
        here = scores.sel(target=target)
        found.append(_best(str(target), "activation", "–", here.activation, here.activation_interval))
        for kind in GRADIENT_KINDS:
            for objective in scores.objective.values:
                of = here.sel(objective=objective, scaling="unit length")
                found.append(_best(str(target), kind, str(objective), of[kind], of[f"{kind}_interval"]))
    return found


def _best(target: str, kind: str, objective: str, r: xr.DataArray, interval: xr.DataArray) -> Best:
    top = int(np.argmax(r.values))
    low, high = (float(interval[top].sel(bound=bound)) for bound in ("low", "high"))
    return Best(target, kind.replace("_", " "), objective, str(r.layer.values[top]), float(r[top]), low, high)


def write_report(
    scores: xr.Dataset, pictures: Sequence[Picture], facts: Mapping[str, Any], simulated: Any = None
) -> str:
    """The demo's page as HTML; pictures are inside it.

    Parameters
    ----------
    facts : provenance, printed as a table at the end
    simulated : verdicts on simulated brains, of `simulated_verdicts`; None: left out
    """
    comparisons = [
        (str(t), float(scores.noise_ceiling.sel(target=t)), float(scores.pixels.sel(target=t)))
        for t in scores.target.values[::-1]
    ]
    return _page(
        "report.html.j2",
        pictures,
        facts,
        best=best_layers(scores),
        comparisons=comparisons,
        layers=scores.sizes["layer"],
        power=power_table(simulated_rates(), _without_controls()),
        simulated=simulated,
    )


def _without_controls() -> list[str]:
    """Claims that compare gradients with no control."""
    claims = SIMULATED_CLAIMS.values()
    return [claim.id for claim in claims if not any("gradient/" in str(argument) for argument in claim.arguments)]


def write_verdict(
    table: pd.DataFrame,
    power: pd.DataFrame,
    pictures: Sequence[Picture],
    facts: Mapping[str, Any],
    notes: Sequence[str],
    survived: pd.DataFrame | None = None,
    diagnostics: Mapping[str, str] | None = None,
) -> str:
    """A verdict's page as HTML; pictures are inside it.

    Parameters
    ----------
    table : of `verdict`
    power : of `power.rates`; the claims of the table are shown
    facts : provenance, printed as a table at the end
    notes : what was left out and what was done to the data, in words
    survived : of `survival`
    diagnostics : what was looked at, in words, and what it is
    """
    rows = [_shown(row) for row in table.to_dict("records")]
    return _page(
        "verdict.html.j2",
        pictures,
        facts,
        rows=rows,
        counts=counts_in_words(table),
        groups=[(name, [row for row in rows if row["conclusion"] == name]) for name in CONCLUSIONS],
        notes=notes,
        warned=table.attrs.get("notes", []),
        survived=None if survived is None else survived.to_dict("records"),
        power=power_table(power, list(table["id"])),
        sentences=answer(table),
        missed=missed(table),
        diagnostics=dict(diagnostics or {}),
        methods=methods(table, facts),
        references=references(list(table["id"])),
    )


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with what the page says about it in words."""
    return {
        **row,
        "words": in_words(row),
        "wrong": wrong_if(row),
        "each": numbers_by_name(row["by subject"]),
        "layers": numbers_by_name(row["by layer"]),
    }


def power_table(rates: pd.DataFrame, ids: Sequence[str]) -> dict[str, Any]:
    """Rates of claims or tests: a row per test, a column per organisation, of the size with most brains.

    Returns
    -------
    "organisations", "brains" (how many), "size" (of their study, in words), "measured" (with which code, in words; ""
    if with the running one), and "rows" of "id", "test" (in words), "level" and "cells": "text", and whether it is
    "odd", not as expected; "others" of "test", "organisation", "size", "expected" and "cell", of tests that were
    simulated at other sizes only

    Raises
    ------
    ValueError : none of the ids is in the rates
    """
    sizes = ["images", "subjects", "ceiling"]
    usual = list(rates.groupby(sizes)["runs"].sum().idxmax())  # of which most brains are known
    chosen = rates[(rates[sizes] == usual).all(axis=1) & rates["id"].isin(ids)]
    if chosen.empty:
        raise ValueError(f"power_table: ids must be in the rates, got {list(ids)}")
    organisations = list(dict.fromkeys(chosen["organisation"]))
    cells = {(row["id"], row["organisation"]): row for row in chosen.to_dict("records")}
    rows = []
    for id in dict.fromkeys(id for id in ids if id in set(chosen["id"])):
        of_test = [cells[id, name] for name in organisations]
        rows.append(
            {
                "id": id,
                "test": of_test[0]["text"],
                "level": f"{of_test[0]['level']:g}",
                "cells": [_cell(row) for row in of_test],
            }
        )
    runs = chosen.groupby("organisation")["runs"].max()
    current = all(is_current(row["id"], row["code"]) for row in chosen.to_dict("records"))
    return {
        "organisations": organisations,
        "brains": int(runs.sum()),
        "size": _size(int(usual[0]), int(usual[1]), usual[2]),
        "measured": "" if current else EARLIER_CODE,
        "rows": rows,
        "others": _others(rates[rates["id"].isin(set(ids) - {row["id"] for row in rows})]),
    }


def _others(rates: pd.DataFrame) -> list[dict[str, Any]]:
    """A row for each organisation and size of the tests that were simulated at other sizes only."""
    return [
        {
            "test": row["text"],
            "organisation": row["organisation"],
            "size": _size(row["images"], row["subjects"], row["ceiling"]),
            "expected": row["expected"],
            "cell": _cell(row),
        }
        for row in rates.to_dict("records")
    ]


def _size(images: int, subjects: int, ceiling: float) -> str:
    return f"{images} images, {subjects} subjects, a noise ceiling of {ceiling:g}"


def _cell(row: Mapping[str, Any]) -> dict[str, Any]:
    counts = f"{row['found']} of {row['runs']}"
    text = f"({counts})" if row["expected"] == INHERITED else counts
    refused = f", {row['refused']} not tested" if row["refused"] else ""
    return {"text": f"{text}{refused}", "odd": row["as expected"] is False}


def _page(template: str, pictures: Sequence[Picture], facts: Mapping[str, Any], **values: Any) -> str:
    folder = files("gradkern.study.report")

    def text(name: str) -> str:
        return folder.joinpath(name).read_text(encoding="utf-8")

    environment = Environment(
        loader=FunctionLoader(text), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["number"] = lambda value: "–" if np.isnan(value) else f"{value:.3g}"
    topics: dict[str, list[Picture]] = {}
    for picture in pictures:
        topics.setdefault(picture.topic, []).append(picture)
    contents = contents_of(_every_picture(pictures, values))
    # nothing but these runs or styles the page, whatever names it shows: the policy of the page has their hashes
    script = f'\n"use strict";\n{text("script.html.j2")}{text("viewer.html.j2") if contents.scenes else ""}'
    style = f"\n{text('style.html.j2')}"
    page: str = environment.get_template(template).render(
        topics=topics, facts=facts, contents=contents, script=script, style=style,
        hashes={"script": _hash(script), "style": _hash(style)}, **values,
    )  # fmt: skip
    return page


def _every_picture(pictures: Sequence[Picture], values: Mapping[str, Any]) -> list[Picture]:
    """Pictures of the page, those of simulated brains included."""
    simulated = values.get("simulated")
    return [*pictures, *(each for shown in (simulated.pictures.values() if simulated else ()) for each in shown)]


def _hash(text: str) -> Markup:
    """What a content security policy calls a text."""
    return Markup(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'")
