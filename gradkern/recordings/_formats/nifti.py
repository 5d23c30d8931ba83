"""4-D NIfTI files as responses [volumes, voxels]: memory-mapped, in memory, or unpacked once onto a disk."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._files import allocate, written_whole
from gradkern.recordings._formats.agreement import Agreements
from gradkern.recordings._formats.files import fingerprint
from gradkern.recordings._formats.packed import is_packed, remaining, unpacked
from gradkern.recordings._formats.volumes import Grid, agree_on_grid, check_surplus, open_image, read_volume
from gradkern.recordings._responses.lazy import ChosenTargets, Responses, Scaled, Whole
from gradkern.recordings._responses.out_of_core import FileRows, as_responses

_VALUES_AT_ONCE = 2**25  # that are looked through for targets without data


def open_volumes(path: Path, inside: NDArray[np.bool_], scratch: Any = None, scale: float = 1.0) -> Responses:
    """Voxels of a mask in every volume, x fastest, times `scale`.

    A .nii or .mgh file is read in parts. A packed one (.gz, .bz2, .mgz) cannot be, so it is unpacked once, volume by
    volume, to its end. The voxels of the mask are then held in memory, in the stored type (2 bytes per value of int16).
    If there is a folder `scratch`, they are kept in a file there instead, which is named after the fingerprints of file
    and mask, so that it is used again.

    Raises
    ------
    ValueError : the file has another format or grid, is damaged or is cut short
    """
    image = open_image(path)
    shape, stored, start = tuple(map(int, image.shape)), image.dataobj.dtype, int(image.dataobj.offset)
    slope, offset = float(image.dataobj.slope), float(image.dataobj.inter)
    if len(shape) == 5 and shape[3] == 1:  # SPM and FSL write time as the fifth axis of some files
        shape = (*shape[:3], shape[4])
    if len(shape) != 4 or shape[:3] != inside.shape:
        grid = ", ".join(map(str, inside.shape))
        raise ValueError(f"{path} must be [{grid}, volumes] as the mask is, got {list(shape)}")
    if stored.kind not in "fiu" or not np.isfinite([slope, offset]).all():
        raise ValueError(f"{path} must hold numbers, got {stored}, x {slope:g} + {offset:g}")
    if not is_packed(path):
        voxels = _mapped(image, inside, (stored, start, shape[3]))
    elif scratch is None:
        values = np.empty((shape[3], int(inside.sum())), stored)
        _unpack(path, image, inside, values)
        voxels = Whole(values)
    else:
        voxels = as_responses(_in_scratch(path, image, inside, (Path(scratch), shape[3], stored)))
    as_stored = stored.kind == "f" and slope * scale == 1 and not offset
    return voxels if as_stored else Scaled(voxels, slope * scale, offset * scale)


def _mapped(image: Any, inside: NDArray[np.bool_], layout: tuple[np.dtype[Any], int, int]) -> Responses:
    """Voxels of a mask in a plain file, which is mapped."""
    stored, start, count = layout
    path = Path(image.dataobj.file_like)  # of a pair .hdr and .img the second
    expected = start + count * inside.size * stored.itemsize
    if path.stat().st_size < expected:
        raise ValueError(f"{path} is cut short: {path.stat().st_size} bytes, {expected} expected")
    check_surplus(path, image, path.stat().st_size - expected)
    whole = FileRows([np.memmap(path, stored, "r", start, (count, inside.size))])
    return whole if inside.all() else ChosenTargets(whole, np.flatnonzero(inside.T))


def _in_scratch(
    path: Path, image: Any, inside: NDArray[np.bool_], storage: tuple[Path, int, np.dtype[Any]]
) -> NDArray[Any]:
    """The mask's voxels as a memory map [volumes, voxels] of a file in the scratch folder."""
    scratch, count, stored = storage
    if not scratch.is_dir():
        raise ValueError(f"scratch must be a folder, got {str(scratch)!r}")
    mask = sha256(f"{inside.shape}".encode() + np.packbits(inside).tobytes()).hexdigest()
    target = scratch / f"{fingerprint(path)[:32]}-{mask[:16]}.npy"
    if not target.is_file():
        with written_whole(target) as aside:
            values = np.lib.format.open_memmap(aside, "w+", stored, (count, int(inside.sum())))
            with aside.open("r+b") as file:
                allocate(file.fileno(), aside.stat().st_size, scratch)  # a map of a full disk is a bus error
            _unpack(path, image, inside, values)
            values.flush()
    try:
        stored_voxels: NDArray[Any] = np.load(target, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError) as error:
        raise ValueError(f"{target}, unpacked from {path}, cannot be read: {error}; delete it") from error
    return stored_voxels


def _unpack(path: Path, image: Any, inside: NDArray[np.bool_], values: NDArray[Any]) -> None:
    """Read the mask's voxels of every volume of a packed file into an array [volumes, voxels]."""
    size, chosen = inside.size * values.itemsize, np.flatnonzero(inside.T)
    with unpacked(path) as packed:
        packed.read(int(image.dataobj.offset))
        for row in values:
            volume = packed.read(size)
            if len(volume) < size:
                raise EOFError(f"it holds fewer than {len(values)} volumes")
            row[:] = np.frombuffer(volume, values.dtype)[chosen]
        surplus = remaining(packed)  # to the end, where the checksum is compared
    check_surplus(path, image, surplus)


def volume_shape(path: Path) -> tuple[tuple[int, int, int], int]:
    """Grid and number of volumes in the header of a 4-D NIfTI file."""
    shape = tuple(map(int, open_image(path).shape))
    if len(shape) == 5 and shape[3] == 1:
        shape = (*shape[:3], shape[4])
    if len(shape) != 4:
        raise ValueError(f"{path} cannot be read as 4-D NIfTI: not enough values, or too many, got {list(shape)}")
    return shape[:3], shape[3]


def with_data(responses: Responses) -> NDArray[np.bool_]:
    """Whether a target is finite in all presentations and not 0 in all of them, [v]; reads everything once.

    Where integers are stored with an offset, 0 is what rounds to it.
    """
    n, v = responses.shape
    scaled = isinstance(responses, Scaled) and responses.offset
    nothing = float(np.abs(responses.factor).max()) / 2 if isinstance(responses, Scaled) and scaled else 0.0
    measured = np.empty(v, bool)
    step = max(1, _VALUES_AT_ONCE // max(1, n))
    for start in range(0, v, step):
        block = responses.columns(slice(start, min(start + step, v)))
        measured[start : start + step] = np.isfinite(block).all(0) & (np.abs(block) > nothing).any(0)
    return measured


def in_regions(
    targets: pd.DataFrame, masks: Mapping[str, Path], grid: Grid, agreements: Agreements, affine: str | None = None
) -> pd.DataFrame:
    """The targets with a bool column for every region, and "roi", the first region that a voxel is in, or "".

    NaN is outside of a region.

    Raises
    ------
    ValueError : a mask has another grid than the responses
    """
    places = tuple(targets[["i", "j", "k"]].to_numpy().T)
    labeled = targets.assign(roi="")
    for name, path in masks.items():
        region = read_volume(path)
        if region.values.shape != grid.shape:
            raise ValueError(f"{path} must be {list(grid.shape)} as the responses are, got {list(region.values.shape)}")
        agree_on_grid(agreements, {"mask": grid, f"region of {path}": region.grid}, affine)
        values = region.values[places]
        labeled[name] = (values != 0) & ~np.isnan(values)
        labeled.loc[labeled[name] & (labeled["roi"] == ""), "roi"] = name
    return labeled
