"""The order of layers over the cortex and in time, forward beside backward."""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradkern.errors import naming
from gradkern.plotting._scored import grid_of, mean_over
from gradkern.plotting._style import STYLE, counted, headline, kind_styles, say_if_zero_is_hidden

_BINS = 10
_FEWEST = 3  # targets in a bin


@naming("depth_by_hierarchy")
def depth_by_hierarchy(
    depths: Mapping[str, Any], hierarchy: Any, label: str = "distance to V1 along the cortex (mm)"
) -> Figure:
    """Plot the depth that every target prefers against its place in the hierarchy: a panel for each kind.

    Points are targets; the line joins medians of ten groups of as many targets, and bars are their middle halves.

    Parameters
    ----------
    depths : kind -> [v], such as `preferred_depth(...).depth`; NaN where a target prefers none
    hierarchy : [v], such as the targets' "distance" to V1 or latency; NaN where it is not known
    label : of the hierarchy, with the unit

    Raises
    ------
    ValueError : no kinds, another number of depths than of values of the hierarchy, no target that has both
    """
    places = np.asarray(hierarchy, dtype=np.float64)
    _check(depths, places)
    styles = kind_styles(list(depths))
    rows, columns = grid_of(len(depths))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.1 * columns + 0.4, 2.9 * rows + 0.2), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axis in axes.flat[len(depths) :]:
            axis.remove()
        for axis, (kind, values) in zip(axes.flat, depths.items(), strict=False):
            depth = np.asarray(values, dtype=np.float64)
            known = np.isfinite(depth) & np.isfinite(places)
            axis.scatter(places[known], depth[known], s=6, color=styles[kind]["color"], alpha=0.3, linewidth=0)
            _medians(axis, places[known], depth[known])
            left_out = int((~known).sum())
            without = f", {left_out:,} without" if left_out else ""
            axis.set_title(f"{styles[kind]['label']}\nn = {counted(int(known.sum()), 'target')}{without}")
            axis.set_ylim(-0.04, 1.04)
        for axis in axes[:, 0]:
            axis.set_ylabel("preferred depth (0: first layer, 1: last)")
        for axis in axes.flat[max(0, len(depths) - columns) : len(depths)]:
            axis.set_xlabel(label)
            axis.tick_params(labelbottom=True)
            say_if_zero_is_hidden(axis, "x")
    return figure


def _check(depths: Mapping[str, Any], places: NDArray[np.float64]) -> None:
    if not depths:
        raise ValueError("depths must be of at least one kind, got none")
    for kind, values in depths.items():
        if places.ndim != 1 or np.shape(values) != places.shape:
            raise ValueError(
                f"depths must be [v] as the hierarchy, got {list(np.shape(values))} of {kind!r} and "
                f"{list(places.shape)}"
            )
        if not (np.isfinite(np.asarray(values, dtype=np.float64)) & np.isfinite(places)).any():
            raise ValueError(f"depths must have a target with a depth and a place, got none of {kind!r}")


def _medians(axis: Any, places: NDArray[np.float64], depth: NDArray[np.float64]) -> None:
    """Medians and middle halves of groups of as many targets."""
    groups = np.array_split(np.argsort(places, kind="stable"), min(_BINS, max(1, len(places) // _FEWEST)))
    centers = np.array([np.median(places[group]) for group in groups])
    low, middle, high = np.array([np.quantile(depth[group], [0.25, 0.5, 0.75]) for group in groups]).T
    axis.errorbar(
        centers, middle, [middle - low, high - middle], color="black", marker="o", markersize=3.5, linewidth=1.2
    )


@naming("latency_by_depth")
def latency_by_depth(latencies: Mapping[str, Any], depth: Any, *, errors: Mapping[str, Any] | None = None) -> Figure:
    """Plot the latency of each layer against its depth: a line for each kind, thin ones for subjects.

    A forward sweep rises: deep layers come late. Backpropagation falls: gradients of deep layers come first.

    Parameters
    ----------
    latencies : kind -> [l] or [subjects, l], in s after onset; NaN where a layer has none
    depth : [l], relative depth of the layers
    errors : kind -> [l], standard errors of the mean latencies in s, drawn as bars; None: no bars

    Raises
    ------
    ValueError : no kinds, another number of latencies than of layers, no latency at all
    """
    depth = np.asarray(depth, dtype=np.float64)
    if not latencies:
        raise ValueError("latencies must be of at least one kind, got none")
    styles = kind_styles(list(latencies))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.8, 3.3), layout="constrained")
        axis = figure.subplots()
        subjects = 1
        for kind, given in latencies.items():
            curves = 1000 * np.atleast_2d(np.asarray(given, dtype=np.float64))
            if curves.shape[1:] != depth.shape or not np.isfinite(curves).any():
                raise ValueError(f"latencies must be [{len(depth)}] with a number, got {curves.shape[1:]} of {kind!r}")
            subjects = max(subjects, len(curves))
            if len(curves) > 1:
                axis.plot(depth, curves.T, color=styles[kind]["color"], linewidth=0.6, alpha=0.45)
            error = None if not errors or kind not in errors else 1000 * np.asarray(errors[kind], dtype=np.float64)
            axis.errorbar(
                depth, mean_over(curves, 0), error, marker="o", markersize=4, linewidth=1.6, capsize=2, **styles[kind]
            )
        axis.set_xlabel("relative depth of the layer")
        axis.set_ylabel("latency after onset (ms)")
        say_if_zero_is_hidden(axis)
        figure.legend(*axis.get_legend_handles_labels(), loc="outside right center", fontsize=8)
        bars = "; bars: standard errors" if errors else ""
        thin = "; thin lines: subjects" if subjects > 1 else ""
        title = f"n = {counted(subjects, 'subject')}, {counted(len(depth), 'layer')}{bars}{thin}"
        headline(figure, title)
    return figure
