"""Values of voxels at the vertices of a cortex that runs through them."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gradkern.plotting._meshes import SIDES, mni_ribbon
from gradkern.plotting._own_cortex import Cortex
from gradkern.plotting._volumes import spacing_of

# of the way from the white to the pial surface, the middle of the grey matter first
_DEPTHS = (0.5, 0.3, 0.7, 0.1, 0.9)


def sampled_targets(targets: pd.DataFrame, cortex: Cortex | None) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Vertices that lie in voxels, as targets, and the row of the voxel of each.

    A vertex takes the voxel in the middle of its grey matter, else the nearest to the middle between white and pial
    surface. Nothing is averaged, so that numbers of layers stay numbers of layers.

    Parameters
    ----------
    targets : with "x", "y" and "z" in mm
    cortex : the subject's, in the same coordinates; None: fsaverage5, brought from MNI 305 to MNI 152

    Raises
    ------
    ValueError : no vertex lies in a voxel
    """
    places = targets[["x", "y", "z"]].to_numpy(dtype=np.float64)
    known = np.flatnonzero(np.isfinite(places).all(axis=1))
    if not len(known):
        raise ValueError("targets must have places, got none that is finite")
    tree, reach = cKDTree(places[known]), spacing_of(places[known]) * np.sqrt(3) / 2
    tables, rows = [], []
    for side in SIDES if cortex is None else cortex.vertices:
        row = _voxel_of(tree, reach, _depths(cortex, side))
        inside = np.flatnonzero(row >= 0)
        tables.append(pd.DataFrame({"hemisphere": side, "vertex": inside}))
        rows.append(known[row[inside]])
    row_of, table = np.concatenate(rows), pd.concat(tables, ignore_index=True)
    if not len(table):
        raise ValueError("voxels must lie in the grey matter of the cortex, got none that does: are its mm the same?")
    if "roi" in targets:
        table["roi"] = targets["roi"].to_numpy()[row_of]
    return table, row_of


def _voxel_of(tree: Any, reach: float, depths: list[NDArray[np.float64]]) -> NDArray[np.int64]:
    """Number of the voxel of every vertex, -1 where there is none."""
    found = np.full(len(depths[0]), -1, dtype=np.int64)
    for points in depths:
        open_ones = np.flatnonzero(found < 0)
        far, nearest = tree.query(points[open_ones], distance_upper_bound=reach)
        found[open_ones[np.isfinite(far)]] = nearest[np.isfinite(far)]
    return found


def _depths(cortex: Cortex | None, side: str) -> list[NDArray[np.float64]]:
    """Places of all vertices at each depth; of a cortex without a white surface those of `folded` alone."""
    if cortex is None:
        white, pial = mni_ribbon(side)
    elif cortex.white is None:
        return [cortex.folded[side][0]]
    else:
        white, pial = cortex.white[side][0], cortex.folded[side][0]
    return [white + depth * (pial - white) for depth in _DEPTHS]
