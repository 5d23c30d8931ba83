"""Where the targets of a recording lie: what the table of targets cannot say, such as the grid that voxels are part of.

A target's place is a number below `Geometry.size`: of a voxel in the whole grid, of a vertex in the whole mesh.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.errors import Refused, naming

Arrays = dict[str, NDArray[Any]]
VOXEL = ("i", "j", "k")
_SINGULAR = 1e-12


@dataclass(frozen=True, eq=False, repr=False)
class Geometry(ABC):
    """The places that a recording's targets are some of.

    `VolumeGrid`, `SurfaceMesh`, `Grayordinates` and `Sensors` are the kinds. A recording keeps its geometry while
    targets are selected: the table of targets says which places are left.
    """

    kind: ClassVar[str]

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of places."""

    @property
    @abstractmethod
    def words(self) -> str:
        """The geometry in words."""

    @abstractmethod
    def places(self, targets: pd.DataFrame) -> NDArray[np.int64]:
        """The place of every target, [v].

        Raises
        ------
        Refused : the table of targets lacks a column that says where they lie
        ValueError : a target lies at no place of this geometry, or at that of another target
        """

    @abstractmethod
    def content(self) -> tuple[dict[str, Any], Arrays]:
        """The fields, as JSON can hold them, and those that are arrays, for files."""

    @classmethod
    @abstractmethod
    def from_content(cls, plain: dict[str, Any], arrays: Arrays) -> Self:
        """The geometry of `content`."""

    def check(self, targets: pd.DataFrame) -> None:  # noqa: B027  # of grayordinates and parcels `places` says it
        """Raise a ValueError if the table has the columns of this geometry, and targets that lie outside it.

        Targets that lie nowhere, such as means over regions, lack the columns.
        """

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self) or not isinstance(other, Geometry):
            return False
        (plain, arrays), (others, other_arrays) = self.content(), other.content()
        same = set(arrays) == set(other_arrays) and all(
            np.array_equal(values, other_arrays[name]) for name, values in arrays.items()
        )
        return same and repr(plain) == repr(others)  # repr, since NaN is not NaN

    def __hash__(self) -> int:
        return hash((type(self), repr(self.content()[0])))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.words})"


@dataclass(frozen=True, eq=False, repr=False)
class VolumeGrid(Geometry):
    """The grid of a volume; targets are voxels, with 0-based "i", "j", "k".

    Parameters
    ----------
    shape : of the whole volume, [x, y, z]
    affine : [4, 4], from voxels to mm, in RAS+ as NIfTI has it; None if it is not known
    code : NIfTI's code of the space that the affine leads to: 0 unknown, 1 scanner, 2 aligned, 3 Talairach, 4 MNI, 5
        another template

    Raises
    ------
    ValueError : a shape of other than 3 positive numbers, an affine that cannot be inverted, an unknown code

    Examples
    --------
    >>> import numpy as np
    >>> VolumeGrid((2, 3, 4), np.diag([2.0, 2, 2, 1])).size
    24
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64] | None = None
    code: int = 0
    kind: ClassVar[str] = "volume"

    @naming("VolumeGrid")
    def __post_init__(self) -> None:
        shape = tuple(int(length) for length in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"shape must be 3 positive numbers, got {list(shape)}")
        object.__setattr__(self, "shape", shape)
        if self.code not in range(6):
            raise ValueError(f"code must be one of NIfTI's, 0 to 5, got {self.code}")
        if self.affine is not None:
            affine = np.array(self.affine, dtype=np.float64)
            if (
                affine.shape != (4, 4)
                or not np.isfinite(affine).all()
                or abs(np.linalg.det(affine[:3, :3])) < _SINGULAR
            ):
                raise ValueError(f"affine must be [4, 4] and have an inverse, got {affine.tolist()}")
            affine.flags.writeable = False
            object.__setattr__(self, "affine", affine)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def words(self) -> str:
        grid = " x ".join(map(str, self.shape))
        if self.affine is None:
            return f"volume of {grid} voxels, affine unknown"
        edges = " x ".join(f"{length:.3g}" for length in np.linalg.norm(self.affine[:3, :3], axis=0))
        return f"volume of {grid} voxels, {edges} mm"

    def places(self, targets: pd.DataFrame) -> NDArray[np.int64]:
        """The place of every voxel, [v], with i fastest."""
        columns(targets, VOXEL, self)
        self.check(targets)
        i, j, k = (whole_numbers(targets, name) for name in VOXEL)
        return different(np.ravel_multi_index((i, j, k), self.shape, order="F").astype(np.int64), targets)

    def check(self, targets: pd.DataFrame) -> None:
        if not set(VOXEL) <= set(targets):
            return
        for name, length in zip(VOXEL, self.shape, strict=True):
            inside(targets[name].to_numpy(), length, f"{name!r} of voxels", f"the grid {list(self.shape)}")

    def content(self) -> tuple[dict[str, Any], Arrays]:
        arrays = {} if self.affine is None else {"affine": self.affine}
        return {"shape": list(self.shape), "code": int(self.code)}, arrays

    @classmethod
    def from_content(cls, plain: dict[str, Any], arrays: Arrays) -> Self:
        return cls(tuple(plain["shape"]), arrays.get("affine"), plain["code"])


def nibabel() -> Any:
    """nibabel, most of which has no types."""
    import nibabel

    return nibabel


def columns(targets: pd.DataFrame, names: tuple[str, ...], geometry: Geometry) -> None:
    """Raise Refused if the table of targets lacks a column."""
    missing = [name for name in names if name not in targets]
    if missing:
        raise Refused(
            f"targets of a {geometry.kind} must have {', '.join(map(repr, names))}, got only {list(targets.columns)}"
        )


def whole_numbers(targets: pd.DataFrame, name: str) -> NDArray[np.int64]:
    """A column of whole numbers."""
    values = targets[name].to_numpy()
    if values.dtype.kind not in "iuf" or not np.array_equal(values, np.round(values)):
        raise ValueError(f"{name!r} of targets must be whole numbers, got {values.dtype}")
    whole: NDArray[np.int64] = values.astype(np.int64)
    return whole


def inside(numbers: NDArray[Any], count: int, what: str, where: str) -> None:
    """Raise a ValueError unless numbers lie in 0..count - 1."""
    if len(numbers) and not (numbers.min() >= 0 and numbers.max() < count):
        raise ValueError(f"{what} must lie in 0..{count - 1} for {where}, got {numbers.min()}..{numbers.max()}")


def different(places: NDArray[np.int64], targets: pd.DataFrame) -> NDArray[np.int64]:
    """The places, unless two targets lie at one."""
    _, first, counts = np.unique(places, return_index=True, return_counts=True)
    if (counts > 1).any():
        labels = targets["label"].to_numpy()
        at = places[first[counts > 1][0]]
        pair = labels[places == at][:2].tolist()
        raise ValueError(f"targets must lie at different places, got {pair[0]!r} and {pair[1]!r} at one")
    return places
