"""Distances along a surface of triangles."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import dijkstra


def along_edges(points: NDArray[Any], triangles: NDArray[Any], start: NDArray[Any]) -> NDArray[np.float64]:
    """Length of the shortest path along edges from every vertex to the nearest of some, [v]; NaN without a path.

    Parameters
    ----------
    points : [v, 3]
    triangles : int [f, 3], row numbers of the corners in `points`
    start : row numbers of the vertices that paths lead to
    """
    edges = np.unique(np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    lengths = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    graph = sparse.coo_array((lengths, edges.T), shape=(len(points),) * 2).tocsr()
    paths: NDArray[np.float64] = dijkstra(graph, directed=False, indices=start, min_only=True)
    return np.where(np.isinf(paths), np.nan, paths)
