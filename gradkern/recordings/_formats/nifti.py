"""4-D NIfTI files as responses [volumes, voxels]: memory-mapped, in memory, or unpacked once onto a disk."""

import gzip
import zlib
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._files import written_whole
from gradkern.recordings._formats.files import fingerprint, read_volume
from gradkern.recordings._responses.lazy import ChosenTargets, Responses, Scaled, Whole
from gradkern.recordings._responses.out_of_core import FileRows, as_responses

_VALUES_AT_ONCE = 2**25  # that are looked through for targets without data


def open_volumes(path: Path, inside: NDArray[np.bool_], scratch: Any = None, scale: float = 1.0) -> Responses:
    """Voxels of a mask in every volume, x fastest, times `scale`.

    A .nii file is read in parts. A .nii.gz file cannot be, so it is unpacked once, volume by volume. The voxels of the
    mask are then held in memory, in the stored type (2 bytes per value of int16). If there is a folder `scratch`, they
    are kept in a file there instead, which is named after the fingerprints of file and mask, so that it is used again.

    Raises
    ------
    ValueError : the file has another format or grid, has an offset in its header, or is cut short
    """
    import nibabel

    try:
        image: Any = nibabel.load(path)
        shape, stored, start = tuple(image.shape), image.dataobj.dtype, int(image.dataobj.offset)
        slope, offset = float(image.dataobj.slope), float(image.dataobj.inter)
    except Exception as error:
        raise ValueError(f"{path} cannot be read as NIfTI: {error} (is it cut short?)") from error
    if len(shape) != 4 or shape[:3] != inside.shape:
        grid = ", ".join(map(str, inside.shape))
        raise ValueError(f"{path} must be [{grid}, volumes] as the mask is, got {list(shape)}")
    if offset or stored.kind not in "fiu":
        raise ValueError(f"{path} must hold numbers without an offset, got {stored} and the offset {offset:g}")
    chosen = np.flatnonzero(inside.T)
    if path.suffix != ".gz":
        expected = start + int(np.prod(shape)) * stored.itemsize
        if path.stat().st_size < expected:
            raise ValueError(f"{path} is cut short: {path.stat().st_size} bytes, {expected} expected")
        whole = FileRows([np.memmap(path, stored, "r", start, (shape[3], inside.size))])
        voxels: Responses = whole if inside.all() else ChosenTargets(whole, chosen)
    elif scratch is None:
        values = np.empty((shape[3], len(chosen)), stored)
        _unpack(path, start, chosen, (values, inside.size))
        voxels = Whole(values)
    else:
        voxels = as_responses(_in_scratch(path, start, inside, (Path(scratch), shape[3], stored)))
    return voxels if stored.kind == "f" and slope * scale == 1 else Scaled(voxels, slope * scale)


def _in_scratch(
    path: Path, start: int, inside: NDArray[np.bool_], storage: tuple[Path, int, np.dtype[Any]]
) -> NDArray[Any]:
    """The mask's voxels as a memory map [volumes, voxels] of a file in the scratch folder."""
    scratch, count, stored = storage
    if not scratch.is_dir():
        raise ValueError(f"scratch must be a folder, got {str(scratch)!r}")
    mask = sha256(f"{inside.shape}".encode() + np.packbits(inside).tobytes()).hexdigest()
    target = scratch / f"{fingerprint(path)[:32]}-{mask[:16]}.npy"
    if not target.is_file():
        chosen = np.flatnonzero(inside.T)
        with written_whole(target) as aside:
            values = np.lib.format.open_memmap(aside, "w+", stored, (count, len(chosen)))
            _unpack(path, start, chosen, (values, inside.size))
            values.flush()
    try:
        unpacked: NDArray[Any] = np.load(target, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError) as error:
        raise ValueError(f"{target}, unpacked from {path}, cannot be read: {error}; delete it") from error
    return unpacked


def _unpack(path: Path, start: int, chosen: NDArray[Any], output: tuple[NDArray[Any], int]) -> None:
    """Read some voxels of every volume of a .nii.gz file into an array; `output` has it and a volume's voxel count."""
    values, size = output
    try:
        with gzip.open(path) as packed:
            packed.read(start)
            for row in values:
                volume = packed.read(size * values.itemsize)
                if len(volume) < size * values.itemsize:
                    raise EOFError(f"it holds fewer than {len(values)} volumes")
                row[:] = np.frombuffer(volume, values.dtype)[chosen]
            packed.read(1)  # which compares the checksum
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error} (is it cut short?)") from error


def volume_shape(path: Path) -> tuple[tuple[int, int, int], int]:
    """Grid and number of volumes in the header of a 4-D NIfTI file."""
    import nibabel

    try:
        image: Any = nibabel.load(path)
        x, y, z, count = map(int, image.shape)
    except Exception as error:
        raise ValueError(f"{path} cannot be read as 4-D NIfTI: {error} (is it cut short?)") from error
    return (x, y, z), count


def with_data(responses: Responses) -> NDArray[np.bool_]:
    """Whether a target is finite in all presentations and not 0 in all of them, [v]; reads everything once."""
    n, v = responses.shape
    measured = np.empty(v, bool)
    step = max(1, _VALUES_AT_ONCE // max(1, n))
    for start in range(0, v, step):
        block = responses.columns(slice(start, min(start + step, v)))
        measured[start : start + step] = np.isfinite(block).all(0) & (block != 0).any(0)
    return measured


def in_regions(targets: pd.DataFrame, masks: Mapping[str, Path], grid: tuple[int, ...]) -> pd.DataFrame:
    """The targets with a bool column for every region, and "roi", the first region that a voxel is in, or "".

    Raises
    ------
    ValueError : a mask has another grid than the responses
    """
    places = tuple(targets[["i", "j", "k"]].to_numpy().T)
    labeled = targets.assign(roi="")
    for name, path in masks.items():
        values, _ = read_volume(path)
        if values.shape != grid:
            raise ValueError(f"{path} must be {list(grid)} as the responses are, got {list(values.shape)}")
        labeled[name] = values[places] != 0
        labeled.loc[labeled[name] & (labeled["roi"] == ""), "roi"] = name
    return labeled
