"""Feature spaces of one dimension: each sketched to the same k, by several sketches."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from gradkern.encoding._control_spaces import Residualized
from gradkern.encoding._controls import match_dimension
from gradkern.encoding._spaces import Derived

_LEAST = 64  # of `gradkern.sketch`


@dataclass(frozen=True)
class DimensionMatching:
    """To which dimension, and by which sketches: see `controls.match_dimension`.

    Parameters
    ----------
    k : at least 64
    seeds : of the sketches; others than the capture's, whose map would be applied twice
    """

    k: int
    seeds: tuple[int, ...] = (1, 2, 3)

    def __post_init__(self) -> None:
        if self.k < _LEAST:
            raise ValueError(f"DimensionMatching: k must be at least {_LEAST}, got {self.k}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(
                f"DimensionMatching: seeds must be at least one, from 0 on, none twice, got {list(self.seeds)}"
            )


def matched(features: Mapping[str, Any], how: DimensionMatching) -> dict[tuple[int, str], Any]:
    """Every feature space [images, d] by every sketch: (seed, name) -> [images, k], computed when it is read.

    What is `Residualized` is sketched after that. What comes under several names still does, as one object.

    Raises
    ------
    ValueError : a feature space with fewer than k columns
    """
    for name, X in features.items():
        if X.shape[1] < how.k:
            raise ValueError(
                f"matched: k must be at most the width of every feature space, got {how.k} and {X.shape[1]} of {name!r}"
            )
    made: dict[tuple[int, int], Any] = {}
    for seed in how.seeds:
        for X in features.values():
            if (seed, id(X)) not in made:
                made[seed, id(X)] = _narrow(X, how.k, seed)
    return {(seed, name): made[seed, id(X)] for seed in how.seeds for name, X in features.items()}


def _narrow(X: Any, k: int, seed: int) -> Any:
    how = partial(_sketched, k=k, seed=seed)
    if isinstance(X, Residualized):
        return replace(X, then=how, width=k)
    return Derived(X, (len(X), k), how)


def _sketched(X: np.ndarray, k: int, seed: int) -> np.ndarray:
    narrow: np.ndarray = match_dimension({"X": X}, k, [seed])["X"][0]
    return narrow
