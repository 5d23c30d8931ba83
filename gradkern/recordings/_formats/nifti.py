"""4-D NIfTI files as responses [volumes, voxels]: mapped, in memory, or unpacked once onto a disk."""

import gzip
import zlib
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.recordings._formats.files import fingerprint, read_volume
from gradkern.recordings._lazy import ChosenTargets, Responses, Scaled, Whole
from gradkern.recordings._out_of_core import FileRows, as_responses

_AT_ONCE = 2**25  # values that are looked through at a time


def open_volumes(op: str, path: Path, inside: NDArray[np.bool_], scratch: Any = None, scale: float = 1.0) -> Responses:
    """Voxels of a mask in every volume, x fastest, times `scale`.

    A .nii file is read in parts. A .nii.gz file cannot be: it is unpacked once, a volume at a time, and the voxels of
    the mask are held in memory, in the stored type (2 bytes a value of int16), or, given a folder `scratch`, in a file
    there, which is named after the fingerprints of file and mask and found again.

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
    chosen = np.flatnonzero(inside.T)
    if path.suffix != ".gz":
        wanted_bytes = start + int(np.prod(shape)) * stored.itemsize
        if path.stat().st_size < wanted_bytes:
            raise ValueError(f"{op}: {path} is cut short: {path.stat().st_size} bytes, {wanted_bytes} expected")
        whole = FileRows([np.memmap(path, stored, "r", start, (shape[3], inside.size))])
        voxels: Responses = whole if inside.all() else ChosenTargets(whole, chosen)
    elif scratch is None:
        values = np.empty((shape[3], len(chosen)), stored)
        _unpack(op, path, start, chosen, (values, inside.size))
        voxels = Whole(values)
    else:
        voxels = as_responses(_kept(op, path, start, inside, (Path(scratch), shape[3], stored)))
    return voxels if stored.kind == "f" and slope * scale == 1 else Scaled(voxels, slope * scale)


def _kept(
    op: str, path: Path, start: int, inside: NDArray[np.bool_], where: tuple[Path, int, np.dtype[Any]]
) -> NDArray[Any]:
    """The mask's voxels [volumes, voxels] in a folder where they stay, mapped."""
    scratch, count, stored = where
    if not scratch.is_dir():
        raise ValueError(f"{op}: scratch must be a folder, got {str(scratch)!r}")
    mask = sha256(f"{inside.shape}".encode() + np.packbits(inside).tobytes()).hexdigest()
    target = scratch / f"{fingerprint(path)[:32]}-{mask[:16]}.npy"
    if not target.is_file():
        part = target.with_suffix(f".{uuid4().hex}.part")  # whole before it has its name
        chosen = np.flatnonzero(inside.T)
        try:
            values = np.lib.format.open_memmap(part, "w+", stored, (count, len(chosen)))
            _unpack(op, path, start, chosen, (values, inside.size))
            values.flush()
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    try:
        found: NDArray[Any] = np.load(target, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError) as error:
        raise ValueError(f"{op}: {target}, unpacked from {path}, cannot be read: {error}; delete it") from error
    return found


def _unpack(op: str, path: Path, start: int, chosen: NDArray[Any], into: tuple[NDArray[Any], int]) -> None:
    """Some voxels of every volume of a .nii.gz file."""
    values, size = into
    try:
        with gzip.open(path) as packed:
            packed.read(start)
            for row in values:
                volume = packed.read(size * values.itemsize)
                if len(volume) < size * values.itemsize:
                    raise EOFError(f"it holds fewer than {len(values)} volumes")
                row[:] = np.frombuffer(volume, values.dtype)[chosen]
            packed.read(1)  # compares the checksum
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{op}: {path} cannot be read: {error} (is it cut short?)") from error


def volume_shape(op: str, path: Path) -> tuple[tuple[int, int, int], int]:
    """Grid and number of volumes of a 4-D NIfTI file, as its header says."""
    import nibabel

    try:
        image: Any = nibabel.load(path)
        x, y, z, count = map(int, image.shape)
    except Exception as error:
        raise ValueError(f"{op}: {path} cannot be read as 4-D NIfTI: {error} (is it cut short?)") from error
    return (x, y, z), count


def with_data(responses: Responses) -> NDArray[np.bool_]:
    """Targets [v] that are finite in all presentations and not 0 in all of them; everything is read once."""
    n, v = responses.shape
    found = np.empty(v, bool)
    step = max(1, _AT_ONCE // max(1, n))
    for start in range(0, v, step):
        block = responses.columns(slice(start, min(start + step, v)))
        found[start : start + step] = np.isfinite(block).all(0) & (block != 0).any(0)
    return found


def in_regions(op: str, targets: pd.DataFrame, masks: Mapping[str, Path], grid: tuple[int, ...]) -> pd.DataFrame:
    """The targets, with a column of bool for every region's mask, and "roi", the first region a voxel is in, or "".

    Raises
    ------
    ValueError : a mask of another grid than that which the targets' "i", "j", "k" lie in
    """
    place = tuple(targets[["i", "j", "k"]].to_numpy().T)
    found = targets.assign(roi="")
    for name, path in masks.items():
        values, _ = read_volume(op, path)
        if values.shape != grid:
            raise ValueError(f"{op}: {path} must be {list(grid)} as the responses are, got {list(values.shape)}")
        found[name] = values[place] != 0
        found.loc[found[name] & (found["roi"] == ""), "roi"] = name
    return found
