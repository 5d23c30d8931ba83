"""Figures from scores. The only drawing code; it computes nothing."""

from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

_COLOURS = {"activation": "#222222", "gradient": "#2a6fbb", "weight_gradient": "#d1731f"}
_LABELS = {"activation": "activation", "gradient": "gradient", "weight_gradient": "weight gradient"}
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "figure.dpi": 150,
    "savefig.bbox": "tight",
    "legend.frameon": False,
}


def scores_by_layer(scores: xr.Dataset) -> Figure:
    """Held-out r against the block: one row a target, one column an objective, with 95 % intervals.

    Parameters
    ----------
    scores : of `analysis.demo_scores`
    """
    targets, objectives = scores.target.values[::-1], scores.objective.values
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(3 * len(objectives) + 1.2, 2.6 * len(targets) + 0.7), layout="constrained")
        axes = figure.subplots(len(targets), len(objectives), squeeze=False, sharex=True, sharey="row")
        for row, target in zip(axes, targets, strict=True):
            for axis, objective in zip(row, objectives, strict=True):
                here = scores.sel(target=target)
                _comparisons(axis, here)
                _curve(axis, here.activation, here.activation_interval, "activation")
                for kind in ("gradient", "weight_gradient"):
                    of = here.sel(objective=objective, scaling="unit length")
                    _curve(axis, of[kind], of[f"{kind}_interval"], kind)
                axis.set_title(f"{target}: {objective}")
            row[0].set_ylabel("held-out r")
        for axis in axes[-1]:
            axis.set_xlabel("block")
            axis.set_xticks(np.arange(0, scores.sizes["layer"], 3))
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _comparisons(axis: Any, scores: xr.Dataset) -> None:
    axis.axhline(float(scores.noise_ceiling), color="#888888", linestyle="--", linewidth=1, label="noise ceiling")
    axis.axhline(float(scores.pixels), color="#888888", linestyle=":", linewidth=1.2, label="16x16 grey pixels")
    axis.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)


def _curve(axis: Any, r: xr.DataArray, interval: xr.DataArray, kind: str) -> None:
    blocks = np.arange(r.sizes["layer"])
    axis.plot(blocks, r, color=_COLOURS[kind], marker="o", markersize=3, linewidth=1.4, label=_LABELS[kind])
    axis.fill_between(
        blocks, interval.sel(bound="low"), interval.sel(bound="high"), color=_COLOURS[kind], alpha=0.15, linewidth=0
    )


def score_map(scores: xr.Dataset, target: str) -> Figure:
    """Held-out r of one target as a map: feature spaces by blocks, each value written in its cell."""
    of = scores.sel(target=target)
    rows = [("activation", of.activation)]
    for kind in ("gradient", "weight_gradient"):
        for objective in scores.objective.values:
            rows.append((f"{_LABELS[kind]}: {objective}", of[kind].sel(objective=objective, scaling="unit length")))
    values = np.array([np.asarray(row) for _, row in rows])
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(0.52 * values.shape[1] + 3, 0.36 * len(rows) + 1.2), layout="constrained")
        axis = figure.subplots()
        image = axis.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        for (i, j), value in np.ndenumerate(values):
            axis.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color=_ink(value))
        axis.set_yticks(range(len(rows)), [name for name, _ in rows])
        axis.set_xticks(range(values.shape[1]))
        axis.set_xlabel("block")
        axis.set_title(f"{target}: held-out r (noise ceiling {float(of.noise_ceiling):.2f})")
        axis.spines[:].set_visible(False)
        figure.colorbar(image, ax=axis, label="r", shrink=0.8)
    return figure


def _ink(value: float) -> str:
    return "white" if abs(value) > 0.6 else "black"


