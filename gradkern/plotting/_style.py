"""Colors, labels and settings that all figures share, and how a figure becomes files."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradkern._files import written_whole
from gradkern.errors import naming

COLORS = {"activation": "#222222", "gradient": "#2a6fbb", "weight_gradient": "#d1731f"}
LABELS = {"activation": "activation", "gradient": "gradient", "weight_gradient": "weight gradient"}
CONTROLS = ("#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f")  # of Okabe and Ito's palette
DASHES = ("--", ":", "-.", (0, (5, 1)), (0, (1, 1)))
GREY = "#888888"
MISSING = "#d9d9d9"  # where there is no value
VALUES, SIGNED = "viridis", "RdBu_r"  # color maps, neither of which needs red told from green
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "figure.dpi": 150,
    "savefig.bbox": "tight",
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "gradkern",  # the same figure is the same file
}
FORMATS = (".svg", ".png")
_LETTER = 0.066  # inches, the width of a letter of size 8
_FILES: dict[str, dict[str, Any]] = {
    ".svg": {"metadata": {"Date": None}},
    ".png": {"dpi": 300, "metadata": {"Software": "gradkern"}},
}


@naming("save")
def save(figure: Figure, path: Any) -> tuple[Path, ...]:
    """Write a figure as SVG, whose text stays text, and as PNG with 300 dots per inch.

    Parameters
    ----------
    path : with the suffix .svg or .png only this file is written; without either, both are

    Returns
    -------
    the files' paths

    Raises
    ------
    NotADirectoryError : the folder does not exist

    Examples
    --------
    >>> import tempfile
    >>> from matplotlib.figure import Figure
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in save(Figure(), f"{folder}/map")]
    ['map.svg', 'map.png']
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise NotADirectoryError(f"{path.parent} must be a folder")
    targets = [path] if path.suffix in FORMATS else [path.with_name(path.name + suffix) for suffix in FORMATS]
    for target in targets:
        with mpl.rc_context(STYLE), written_whole(target) as aside:
            figure.savefig(aside, **_FILES[target.suffix])
    return tuple(targets)


def kind_styles(kinds: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Color, line and label of each kind, so that two kinds differ in more than their color."""
    controls = [kind for kind in kinds if kind not in COLORS]
    styles: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        if kind in COLORS:
            styles[kind] = {"color": COLORS[kind], "linestyle": "-", "label": LABELS[kind]}
        else:
            place = controls.index(kind)
            color, dash = CONTROLS[place % len(CONTROLS)], DASHES[place % len(DASHES)]
            styles[kind] = {"color": color, "linestyle": dash, "label": kind.replace("_", " ")}
    return styles


def color_range(values: NDArray[Any], limits: tuple[float, float] | None, signed: bool) -> tuple[float, float]:
    """Limits of a color scale: as given; symmetrical about 0 if signed; else from 0, or from below where all are."""
    if limits is not None:
        low, high = limits
        if not low < high:
            raise ValueError(f"limits must rise, got {low} and {high}")
        return float(low), float(high)
    finite = values[np.isfinite(values)]
    if not len(finite):
        raise ValueError("values must have a number, got NaN everywhere")
    if signed:
        most = float(np.abs(finite).max()) or 1.0
        return -most, most
    high = float(finite.max())
    return (0.0, high) if high > 0 else (float(finite.min()) - (finite.min() == high), high)


def beyond(values: NDArray[Any], low: float, high: float) -> str:
    """Which ends of a color bar need an arrow because values lie beyond them."""
    finite = values[np.isfinite(values)]
    below, above = bool((finite < low).any()), bool((finite > high).any())
    return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[below, above]


def say_if_zero_is_hidden(axis: Any, direction: str = "y") -> None:
    """Say at the label of an axis that it does not include 0, if that is so."""
    low, high = sorted(getattr(axis, f"get_{direction}lim")())
    if not low <= 0 <= high:
        label = getattr(axis, f"get_{direction}label")()
        getattr(axis, f"set_{direction}label")(f"{label}\n(0 is not on this axis)")


def scale_label(label: str, low: float, high: float) -> str:
    """The label of a color bar, which says if 0 is not on it."""
    return label if low <= 0 <= high else f"{label}\n(0 is not on this scale)"


def headline(figure: Figure, text: str) -> None:
    """What a figure is of, above it, in lines that it is wide enough for."""
    width = int(figure.get_figwidth() / _LETTER)
    lines = [fill(line, width) for line in text.splitlines()]
    figure.suptitle("\n".join(lines), fontsize=8, x=0.01, ha="left")


def counted(count: int, noun: str) -> str:
    """ "1 subject", "3 subjects"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
