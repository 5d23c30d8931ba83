"""Write reference_nulls.json: what neuromaps and brainsmash make of the same rotations and the same map.

They are not among the test requirements, because they bring nilearn and many others. In an environment that has
neuromaps 0.0.7 and brainsmash 0.11.0 beside gradkern:

    python -m tests.stats.reference_nulls
"""

import json
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from gradkern.stats import correlation, random_rotations, variogram, variogram_pairs

PARCELS, ROTATIONS, PLACES, SURROGATES = 24, 6, 200, 400
SHARES = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.9)
PATH = Path(__file__).with_suffix(".json")


def parcels() -> tuple[Any, Any]:
    """Places [2 parcels, 3] on a sphere, and 0 for those on the left."""
    points = np.random.default_rng(0).standard_normal((2 * PARCELS, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True), np.repeat([0, 1], PARCELS)


def smooth_map() -> tuple[Any, Any, Any]:
    """Places [places, 2], their distances, and a smooth map with noise."""
    random = np.random.default_rng(1)
    points = random.random((PLACES, 2))
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    root = np.linalg.cholesky(np.exp(-((distances / 0.25) ** 2) / 2) + 1e-6 * np.eye(PLACES))
    return points, distances, root @ random.standard_normal(PLACES) + 0.8 * random.standard_normal(PLACES)


def described(surrogates: Any) -> dict[str, Any]:
    """Mean variogram of surrogates [m, places] in units of the map's variance, and spread of their correlations."""
    points, distances, values = smooth_map()
    pairs = variogram_pairs(distances, np.random.default_rng(0))
    return {
        "variogram": (variogram(surrogates, pairs).mean(0) / values.var()).tolist(),
        "spread": [float(np.std([correlation(one, axis) for one in surrogates])) for axis in points.T],
    }


def write() -> None:
    from brainsmash.mapgen.base import Base
    from neuromaps.nulls import spins

    points, sides = parcels()
    turns = random_rotations(ROTATIONS, 0)
    mirror, left = np.diag([-1.0, 1.0, 1.0]), cycle(turns.transpose(0, 2, 1))

    def rotation(seed: Any = None) -> tuple[Any, Any]:
        turn = next(left)
        return turn, mirror @ turn @ mirror

    spins._gen_rotation = rotation
    values = {
        method: spins.gen_spinsamples(points, sides, n_rotate=ROTATIONS, method=method, check_duplicates=False)
        for method in ("hungarian", "original")
    }
    _, distances, smooth = smooth_map()
    surrogates = Base(smooth, distances, deltas=np.array(SHARES), seed=0)(n=SURROGATES, batch_size=100)
    record = {name: samples.T.tolist() for name, samples in values.items()} | {"brainsmash": described(surrogates)}
    PATH.write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    write()
