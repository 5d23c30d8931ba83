"""A cortex of two spheres, and recordings at its vertices and in its voxels."""

from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial import ConvexHull

from gradkern.recordings import Recording

CENTERS = {"left": np.array([-40.0, 0, 0]), "right": np.array([40.0, 0, 0])}


def sphere(side: str, radius: float = 30.0, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Points [count, 3] that are evenly spread over a sphere, and its triangles, as seen from outside."""
    place = np.arange(count) + 0.5
    height, around = 1 - 2 * place / count, np.pi * (1 + 5**0.5) * place
    flat = np.sqrt(1 - height**2)
    unit = np.stack([flat * np.cos(around), flat * np.sin(around), height], axis=1)
    hull = ConvexHull(unit)
    triangles = hull.simplices.astype(np.int64)
    corners = unit[triangles]
    inwards = (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) * corners[:, 0]).sum(1) < 0
    triangles[inwards] = triangles[inwards][:, ::-1]
    return CENTERS[side] + radius * unit, triangles


def spheres(radius: float = 30.0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Both hemispheres."""
    return {side: sphere(side, radius) for side in CENTERS}


def recording_of(targets: pd.DataFrame, space: str) -> Recording:
    """A recording of three images at these targets."""
    labels = [f"target {number}" for number in range(len(targets))]
    shown = pd.DataFrame({"image": range(3)})
    return Recording(np.zeros((3, len(targets))), shown, targets.assign(label=labels), "01", "percent", space)


def at_vertices(vertices: dict[str, Any], roi: str = "V1") -> Recording:
    """A recording at these vertices of each hemisphere, in the subject's own space."""
    tables = [
        pd.DataFrame({"hemisphere": side, "vertex": list(chosen), "roi": roi}) for side, chosen in vertices.items()
    ]
    return recording_of(pd.concat(tables, ignore_index=True), "native")


def in_voxels(size: float = 4.0, space: str = "T1w", half: int = 20) -> Recording:
    """A recording at all voxels of a block of 2 x half voxels a side, whose middle is the origin."""
    grid = np.stack(np.meshgrid(*[np.arange(-half, half + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    return recording_of(pd.DataFrame(grid * size, columns=["x", "y", "z"]), space)
