"""Which orders of the responses are as likely as the one that was measured, if features tell nothing about them."""

from dataclasses import dataclass
from math import lgamma, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.errors import naming
from gradkern.ridge._engine.folds import check_groups


@dataclass(frozen=True)
class Permutations:
    """Random orders of n rows: under order i, row j is given the response of row rows[i, j].

    Parameters
    ----------
    rows : [permutations, n]
    n : how many units (images) are exchanged, each with all its rows
    what : that in words
    """

    rows: NDArray[np.int64]
    n: int
    what: str


def draw_permutations(
    op: str, n_rows: int, permutations: int, seed: int, *, groups: Any = None, within: Any = None
) -> Permutations:
    """Draw orders that exchange whole groups of rows, and only those that lie in the same places.

    Parameters
    ----------
    op : name to open error messages with
    groups : [n] labels (images): the rows of a group go together, its first row to the place of another's first row.
        Rows are counted in the order that they have within `within`. None: every row alone.
    within : [n] labels (sessions, runs): a row stays within its own. A group that lies in several changes places only
        with groups that lie in the same ones.

    Raises
    ------
    ValueError : groups of different sizes, too few units, or hardly more orders than are drawn
    """
    if not isinstance(permutations, int | np.integer) or isinstance(permutations, bool) or permutations < 1:
        raise ValueError(f"{op}: permutations must be a whole number of at least 1, got {permutations!r}")
    units = _units(op, n_rows, groups)
    strata = [np.arange(len(units))] if within is None else _strata(op, n_rows, units, within)
    # in logarithms: 500! is no float
    possible = sum(lgamma(len(stratum) + 1) for stratum in strata)
    if possible <= log(permutations + 1.5):
        raise ValueError(
            f"{op}: permutations must be fewer than the {round(np.exp(possible)) - 1} orders that differ from the "
            f"measured one, got {permutations} ({len(units)} units in {len(strata)} strata)"
        )
    generator = np.random.default_rng(seed)
    rows = np.tile(np.arange(n_rows), (permutations, 1))
    for order in rows:
        for stratum in strata:
            order[units[stratum]] = units[generator.permutation(stratum)]
    rows_each = f" of {units.shape[1]} rows" if units.shape[1] > 1 else ""
    inside = "" if within is None else f", within {len(strata)} strata"
    what = f"{len(units)} {'rows' if groups is None else 'groups'}{rows_each}{inside}"
    return Permutations(rows, len(units), what)


def _units(op: str, n_rows: int, groups: Any) -> NDArray[np.int64]:
    """Rows of every group, [units, rows of each]."""
    if groups is None:
        return np.arange(n_rows)[:, None]
    with naming(op):
        labels = check_groups(groups, n_rows)
    names, counts = np.unique(labels, return_counts=True)
    if counts.min() != counts.max():
        raise ValueError(
            f"{op}: groups must have as many rows each, to change places, got {counts.min()} of "
            f"{names[counts.argmin()]} and {counts.max()} of {names[counts.argmax()]}; average repeats first"
        )
    return np.argsort(labels, kind="stable").reshape(len(names), -1)


def _strata(op: str, n_rows: int, units: NDArray[np.int64], within: Any) -> list[NDArray[np.int64]]:
    """Places in `units` of those that may change places; sorts the rows of each unit by label, in place."""
    with naming(op):
        labels = np.unique(check_groups(within, n_rows), return_inverse=True)[1]
    units[:] = np.take_along_axis(units, np.argsort(labels[units], axis=1, kind="stable"), axis=1)
    _, stratum = np.unique(labels[units], axis=0, return_inverse=True)
    return [np.flatnonzero(stratum == number) for number in range(int(stratum.max()) + 1)]
