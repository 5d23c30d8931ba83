"""Scenes that a page can turn: values at the vertices of meshes, packed as text for its viewer."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, QhullError

from gradkern.plotting._cortex import CortexView, drawn_of
from gradkern.plotting._meshes import SIDES, Mesh, load_mesh
from gradkern.plotting._places import checked_values, places_of
from gradkern.plotting._sensors import merged, sensor_types
from gradkern.plotting._style import SIGNED, VALUES, color_range

_LEVELS = 65_534  # of a value; the number after it says that there is none
_COORDINATES = 65_535
_MOST_VERTICES = 60_000  # of a mesh: more make a page too large
_FEWEST = 4  # sensors that a helmet can be made of
_LONGEST = 4.0  # times the usual distance of sensors, which no triangle of a helmet spans


@dataclass(frozen=True)
class Part:
    """A mesh with its values.

    Attributes
    ----------
    name : what it is, in words
    mesh : name of the mesh, in the scene's `meshes`
    values : [steps, v], NaN where there is none
    opacity : [v], from 0 to 1
    """

    name: str
    mesh: str
    values: NDArray[np.float64]
    opacity: NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """Parts beside each other, with one scale of colors.

    Attributes
    ----------
    label : of the colors, with the unit
    limits : of the colors
    parts : at least one
    meshes : packed, by name; pages hold each name once
    steps : names of the steps, such as times; () for one step without a name
    note : what a reader must know of what is drawn
    signed : colors that diverge from 0
    """

    label: str
    limits: tuple[float, float]
    parts: Sequence[Part]
    meshes: Mapping[str, str] = field(repr=False)
    steps: Sequence[str] = ()
    note: str = ""
    signed: bool = False

    def packed(self) -> str:
        """The scene as JSON, without its meshes."""
        every = np.concatenate([part.values.ravel() for part in self.parts])
        known = every[np.isfinite(every)]
        low, high = float(known.min()), float(known.max())
        colors = mpl.colormaps[SIGNED if self.signed else VALUES](np.linspace(0, 1, 256))[:, :3]
        parts = [
            {
                "name": part.name,
                "mesh": part.mesh,
                "values": _text(_levels(part.values, low, high)),
                "opacity": _text((part.opacity * 255).round().astype(np.uint8)),
            }
            for part in self.parts
        ]
        return json.dumps(
            {
                "label": self.label,
                "limits": list(self.limits),
                "range": [low, high],
                "colors": _text((colors * 255).round().astype(np.uint8)),
                "steps": list(self.steps),
                "note": self.note,
                "parts": parts,
            }
        )


def cortex_scene(values: Any, like: Any, label: str, *, opacity: Any = None, view: CortexView | None = None) -> Scene:
    """What `cortex_map` draws, on the inflated cortex, to be turned.

    Raises
    ------
    ValueError : as `cortex_map`; a mesh of more than 60,000 vertices
    """
    view = view or CortexView()
    drawn = drawn_of(values, like, opacity, view)
    parts: list[Part] = []
    meshes: dict[str, str] = {}
    for side in SIDES:
        if not (drawn.targets["hemisphere"] == side).any():
            continue
        mesh, at_vertices, opaque = drawn.on(side, "inflated")
        if len(mesh.points) > _MOST_VERTICES:
            raise ValueError(
                f"meshes must have at most {_MOST_VERTICES:,} vertices to be turned, got {len(mesh.points):,}"
            )
        is_template = view.cortex is None
        name = f"{drawn.template} {side}" if is_template else f"{side} {hash_of(mesh.points)}"
        parts.append(Part(side, name, at_vertices[None], np.where(np.isfinite(at_vertices), opaque, 0.0)))
        meshes[name] = _template_mesh(drawn.template, side) if is_template else _packed(mesh)
    limits = color_range(drawn.values, view.limits, view.signed)
    note = drawn.note if opacity is None else f"{drawn.note}; opaque: {view.opacity_label}"
    return Scene(label, limits, parts, meshes, note=note, signed=view.signed)


@lru_cache(maxsize=8)
def _template_mesh(template: str, side: str) -> str:
    return _packed(load_mesh(template, side, "inflated"))


def _packed(mesh: Mesh) -> str:
    return packed_mesh(
        mesh.points, mesh.triangles, np.where(mesh.sulci, 184.0, 219.0), [str(area) for area in mesh.areas]
    )


def sensor_scene(
    values: Any, like: Any, places: Mapping[str, Any], label: str, *, limits: tuple[float, float] | None = None
) -> Scene:
    """Values of sensors on a helmet through their places, with a step for every time.

    Neuromag's magnetometers and gradiometers are helmets of their own; of two gradiometers at one place the mean is
    shown.

    Parameters
    ----------
    values : [v], one for each target
    like : the Recording, or scores, whose targets have "sensor" and "time"
    places : name of every sensor -> its place [3], in m

    Raises
    ------
    ValueError : another number of values than of targets, NaN everywhere, fewer than 4 places, or all on one line
    """
    targets = places_of(like, ("sensor", "time"))
    values = checked_values(values, len(targets))
    sensors = list(dict.fromkeys(targets["sensor"]))
    table = targets.assign(value=values).pivot_table("value", "sensor", "time", aggfunc="mean", dropna=False)
    table = table.reindex(index=sensors)
    at = np.array([places[sensor] for sensor in sensors], dtype=np.float64)
    parts: list[Part] = []
    meshes: dict[str, str] = {}
    for type, members in sensor_types(sensors).items():
        data, points = merged(table.to_numpy()[members], at[members])
        names = [", ".join(sensors[m] for m in members if np.allclose(at[m], point, atol=1e-5)) for point in points]
        mesh = f"{type} {len(meshes)} {hash_of(points)}"
        meshes[mesh] = packed_mesh(1000 * points, helmet(points), np.full(len(points), 255.0 * 0.86), names)
        parts.append(Part(type, mesh, data.T, np.ones(len(points))))
    steps = [f"{1000 * time:.0f} ms" for time in table.columns]
    return Scene(label, color_range(values, limits, False), parts, meshes, steps, f"n = {len(sensors)} sensors")


def hash_of(points: NDArray[np.float64]) -> str:
    """A name for points, the same for the same."""
    return sha256(np.ascontiguousarray(points).tobytes()).hexdigest()[:12]


def helmet(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Triangles between neighbouring sensors, [f, 3], seen from above; none that bridges a gap.

    Raises
    ------
    ValueError : fewer than 4 sensors, or all on one line
    """
    if len(points) < _FEWEST:
        raise ValueError(f"sensors must be at least {_FEWEST} to be turned, got {len(points)}")
    middle = np.array([*points[:, :2].mean(axis=0), points[:, 2].min() - 0.02])
    away = points - middle
    angle = np.arccos(np.clip(away[:, 2] / np.linalg.norm(away, axis=1), -1, 1))
    around = np.arctan2(away[:, 1], away[:, 0])
    try:
        triangles = Delaunay(angle[:, None] * np.stack([np.cos(around), np.sin(around)], axis=1)).simplices
    except QhullError:
        raise ValueError(f"sensors must not lie on one line, got {len(points)} that do") from None
    sides = np.linalg.norm(points[triangles] - points[np.roll(triangles, 1, axis=1)], axis=2)
    near: NDArray[np.int64] = triangles[sides.max(axis=1) <= _LONGEST * np.median(sides)].astype(np.int64)
    return near


