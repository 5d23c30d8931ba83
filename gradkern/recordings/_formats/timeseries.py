"""Time series of fMRI files: volumes, surfaces, grayordinates."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.recordings._formats.files import read_volume

_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
_SIDES = ("left", "right")
_CORTEX = {"CIFTI_STRUCTURE_CORTEX_LEFT": "left", "CIFTI_STRUCTURE_CORTEX_RIGHT": "right"}

Series = tuple[NDArray[np.float32], pd.DataFrame, float | None, list[Path]]


def existing(op: str, path: Any) -> Path:
    """FileNotFoundError unless there is such a file."""
    found = Path(path).expanduser()
    if not found.is_file():
        raise FileNotFoundError(f"{op}: {path} is not there")
    return found


def open_series(op: str, source: Any, inside: NDArray[np.bool_] | None) -> Series:
    """[times, targets], the targets, seconds a time takes (None: not said), and the files.

    A path ends in .dtseries.nii for grayordinates, else it is a volume; a pair of paths are the two hemispheres.
    """
    if isinstance(source, tuple | list):
        return _surfaces(op, [existing(op, path) for path in source])
    path = existing(op, source)
    if path.name.endswith(".dtseries.nii"):
        return _grayordinates(op, path)
    if inside is None:
        raise ValueError(f"{op}: mask must be given for volumes, got None for {path}")
    return masked(op, path, inside), pd.DataFrame(), _repetition_time(path), [path]


def voxels(op: str, mask: Any) -> tuple[NDArray[np.bool_], pd.DataFrame]:
    """The voxels of a mask, and the table of these targets, x fastest."""
    path = existing(op, mask)
    values, affine = read_volume(op, path)
    inside = np.asarray(values) != 0
    if inside.ndim != 3 or not inside.any():
        raise ValueError(f"{op}: {path} must be a volume with voxels that are not 0, got shape {list(inside.shape)}")
    return inside, voxel_table(inside, affine)


def voxel_table(inside: NDArray[np.bool_], affine: NDArray[Any]) -> pd.DataFrame:
    """Voxels of a mask as targets, x fastest."""
    k, j, i = np.nonzero(inside.T)
    table = pd.DataFrame({"label": [f"{a}-{b}-{c}" for a, b, c in zip(i, j, k, strict=True)], "i": i, "j": j, "k": k})
    table[["x", "y", "z"]] = np.stack([i, j, k], 1) @ affine[:3, :3].T + affine[:3, 3]
    return table


def masked(op: str, path: Path, inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Voxels of the mask in every volume, [volumes, voxels]."""
    values, _ = read_volume(op, path)
    if values.ndim != 4 or values.shape[:3] != inside.shape:
        wanted = ", ".join(map(str, inside.shape))
        raise ValueError(f"{op}: {path} must be [{wanted}, volumes] as the mask is, got {list(values.shape)}")
    series: NDArray[np.float32] = values.T[:, inside.T].astype(np.float32)
    return series


def _repetition_time(path: Path) -> float:
    import nibabel

    header: Any = nibabel.load(path).header
    return float(header.get_zooms()[3]) * _SECONDS.get(header.get_xyzt_units()[1], 1.0)


def _surfaces(op: str, paths: list[Path]) -> Series:
    """GIFTI files of the left and the right hemisphere, an array a time."""
    if len(paths) != len(_SIDES):
        raise ValueError(f"{op}: surfaces must be a pair of files, left and right, got {len(paths)}")
    import nibabel

    parts, tables, steps = [], [], set()
    for side, path in zip(_SIDES, paths, strict=True):
        try:
            image: Any = nibabel.load(path)
            values = np.stack([np.asarray(array.data, dtype=np.float32) for array in image.darrays])
        except Exception as error:
            raise ValueError(f"{op}: {path} cannot be read as a GIFTI time series: {error}") from error
        said = [array.meta.get("TimeStep") for array in image.darrays]
        steps.add(float(said[0]) / 1000 if said and said[0] else None)  # in ms
        vertices = np.arange(values.shape[1])
        tables.append(
            pd.DataFrame({"label": [f"{side}.{v}" for v in vertices], "hemisphere": side, "vertex": vertices})
        )
        parts.append(values)
    if len(parts[0]) != len(parts[1]):
        raise ValueError(f"{op}: both hemispheres must have as many times, got {len(parts[0])} and {len(parts[1])}")
    step = steps.pop() if len(steps) == 1 else None
    return np.concatenate(parts, axis=1), pd.concat(tables, ignore_index=True), step, paths


def _grayordinates(op: str, path: Path) -> Series:
    import nibabel

    try:
        image: Any = nibabel.load(path)
        times, models = image.header.get_axis(0), image.header.get_axis(1)
        values = np.asarray(image.dataobj, dtype=np.float32)
        step = float(times.step) * {"SECOND": 1.0}.get(times.unit, np.nan)
    except Exception as error:
        raise ValueError(f"{op}: {path} cannot be read as a CIFTI time series: {error}") from error
    sides = [_CORTEX.get(name, "") for name in models.name]
    table = pd.DataFrame({"hemisphere": sides, "vertex": models.vertex, "structure": models.name})
    table[["i", "j", "k"]] = models.voxel
    places = ["-".join(map(str, voxel)) for voxel in models.voxel.tolist()]
    table["label"] = [
        f"{side}.{vertex}" if side else f"{name.removeprefix('CIFTI_STRUCTURE_').lower()} {voxel}"
        for side, vertex, name, voxel in zip(sides, models.vertex, models.name, places, strict=True)
    ]
    return values, table, None if np.isnan(step) else step, [path]
