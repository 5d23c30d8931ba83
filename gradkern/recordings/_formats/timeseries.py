"""Time series of fMRI files: volumes, surfaces, grayordinates."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._places import side_of
from gradkern.recordings._formats.agreement import Agreements, within
from gradkern.recordings._formats.bids_names import entities
from gradkern.recordings._formats.files import existing_file
from gradkern.recordings._formats.packed import check_packed
from gradkern.recordings._formats.volumes import Grid, agree_on_grid, open_image, read_volume, strict_nibabel
from gradkern.recordings._maps.geometry import Geometry
from gradkern.recordings._maps.grayordinates import Grayordinates
from gradkern.recordings._maps.parcels import Parcels
from gradkern.recordings._maps.surfaces import SurfaceMesh
from gradkern.recordings._targets import mask_targets, vertex_targets

TIME_TOLERANCE = 1e-3  # s: headers hold float32, and sidecars rounded numbers
_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6, "unknown": 1.0}
_SIDES = ("left", "right")
_CORTEX = {"CIFTI_STRUCTURE_CORTEX_LEFT": "left", "CIFTI_STRUCTURE_CORTEX_RIGHT": "right"}
_SURFACES = ("pointset", "triangle", "label", "vector", "genmat")  # intents of GIFTI that are no time series


class Series(NamedTuple):
    """Values [times, targets], the table of targets, the repetition time in s that the header states (None if it states
    none), the files, for volumes the grid, and for others the geometry."""

    values: NDArray[np.float32]
    targets: pd.DataFrame
    step: float | None
    paths: list[Path]
    grid: Grid | None = None
    geometry: Geometry | None = None


class Mask(NamedTuple):
    """Which voxels [x, y, z] are inside, their table, x fastest, the grid, notes, and the source's name in messages."""

    inside: NDArray[np.bool_]
    targets: pd.DataFrame
    grid: Grid
    notes: tuple[str, ...] = ()
    source: str = "mask"


def open_series(source: Any, mask: Mask | None, agreements: Agreements) -> Series:
    """The time series of a run.

    A pair of paths are the two hemispheres. A path that ends in .dtseries.nii has grayordinates, one that ends in
    .ptseries.nii parcels of them, any other is a volume.
    """
    if isinstance(source, tuple | list):
        return _surfaces([existing_file(path) for path in source], agreements)
    path = existing_file(source)
    if path.name.endswith((".dtseries.nii", ".ptseries.nii")):
        return _grayordinates(path)
    if path.name.endswith((".gii", ".gii.gz")):
        raise ValueError(f"surfaces must be a pair of files, left and right, got {path} alone")
    if mask is None:
        raise ValueError(f"mask must be given for volumes, got None for {path}")
    values, grid = _masked(path, mask.inside)
    return Series(values, pd.DataFrame(), _repetition_time(path), [path], grid)


def voxels(mask: Any, agreements: Agreements | None = None, affine: str | None = None) -> Mask:
    """A mask from a file, or what several have in common; NaN is outside, as in masks of SPM.

    Raises
    ------
    ValueError : not a volume, nothing inside, an infinite value, or masks on several grids
    """
    several = isinstance(mask, list | tuple)
    paths = [existing_file(path) for path in (mask if several else [mask])]
    inside, grids, notes = [], {}, []
    for path in paths:
        volume = read_volume(path)
        values = volume.values[..., 0] if volume.values.shape[3:] == (1,) else volume.values
        if values.dtype.kind == "f" and np.isinf(values).any():
            raise ValueError(f"{path} must hold finite numbers or NaN, got inf")
        outside = int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
        chosen = (values != 0) & (values == values)  # not NaN
        if chosen.ndim != 3 or not chosen.any():
            raise ValueError(f"{path} must be a volume with voxels that are not 0, got shape {list(chosen.shape)}")
        if outside:
            notes.append(f"{outside} voxels of the mask {path.name} are NaN, which is outside")
        inside.append(chosen)
        grids[f"mask of {path}"] = volume.grid
    grid = agree_on_grid(agreements or Agreements(), grids, affine)
    common = np.logical_and.reduce(inside)
    if not common.any():
        raise ValueError(f"masks must have voxels in common, got none in {len(paths)}")
    lost = int(np.logical_or.reduce(inside).sum() - common.sum())
    if lost:
        notes.append(f"{lost} voxels are in some of {len(paths)} masks, not in all")
    targets = mask_targets(common, volume.affine if grid.affine is None else grid.affine)
    return Mask(common, targets, grid, tuple(notes), next(iter(grids)))


def _masked(path: Path, inside: NDArray[np.bool_]) -> tuple[NDArray[np.float32], Grid]:
    """Voxels of a mask in every volume, [volumes, voxels], and the grid."""
    volume = read_volume(path)
    values = volume.values
    if values.ndim == 5 and values.shape[3] == 1:
        values = values[:, :, :, 0]
    if values.ndim != 4 or values.shape[:3] != inside.shape:
        grid = ", ".join(map(str, inside.shape))
        raise ValueError(f"{path} must be [{grid}, volumes] as the mask is, got {list(values.shape)}")
    series: NDArray[np.float32] = values.T[:, inside.T].astype(np.float32)
    return series, volume.grid


def _repetition_time(path: Path) -> float | None:
    """In s; None where the header has 0, or 1 without a unit, as NIfTI headers begin."""
    header: Any = open_image(path).header
    if "sform_code" not in header:  # MGH: ms
        return float(header["tr"]) / 1000 or None
    step, unit = float(header["pixdim"][4]), header.get_xyzt_units()[1]
    if unit not in _SECONDS:
        raise ValueError(f"{path} must have times in s, ms or us, got {unit!r}")
    return None if unit == "unknown" and step == 1 else step * _SECONDS[unit] or None