def packed_mesh(
    points: NDArray[np.float64], triangles: NDArray[np.int64], grey: NDArray[np.float64], names: Sequence[str]
) -> str:
    """A mesh as JSON: places [v, 3] in 65,536 steps, triangles, a grey from 0 to 255 and a name of every vertex."""
    low, high = points.min(axis=0), points.max(axis=0)
    step = np.maximum(high - low, np.finfo(float).tiny) / _COORDINATES
    known = list(dict.fromkeys(names))
    index = {name: place for place, name in enumerate(known)}
    return json.dumps(
        {
            "low": low.tolist(),
            "step": step.tolist(),
            "points": _text(((points - low) / step).round().astype(np.uint16)),
            "triangles": _text(triangles.astype(np.uint16)),
            "grey": _text(grey.round().astype(np.uint8)),
            "names": known,
            "name": _text(np.array([index[name] for name in names], dtype=np.uint16)),
        }
    )


def _levels(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.uint16]:
    """Values in steps of the range; the largest number where there is none."""
    share = (np.nan_to_num(values, nan=low) - low) / (high - low or 1.0)
    levels = (share * _LEVELS).round()
    return np.where(np.isfinite(values), levels, _LEVELS + 1).astype(np.uint16)


def _text(array: NDArray[Any]) -> str:
    """Numbers as base64, little end first."""
    return base64.b64encode(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()).decode()
