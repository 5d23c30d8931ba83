"""The geometry of a recording: the one it keeps, or that of a mesh that everybody has by its name; and of files."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradkern._places import side_of
from gradkern.errors import Refused, naming
from gradkern.recordings._formats.files import existing_file
from gradkern.recordings._formats.volumes import Grid, grid_of, strict_nibabel
from gradkern.recordings._maps.geometry import Geometry, VolumeGrid, nibabel
from gradkern.recordings._maps.grayordinates import Grayordinates
from gradkern.recordings._maps.parcels import Parcels
from gradkern.recordings._maps.sensors import Sensors
from gradkern.recordings._maps.surfaces import SIDES, SurfaceMesh

if TYPE_CHECKING:
    from gradkern.recordings._recording import Recording

FSLR = 32492
# vertices of a hemisphere, by the space that a recording names: FreeSurfer's icosahedra, and the HCP's 32k mesh
_MESHES = {
    **{f"fsaverage{n}": 10 * 4**n + 2 for n in (3, 4, 5, 6)},
    "fsaverage": 163842,
    "fsLR": FSLR,
    "fs_LR 32k": FSLR,
}
_CIFTI = tuple(f".{kind}.nii" for kind in ("dscalar", "dtseries", "dlabel", "pscalar", "ptseries"))
_FIF = (".fif", ".fif.gz")
_KINDS: tuple[type[Geometry], ...] = (VolumeGrid, SurfaceMesh, Grayordinates, Parcels, Sensors)


def known_geometry(recording: "Recording") -> Geometry:
    """The geometry of a recording; of vertices of a mesh such as fsaverage by the name of the space.

    Raises
    ------
    Refused : the recording has none; the message says what it has
    """
    table = recording.targets
    if recording.geometry is not None:
        return recording.geometry
    if {"hemisphere", "vertex"} <= set(table) and recording.space in _MESHES and not _has_voxels(table):
        count = _MESHES[recording.space]
        return SurfaceMesh(dict.fromkeys(SIDES, count), recording.space)
    if {"sensor", "time"} <= set(table):
        return Sensors(tuple(dict.fromkeys(table["sensor"].astype(str))))
    raise Refused(
        f"the recording of {recording.subject!r} must have a geometry (a grid, a mesh, grayordinates or sensors), got "
        f"none; it has targets in {recording.space or 'no space that it names'!r} with {', '.join(map(str, table))}; "
        "read_geometry(file) reads one from any file on the same grid or mesh, for "
        "dataclasses.replace(recording, geometry=...)"
    )


def _has_voxels(table: Any) -> bool:
    return "structure" in table and bool((table["vertex"] < 0).any())


@naming("read_geometry")
def read_geometry(source: Any, *, mesh: str = "") -> Geometry:
    """The geometry that a file lies on, whatever its values are, for a recording that has none.

    Parameters
    ----------
    source : a path. A volume (NIfTI, MGH) has a grid; CIFTI (.dscalar.nii, .dtseries.nii, .dlabel.nii, .pscalar.nii,
        .ptseries.nii) has grayordinates or parcels; a file of mne (.fif) has sensors. Of surfaces, a pair of paths
        (left, right): GIFTI files or surfaces of FreeSurfer, such as lh.white and rh.white
    mesh : name of the surfaces' mesh, such as "fsaverage"

    Raises
    ------
    FileNotFoundError : there is no such file
    ValueError : the file cannot be read, or is none of these

    Examples
    --------
    >>> import dataclasses
    >>> from gradkern.recordings import read_geometry
    >>> dataclasses.replace(recording, geometry=read_geometry("brainmask.nii.gz"))  # doctest: +SKIP
    """
    if isinstance(source, list | tuple):
        if len(source) != len(SIDES):
            raise ValueError(f"source must be one path, or a pair of surfaces, left and right, got {len(source)}")
        counts = {side: _vertices(existing_file(path), side) for side, path in zip(SIDES, source, strict=True)}
        return SurfaceMesh(counts, mesh)
    path = existing_file(source)
    if path.name.endswith(_CIFTI):
        axis = _cifti_axis(path)
        return Parcels.from_axis(axis) if hasattr(axis, "voxels") else Grayordinates.from_axis(axis)
    if path.name.endswith(_FIF):
        return _sensors(path)
    return volume_grid(grid_of(path))


def volume_grid(grid: Grid) -> VolumeGrid:
    """The geometry of a grid that a header states."""
    x, y, z = (*grid.shape, 1, 1)[:3]
    return VolumeGrid((x, y, z), grid.affine, 0 if grid.affine is None else grid.code)


def _cifti_axis(path: Path) -> Any:
    try:
        with strict_nibabel():
            image = nibabel().load(path)
            axes = [image.header.get_axis(number) for number in range(image.ndim)]
    except Exception as error:
        raise ValueError(f"{path} cannot be read as CIFTI: {error}") from error
    cifti2 = nibabel().cifti2
    chosen = [axis for axis in axes if isinstance(axis, cifti2.BrainModelAxis | cifti2.ParcelsAxis)]
    if len(chosen) != 1:
        raise ValueError(f"{path} must have one axis of grayordinates or parcels, got {len(chosen)}")
    return chosen[0]


def _vertices(path: Path, side: str) -> int:
    """The number of vertices of a surface, or of values on one."""
    try:
        if path.name.endswith((".gii", ".gii.gz")):
            with strict_nibabel():
                image = nibabel().load(path)
            stated = side_of(image.meta.get("AnatomicalStructurePrimary", ""))
            count = int(image.darrays[0].data.shape[0])
        else:
            read = nibabel().freesurfer.read_geometry
            stated, count = side_of(path.name.split(".")[0]), len(read(path)[0])
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a surface: {error}") from error
    if stated not in (None, side):
        raise ValueError(f"source must be the left and the right surface in this order, got {path} as the {side} one")
    return count


def _sensors(path: Path) -> Sensors:
    import mne

    try:
        return Sensors.of_info(mne.io.read_info(path, verbose="error"))
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a file of mne: {error}") from error


def geometry_content(geometry: Geometry) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The name of a geometry's kind, its plain fields, and its arrays, for files."""
    return type(geometry).__name__, *geometry.content()


def geometry_of_content(kind: str, plain: Mapping[str, Any], arrays: Mapping[str, Any]) -> Geometry:
    """The geometry that `geometry_content` described.

    Raises
    ------
    ValueError : an unknown kind
    """
    kinds = {known.__name__: known for known in _KINDS}
    if kind not in kinds:
        raise ValueError(f"geometry must be one of {sorted(kinds)}, got {kind!r}")
    return kinds[kind].from_content(dict(plain), {name: np.asarray(values) for name, values in arrays.items()})
