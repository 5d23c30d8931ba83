"""Parcels: targets that are means over places of another geometry, such as regions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.errors import naming
from gradkern.recordings._maps.geometry import Arrays, Geometry, VolumeGrid, columns, nibabel
from gradkern.recordings._maps.grayordinates import Grayordinates, among, volume_of
from gradkern.recordings._maps.surfaces import SurfaceMesh

_BASES: tuple[type[Geometry], ...] = (VolumeGrid, SurfaceMesh, Grayordinates)


@dataclass(frozen=True, eq=False, repr=False)
class Parcels(Geometry):
    """Parts of a volume, a surface or grayordinates; a target is a parcel, by its "label". Shapes: p places in parcels.

    Parameters
    ----------
    base : the geometry that places are of
    names : of the parcels
    place : [p], places in the base, each once
    parcel : [p], the number of each place's parcel among the names

    Raises
    ------
    ValueError : two parcels of one name, a place in two parcels or outside the base
    """

    base: Geometry
    names: Sequence[str]
    place: NDArray[np.int64]
    parcel: NDArray[np.int64]
    kind: ClassVar[str] = "set of parcels"

    @naming("Parcels")
    def __post_init__(self) -> None:
        for name in ("place", "parcel"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.int64))
        object.__setattr__(self, "names", tuple(map(str, self.names)))
        if not isinstance(self.base, _BASES):
            raise ValueError(f"base must be a volume, a surface or grayordinates, got {type(self.base).__name__}")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"names must be different, got {len(set(self.names))} of {len(self.names)}")
        for name, values, count in (("place", self.place, self.base.size), ("parcel", self.parcel, len(self.names))):
            if values.shape != self.place.shape or (len(values) and not 0 <= values.min() <= values.max() < count):
                raise ValueError(f"{name} must be [{len(self.place)}] of 0..{count - 1}, got others")
        if len(np.unique(self.place)) < len(self.place):
            raise ValueError("place must be in one parcel, got some in two")

    @classmethod
    def from_axis(cls, axis: Any) -> Self:
        """The parcels of nibabel's `ParcelsAxis`, whose places become grayordinates, parcel after parcel."""
        names, vertex, voxel, parcel = [], [], [], []
        for number, (voxels, surfaces) in enumerate(zip(axis.voxels, axis.vertices, strict=True)):
            parts = [(str(name), np.asarray(rows), np.full((len(rows), 3), -1)) for name, rows in surfaces.items()]
            parts.append(("CIFTI_STRUCTURE_OTHER", np.full(len(voxels), -1), np.reshape(voxels, (-1, 3))))
            for name, rows, places in parts:
                names += [name] * len(rows)
                vertex.append(rows)
                voxel.append(places)
                parcel.append(np.full(len(rows), number))
        structures = tuple(dict.fromkeys(names))
        model = pd.Index(structures).get_indexer(names)
        rows, places = np.concatenate(vertex), np.concatenate(voxel)
        base = Grayordinates(structures, model, rows, places, axis.nvertices, volume_of(axis))
        return cls(base, tuple(axis.name), np.arange(len(rows)), np.concatenate(parcel))

    def axis(self) -> Any:
        """nibabel's `ParcelsAxis`, of parcels of grayordinates."""
        base = self.base
        if not isinstance(base, Grayordinates):
            raise TypeError(f"base must be grayordinates, got a {base.kind}")
        voxels, vertices = [], []
        for number in range(len(self.names)):
            rows = self.place[self.parcel == number]
            on_surface = rows[base.vertex[rows] >= 0]
            voxels.append(base.voxel[rows[base.vertex[rows] < 0]])
            vertices.append(
                {
                    base.structures[model]: base.vertex[on_surface[base.model[on_surface] == model]]
                    for model in dict.fromkeys(base.model[on_surface].tolist())
                }
            )
        return nibabel().cifti2.ParcelsAxis(list(self.names), voxels, vertices, **base.about())

    @property
    def size(self) -> int:
        return len(self.names)

    @property
    def words(self) -> str:
        return f"{self.size} parcels of the {self.base.words}"

    def places(self, targets: pd.DataFrame) -> NDArray[np.int64]:
        """The number of every target's parcel, [v]."""
        columns(targets, ("label",), self)
        return among(pd.Index(self.names).get_indexer(targets["label"].astype(str)), targets, self)

    def content(self) -> tuple[dict[str, Any], Arrays]:
        plain, arrays = self.base.content()
        of_base = {f"base_{name}": values for name, values in arrays.items()}
        described = {"names": list(self.names), "kind": type(self.base).__name__, "base": plain}
        return described, {"place": self.place, "parcel": self.parcel, **of_base}

    @classmethod
    def from_content(cls, plain: dict[str, Any], arrays: Arrays) -> Self:
        kind = {base.__name__: base for base in _BASES}[plain["kind"]]
        of_base = {name[5:]: values for name, values in arrays.items() if name.startswith("base_")}
        base = kind.from_content(plain["base"], of_base)
        return cls(base, tuple(plain["names"]), arrays["place"], arrays["parcel"])
