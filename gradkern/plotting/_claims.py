"""Figures of a verdict and of its multiverse."""

import json
from collections.abc import Mapping
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradkern.errors import naming
from gradkern.plotting._style import COLORS, STYLE


@naming("specification_curve")
def specification_curve(table: pd.DataFrame, claim: str) -> Figure:
    """Plot the estimates of a claim in every analysis of a multiverse, in order, over the choices of each analysis.

    Parameters
    ----------
    table : of `gradkern.study.multiverse`
    claim : one of its claims

    Raises
    ------
    ValueError : no such claim
    """
    if claim not in set(table["claim"]):
        raise ValueError(f"claim must be one of {sorted(set(table['claim']))}, got {claim!r}")
    runs = table[table["claim"] == claim]
    choices = list(table.columns[: table.columns.get_loc("changed")])
    varied = [name for name in choices if runs[name].nunique() > 1] or choices
    rows = [(name, option) for name in varied for option in dict.fromkeys(runs[name])]
    tested = runs[runs["value"].notna()].sort_values("value", kind="stable")
    position = np.arange(len(tested))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(4.5, 0.28 * len(tested) + 2.5), 2.4 + 0.2 * len(rows)), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 0.2 * len(rows)])
        top.plot(position, tested["value"], "o", color=COLORS["gradient"], markersize=4)
        top.vlines(position, tested["low"], tested["high"], color=COLORS["gradient"], linewidth=1.2, alpha=0.6)
        unchanged = np.flatnonzero(tested["changed"] == "")
        top.plot(
            position[unchanged], tested["value"].iloc[unchanged], "o", color="#d1731f", markersize=7, fillstyle="none"
        )
        top.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)
        top.set_ylabel("estimate and 95 % interval")
        without = f"{len(runs) - len(tested)} refused or not tested"
        top.set_title(f"{fill(claim, 60)}\n{len(tested)} analyses, {without}; circled: the study as it is", loc="left")
        for row, (name, option) in enumerate(rows):
            chosen = position[(tested[name] == option).to_numpy()]
            bottom.plot(chosen, np.full(len(chosen), row), "s", color="#222222", markersize=3.5)
        bottom.set_yticks(range(len(rows)), [f"{name}: {option}" for name, option in rows])
        bottom.set_ylim(len(rows) - 0.5, -0.5)
        bottom.set_xticks([])
        bottom.spines["bottom"].set_visible(False)
    return figure


_CONCLUDED = {"supported": COLORS["gradient"], "cannot decide": "#d1731f", "not found": "#888888"}


def verdict_estimates(table: pd.DataFrame) -> Figure:
    """Plot every claim's estimate with its interval: a panel for each modality and unit, each with a scale of its own.

    Parameters
    ----------
    table : of `gradkern.study.verdict`; small ticks are the subjects, and where a claim has no estimate, its conclusion
        is written instead
    """
    panels = [(f"{data}, {unit}", rows) for (data, unit), rows in table.groupby(["data", "units"], sort=False)]
    lines = [len(rows) for _, rows in panels]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 0.3 * sum(lines) + 0.75 * len(panels) + 0.4), layout="constrained")
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=lines)[:, 0]
        for axis, (name, rows) in zip(axes, panels, strict=True):
            axis.axvline(0, color="#cccccc", linewidth=0.8, zorder=0)
            axis.set_xlabel(f"{name}, with 95 % interval")
            for line, row in enumerate(rows.to_dict("records")):
                _estimate(axis, line, row)
            axis.set_yticks(range(len(rows)), list(rows["claim"]))
            axis.set_ylim(len(rows) - 0.5, -0.5)
        shown = [name for name in _CONCLUDED if name in set(table["conclusion"])]
        handles = [Line2D([], [], color=_CONCLUDED[name], marker="o", label=name) for name in shown]
        if handles:
            figure.legend(handles=handles, loc="outside upper right", ncols=len(handles))
    return figure


def _estimate(axis: Any, line: int, row: Mapping[str, Any]) -> None:
    """One claim: its estimate, its interval, and its subjects."""
    if np.isnan(row["estimate"]):
        inside = axis.get_yaxis_transform()
        axis.text(0.5, line, row["conclusion"], color="#888888", va="center", ha="center", transform=inside)
        return
    color = _CONCLUDED[row["conclusion"]]
    subjects = numbers_by_name(row["by subject"])
    axis.plot(list(subjects.values()), [line] * len(subjects), "|", color="#222222", markersize=7)
    axis.plot(row["estimate"], line, "o", color=color, markersize=5)
    axis.hlines(line, row["low"], row["high"], color=color, linewidth=1.4)


@naming("estimates_by_layer")
def estimates_by_layer(table: pd.DataFrame) -> Figure:
    """Plot the estimates of claims at every layer: a panel for each modality and unit.

    Parameters
    ----------
    table : of `gradkern.study.verdict`; claims without estimates "by layer" are left out

    Raises
    ------
    ValueError : no claim has estimates by layer
    """
    with_layers = table[table["by layer"] != ""]
    if with_layers.empty:
        raise ValueError("table must have estimates by layer, got none")
    panels = [(f"{data}, {unit}", rows) for (data, unit), rows in with_layers.groupby(["data", "units"], sort=False)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 3.1 * len(panels)), layout="constrained")
        axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
        for axis, (name, rows) in zip(axes, panels, strict=True):
            axis.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)
            for row in rows.to_dict("records"):
                values = numbers_by_name(row["by layer"])
                axis.plot(list(values), list(values.values()), "o-", markersize=3, linewidth=1.2, label=row["claim"])
            axis.set_ylabel(name)
            axis.tick_params(axis="x", rotation=90 if len(axis.lines[1].get_xdata()) > 8 else 0)
            axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7)
    return figure


def numbers_by_name(cell: str) -> dict[str, float]:
    """The numbers of a cell "by subject" or "by layer" of a verdict, by name; NaN for null."""
    return {name: np.nan if value is None else value for name, value in json.loads(cell or "{}").items()}
