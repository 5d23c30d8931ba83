"""Permutations of the responses that are as likely as the measured order if the features say nothing about them."""

from dataclasses import dataclass
from math import lgamma, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.errors import Refused, naming
from gradkern.ridge._engine.folds import check_groups


@dataclass(frozen=True, repr=False)
class Permutations:
    """Random permutations of n rows: under permutation i, row j receives the response of row rows[i, j].

    Attributes
    ----------
    rows : [permutations, n]
    n : number of units (images) that are exchanged, each with all its rows
    what : a description of the units
    """

    rows: NDArray[np.int64]
    n: int
    what: str

    def __repr__(self) -> str:
        return f"Permutations({len(self.rows)} of {self.what})"


@naming("draw_permutations")
def draw_permutations(
    n_rows: int, permutations: int = 1000, seed: int = 0, *, groups: Any = None, within: Any = None
) -> Permutations:
    """Draw permutations that exchange whole groups of rows within strata.

    Parameters
    ----------
    n_rows : number of rows, n
    permutations, seed : how many to draw, and the seed of the generator
    groups : [n] labels (images). The rows of a group stay together: its first row replaces another group's first row,
        and so on, in their order within `within`. None: every row is a unit of its own.
    within : [n] labels (sessions, runs). A row stays within its own stratum. A group with rows in several strata is
        exchanged only with groups that have rows in the same ones.

    Raises
    ------
    Refused : too few units for that many different permutations
    ValueError : groups of different sizes, labels that do not fit, a number of permutations that is not at least 1

    Examples
    --------
    >>> draw_permutations(20, 5).rows.shape
    (5, 20)
    """
    return permutations_of(n_rows, permutations, seed, groups=groups, within=within)


def permutations_of(
    n_rows: int, permutations: int, seed: int, *, groups: Any = None, within: Any = None
) -> Permutations:
    """What `draw_permutations` does; errors are left to be named by the caller."""
    if not isinstance(permutations, int | np.integer) or isinstance(permutations, bool) or permutations < 1:
        raise ValueError(f"permutations must be a whole number of at least 1, got {permutations!r}")
    units = _units(n_rows, groups)
    strata = [np.arange(len(units))] if within is None else _strata(n_rows, units, within)
    # in logarithms, because 500! exceeds a float
    log_count = sum(lgamma(len(stratum) + 1) for stratum in strata)
    if log_count <= log(permutations + 1.5):
        raise Refused(
            f"permutations must be fewer than the {round(np.exp(log_count)) - 1} that differ from the measured order, "
            f"got {permutations} ({len(units)} units in {len(strata)} strata)"
        )
    generator = np.random.default_rng(seed)
    rows = np.tile(np.arange(n_rows), (permutations, 1))
    for order in rows:
        for stratum in strata:
            order[units[stratum]] = units[generator.permutation(stratum)]
    size = f" of {units.shape[1]} rows" if units.shape[1] > 1 else ""
    inside = "" if within is None else f", within {len(strata)} strata"
    what = f"{len(units)} {'rows' if groups is None else 'groups'}{size}{inside}"
    return Permutations(rows, len(units), what)


def _units(n_rows: int, groups: Any) -> NDArray[np.int64]:
    """Rows of every group, [units, rows per unit]."""
    if groups is None:
        return np.arange(n_rows)[:, None]
    labels = check_groups(groups, n_rows)
    names, counts = np.unique(labels, return_counts=True)
    if counts.min() != counts.max():
        raise ValueError(
            f"groups must have the same number of rows each, got {counts.min()} of {names[counts.argmin()]} and "
            f"{counts.max()} of {names[counts.argmax()]}; average repeats first"
        )
    return np.argsort(labels, kind="stable").reshape(len(names), -1)


def _strata(n_rows: int, units: NDArray[np.int64], within: Any) -> list[NDArray[np.int64]]:
    """Indices of units that may be exchanged; sorts the rows of each unit by their label, in place."""
    labels = np.unique(check_groups(within, n_rows), return_inverse=True)[1]
    units[:] = np.take_along_axis(units, np.argsort(labels[units], axis=1, kind="stable"), axis=1)
    _, stratum = np.unique(labels[units], axis=0, return_inverse=True)
    return [np.flatnonzero(stratum == number) for number in range(int(stratum.max()) + 1)]