def _surfaces(paths: list[Path], agreements: Agreements) -> Series:
    """GIFTI files of the left and the right hemisphere, with one array per time, or one array for all."""
    if len(paths) != len(_SIDES):
        raise ValueError(f"surfaces must be a pair of files, left and right, got {len(paths)}")
    parts, tables = [], []
    steps: dict[str, float | None] = {}
    for side, path in zip(_SIDES, paths, strict=True):
        values, image = _gifti(path)
        named = {
            f"place in the pair of {path}": side,
            f"name of {path}": _side_in_name(path.name),
            f"metadata of {path}": side_of(image.meta.get("AnatomicalStructurePrimary", "")),
        }
        agreements.same("hemisphere", named)
        times = [array.meta.get("TimeStep") for array in image.darrays]
        steps |= {f"header of {path}, time {i}": _step(path, time) for i, time in enumerate(times)}
        tables.append(vertex_targets(side, values.shape[1]))
        parts.append(values)
    if len(parts[0]) != len(parts[1]):
        raise ValueError(f"both hemispheres must have as many times, got {len(parts[0])} and {len(parts[1])}")
    step = Agreements().same("repetition time", steps, equal=within(TIME_TOLERANCE), show=seconds)
    counts = {side: values.shape[1] for side, values in zip(_SIDES, parts, strict=True)}
    mesh = SurfaceMesh(counts, entities(paths[0].name).get("space", ""))
    return Series(np.concatenate(parts, axis=1), pd.concat(tables, ignore_index=True), step, paths, geometry=mesh)


def _gifti(path: Path) -> tuple[NDArray[np.float32], Any]:
    """Values [times, vertices] of a GIFTI file, and nibabel's image."""
    import nibabel

    check_packed(path)
    try:
        with strict_nibabel():
            image: Any = nibabel.load(path)
        arrays = [np.asarray(array.data, dtype=np.float32) for array in image.darrays]
        intents = [str(nibabel.nifti1.intent_codes.niistring[array.intent]) for array in image.darrays]
        values = arrays[0].T if len(arrays) == 1 and arrays[0].ndim == 2 else np.stack(arrays)
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a GIFTI time series: {error}") from error
    wrong = next((intent for intent in intents if intent.rpartition("_")[2].lower() in _SURFACES), None)
    if wrong is not None or values.ndim != 2:
        raise ValueError(f"{path} must hold a time series [vertices] x times, got {wrong or list(values.shape)}")
    return values, image


def _side_in_name(name: str) -> str | None:
    """The hemisphere in a file's name: hemi-L, .L.func.gii, lh.name."""
    words = [entities(name).get("hemi"), *name.split(".")[:1], *name.split(".")[-3:-2]]
    return next((side for word in words if word and (side := side_of(word))), None)


def _step(path: Path, time: str | None) -> float | None:
    """A GIFTI TimeStep, which is in ms, in s."""
    if not time:
        return None
    try:
        return float(time) / 1000 or None
    except ValueError as error:
        raise ValueError(f"TimeStep in {path} must be a number, got {time!r}") from error


def _grayordinates(path: Path) -> Series:
    import nibabel

    try:
        with strict_nibabel():
            image: Any = nibabel.load(path)
        times, models = image.header.get_axis(0), image.header.get_axis(1)
        values = np.asarray(image.dataobj, dtype=np.float32)
        step = float(times.step) * {"SECOND": 1.0}.get(times.unit, np.nan)
        geometry, table = _of_axis(models)
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a CIFTI time series: {error}") from error
    return Series(values, table, None if np.isnan(step) or not step else step, [path], geometry=geometry)


def _of_axis(models: Any) -> tuple[Geometry, pd.DataFrame]:
    """The geometry and the targets of CIFTI's brain models, or of its parcels."""
    if hasattr(models, "voxels"):
        return Parcels.from_axis(models), pd.DataFrame({"label": list(map(str, models.name))})
    return Grayordinates.from_axis(models), grayordinate_targets(models)


def grayordinate_targets(models: Any) -> pd.DataFrame:
    """The table of targets of CIFTI's brain models."""
    sides = [_CORTEX.get(name, "") for name in models.name]
    table = pd.DataFrame({"hemisphere": sides, "vertex": models.vertex, "structure": models.name})
    table[["i", "j", "k"]] = models.voxel
    places = ["-".join(map(str, voxel)) for voxel in models.voxel.tolist()]
    table["label"] = [
        f"{side}.{vertex}" if side else f"{name.removeprefix('CIFTI_STRUCTURE_').lower()} {voxel}"
        for side, vertex, name, voxel in zip(sides, models.vertex, models.name, places, strict=True)
    ]
    return table


def seconds(value: float) -> str:
    return f"{value:g} s"


def same_targets(first: Sequence[str], labels: Sequence[str], path: Path) -> None:
    """Raise a ValueError unless a run has the targets of the first run, in their order."""
    if len(first) != len(labels):
        raise ValueError(f"{path} must have {len(first)} targets as run 1 has, got {len(labels)}")
    wrong = next((i for i, pair in enumerate(zip(first, labels, strict=True)) if pair[0] != pair[1]), None)
    if wrong is not None:
        raise ValueError(
            f"{path} must have the targets of run 1, got {labels[wrong]!r} in the place of {first[wrong]!r}"
        )
