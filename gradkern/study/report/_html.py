"""One self-contained HTML page: what was done, the numbers, the figures, and what they do and do not say."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jinja2 import Environment, FunctionLoader, StrictUndefined
from matplotlib.figure import Figure

from gradkern.study._demo.layers import GRADIENT_KINDS
from gradkern.study.claims._verdict import NOT_TESTED, SUPPORTED
from gradkern.study.power._rates import VERDICT, simulated_rates

_ENOUGH = 0.8  # power, at which finding nothing says something


@dataclass(frozen=True)
class Picture:
    """A figure as a file and in the page."""

    name: str
    caption: str
    png: bytes

    @classmethod
    def of(cls, name: str, caption: str, figure: Figure) -> "Picture":
        """Draw the figure, once: a second drawing may differ by a pixel."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", bbox_inches="tight", metadata={"Software": "gradkern"})
        return cls(name, caption, buffer.getvalue())


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


def write_report(scores: xr.Dataset, pictures: Sequence[Picture], facts: Mapping[str, Any]) -> str:
    """The demo's page as HTML; pictures are inside it.

    Parameters
    ----------
    facts : provenance, printed as a table at the end
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
        power=power_table(simulated_rates(), [claim for claim in VERDICT if "gradient/" not in claim]),
    )


def write_verdict(
    table: pd.DataFrame,
    power: pd.DataFrame,
    pictures: Sequence[Picture],
    facts: Mapping[str, Any],
    notes: Sequence[str],
    survived: pd.DataFrame | None = None,
) -> str:
    """A verdict's page as HTML; pictures are inside it.

    Parameters
    ----------
    table : of `verdict.verdict`
    power : of `rates.rates`; the claims of the table are shown
    facts : provenance, printed as a table at the end
    notes : what was left out and what was done to the data, in words
    survived : of `multiverse.survival`
    """
    rows = [(row, in_words(row)) for row in table.to_dict("records")]
    return _page(
        "verdict.html.j2",
        pictures,
        facts,
        rows=rows,
        notes=notes,
        survived=None if survived is None else survived.to_dict("records"),
        power=power_table(power, list(table["claim"])),
    )


def in_words(row: Mapping[str, Any]) -> str:
    """What a row of a verdict says, for somebody who reads nothing else."""
    if row["conclusion"] == NOT_TESTED:
        return f"Not tested: {row['why']}."
    if row["conclusion"] == SUPPORTED:
        return f"Supported, held against {row['against']}."
    if np.isnan(row["power"]):
        return "Not found; how often this test finds it where it is there, in a study no larger, is not known."
    worth = "as strong as there, it would likely have been found" if row["power"] >= _ENOUGH else "this says little"
    return f"Not found. The test found it in {row['simulated']}: {worth}."


def power_table(rates: pd.DataFrame, tests: Sequence[str]) -> dict[str, Any]:
    """Rates of these tests, a row a test and a column an organisation, of the brains that all organisations have.

    Returns
    -------
    "organisations", "brains" (how many), "size" (of their study, in words), and "rows" of "test", "level" and "cells":
    "text" and whether it is "odd", not as wanted

    Raises
    ------
    ValueError : none of the tests is in the rates
    """
    sizes = ["images", "subjects", "ceiling"]
    usual = list(rates.groupby(sizes)["organisation"].nunique().idxmax())
    here = rates[(rates[sizes] == usual).all(axis=1) & rates["test"].isin(tests)]
    if here.empty:
        raise ValueError(f"power_table: tests must be in the rates, got {list(tests)}")
    organisations = list(dict.fromkeys(here["organisation"]))
    cells = {(row["test"], row["organisation"]): row for row in here.to_dict("records")}
    rows = []
    for test in dict.fromkeys(test for test in tests if test in set(here["test"])):
        each = [cells[test, name] for name in organisations]
        rows.append({"test": test, "level": f"{each[0]['level']:g}", "cells": [_cell(row) for row in each]})
    runs = here.groupby("organisation")["runs"].max()
    size = f"{usual[0]} images, {usual[1]} subjects, a noise ceiling of {usual[2]:g}"
    return {"organisations": organisations, "brains": int(runs.sum()), "size": size, "rows": rows}


def _cell(row: Mapping[str, Any]) -> dict[str, Any]:
    text = f"{row['rate']:.2f}" if row["claim"] != "inherited" else f"({row['rate']:.2f})"
    refused = f", {row['refused']} not tested" if row["refused"] else ""
    return {"text": f"{text} of {row['runs']}{refused}", "odd": row["as wanted"] is False}


def _page(template: str, pictures: Sequence[Picture], facts: Mapping[str, Any], **values: Any) -> str:
    folder = files("gradkern.study.report")
    loader = FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8"))
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["number"] = lambda value: "–" if np.isnan(value) else f"{value:.3g}"
    shown = [(p.name, p.caption, base64.b64encode(p.png).decode()) for p in pictures]
    page: str = environment.get_template(template).render(pictures=shown, facts=facts, **values)
    return page
