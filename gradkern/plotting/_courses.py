"""Scores over layers, regions and times."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradkern.errors import naming
from gradkern.plotting._scored import Subject, mean_over, sizes_in_words, subjects_of, units_of
from gradkern.plotting._style import (
    GREY,
    LABELS,
    MISSING,
    SIGNED,
    STYLE,
    VALUES,
    beyond,
    color_range,
    headline,
    kind_styles,
    say_if_zero_is_hidden,
    scale_label,
)
from gradkern.stats import ClusterTest

_LEVEL = 0.05


@naming("layer_map")
def layer_map(
    scores: Any,
    by: str = "roi",
    *,
    variable: str = "r",
    order: Sequence[Any] | None = None,
    limits: tuple[float, float] | None = None,
    signed: bool = False,
) -> Figure:
    """Draw the mean score of each layer in every region, or at every time: a panel for each kind, on one scale.

    Circles mark the best layer of each column; the bars below are the noise ceiling (r).

    Parameters
    ----------
    scores : of `encoding.score`, of one model and objective, or a list of them, one for each subject
    by : coordinate of the targets: "roi", "time" (s), or another
    variable : "r", "r2", "r_normalised", ...
    order : values of `by` to show, in this order; None: all, times rising, others as they come
    limits, signed : of the colors; by default they go from 0 to the largest value

    Raises
    ------
    ValueError : targets without `by`, values of it that none has, several models or objectives, NaN everywhere
    """
    subjects = subjects_of(scores, variable)
    columns = _columns(subjects, by, order)
    maps = {
        kind: mean_over(np.array([_by_column(one, one.values[kind], by, columns) for one in subjects]), 0)
        for kind in subjects[0].values
    }
    ceiling = mean_over(np.array([_by_column(one, one.ceiling[None], by, columns)[0] for one in subjects]), 0)
    every = np.concatenate([values.ravel() for values in maps.values()])
    colors = ScalarMappable(Normalize(*color_range(every, limits, signed)), SIGNED if signed else VALUES)
    with mpl.rc_context(STYLE):
        width = max(2.4, min(5.0, 0.28 * len(columns) + 1))
        layers = max(map(len, maps.values()))
        figure = Figure(figsize=(width * len(maps) + 1.2, max(2.0, 0.2 * layers + 1.0) + 0.9), layout="constrained")
        axes = figure.subplots(2, len(maps), squeeze=False, sharex=True, height_ratios=[max(layers, 5), 2])
        for (above, below), (kind, values) in zip(axes.T, maps.items(), strict=True):
            _heat(above, values, colors)
            best = np.where(np.isfinite(values).any(0), np.argmax(np.nan_to_num(values, nan=-np.inf), axis=0), -1)
            marked = np.flatnonzero(best >= 0)
            if len(columns) <= 60:
                above.plot(marked, best[marked], "o", markersize=4, markerfacecolor="none", markeredgecolor="white")
                above.plot(marked, best[marked], "o", markersize=5, markerfacecolor="none", markeredgecolor="black")
            above.set_title(LABELS.get(kind, kind))
            _layer_ticks(above, subjects[0].layers[kind])
            _ceiling_bars(below, ceiling)
            _column_ticks(below, columns, by)
        label, ends = f"{units_of(variable)}, mean over targets", beyond(every, *colors.get_clim())
        figure.colorbar(colors, ax=axes, label=scale_label(label, *colors.get_clim()), extend=ends, shrink=0.8)
        headline(figure, f"{sizes_in_words(subjects)}; circles: the best layer")
    return figure


def _columns(subjects: Sequence[Subject], by: str, order: Sequence[Any] | None) -> list[Any]:
    for subject in subjects:
        if by not in subject.scores.coords or subject.scores[by].dims != ("target",):
            known = [str(name) for name, values in subject.scores.coords.items() if values.dims == ("target",)]
            raise ValueError(f"by must be a coordinate of the targets, {', '.join(known)}, got {by!r}")
    values = np.concatenate([subject.scores[by].values for subject in subjects])
    present = list(dict.fromkeys(values.tolist()))
    if order is not None:
        unknown = [value for value in order if value not in present]
        if unknown or not len(order):
            raise ValueError(f"order must be of {by!r} of the targets, got {unknown or 'none'}")
        return list(order)
    return sorted(present) if values.dtype.kind in "fiu" else [value for value in present if value not in ("", "nan")]


def _by_column(subject: Subject, values: NDArray[Any], by: str, columns: Sequence[Any]) -> NDArray[np.float64]:
    """Means [l, columns] over the targets of each column."""
    at = subject.scores[by].values
    return np.stack([mean_over(values[:, at == column], 1) for column in columns], axis=1)


def _heat(axis: Any, values: NDArray[Any], colors: ScalarMappable) -> None:
    axis.set_facecolor(MISSING)
    axis.imshow(values, cmap=colors.get_cmap(), norm=colors.norm, aspect="auto", interpolation="nearest")
    axis.spines[:].set_visible(False)


def _ceiling_bars(axis: Any, ceiling: NDArray[np.float64]) -> None:
    axis.bar(range(len(ceiling)), np.nan_to_num(ceiling), width=0.9, color=GREY)
    most = np.nanmax(ceiling) if np.isfinite(ceiling).any() else np.nan
    axis.set_ylabel("ceiling" if np.isfinite(most) else "ceiling\nnot known", fontsize=7)
    axis.set_yticks([0, round(float(most), 2)] if most > 0 else [0])
    axis.tick_params(axis="y", labelsize=7)


def _layer_ticks(axis: Any, layers: Sequence[str]) -> None:
    step = max(1, len(layers) // 12)
    axis.set_yticks(range(0, len(layers), step), layers[::step], fontsize=7)
    axis.tick_params(axis="x", labelbottom=False)
    axis.set_ylabel("layer, shallow to deep")


def _column_ticks(axis: Any, columns: Sequence[Any], by: str) -> None:
    times = by == "time"
    step = max(1, len(columns) // (6 if times else 40))
    names = [f"{1000 * value:.0f}" if times else str(value) for value in columns]
    axis.set_xticks(range(0, len(columns), step), names[::step], fontsize=7, rotation=0 if times else 90)
    axis.set_xlabel("time after onset (ms)" if times else {"roi": "region"}.get(by, by))


@naming("scores_by_depth")
def scores_by_depth(scores: Any, *, variable: str = "r") -> Figure:
    """Plot the mean score over targets against the depth of the layer: a line for each kind, thin ones for subjects.

    Parameters
    ----------
    scores : of `encoding.score`, of one model and objective, or a list of them, one for each subject. The dashed line
        is the mean noise ceiling of the same targets
    variable : "r", "r2", "r_normalised", ...

    Raises
    ------
    ValueError : several models or objectives, subjects with different layers, NaN everywhere
    """
    subjects = subjects_of(scores, variable)
    styles = kind_styles(list(subjects[0].values))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.4), layout="constrained")
        axis = figure.subplots()
        for kind, style in styles.items():
            curves = np.array([mean_over(subject.values[kind], 1) for subject in subjects])
            _lines(axis, subjects[0].depth[kind], curves, style, marker="o")
        _ceiling_line(axis, subjects, variable)
        axis.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)
        axis.set_xlabel("relative depth of the layer")
        axis.set_ylabel(f"{units_of(variable)}, mean over targets")
        _finish(figure, axis, subjects)
    return figure


@naming("scores_by_time")
def scores_by_time(
    scores: Any, *, layer: str | None = None, clusters: Mapping[str, ClusterTest] | None = None, variable: str = "r"
) -> Figure:
    """Plot the mean score over sensors against time: a line for each kind, thin ones for subjects.

    Parameters
    ----------
    scores : of `encoding.score` of recordings whose targets have a "time", or a list of them, one for each subject
    layer : name of the layer to show; None: the mean over layers
    clusters : kind -> cluster test of the scores over sensors and times; bars below the curves are the extents in time
        of its clusters with p of at most .05. A cluster says that there is an effect somewhere in it, not when it
        begins and ends
    variable : "r", "r2", "r_normalised", ...

    Raises
    ------
    ValueError : targets without times, an unknown layer, clusters of other kinds or beyond the times, several models
        or objectives, NaN everywhere
    """
    subjects = subjects_of(scores, variable)
    times = np.array(_columns(subjects, "time", None))
    styles = kind_styles(list(subjects[0].values))
    unknown = sorted(set(clusters or {}) - set(styles))
    if unknown:
        raise ValueError(f"clusters must be of {list(styles)}, got {unknown}")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 3.5), layout="constrained")
        axis = figure.subplots()
        for kind, style in styles.items():
            rows = _rows_of(subjects[0], kind, layer)
            curves = [mean_over(_by_column(one, one.values[kind][rows], "time", list(times)), 0) for one in subjects]
            _lines(axis, 1000 * times, np.array(curves), style)
        _ceiling_line(axis, subjects, variable, times)
        axis.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)
        axis.axvline(0, color="#cccccc", linewidth=0.8, zorder=0)
        axis.set_xlabel("time after onset (ms)")
        axis.set_ylabel(f"{units_of(variable)}, mean over sensors")
        shown = _extents(axis, clusters or {}, styles, times)
        _finish(figure, axis, subjects, f"; {'mean over layers' if layer is None else layer}{shown}")
    return figure


def _rows_of(subject: Subject, kind: str, layer: str | None) -> list[int]:
    names = subject.layers[kind]
    if layer is not None and layer not in names:
        raise ValueError(f"layer must be one of {names}, got {layer!r}")
    return [row for row, name in enumerate(names) if layer in (None, name)]


def _lines(axis: Any, at: NDArray[Any], curves: NDArray[Any], style: Mapping[str, Any], marker: str = "") -> None:
    """The mean of curves [subjects, ...], and thin ones where there are several."""
    if len(curves) > 1:
        axis.plot(at, curves.T, color=style["color"], linewidth=0.6, alpha=0.45)
    axis.plot(at, mean_over(curves, 0), linewidth=1.8, marker=marker, markersize=3.5, **style)


def _ceiling_line(axis: Any, subjects: Sequence[Subject], variable: str, times: Any = None) -> None:
    """The mean noise ceiling, where it is known and of the same units as the scores."""
    power = {"r": 1, "r2": 2}.get(variable)
    if power is None:
        return
    if times is None:
        ceiling = mean_over(np.array([mean_over(one.ceiling**power, 0) for one in subjects]), 0)
        if np.isfinite(ceiling):
            axis.axhline(float(ceiling), color=GREY, linestyle="--", linewidth=1, label="noise ceiling")
        return
    courses = np.array([_by_column(one, one.ceiling[None] ** power, "time", list(times))[0] for one in subjects])
    if np.isfinite(courses).any():
        axis.plot(1000 * times, mean_over(courses, 0), color=GREY, linestyle="--", linewidth=1, label="noise ceiling")


def _extents(axis: Any, clusters: Mapping[str, ClusterTest], styles: Mapping[str, Any], times: NDArray[Any]) -> str:
    """Bars of the clusters' times below the curves; what they are, in words."""
    low, high = axis.get_ylim()
    shown = 0
    for row, (kind, test) in enumerate(clusters.items(), 1):
        for cluster in test.clusters:
            if len(cluster.times) and cluster.times.max() >= len(times):
                raise ValueError(f"clusters must lie in {len(times)} times, got time {cluster.times.max()}")
            if cluster.p <= _LEVEL:
                ends = 1000 * times[[cluster.times.min(), cluster.times.max()]]
                height = low - 0.05 * row * (high - low)
                axis.plot(ends, [height] * 2, color=styles[kind]["color"], linewidth=3.5, solid_capstyle="butt")
                shown += 1
    return f"; bars: {shown} clusters with p ≤ {_LEVEL:g}" if clusters else ""


def _finish(figure: Figure, axis: Any, subjects: Sequence[Subject], more: str = "") -> None:
    say_if_zero_is_hidden(axis)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right center", fontsize=8)
    thin = "; thin lines: subjects" if len(subjects) > 1 else ""
    headline(figure, f"{sizes_in_words(subjects)}{more}{thin}")
