"""Maps on the helmet: values of sensors at times."""

import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradkern.errors import naming
from gradkern.plotting._places import checked_values, places_of
from gradkern.plotting._style import SIGNED, STYLE, VALUES, beyond, color_range, counted, headline, scale_label

LAYOUTS = ("CTF275", "CTF151", "Vectorview-all", "EEG1005", "biosemi", "KIT-157", "magnesWH3600")
_HEAD = 0.095  # m, the radius that mne draws a head with
_SHOWN = 6  # times, if none are named
_FEWEST = 4  # sensors that a map can be interpolated from


@naming("topomaps")
def topomaps(
    values: Any,
    like: Any,
    label: str,
    *,
    times: Sequence[float] | None = None,
    limits: tuple[float, float] | None = None,
    signed: bool = False,
) -> Figure:
    """Draw a value of every sensor on the helmet, at several times.

    Sensors are found by name in mne's layouts of CTF's, Neuromag's, KIT's and 4D's helmets and of EEG caps. Neuromag's
    magnetometers and gradiometers have a row each; of two gradiometers at one place the mean is shown.

    Parameters
    ----------
    values : [v], one for each target
    like : the Recording, or scores of `encoding.score`, whose targets have "sensor" and "time"
    label : of the color bar, with the unit
    times : s after onset; the nearest of the targets' times are shown. None: six, evenly spaced
    limits, signed : of the colors; by default they go from 0 to the largest value

    Raises
    ------
    ValueError : another number of values than of targets, NaN everywhere, targets without sensors or times, times
        outside the targets', sensors that are in no layout, fewer than 4 sensors of a type
    """
    import mne

    targets = places_of(like, ("sensor", "time"))
    values = checked_values(values, len(targets))
    sensors = list(dict.fromkeys(targets["sensor"]))
    layout, places = sensor_places(sensors)
    chosen = _chosen(np.unique(targets["time"].to_numpy(dtype=np.float64)), times)
    by_time = targets.assign(value=values).pivot_table("value", "sensor", "time", aggfunc="mean", dropna=False)
    by_time = by_time.reindex(index=sensors, columns=chosen)
    rows = sensor_types(sensors)
    low, high = color_range(by_time.to_numpy(), limits, signed)
    colors = ScalarMappable(Normalize(low, high), SIGNED if signed else VALUES)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.35 * len(chosen) + 1.1, 1.6 * len(rows) + 0.5), layout="constrained")
        axes = figure.subplots(len(rows), len(chosen), squeeze=False)
        for row, (name, members) in zip(axes, rows.items(), strict=True):
            data, at = merged(by_time.to_numpy()[members], places[members])
            for axis, column, time in zip(row, data.T, chosen, strict=True):
                known = np.isfinite(column)
                if known.sum() < _FEWEST:
                    raise ValueError(f"values must be of at least {_FEWEST} {name} at {time:g} s, got {known.sum()}")
                mne.viz.plot_topomap(
                    column[known], at[known], axes=axis, show=False, contours=0, cmap=colors.get_cmap(),
                    vlim=(low, high), sphere=(0, 0, 0, _HEAD), sensors=False, extrapolate="local",
                )  # fmt: skip
                axis.plot(*at[known].T, ".", color="black", markersize=1 if len(at) > 64 else 3, zorder=10)
                axis.set_title(f"{1000 * time:.0f} ms", fontsize=9)
            row[0].set_ylabel(name, fontsize=8)
        ends = beyond(by_time.to_numpy(), low, high)
        figure.colorbar(colors, ax=axes, label=scale_label(label, low, high), extend=ends, shrink=0.9, aspect=15)
        title = f"n = {counted(len(sensors), 'sensor')}, places of mne's layout {layout}"
        headline(figure, title)
    return figure


def sensor_places(sensors: Sequence[str]) -> tuple[str, NDArray[np.float64]]:
    """The layout that has all sensors, and their places on the page, [sensors, 2] in m about the middle of the head.

    Raises
    ------
    ValueError : no layout has them all; the message names those that the nearest one lacks
    """
    from mne.channels import read_layout

    missing: dict[str, list[str]] = {}
    for name in LAYOUTS:
        layout = read_layout(name)
        at = layout.pos[:, :2] + layout.pos[:, 2:] / 2
        known = {_bare(sensor): place for sensor, place in zip(layout.names, at, strict=True)}
        missing[name] = [sensor for sensor in sensors if _bare(sensor) not in known]
        if not missing[name]:
            every = np.array(list(known.values()))
            middle = (every.min(0) + every.max(0)) / 2
            radius = np.linalg.norm(every - middle, axis=1).max()
            return name, (np.array([known[_bare(sensor)] for sensor in sensors]) - middle) / radius * _HEAD
    best = min(missing, key=lambda name: len(missing[name]))
    raise ValueError(
        f"sensors must be of one of mne's layouts {', '.join(LAYOUTS)}, got {len(missing[best])} of {len(sensors)} "
        f"that are not in {best}, such as {missing[best][:3]}"
    )


def _bare(sensor: str) -> str:
    """A sensor's name without spaces, case, and the serial number of a CTF helmet: "MLC11-2622" is "mlc11"."""
    return re.sub(r"-\d+$", "", str(sensor)).replace(" ", "").lower()


def _chosen(known: NDArray[np.float64], times: Sequence[float] | None) -> NDArray[np.float64]:
    nearest: NDArray[np.float64]
    if times is None:
        nearest = known[np.unique(np.linspace(0, len(known) - 1, min(_SHOWN, len(known))).round().astype(int))]
        return nearest
    wanted = np.asarray(times, dtype=np.float64)
    if not len(wanted) or wanted.min() < known[0] - 1e-9 or wanted.max() > known[-1] + 1e-9:
        raise ValueError(f"times must lie in {known[0]:g}..{known[-1]:g} s, got {list(times)}")
    nearest = np.unique(known[np.abs(known[:, None] - wanted).argmin(axis=0)])
    return nearest


def sensor_types(sensors: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Rows of the figure: type -> numbers of its sensors."""
    bare = [_bare(sensor) for sensor in sensors]
    if not all(re.fullmatch(r"meg\d{4}", name) for name in bare):
        return {"sensors": np.arange(len(sensors))}
    magnetic = np.array([name.endswith("1") for name in bare])
    rows = {"magnetometers": np.flatnonzero(magnetic), "gradiometers": np.flatnonzero(~magnetic)}
    return {name: members for name, members in rows.items() if len(members)}


def merged(values: NDArray[Any], places: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of values [sensors, times] of sensors at one place, and the places."""
    at, inverse = np.unique(places.round(6), axis=0, return_inverse=True)
    known = np.isfinite(values)
    total, count = np.zeros((len(at), values.shape[1])), np.zeros((len(at), values.shape[1]))
    np.add.at(total, inverse.ravel(), np.where(known, values, 0))
    np.add.at(count, inverse.ravel(), known)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan), at
