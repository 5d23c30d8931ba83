"""What gradients add: unique and shared variance, and gradients beside their controls."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from gradkern.errors import naming
from gradkern.plotting._scored import Subject, mean_over, sizes_in_words, subjects_of, units_of
from gradkern.plotting._style import COLORS, GREY, LABELS, STYLE, headline, kind_styles, say_if_zero_is_hidden

_SHARES = {  # variable -> label, color, line, marker
    "joint_r2": ("both together", GREY, "--", ""),
    "unique_covariates_r2": ("activations alone", COLORS["activation"], "-", "s"),
    "shared_r2": ("either", "#009e73", ":", "^"),
    "unique_r2": ("gradient alone", COLORS["gradient"], "-", "o"),
}


@naming("variance_shares")
def variance_shares(scores: Any) -> Figure:
    """Plot what gradients and activations explain alone and what either explains, at every layer.

    Held-out estimates of a share can lie below 0, so that they are drawn as lines and not as stacked bars.

    Parameters
    ----------
    scores : of `encoding.unique_scores`, of one model and objective, or a list of them, one for each subject

    Raises
    ------
    ValueError : a variable of `unique_scores` is missing, several models or objectives, NaN everywhere
    """
    by_share = {name: subjects_of(_gradients(scores), name) for name in _SHARES}
    subjects = by_share["unique_r2"]
    kinds = list(subjects[0].values)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.4 * len(kinds) + 1.6, 3.3), layout="constrained")
        axes = figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
        for axis, kind in zip(axes, kinds, strict=True):
            for name, (label, color, line, marker) in _SHARES.items():
                curves = np.array([mean_over(one.values[kind], 1) for one in by_share[name]])
                depth = subjects[0].depth[kind]
                if len(curves) > 1 and name != "joint_r2":
                    axis.plot(depth, curves.T, color=color, linewidth=0.5, alpha=0.4)
                axis.plot(
                    depth, mean_over(curves, 0), color=color, linestyle=line, marker=marker, markersize=4, label=label
                )
            axis.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)
            axis.set_title(LABELS.get(kind, kind))
            axis.set_xlabel("relative depth of the layer")
        axes[0].set_ylabel("share of variance (held-out R²)")
        say_if_zero_is_hidden(axes[0])
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", title="explained by", fontsize=8)
        headline(figure, f"{sizes_in_words(subjects)}, mean over targets")
    return figure


def _gradients(scores: Any) -> Any:
    """Scores without their activations, which have no shares."""
    if isinstance(scores, Sequence):
        return [_gradients(entry) for entry in scores]
    if "kind" in getattr(scores, "coords", {}):
        return scores.isel(feature=np.flatnonzero(scores.kind.values.astype(str) != "activation"))
    return scores


@naming("controls_beside")
def controls_beside(scores: Any, kind: str = "gradient", *, variable: str = "r") -> Figure:
    """Plot a gradient beside its controls at every layer, and how much more than each control it predicts.

    Parameters
    ----------
    scores : of `encoding.score` of a gradient and its controls (kinds "gradient/NAME"), of one model and objective, or
        a list of them, one for each subject
    kind : "gradient" or "weight_gradient"
    variable : "r", "r2", "r_normalised", ...

    Raises
    ------
    ValueError : no such kind or none of its controls, controls of other layers, NaN everywhere
    """
    subjects = subjects_of(scores, variable)
    kinds = list(subjects[0].values)
    controls = [name for name in kinds if name.startswith(f"{kind}/")]
    if kind not in kinds or not controls:
        raise ValueError(f"scores must have {kind!r} and its controls '{kind}/NAME', got {kinds}")
    for name in controls:
        if subjects[0].layers[name] != subjects[0].layers[kind]:
            raise ValueError(f"controls must be of the layers of {kind!r}, got {subjects[0].layers[name]} of {name!r}")
    shown = [name for name in ("activation", kind, *controls) if name in kinds]
    styles = kind_styles(shown)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.4, 3.3), layout="constrained")
        left, right = figure.subplots(1, 2)
        for name in shown:
            curves = np.array([mean_over(one.values[name], 1) for one in subjects])
            if len(curves) > 1:
                left.plot(subjects[0].depth[name], curves.T, color=styles[name]["color"], linewidth=0.5, alpha=0.4)
            left.plot(subjects[0].depth[name], mean_over(curves, 0), marker="o", markersize=3.5, **styles[name])
        _ceiling(left, subjects, variable)
        for name in controls:
            more = np.array([mean_over(one.values[kind] - one.values[name], 1) for one in subjects])
            if len(more) > 1:
                right.plot(subjects[0].depth[kind], more.T, color=styles[name]["color"], linewidth=0.5, alpha=0.4)
            right.plot(subjects[0].depth[kind], mean_over(more, 0), marker="o", markersize=3.5, **styles[name])
        for axis in (left, right):
            axis.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)
            axis.set_xlabel("relative depth of the layer")
        left.set_ylabel(f"{units_of(variable)}, mean over targets")
        right.set_ylabel(f"{LABELS.get(kind, kind)} minus control")
        right.set_title("above 0: more than the control", fontsize=9)
        for axis in (left, right):
            say_if_zero_is_hidden(axis)
        figure.legend(*left.get_legend_handles_labels(), loc="outside right center", fontsize=8)
        thin = "; thin lines: subjects" if len(subjects) > 1 else ""
        headline(figure, f"{sizes_in_words(subjects)}{thin}")
    return figure


def _ceiling(axis: Any, subjects: Sequence[Subject], variable: str) -> None:
    ceiling = mean_over(np.array([mean_over(one.ceiling, 0) for one in subjects]), 0)
    if variable == "r" and np.isfinite(ceiling):
        axis.axhline(float(ceiling), color=GREY, linestyle="--", linewidth=1, label="noise ceiling")
