"""Tables of targets: sensors at times, vertices of a hemisphere, voxels of a grid."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def sensor_targets(sensors: Sequence[str], times: Any) -> pd.DataFrame:
    """Sensors x times with "label", "sensor" and "time" (s); all times of a sensor are in a row."""
    sensor, time = np.repeat(sensors, len(times)), np.tile(times, len(sensors))
    labels = [f"{name} {1000 * at:g} ms" for name, at in zip(sensor, time, strict=True)]
    return pd.DataFrame({"label": labels, "sensor": sensor, "time": time})


def vertex_targets(hemisphere: str, count: int, column: str = "vertex") -> pd.DataFrame:
    """All vertices of a hemisphere with "label", "hemisphere" and `column`, the vertex's number."""
    vertices = np.arange(count)
    labels = [f"{hemisphere}.{vertex}" for vertex in vertices]
    return pd.DataFrame({"label": labels, "hemisphere": hemisphere, column: vertices})


def voxel_targets(i: Any, j: Any, k: Any, affine: NDArray[Any] | None = None) -> pd.DataFrame:
    """Voxels with "label", "i", "j", "k" and, if the affine [4, 4] is known, "x", "y", "z" in mm."""
    labels = [f"{a}-{b}-{c}" for a, b, c in zip(i, j, k, strict=True)]
    table = pd.DataFrame({"label": labels, "i": i, "j": j, "k": k})
    if affine is not None:
        table[["x", "y", "z"]] = np.stack([i, j, k], 1) @ affine[:3, :3].T + affine[:3, 3]
    return table


def mask_targets(inside: NDArray[np.bool_], affine: NDArray[Any]) -> pd.DataFrame:
    """Voxels inside a mask [x, y, z], x fastest: see `voxel_targets`."""
    k, j, i = np.nonzero(inside.T)
    return voxel_targets(i, j, k, affine)


def with_positions(voxels: pd.DataFrame, affine: NDArray[Any]) -> pd.DataFrame:
    """The table with columns "x", "y", "z" in mm besides "i", "j", "k"."""
    positions = voxels[["i", "j", "k"]].to_numpy() @ affine[:3, :3].T + affine[:3, 3]
    return voxels.assign(**dict(zip("xyz", positions.T, strict=True)))
