"""Hierarchies: a value per target that says how high it is, by rank of its region or by distance from V1."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradkern._geodesic import along_edges
from gradkern._places import hemispheres as one_spelling
from gradkern.errors import Refused, naming
from gradkern.hierarchy._regions import Regions
from gradkern.stats._bootstrap import Floats


@naming("rank_hierarchy")
def rank_hierarchy(order: Sequence[str], regions: Any) -> Floats:
    """Rank every target's region [v] in a list from low to high, as 0, 1, ...; NaN for regions not in it.

    `recordings.HCP_ORDER` is such a list, of the visual areas of HCP-MMP1.

    Raises
    ------
    ValueError : a region twice in the list

    Examples
    --------
    >>> rank_hierarchy(["V1", "V2"], ["V2", "V1", "FFA"]).shape
    (3,)
    """
    rank_of = {name: float(rank) for rank, name in enumerate(order)}
    if len(rank_of) != len(order):
        raise ValueError(f"order must name a region once, got {list(order)}")
    known = Regions.from_names(regions)
    ranks = np.array([rank_of.get(name, np.nan) for name in known.names.tolist()] or [np.nan])
    return np.where(known.inside, ranks[known.number], np.nan)


@naming("euclidean_hierarchy")
def euclidean_hierarchy(points: Any, origin: Any, hemispheres: Any) -> Floats:
    """Compute the straight distance to the mean position of the targets in V1, [v], in the units of the points.

    Parameters
    ----------
    points : [v, 3]
    origin : bool [v], the targets in V1
    hemispheres : [v]; a target's distance is to the V1 of its own hemisphere

    Raises
    ------
    Refused : a hemisphere without a target of the origin
    ValueError : shapes that do not fit together, an origin that is not bool

    Examples
    --------
    >>> euclidean_hierarchy([[0, 0, 0], [3, 4, 0]], np.array([True, False]), ["left", "left"]).shape
    (2,)
    """
    positions, start, sides = np.asarray(points, dtype=np.float64), np.asarray(origin), one_spelling(hemispheres)
    if positions.shape != (len(start), 3) or start.dtype != bool or sides.shape != start.shape:
        raise ValueError(
            "points must be [v, 3], origin bool [v] and hemispheres [v], got "
            f"{list(positions.shape)}, {start.dtype} {list(start.shape)} and {list(sides.shape)}"
        )
    distance = np.empty(len(positions))
    for side in np.unique(sides):
        members = sides == side
        if not (members & start).any():
            raise Refused(f"origin must hold a target of every hemisphere, got none of {str(side)!r}")
        distance[members] = np.linalg.norm(positions[members] - positions[members & start].mean(0), axis=1)
    return distance


@naming("geodesic_hierarchy")
def geodesic_hierarchy(points: Any, triangles: Any, origin: Any) -> Floats:
    """Compute the distance along the surface to the nearest vertex of V1, [v], in the units of the points.

    It is the length of the shortest path along edges, which is at least that of the shortest path on the surface.

    Parameters
    ----------
    points : [v, 3], vertices of the surface: of one hemisphere, or of both, whose triangles then share none
    triangles : int [f, 3], indices of their corners in points
    origin : bool [v], the vertices in V1

    Returns
    -------
    [v], NaN where no path leads to the origin. For targets that are some of the vertices, select them: `[vertex]`.

    Raises
    ------
    Refused : no vertex in the origin
    ValueError : shapes that do not fit together, triangles of other vertices, points that are not finite

    Examples
    --------
    >>> geodesic_hierarchy([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], np.array([True, False, False])).shape
    (3,)
    """
    positions, corners, start = np.asarray(points, dtype=np.float64), np.asarray(triangles), np.asarray(origin)
    if positions.shape != (len(start), 3) or start.dtype != bool:
        raise ValueError(
            f"points must be [v, 3] and origin bool [v], got {list(positions.shape)} and {start.dtype} "
            f"{list(start.shape)}"
        )
    if not np.isfinite(positions).all():
        raise ValueError(f"points must be finite, got {int((~np.isfinite(positions)).sum())} that are not")
    whole = corners.ndim == 2 and corners.shape[1] == 3 and corners.dtype.kind in "iu"
    if not whole or (corners.size and not 0 <= corners.min() <= corners.max() < len(positions)):
        got = f"{corners.dtype} {list(corners.shape)}" if not whole else f"{corners.min()}..{corners.max()}"
        raise ValueError(f"triangles must be int [f, 3] in 0..{len(positions) - 1}, got {got}")
    if not start.any():
        raise Refused("origin must hold a vertex, got none")
    return along_edges(positions, corners.astype(np.int64), np.flatnonzero(start))
