"""Where NSD's targets lie: places of vertices from surfaces, hemispheres of voxels from the masks of regions."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._places import side_of
from gradkern.recordings._formats.files import Folder
from gradkern.recordings._formats.volumes import Grid, read_volume
from gradkern.recordings._readers.nsd_experiment import read_values
from gradkern.recordings._targets import with_positions

SURFACE = "white"
_SIDES = ("lh", "rh")
_MASKS = ("HCP_MMP1", "streams", "nsdgeneral", "Kastner2015", "prf-visualrois")  # whole cortex first


def add_places(
    data: Folder, subject: int, space: str, targets: pd.DataFrame, measured: NDArray[np.bool_]
) -> tuple[pd.DataFrame, tuple[str, ...], Grid | None]:
    """Add "x", "y", "z" in mm to vertices, and "hemisphere" to voxels, as far as files say them.

    Returns
    -------
    The targets, what was done or is missing, in words, and the grid of the masks if they were read
    """
    if "vertex" in targets:
        brain = "fsaverage" if space == "fsaverage" else f"subj{subject:02d}"
        return *_vertices(data, f"nsddata/freesurfer/{brain}/surf", targets), None
    return _voxels(data, f"nsddata/ppdata/subj{subject:02d}/{space}/roi", targets, measured)


def _vertices(data: Folder, folder: str, targets: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    files = [f"{folder}/{side}.{SURFACE}" for side in _SIDES]
    missing = [name for name in files if not data.has(name)]
    if missing:
        return targets, (f"no x, y, z of vertices: {missing[0]} is missing",)
    points = [_surface(data.file(name)) for name in files]
    counts = [int(targets["hemisphere"].map(side_of).eq(side_of(side)).sum()) for side in _SIDES]
    for name, found, count in zip(files, points, counts, strict=True):
        if len(found) != count:
            raise ValueError(f"{name} must have {count} vertices as the responses have, got {len(found)}")
    places = dict(zip("xyz", np.vstack(points).T, strict=True))
    return targets.assign(**places), (f"x, y, z of vertices on the {SURFACE} surface",)


def _surface(path: Path) -> NDArray[np.float64]:
    """Vertices [v, 3] of a FreeSurfer surface."""
    from nibabel.freesurfer import io

    read: Any = io.read_geometry
    try:
        return np.asarray(read(path)[0], dtype=np.float64)
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a FreeSurfer surface: {error}") from error


def _voxels(
    data: Folder, folder: str, targets: pd.DataFrame, measured: NDArray[np.bool_]
) -> tuple[pd.DataFrame, tuple[str, ...], Grid | None]:
    """Voxels in a hemisphere's cortex by its mask; without masks, by the side of the middle that they lie on."""
    masks = [mask for mask in _MASKS if all(data.has(f"{folder}/{side}.{mask}.nii.gz") for side in _SIDES)]
    if masks:
        files = {side: data.file(f"{folder}/{side}.{masks[0]}.nii.gz") for side in _SIDES}
        volume = read_volume(files["lh"])
        if "x" not in targets:
            targets = with_positions(targets, volume.affine)
        inside = {side: _cortex(read_values(path, _grid(targets))) for side, path in files.items()}
        hemisphere = np.where(inside["lh"], "left", np.where(inside["rh"], "right", ""))
        hemisphere[inside["lh"] & inside["rh"]] = ""
        line = f"hemisphere of voxels by lh.{masks[0]} and rh.{masks[0]}, none outside their cortex"
        return targets.assign(hemisphere=hemisphere), (line,), volume.grid
    wanted = f"{folder}/lh.{_MASKS[0]}.nii.gz"
    if "x" not in targets or not measured.any():
        return targets, (f"no hemisphere of voxels: {wanted} is missing, and no file says where they lie",), None
    x = targets["x"].to_numpy(dtype=np.float64)
    middle = float(np.median(x[measured]))
    line = (
        f"hemisphere of voxels by the side of x = {middle:.3g} mm, the middle of those measured, which errs near the "
        f"midline: {wanted} is missing"
    )
    return targets.assign(hemisphere=np.where(x < middle, "left", "right")), (line,), None


def _grid(targets: pd.DataFrame) -> tuple[int, ...]:
    """Size of the volume [x, y, z] that has all voxels."""
    return tuple(int(targets[axis].max()) + 1 for axis in ("i", "j", "k"))


def _cortex(labels: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Voxels of a hemisphere's cortex: NSD's masks are -1 elsewhere, and 0 in cortex without a region."""
    values = np.asarray(labels, dtype=np.float64)
    inside: NDArray[np.bool_] = values >= 0 if (values < 0).any() else values > 0
    return inside
