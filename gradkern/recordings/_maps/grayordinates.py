"""Grayordinates of CIFTI: vertices of the cortex and voxels of deeper structures in one list."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.errors import naming
from gradkern.recordings._maps.geometry import VOXEL, Arrays, Geometry, VolumeGrid, columns, different, nibabel

_ROW = ("structure", "vertex", *VOXEL)


@dataclass(frozen=True, eq=False, repr=False)
class Grayordinates(Geometry):
    """CIFTI's brain models; targets have "structure", and "vertex" or, in deeper structures, "i", "j", "k".

    Shapes: g grayordinates.

    Parameters
    ----------
    structures : CIFTI's names of the structures, in order, such as "CIFTI_STRUCTURE_CORTEX_LEFT"
    model : [g], the number of each grayordinate's structure among them
    vertex : [g], numbers of vertices; -1 for voxels
    voxel : [g, 3], i, j and k; -1 for vertices
    vertices : number of vertices of the whole mesh, by structure
    volume : the grid of the voxels; None if there are none

    Raises
    ------
    ValueError : arrays that do not fit together, or two grayordinates at one place
    """

    structures: tuple[str, ...]
    model: NDArray[np.int64]
    vertex: NDArray[np.int64]
    voxel: NDArray[np.int64]
    vertices: Mapping[str, int] = field(default_factory=dict)
    volume: VolumeGrid | None = None
    kind: ClassVar[str] = "set of grayordinates"

    @naming("Grayordinates")
    def __post_init__(self) -> None:
        for name in ("model", "vertex", "voxel"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.int64))
        g = len(self.model)
        if not g or self.vertex.shape != (g,) or self.voxel.shape != (g, 3):
            raise ValueError(
                f"vertex and voxel must be [{g}] and [{g}, 3] as model is, got {list(self.vertex.shape)} and "
                f"{list(self.voxel.shape)}"
            )
        object.__setattr__(self, "structures", tuple(map(str, self.structures)))
        object.__setattr__(self, "vertices", {str(name): int(n) for name, n in self.vertices.items()})

    @classmethod
    def from_axis(cls, axis: Any) -> Self:
        """The grayordinates of nibabel's `BrainModelAxis`."""
        structures = tuple(dict.fromkeys(map(str, axis.name)))
        model = pd.Index(structures).get_indexer(axis.name)
        return cls(structures, model, axis.vertex, axis.voxel, axis.nvertices, volume_of(axis))

    def axis(self) -> Any:
        """nibabel's `BrainModelAxis`."""
        names = np.array(self.structures)[self.model]
        return nibabel().cifti2.BrainModelAxis(names, voxel=self.voxel, vertex=self.vertex, **self.about())

    def about(self) -> dict[str, Any]:
        """What nibabel's axes of CIFTI are told beside their rows."""
        grid = self.volume
        return {
            "affine": None if grid is None else grid.affine,
            "volume_shape": None if grid is None else grid.shape,
            "nvertices": dict(self.vertices),
        }

    @property
    def size(self) -> int:
        return len(self.model)

    @property
    def words(self) -> str:
        surfaces = [name for name in self.structures if name in self.vertices]
        deeper = len(self.structures) - len(surfaces)
        return f"{self.size} grayordinates, {len(surfaces)} surfaces, {deeper} structures of a volume"

    def places(self, targets: pd.DataFrame) -> NDArray[np.int64]:
        """The place of every target, [v], in the order of the brain models."""
        columns(targets, _ROW, self)
        model = pd.Index(self.structures).get_indexer(targets["structure"].astype(str))
        rows = np.column_stack([model, targets[["vertex", *VOXEL]].to_numpy(dtype=np.int64)])
        own = pd.MultiIndex.from_arrays(np.column_stack([self.model, self.vertex, self.voxel]).T)
        if not own.is_unique:
            raise ValueError(f"grayordinates must lie at different places, got {len(own) - own.nunique()} at others'")
        return among(own.get_indexer(pd.MultiIndex.from_arrays(rows.T)), targets, self)

    def content(self) -> tuple[dict[str, Any], Arrays]:
        plain: dict[str, Any] = {"structures": list(self.structures), "vertices": dict(self.vertices)}
        arrays = {"model": self.model, "vertex": self.vertex, "voxel": self.voxel}
        if self.volume is not None:
            plain["volume"], of_volume = self.volume.content()
            arrays |= {f"volume_{name}": values for name, values in of_volume.items()}
        return plain, arrays

    @classmethod
    def from_content(cls, plain: dict[str, Any], arrays: Arrays) -> Self:
        volume = None
        if "volume" in plain:
            of_volume = {name[7:]: values for name, values in arrays.items() if name.startswith("volume_")}
            volume = VolumeGrid.from_content(plain["volume"], of_volume)
        model, vertex, voxel = (arrays[name] for name in ("model", "vertex", "voxel"))
        return cls(tuple(plain["structures"]), model, vertex, voxel, plain["vertices"], volume)


def volume_of(axis: Any) -> VolumeGrid | None:
    """The grid of an axis of CIFTI; its voxels lie in the space of the surfaces, which CIFTI does not name."""
    return None if axis.volume_shape is None else VolumeGrid(axis.volume_shape, axis.affine)


def among(places: Any, targets: pd.DataFrame, geometry: Geometry) -> NDArray[np.int64]:
    """Places [v], where -1 is none: a ValueError if there is such a target, or if two lie at one place."""
    known = np.asarray(places, dtype=np.int64)
    if (known < 0).any():
        label = targets["label"].to_numpy()[known < 0][0]
        raise ValueError(
            f"targets must be some of the {geometry.words}, got {int((known < 0).sum())} others, first {label!r}"
        )
    return different(known, targets)
