"""Maps in a volume: the largest value along each of three directions, as a glass brain."""

from importlib import import_module
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradkern.errors import naming
from gradkern.plotting._meshes import data_of
from gradkern.plotting._places import checked_values, places_of, space_of
from gradkern.plotting._style import MISSING, SIGNED, STYLE, VALUES, beyond, color_range, counted, headline, scale_label

# name -> axes of the page, axis that is looked along; words at the ends of the axes
_PLANES = {
    "from the left": (1, 2, 0, "l", ("posterior", "anterior")),
    "from behind": (0, 2, 1, "y", ("left", "right")),
    "from above": (0, 1, 2, "z", ("left", "right")),
}


@naming("volume_map")
def volume_map(
    values: Any,
    like: Any,
    label: str,
    *,
    title: str = "",
    limits: tuple[float, float] | None = None,
    signed: bool = False,
) -> Figure:
    """Draw a value of every voxel as a glass brain: the value that is largest in size along each of three directions.

    In MNI space the outlines of nilearn's glass brain are drawn too.

    Parameters
    ----------
    values : [v], one for each target; NaN is not drawn
    like : the Recording, or scores of `encoding.score`, whose targets have "x", "y" and "z" in mm
    label : of the color bar, with the unit
    limits, signed : of the colors; by default they go from 0 to the largest value

    Raises
    ------
    ValueError : another number of values than of targets, NaN everywhere, targets without places
    ImportError : nilearn is not installed and the space is MNI
    """
    targets = places_of(like, ("x", "y", "z"))
    values = checked_values(values, len(targets))
    places = targets[["x", "y", "z"]].to_numpy(dtype=np.float64)
    known = np.isfinite(values) & np.isfinite(places).all(axis=1)
    if not known.any():
        raise ValueError("values must be of voxels whose place is known, got none")
    space = space_of(like)
    colors = ScalarMappable(Normalize(*color_range(values, limits, signed)), SIGNED if signed else VALUES)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 3.0), layout="constrained")
        axes = figure.subplots(1, len(_PLANES))
        for axis, (name, (across, up, along, direction, ends)) in zip(axes, _PLANES.items(), strict=True):
            image, extent = _projected(values[known], places[known][:, [across, up, along]])
            axis.imshow(
                np.ma.masked_invalid(image), extent=extent, origin="lower", cmap=colors.get_cmap(), norm=colors.norm,
                interpolation="nearest",
            )  # fmt: skip
            axis.set_aspect("equal")
            axis.set_xlabel(f"{'xyz'[across]} (mm)\n{ends[0]} – {ends[1]}", fontsize=8)
            axis.set_ylabel(f"{'xyz'[up]} (mm)", fontsize=8)
            axis.set_title(name, fontsize=9)
            if space.upper().startswith("MNI"):
                _brain(axis, direction)
        ends_of_bar = beyond(values, *colors.get_clim())
        label = scale_label(label, *colors.get_clim())
        figure.colorbar(colors, ax=axes, label=label, extend=ends_of_bar, shrink=0.8)
        left_out = int((~known).sum())
        note = f"n = {counted(int(known.sum()), 'voxel')}{f', {left_out:,} without a value' if left_out else ''}; "
        note += f"largest along the line of sight; space {space or 'unknown'}"
        headline(figure, f"{title}\n{note}" if title else note)
    return figure


def _projected(values: NDArray[Any], places: NDArray[Any]) -> tuple[NDArray[np.float64], tuple[float, ...]]:
    """Image of the value of largest size in each cell, and its extent in mm; places are (across, up, along)."""
    size = spacing_of(places)
    low = places[:, :2].min(axis=0)
    cells = ((places[:, :2] - low) / size).round().astype(int)
    image = np.full(tuple(cells.max(axis=0)[::-1] + 1), np.nan)
    order = np.argsort(np.abs(values), kind="stable")  # the largest comes last and stays
    image[cells[order, 1], cells[order, 0]] = values[order]
    high = low + size * np.array(image.shape[::-1])
    return image, (low[0] - size / 2, high[0] - size / 2, low[1] - size / 2, high[1] - size / 2)


def spacing_of(places: NDArray[Any]) -> float:
    """Distance of a voxel to the next, mm: the usual one of each to its nearest."""
    from scipy.spatial import cKDTree

    if len(places) < 2:
        return 1.0
    nearest = cKDTree(places).query(places, k=2)[0][:, 1]
    return float(max(np.median(nearest), 1e-3))


def _brain(axis: Any, direction: str) -> None:
    """Outlines of the MNI brain."""
    data_of("nilearn", "brain")
    plot_brain_schematics = import_module("nilearn.plotting.glass_brain").plot_brain_schematics
    limits = axis.get_xlim(), axis.get_ylim()
    plot_brain_schematics(axis, direction, edgecolor=MISSING)
    axis.autoscale_view()
    (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    axis.set_xlim(min(left, limits[0][0]), max(right, limits[0][1]))
    axis.set_ylim(min(bottom, limits[1][0]), max(top, limits[1][1]))