def predicted_against_measured(
    measured: np.ndarray, predicted: dict[str, np.ndarray], target: str, units: str
) -> Figure:
    """One panel a feature space: each image's held-out prediction against its measured response.

    Parameters
    ----------
    measured : [images]
    predicted : name -> [images]
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(3.2 * len(predicted), 3.3), layout="constrained")
        axes = figure.subplots(1, len(predicted), squeeze=False, sharex=True, sharey=True)[0]
        limits = [float(measured.min()), float(measured.max())]
        for axis, (name, values) in zip(axes, predicted.items(), strict=True):
            axis.plot(limits, limits, color="#cccccc", linewidth=1, zorder=0)
            axis.scatter(measured, values, s=10, color="#2a6fbb", alpha=0.7, linewidth=0)
            axis.set_title(name)
            axis.set_xlabel(f"measured {target} ({units})")
        axes[0].set_ylabel("predicted, held out")
    return figure


def extreme_images(images: np.ndarray, responses: np.ndarray, target: str, units: str, count: int = 8) -> Figure:
    """The images with the largest and the smallest response of a target."""
    order = np.argsort(responses)
    rows = {"largest": order[::-1][:count], "smallest": order[:count]}
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(1.15 * count + 0.4, 3.1), layout="constrained")
        axes = figure.subplots(2, count)
        for row, (name, chosen) in zip(axes, rows.items(), strict=True):
            for axis, index in zip(row, chosen, strict=True):
                axis.imshow(images[index], cmap="gray", vmin=0, vmax=255)
                axis.set_title(f"{responses[index]:.2f}", fontsize=8)
                axis.set_xticks([])
                axis.set_yticks([])
                axis.spines[:].set_visible(False)
            row[0].set_ylabel(f"{name} {target}", fontsize=8)
        figure.suptitle(f"Images with the largest and the smallest response of {target} ({units})", fontsize=10)
    return figure


def specification_curve(table: pd.DataFrame, claim: str) -> Figure:
    """One claim of a multiverse: every run's estimate with its interval, in order, over the choices that made it.

    Parameters
    ----------
    table : of `multiverse.multiverse`
    claim : one of its claims

    Raises
    ------
    ValueError : no such claim
    """
    if claim not in set(table["claim"]):
        raise ValueError(f"specification_curve: claim must be one of {sorted(set(table['claim']))}, got {claim!r}")
    here = table[table["claim"] == claim]
    choices = list(table.columns[: table.columns.get_loc("changed")])
    varied = [name for name in choices if here[name].nunique() > 1] or choices
    rows = [(name, option) for name in varied for option in dict.fromkeys(here[name])]
    kept = here[here["value"].notna()].sort_values("value", kind="stable")
    at = np.arange(len(kept))
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(max(4.5, 0.28 * len(kept) + 2.5), 2.4 + 0.2 * len(rows)), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 0.2 * len(rows)])
        top.plot(at, kept["value"], "o", color=_COLOURS["gradient"], markersize=4)
        top.vlines(at, kept["low"], kept["high"], color=_COLOURS["gradient"], linewidth=1.2, alpha=0.6)
        as_it_is = np.flatnonzero(kept["changed"] == "")
        top.plot(at[as_it_is], kept["value"].iloc[as_it_is], "o", color="#d1731f", markersize=7, fillstyle="none")
        top.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)
        top.set_ylabel("estimate, 95 %")
        without = f"{len(here) - len(kept)} refused or not tested"
        top.set_title(f"{fill(claim, 60)}\n{len(kept)} analyses, {without}; circled: as it is", loc="left")
        for place, (name, option) in enumerate(rows):
            chosen = at[(kept[name] == option).to_numpy()]
            bottom.plot(chosen, np.full(len(chosen), place), "s", color="#222222", markersize=3.5)
        bottom.set_yticks(range(len(rows)), [f"{name}: {option}" for name, option in rows])
        bottom.set_ylim(len(rows) - 0.5, -0.5)
        bottom.set_xticks([])
        bottom.spines["bottom"].set_visible(False)
    return figure


def verdict_estimates(table: pd.DataFrame) -> Figure:
    """Every claim's estimate with its interval, correlations on the left and times on the right.

    Parameters
    ----------
    table : of `verdict.verdict`; a claim without an estimate has its conclusion written in its place
    """
    colours = {"supported": _COLOURS["gradient"], "not found": "#888888", "not tested": "#bbbbbb"}
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(11, 0.34 * len(table) + 1.3), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True, width_ratios=[1.4, 1])
        for panel, unit in zip(panels, ("r", "s"), strict=True):
            panel.axvline(0, color="#cccccc", linewidth=0.8, zorder=0)
            panel.set_xlabel(f"{unit}, 95 %")
            for place, row in enumerate(table.to_dict("records")):
                if row["units"] != unit:
                    continue
                colour = colours[row["conclusion"]]
                if np.isnan(row["estimate"]):
                    at = panel.get_yaxis_transform()
                    panel.text(0.5, place, row["conclusion"], color="#888888", va="center", ha="center", transform=at)
                    continue
                panel.plot(row["estimate"], place, "o", color=colour, markersize=5)
                panel.hlines(place, row["low"], row["high"], color=colour, linewidth=1.4)
        panels[0].set_yticks(range(len(table)), list(table["claim"]))
        panels[0].set_ylim(len(table) - 0.5, -0.5)
        shown = [name for name in colours if name in set(table["conclusion"]) and name != "not tested"]
        handles = [Line2D([], [], color=colours[name], marker="o", label=name) for name in shown]
        if handles:
            figure.legend(handles=handles, loc="outside upper right", ncols=len(handles))
    return figure
