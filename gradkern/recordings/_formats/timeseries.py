"""Time series of fMRI files: volumes, surfaces, grayordinates."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.recordings._formats.files import existing_file, read_volume
from gradkern.recordings._targets import mask_targets, vertex_targets

_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
_SIDES = ("left", "right")
_CORTEX = {"CIFTI_STRUCTURE_CORTEX_LEFT": "left", "CIFTI_STRUCTURE_CORTEX_RIGHT": "right"}

Series = tuple[NDArray[np.float32], pd.DataFrame, float | None, list[Path]]


def open_series(source: Any, inside: NDArray[np.bool_] | None) -> Series:
    """Values [times, targets], the table of targets, the repetition time in s (None if unknown), and the files.

    A pair of paths are the two hemispheres. A path that ends in .dtseries.nii has grayordinates, any other is a volume.
    """
    if isinstance(source, tuple | list):
        return _surfaces([existing_file(path) for path in source])
    path = existing_file(source)
    if path.name.endswith(".dtseries.nii"):
        return _grayordinates(path)
    if inside is None:
        raise ValueError(f"mask must be given for volumes, got None for {path}")
    return masked(path, inside), pd.DataFrame(), _repetition_time(path), [path]


def voxels(mask: Any) -> tuple[NDArray[np.bool_], pd.DataFrame]:
    """The mask, bool [x, y, z], and the table of its voxels, x fastest."""
    path = existing_file(mask)
    values, affine = read_volume(path)
    inside = np.asarray(values) != 0
    if inside.ndim != 3 or not inside.any():
        raise ValueError(f"{path} must be a volume with voxels that are not 0, got shape {list(inside.shape)}")
    return inside, mask_targets(inside, affine)


def masked(path: Path, inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Voxels of a mask in every volume, [volumes, voxels]."""
    values, _ = read_volume(path)
    if values.ndim != 4 or values.shape[:3] != inside.shape:
        grid = ", ".join(map(str, inside.shape))
        raise ValueError(f"{path} must be [{grid}, volumes] as the mask is, got {list(values.shape)}")
    series: NDArray[np.float32] = values.T[:, inside.T].astype(np.float32)
    return series


def _repetition_time(path: Path) -> float:
    import nibabel

    header: Any = nibabel.load(path).header
    return float(header.get_zooms()[3]) * _SECONDS.get(header.get_xyzt_units()[1], 1.0)


def _surfaces(paths: list[Path]) -> Series:
    """GIFTI files of the left and the right hemisphere, with one array per time."""
    if len(paths) != len(_SIDES):
        raise ValueError(f"surfaces must be a pair of files, left and right, got {len(paths)}")
    import nibabel

    parts, tables, steps = [], [], set()
    for side, path in zip(_SIDES, paths, strict=True):
        try:
            image: Any = nibabel.load(path)
            values = np.stack([np.asarray(array.data, dtype=np.float32) for array in image.darrays])
        except Exception as error:
            raise ValueError(f"{path} cannot be read as a GIFTI time series: {error}") from error
        times = [array.meta.get("TimeStep") for array in image.darrays]
        steps.add(float(times[0]) / 1000 if times and times[0] else None)  # in ms
        tables.append(vertex_targets(side, values.shape[1]))
        parts.append(values)
    if len(parts[0]) != len(parts[1]):
        raise ValueError(f"both hemispheres must have as many times, got {len(parts[0])} and {len(parts[1])}")
    step = steps.pop() if len(steps) == 1 else None
    return np.concatenate(parts, axis=1), pd.concat(tables, ignore_index=True), step, paths


def _grayordinates(path: Path) -> Series:
    import nibabel

    try:
        image: Any = nibabel.load(path)
        times, models = image.header.get_axis(0), image.header.get_axis(1)
        values = np.asarray(image.dataobj, dtype=np.float32)
        step = float(times.step) * {"SECOND": 1.0}.get(times.unit, np.nan)
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a CIFTI time series: {error}") from error
    sides = [_CORTEX.get(name, "") for name in models.name]
    table = pd.DataFrame({"hemisphere": sides, "vertex": models.vertex, "structure": models.name})
    table[["i", "j", "k"]] = models.voxel
    places = ["-".join(map(str, voxel)) for voxel in models.voxel.tolist()]
    table["label"] = [
        f"{side}.{vertex}" if side else f"{name.removeprefix('CIFTI_STRUCTURE_').lower()} {voxel}"
        for side, vertex, name, voxel in zip(sides, models.vertex, models.name, places, strict=True)
    ]
    return values, table, None if np.isnan(step) else step, [path]
