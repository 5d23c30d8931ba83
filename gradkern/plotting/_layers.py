"""Figures of the demo's scores over layers."""

from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from gradkern.plotting._style import COLORS, LABELS, STYLE


def scores_by_layer(scores: xr.Dataset) -> Figure:
    """Plot held-out r against the block: a row for each target, a column for each objective, with 95 % intervals.

    Parameters
    ----------
    scores : of `gradkern demo`: activation [layer, target]; gradient and weight_gradient [objective, scaling, layer,
        target]; pixels and noise_ceiling [target]; and their intervals
    """
    targets, objectives = scores.target.values[::-1], scores.objective.values
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3 * len(objectives) + 1.2, 2.6 * len(targets) + 0.7), layout="constrained")
        axes = figure.subplots(len(targets), len(objectives), squeeze=False, sharex=True, sharey="row")
        for row, target in zip(axes, targets, strict=True):
            of_target = scores.sel(target=target)
            for axis, objective in zip(row, objectives, strict=True):
                _comparisons(axis, of_target)
                _curve(axis, of_target.activation, of_target.activation_interval, "activation")
                gradients = of_target.sel(objective=objective, scaling="unit length")
                for kind in ("gradient", "weight_gradient"):
                    _curve(axis, gradients[kind], gradients[f"{kind}_interval"], kind)
                axis.set_title(f"{target}: {objective}")
            row[0].set_ylabel("held-out r")
        for axis in axes[-1]:
            axis.set_xlabel("block")
            axis.set_xticks(np.arange(0, scores.sizes["layer"], 3))
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _comparisons(axis: Any, scores: xr.Dataset) -> None:
    """The noise ceiling and the score of the pixels, as horizontal lines."""
    axis.axhline(float(scores.noise_ceiling), color="#888888", linestyle="--", linewidth=1, label="noise ceiling")
    axis.axhline(float(scores.pixels), color="#888888", linestyle=":", linewidth=1.2, label="16x16 grey pixels")
    axis.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)


def _curve(axis: Any, r: xr.DataArray, interval: xr.DataArray, kind: str) -> None:
    blocks = np.arange(r.sizes["layer"])
    axis.plot(blocks, r, color=COLORS[kind], marker="o", markersize=3, linewidth=1.4, label=LABELS[kind])
    axis.fill_between(
        blocks, interval.sel(bound="low"), interval.sel(bound="high"), color=COLORS[kind], alpha=0.15, linewidth=0
    )


def score_map(scores: xr.Dataset, target: str) -> Figure:
    """Draw held-out r of one target as a map of feature spaces by blocks, each value written in its cell.

    Parameters
    ----------
    scores : as in `scores_by_layer`
    target : one of its targets
    """
    of_target = scores.sel(target=target)
    rows = [("activation", of_target.activation)]
    for kind in ("gradient", "weight_gradient"):
        for objective in scores.objective.values:
            gradients = of_target[kind].sel(objective=objective, scaling="unit length")
            rows.append((f"{LABELS[kind]}: {objective}", gradients))
    values = np.array([np.asarray(row) for _, row in rows])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.52 * values.shape[1] + 3, 0.36 * len(rows) + 1.2), layout="constrained")
        axis = figure.subplots()
        image = axis.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        for (i, j), value in np.ndenumerate(values):
            ink = "white" if abs(value) > 0.6 else "black"
            axis.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color=ink)
        axis.set_yticks(range(len(rows)), [name for name, _ in rows])
        axis.set_xticks(range(values.shape[1]))
        axis.set_xlabel("block")
        axis.set_title(f"{target}: held-out r (noise ceiling {float(of_target.noise_ceiling):.2f})")
        axis.spines[:].set_visible(False)
        figure.colorbar(image, ax=axis, label="r", shrink=0.8)
    return figure
