"""4-D NIfTI files as responses [volumes, voxels]: in memory, or unpacked once onto a disk and read in parts."""

import gzip
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.recordings.files import fingerprint, read_volume
from gradkern.recordings.responses import ChosenTargets, Responses, Scaled, Whole

_AT_ONCE = 2**25  # values that are looked through at a time


def open_volumes(op: str, path: Path, inside: NDArray[np.bool_], scratch: Any = None, scale: float = 1.0) -> Responses:
    """Voxels of a mask in every volume, x fastest, times `scale`.

    A .nii.gz file cannot be read in parts. Its voxels of the mask are held in memory, in the stored type (2 bytes a
    value of int16); or, given a folder `scratch`, it is unpacked there once, whole, and read in parts from then on, as
    a .nii file is. The unpacked file is named after the fingerprint and found again.

    Raises
    ------
    ValueError : another format or grid, an offset in the header, or cut short
    """
    import nibabel

    try:
        image: Any = nibabel.load(path)
        shape, stored, start = tuple(image.shape), image.dataobj.dtype, int(image.dataobj.offset)
        slope, offset = float(image.dataobj.slope), float(image.dataobj.inter)
    except Exception as error:
        raise ValueError(f"{op}: {path} cannot be read as NIfTI: {error} (is it cut short?)") from error
    if len(shape) != 4 or shape[:3] != inside.shape:
        wanted = ", ".join(map(str, inside.shape))
        raise ValueError(f"{op}: {path} must be [{wanted}, volumes] as the mask is, got {list(shape)}")
    if offset or stored.kind not in "fiu":
        raise ValueError(f"{op}: {path} must hold numbers without an offset, got {stored} and the offset {offset:g}")
    every, chosen = bool(inside.all()), np.flatnonzero(inside.T)
    if path.suffix == ".gz" and scratch is None:
        try:
            values = image.dataobj.get_unscaled().T.reshape(shape[3], -1)
        except Exception as error:
            raise ValueError(f"{op}: {path} cannot be read: {error} (is it cut short?)") from error
        voxels: Responses = Whole(values if every else values[:, chosen])
    else:
        source = unpacked(op, path, Path(scratch)) if path.suffix == ".gz" else path
        wanted_bytes = start + int(np.prod(shape)) * stored.itemsize
        if source.stat().st_size < wanted_bytes:
            raise ValueError(f"{op}: {path} is cut short: {source.stat().st_size} bytes, {wanted_bytes} expected")
        mapped = Whole(np.memmap(source, stored, "r", start, (shape[3], int(np.prod(shape[:3])))))
        voxels = mapped if every else ChosenTargets(mapped, chosen)
    return voxels if stored.kind == "f" and slope * scale == 1 else Scaled(voxels, slope * scale)


def volume_shape(op: str, path: Path) -> tuple[tuple[int, int, int], int]:
    """Grid and number of volumes of a 4-D NIfTI file, as its header says."""
    import nibabel

    try:
        image: Any = nibabel.load(path)
        x, y, z, count = map(int, image.shape)
    except Exception as error:
        raise ValueError(f"{op}: {path} cannot be read as 4-D NIfTI: {error} (is it cut short?)") from error
    return (x, y, z), count


def unpacked(op: str, path: Path, scratch: Path) -> Path:
    """The content of a .gz file, in a folder where it stays; it is written under another name until it is whole."""
    if not scratch.is_dir():
        raise ValueError(f"{op}: scratch must be a folder, got {str(scratch)!r}")
    target = scratch / f"{fingerprint(path)}.nii"
    if target.is_file():
        return target
    with NamedTemporaryFile(dir=scratch, suffix=".part", delete=False) as part:
        written = Path(part.name)
        try:
            with gzip.open(path) as packed:
                shutil.copyfileobj(packed, part, 2**24)
        except (EOFError, OSError, zlib.error) as error:
            written.unlink()
            raise ValueError(f"{op}: {path} cannot be read: {error} (is it cut short?)") from error
    return written.replace(target)


def with_data(responses: Responses) -> NDArray[np.bool_]:
    """Targets [v] that are finite in all presentations and not 0 in all of them; everything is read once."""
    n, v = responses.shape
    found = np.empty(v, bool)
    step = max(1, _AT_ONCE // max(1, n))
    for start in range(0, v, step):
        block = responses.columns(slice(start, min(start + step, v)))
        found[start : start + step] = np.isfinite(block).all(0) & (block != 0).any(0)
    return found


def in_regions(op: str, targets: pd.DataFrame, masks: Mapping[str, Path]) -> pd.DataFrame:
    """The targets, with a column of bool for every region's mask, and "roi", the first region a voxel is in, or "".

    Raises
    ------
    ValueError : a mask of another grid than the targets' "i", "j", "k" lie in, or one with none of them
    """
    place = tuple(targets[["i", "j", "k"]].to_numpy().T)
    least = tuple(int(axis.max()) + 1 for axis in place)
    found = targets.assign(roi="")
    shapes = set()
    for name, path in masks.items():
        values, _ = read_volume(op, path)
        shapes.add(values.shape)
        if len(shapes) > 1 or values.ndim != 3 or any(a < b for a, b in zip(values.shape, least, strict=True)):
            raise ValueError(f"{op}: {path} must be a volume on the grid of the targets, got {list(values.shape)}")
        found[name] = values[place] != 0
        found.loc[found[name] & (found["roi"] == ""), "roi"] = name
    return found
