"""Surface meshes of the cortex."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._places import side_of
from gradkern.errors import naming
from gradkern.recordings._maps.geometry import Arrays, Geometry, columns, different, inside, whole_numbers

SIDES = ("left", "right")


@dataclass(frozen=True, eq=False, repr=False)
class SurfaceMesh(Geometry):
    """The meshes of one or both hemispheres; targets are vertices, with "hemisphere" and 0-based "vertex".

    Targets that have a "time" too are vertices at times, as source estimates of MEG and EEG are.

    Parameters
    ----------
    vertices : number of vertices of the whole mesh, the medial wall included, by hemisphere (any spelling)
    mesh : its name, such as "fsaverage"; "" if it has none

    Raises
    ------
    ValueError : no hemisphere, an unknown one, or a number that is not positive

    Examples
    --------
    >>> SurfaceMesh({"left": 10242, "right": 10242}, "fsaverage5").size
    20484
    """

    vertices: Mapping[str, int]
    mesh: str = ""
    kind: ClassVar[str] = "surface"

    @naming("SurfaceMesh")
    def __post_init__(self) -> None:
        counts = {}
        for name, count in self.vertices.items():
            side = side_of(name)
            if side is None or int(count) < 1:
                raise ValueError(
                    f"vertices must be a positive number for 'left', 'right' or both, got {count} for {name!r}"
                )
            counts[side] = int(count)
        if not counts:
            raise ValueError("vertices must be known for at least one hemisphere, got none")
        object.__setattr__(self, "vertices", {side: counts[side] for side in SIDES if side in counts})

    @property
    def size(self) -> int:
        return sum(self.vertices.values())

    @property
    def words(self) -> str:
        counts = ", ".join(f"{count} vertices {side}" for side, count in self.vertices.items())
        return f"surface {self.mesh}: {counts}" if self.mesh else f"surface: {counts}"

    @property
    def first(self) -> dict[str, int]:
        """The place of every hemisphere's first vertex."""
        counts = list(self.vertices.values())
        return dict(zip(self.vertices, np.cumsum([0, *counts[:-1]]).tolist(), strict=True))

    def places(self, targets: pd.DataFrame) -> NDArray[np.int64]:
        """The place of every vertex, [v]: the left hemisphere's come first."""
        columns(targets, ("hemisphere", "vertex"), self)
        places = self.vertex_places(targets)
        return places if "time" in targets else different(places, targets)

    def vertex_places(self, targets: pd.DataFrame) -> NDArray[np.int64]:
        """The place of every target's vertex, [v], which several targets may share at several times."""
        self.check(targets)
        sides = targets["hemisphere"].to_numpy()
        unknown = [side for side in sides if side not in self.vertices]
        if unknown:
            raise ValueError(
                f"hemispheres of {len(unknown)} targets must be those of the {self.kind}, {list(self.vertices)}, got "
                f"{unknown[0]!r}"
            )
        offsets = np.array([self.first[side] for side in sides], dtype=np.int64)
        return offsets + whole_numbers(targets, "vertex")

    def check(self, targets: pd.DataFrame) -> None:
        if not {"hemisphere", "vertex"} <= set(targets):
            return
        for side, count in self.vertices.items():
            numbers = targets["vertex"].to_numpy()[(targets["hemisphere"] == side).to_numpy()]
            inside(numbers, count, f"'vertex' of the {side} hemisphere", f"a mesh of {count} vertices")

    def content(self) -> tuple[dict[str, Any], Arrays]:
        return {"vertices": dict(self.vertices), "mesh": self.mesh}, {}

    @classmethod
    def from_content(cls, plain: dict[str, Any], arrays: Arrays) -> Self:
        return cls(plain["vertices"], plain["mesh"])
