"""A subject's own cortex, read from files of FreeSurfer or GIFTI, for maps in the subject's space."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.errors import naming
from gradkern.plotting._meshes import SIDES, Mesh, read_depth, read_surface


@dataclass(frozen=True, eq=False)
class Cortex:
    """Surfaces of a subject's own cortex.

    Each argument has a surface for "left", "right" or both: a file of FreeSurfer (lh.pial) or GIFTI (.surf.gii), or
    points [v, 3] in mm and triangles [f, 3]. All surfaces of a hemisphere have the same vertices.

    Parameters
    ----------
    folded : where the vertices lie in the head: the middle of the grey matter, or the pial surface
    white : the inner surface; with it, volumes are sampled between it and `folded`
    inflated : what is drawn; None: `folded`
    flat : a flat map, whose triangles may be fewer; None: there is none
    sulci : of every vertex, above 0 in a sulcus: a file of FreeSurfer (lh.sulc) or GIFTI, or [v]; None: not drawn

    Raises
    ------
    FileNotFoundError : a file is missing
    ValueError : no hemisphere, an unknown one, hemispheres that `folded` does not have, surfaces with another number of
        vertices, triangles of vertices that there are not

    Examples
    --------
    >>> import numpy as np
    >>> corners = np.array([[-30.0, 0, 0], [-30, 10, 0], [-30, 0, 10], [-40, 0, 0]])
    >>> Cortex({"left": (corners, [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]])}).vertices
    {'left': 4}
    """

    folded: Mapping[str, Any]
    white: Mapping[str, Any] | None = None
    inflated: Mapping[str, Any] | None = None
    flat: Mapping[str, Any] | None = None
    sulci: Mapping[str, Any] | None = None

    @naming("Cortex")
    def __post_init__(self) -> None:
        wrong = [side for side in self.folded if side not in SIDES]
        if wrong or not self.folded:
            raise ValueError(f"folded must have 'left', 'right' or both, got {wrong or 'neither'}")
        folded = {side: _surface_of(surface, f"folded {side}") for side, surface in self.folded.items()}
        object.__setattr__(self, "folded", folded)
        for name in ("white", "inflated", "flat", "sulci"):
            given = getattr(self, name)
            if given is None:
                continue
            if set(given) != set(folded):
                raise ValueError(f"{name} must have the hemispheres of folded, {list(folded)}, got {list(given)}")
            read = {
                side: _depth_of(value) if name == "sulci" else _surface_of(value, f"{name} {side}")
                for side, value in given.items()
            }
            for side, value in read.items():
                count = len(value) if name == "sulci" else len(value[0])
                if count != len(folded[side][0]):
                    raise ValueError(f"{name} {side} must have {len(folded[side][0])} vertices as folded, got {count}")
            object.__setattr__(self, name, read)

    @property
    def vertices(self) -> dict[str, int]:
        """Number of vertices of each hemisphere."""
        return {side: len(points) for side, (points, _) in self.folded.items()}

    def mesh(self, side: str, shape: str) -> Mesh:
        """One hemisphere, "inflated" or "flat".

        Raises
        ------
        ValueError : it has no such hemisphere, or no flat map
        """
        if side not in self.folded:
            raise ValueError(f"cortex must have the hemispheres of the targets, got {list(self.folded)} alone")
        folded, folded_triangles = self.folded[side]
        if shape == "flat" and self.flat is None:
            raise ValueError("cortex must have a flat map for the view 'flat', got none")
        chosen = self.flat if shape == "flat" else self.inflated
        points, triangles = (chosen or self.folded)[side]
        if shape == "flat":
            points = points * [1, 1, 0]
        sulci = np.zeros(len(points), dtype=bool) if self.sulci is None else self.sulci[side] > 0
        return Mesh(points, triangles, folded, folded_triangles, sulci, np.full(len(points), "", dtype=object))


def _surface_of(surface: Any, what: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    if isinstance(surface, str | Path):
        points, triangles = read_surface(Path(surface))
    else:
        points, triangles = (np.asarray(array) for array in surface)
        points, triangles = points.astype(np.float64), triangles.astype(np.int64)
    if points.ndim != 2 or points.shape[1] != 3 or triangles.ndim != 2 or triangles.shape[1] != 3:
        raise ValueError(
            f"{what} must be points [v, 3] and triangles [f, 3], got {list(points.shape)} and {list(triangles.shape)}"
        )
    if not np.isfinite(points).all():
        raise ValueError(
            f"{what} must have finite points, got {int((~np.isfinite(points)).any(axis=1).sum())} that are not"
        )
    if len(triangles) and not (triangles.min() >= 0 and triangles.max() < len(points)):
        raise ValueError(
            f"{what} must have triangles of vertices 0..{len(points) - 1}, got {triangles.min()}..{triangles.max()}"
        )
    return points, triangles


def _depth_of(sulci: Any) -> NDArray[np.float64]:
    return read_depth(Path(sulci)) if isinstance(sulci, str | Path) else np.asarray(sulci, dtype=np.float64)
