"""How many dimensions features fill, and feature spaces sketched to one number of columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from gradkern.encoding._checks import check_matrix
from gradkern.encoding._residualize import Residualized
from gradkern.encoding._spaces import Derived
from gradkern.errors import Refused, naming
from gradkern.kernels._sketch import sketch

_LEAST_COLUMNS = 64  # of `gradkern.sketch`
_AT_ONCE = 1024  # rows or columns that are widened to float64


class EffectiveRank(NamedTuple):
    """Two effective ranks; l are the eigenvalues of the covariance, and p = l / sum(l)."""

    participation: float  # 1 / sum(p^2)
    entropy: float  # exp(-sum(p log p))


@naming("effective_rank")
def effective_rank(X: np.ndarray) -> EffectiveRank:
    """How many dimensions features fill: a number from 1 to min(n - 1, d), for centered columns.

    Parameters
    ----------
    X : [n, d]

    Raises
    ------
    ValueError : NaN or inf
    Refused : features that do not vary

    Notes
    -----
    Participation ratio: Gao et al., bioRxiv 214262, 2017. Entropy: after Roy & Vetterli, EUSIPCO 2007, who take
    singular values in the place of l.

    Examples
    --------
    >>> bool(effective_rank(np.random.default_rng(0).standard_normal((100, 5))).participation > 4)
    True
    """
    X = check_matrix("X", X)
    values = np.linalg.eigvalsh(_products(X)).clip(min=0)
    if not values.sum() > X.size * np.finfo(np.float64).eps ** 2:
        raise Refused("X must vary over its rows, got the same row everywhere")
    p = values / values.sum()
    p = p[p > 0]
    return EffectiveRank(float(1 / (p**2).sum()), float(np.exp(-(p * np.log(p)).sum())))


def _products(X: np.ndarray) -> np.ndarray:
    """Products of the centered rows of X, or of its columns if there are fewer of them, in float64, part by part.

    X is divided by its largest value: gradients may be 1e-200 in size, and their squares would underflow.
    """
    largest = float(max(X.max(), -X.min()))
    largest = largest if largest > 0 else 1.0
    n, d = X.shape
    mean = X.mean(0, dtype=np.float64)
    total = np.zeros((min(n, d),) * 2)
    for start in range(0, max(n, d), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        if n < d:
            centered = (X[:, part] - mean[part]) / largest
            total += centered @ centered.T
        else:
            centered = (X[part] - mean) / largest
            total += centered.T @ centered
    return total


@naming("match_dimension")
def match_dimension(sets: Mapping[str, np.ndarray], k: int, seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """Sketch every feature matrix to the same k columns, once for each seed, so that no score is due to width.

    Parameters
    ----------
    sets : name -> [n, d] with d of at least k: a narrower matrix would still be of lower dimension
    k : of `gradkern.sketch`, at least 64
    seeds : of the sketches; they must differ from the seed of the capture, whose map would be applied twice

    Returns
    -------
    name -> float32 [seeds, n, k]

    Raises
    ------
    ValueError : a matrix with fewer than k columns, NaN or inf, no seeds, a seed twice, a k or seed that sketches do
        not take

    Examples
    --------
    >>> match_dimension({"a": np.ones((5, 100))}, 64, [1, 2])["a"].shape
    (2, 5, 64)
    """
    if not sets or len(seeds) == 0 or len(set(seeds)) < len(seeds):
        raise ValueError(f"sets and seeds must be at least one each, no seed twice, got {list(sets)}, {list(seeds)}")
    matrices = {name: check_matrix(f"sets[{name!r}]", X) for name, X in sets.items()}
    for name, X in matrices.items():
        if X.shape[1] < k:
            raise ValueError(f"k must be at most the width of every set, got {k} and {X.shape[1]} of {name!r}")
    return {
        name: np.stack([sketch(np.ascontiguousarray(X), k, seed=seed) for seed in seeds])
        for name, X in matrices.items()
    }


@dataclass(frozen=True)
class DimensionMatching:
    """The number of columns that all feature spaces are sketched to, and the sketches: see `match_dimension`.

    Parameters
    ----------
    k : at least 64
    seeds : of the sketches; they must differ from the seed of the capture, whose map would be applied twice
    """

    k: int
    seeds: tuple[int, ...] = (1, 2, 3)

    @naming("DimensionMatching")
    def __post_init__(self) -> None:
        if self.k < _LEAST_COLUMNS:
            raise ValueError(f"k must be at least {_LEAST_COLUMNS}, got {self.k}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds must be at least one, from 0 on, none twice, got {list(self.seeds)}")


def match_spaces(features: Mapping[str, Any], matching: DimensionMatching) -> dict[tuple[int, str], Any]:
    """Every feature space [images, d] by every sketch: (seed, name) -> [images, k], computed when it is read.

    `Residualized` features are sketched after their residuals are taken. An object that comes under several names
    still does, as one object.

    Raises
    ------
    ValueError : a feature space with fewer than k columns
    """
    for name, X in features.items():
        if X.shape[1] < matching.k:
            raise ValueError(
                f"k must be at most the width of every feature space, got {matching.k} and {X.shape[1]} of {name!r}"
            )
    sketches: dict[tuple[int, int], Any] = {}
    for seed in matching.seeds:
        for X in features.values():
            if (seed, id(X)) not in sketches:
                sketches[seed, id(X)] = _sketch_of(X, matching.k, seed)
    return {(seed, name): sketches[seed, id(X)] for seed in matching.seeds for name, X in features.items()}


def _sketch_of(X: Any, k: int, seed: int) -> Any:
    transform = partial(_sketched, k=k, seed=seed)
    if isinstance(X, Residualized):
        return replace(X, transform=transform, columns=k)
    return Derived(X, (len(X), k), transform)


def _sketched(X: np.ndarray, k: int, seed: int) -> np.ndarray:
    narrow: np.ndarray = match_dimension({"X": X}, k, [seed])["X"][0]
    return narrow
