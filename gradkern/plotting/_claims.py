"""Figures of a verdict and of its multiverse."""

from textwrap import fill

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


def verdict_estimates(table: pd.DataFrame) -> Figure:
    """Plot every claim's estimate with its interval, correlations on the left and times on the right.

    Parameters
    ----------
    table : of `gradkern.study.verdict`; where a claim has no estimate, its conclusion is written instead
    """
    colors = {"supported": COLORS["gradient"], "not found": "#888888", "not tested": "#bbbbbb"}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 0.34 * len(table) + 1.3), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True, width_ratios=[1.4, 1])
        for panel, unit in zip(panels, ("r", "s"), strict=True):
            panel.axvline(0, color="#cccccc", linewidth=0.8, zorder=0)
            panel.set_xlabel(f"{unit}, with 95 % interval")
            for line, row in enumerate(table.to_dict("records")):
                if row["units"] != unit:
                    continue
                color = colors[row["conclusion"]]
                if np.isnan(row["estimate"]):
                    inside = panel.get_yaxis_transform()
                    panel.text(
                        0.5, line, row["conclusion"], color="#888888", va="center", ha="center", transform=inside
                    )
                    continue
                panel.plot(row["estimate"], line, "o", color=color, markersize=5)
                panel.hlines(line, row["low"], row["high"], color=color, linewidth=1.4)
        panels[0].set_yticks(range(len(table)), list(table["claim"]))
        panels[0].set_ylim(len(table) - 0.5, -0.5)
        shown = [name for name in colors if name in set(table["conclusion"]) and name != "not tested"]
        handles = [Line2D([], [], color=colors[name], marker="o", label=name) for name in shown]
        if handles:
            figure.legend(handles=handles, loc="outside upper right", ncols=len(handles))
    return figure
