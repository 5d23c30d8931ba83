"""NIfTI and MGH files, packed ones included, read to their end; and the grids that they say they lie on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradkern.recordings._formats.agreement import Agreements
from gradkern.recordings._formats.packed import is_packed, remaining, unpacked

_ENDINGS = (".nii", ".nii.gz", ".nii.bz2", ".mgh", ".mgz", ".mgh.gz", ".hdr", ".img")
_MILLIMETERS = {"unknown": 1.0, "mm": 1.0, "meter": 1e3, "micron": 1e-3}
_APART = 0.01  # of a voxel's shortest edge: rounding of affines between programs stays below it
_MENDED = 30  # nibabel's level of problems from which a header does not say what it should
AFFINE_OPTION = 'affine="mask" or "data"'


class Grid(NamedTuple):
    """The first axes of a file, its affine [4, 4] in mm, None if the header states none, and NIfTI's code of the space
    that the affine leads to."""

    shape: tuple[int, ...]
    affine: NDArray[np.float64] | None
    code: int = 0


class Volume(NamedTuple):
    """Values as the header scales them, the affine [4, 4] in mm, whether the header states it, and by which code."""

    values: NDArray[Any]
    affine: NDArray[np.float64]
    stated: bool
    code: int = 0

    @property
    def grid(self) -> Grid:
        return Grid(self.values.shape[:3], self.affine if self.stated else None, self.code)


@contextmanager
def strict_nibabel() -> Iterator[None]:
    """Have nibabel raise errors for headers that it would mend, and print nothing."""
    from nibabel import imageglobals

    logger, level = imageglobals.logger, imageglobals.error_level
    disabled, logger.disabled, imageglobals.error_level = logger.disabled, True, _MENDED
    try:
        yield
    finally:
        logger.disabled, imageglobals.error_level = disabled, level


def open_image(path: Path) -> Any:
    """nibabel's image of a file, whose values are not read.

    Raises
    ------
    ValueError : another format, or a header that cannot be read, or that nibabel would have to mend
    """
    import nibabel

    if not path.name.lower().endswith(_ENDINGS):
        raise ValueError(f"{path} must be a volume that ends in {', '.join(_ENDINGS)}")
    try:
        with strict_nibabel():
            return nibabel.load(path)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path} cannot be read: {error} (is it cut short?)") from error


def read_volume(path: Path) -> Volume:
    """All values of a NIfTI or MGH file.

    Raises
    ------
    ValueError : another format, damaged or cut short
    """
    image = open_image(path)
    try:
        if is_packed(path):
            values = _read_packed(path, type(image))
        else:
            values = np.asanyarray(image.dataobj)
            check_surplus(path, image, path.stat().st_size - int(image.dataobj.offset) - _stored_bytes(image))
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise
        reason = " ".join(str(error).split())  # nibabel's go over several lines
        raise ValueError(f"{path} cannot be read: {reason} (is it damaged or cut short?)") from error
    return Volume(values, *_affine(path, image), _code(image))


def _read_packed(path: Path, kind: Any) -> NDArray[Any]:
    """Values of a packed file, in one pass to the checksum at its end."""
    from nibabel.fileholders import FileHolder

    with unpacked(path) as stream, strict_nibabel():
        image = kind.from_file_map({"image": FileHolder(fileobj=stream)})
        values: NDArray[Any] = np.asanyarray(image.dataobj)
        surplus = remaining(stream)
    check_surplus(path, image, surplus)
    return values


def _stored_bytes(image: Any) -> int:
    return int(np.prod(image.shape)) * int(image.dataobj.dtype.itemsize)


def check_surplus(path: Path, image: Any, surplus: int) -> None:
    """Raise a ValueError if a NIfTI file goes on for a whole volume after what its header promises."""
    import nibabel

    volume = int(np.prod(image.shape[:3])) * int(image.dataobj.dtype.itemsize)
    single = isinstance(image, nibabel.Nifti1Image | nibabel.Nifti2Image)  # MGH files end with words
    if single and surplus >= max(volume, 1):
        raise ValueError(
            f"{path} must end after the {list(image.shape)} of its header, got {surplus} more bytes (is the header "
            "another file's?)"
        )


def grid_of(path: Path) -> Grid:
    """The grid in the header of a file."""
    image = open_image(path)
    affine, stated = _affine(path, image)
    return Grid(tuple(map(int, image.shape[:3])), affine if stated else None, _code(image))


def _code(image: Any) -> int:
    """NIfTI's code of the space that the affine leads to, that of the sform before that of the qform."""
    if "sform_code" not in image.header:
        return 1  # MGH: scanner
    return int(image.header["sform_code"]) or int(image.header["qform_code"])


def _affine(path: Path, image: Any) -> tuple[NDArray[np.float64], bool]:
    """The affine in mm, and whether the header states it: NIfTI has codes for that."""
    header, affine = image.header, np.array(image.affine, dtype=np.float64)
    inverts = bool(np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-12)
    if "sform_code" not in header:
        return affine, inverts  # MGH files of surfaces have none that means anything
    if not inverts:
        raise ValueError(f"{path} must have an affine that can be inverted, got {_row(affine)}")
    unit = header.get_xyzt_units()[0]
    if unit not in _MILLIMETERS:
        raise ValueError(f"{path} must be in mm, meters or microns, got {unit!r}")
    affine[:3] *= _MILLIMETERS[unit]
    return affine, bool(int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0)


def same_affines(a: NDArray[Any], b: NDArray[Any], shape: tuple[int, ...]) -> bool:
    """Whether no voxel of a grid lies elsewhere by more than 1 % of its shortest edge."""
    corners = np.array([(*corner, 1.0) for corner in product(*((0, size - 1) for size in shape[:3]))])
    edge = np.linalg.norm(a[:3, :3], axis=0).min()
    apart = np.linalg.norm((corners @ (a - b).T)[:, :3], axis=1).max()
    directions = np.abs(a[:3, :3] - b[:3, :3]).max()  # a grid of one voxel has no corners to tell by
    return bool(apart <= _APART * edge and directions <= _APART * edge)


def agree_on_grid(agreements: Agreements, grids: Mapping[str, Grid], affine: str | None = None) -> Grid:
    """The grid that files lie on, which must be the same; `affine` decides whose affine holds where they differ.

    Parameters
    ----------
    agreements : where the fact is recorded
    grids : by source, the mask's first
    affine : None, "mask" (that of the first source) or "data" (that of the second)

    Raises
    ------
    ValueError : shapes differ, or affines do and `affine` is None; the message quotes both
    """
    if affine not in (None, "mask", "data"):
        raise ValueError(f"affine must be None, 'mask' or 'data', got {affine!r}")
    shape = agreements.same("grid", {source: grid.shape for source, grid in grids.items()}, show=_shape)
    stated = {source: grid.affine for source, grid in grids.items()}
    if affine is not None:
        sources = list(stated)
        chosen = sources[0] if affine == "mask" or len(sources) == 1 else sources[1]
        agreements.decided("affine", f"that of the {affine}", "affine")
        return Grid(shape, stated[chosen], grids[chosen].code)
    agreed = agreements.same(
        "affine", stated, equal=lambda a, b: same_affines(a, b, shape), show=_row, option=AFFINE_OPTION
    )
    return Grid(shape, agreed, next((grid.code for grid in grids.values() if grid.affine is not None), 0))


def _shape(shape: tuple[int, ...]) -> str:
    return str(list(shape))


def _row(affine: NDArray[Any]) -> str:
    """The three rows of an affine that say something."""
    return "[" + "; ".join(" ".join(f"{value:.5g}" for value in row) for row in affine[:3]) + "]"
