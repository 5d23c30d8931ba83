"""The section `[analyses]` of a study file: what is computed from features and recordings, and how."""

from dataclasses import dataclass, field
from typing import Any

from gradkern.study._toml import Table

ANALYSES = ("encode", "unique", "permutations", "maps", "figures", "verdict")
_OF_SCORES = ("maps", "figures")
_STATS = ("r", "best-layer")
_COVARIATES = ("all-layers", "same-layer")
_UNIQUE = ("covariates", "n_components", "band_weights", "permutations", "seed")


@dataclass(frozen=True)
class UniqueEntry:
    """How gradients are compared with activations: see `encoding.UniqueVarianceSettings`."""

    covariates: str = "all-layers"
    n_components: int | None = None
    band_weights: int = 20
    permutations: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class PermutationsEntry:
    """How scores are tested against those of permuted responses."""

    permutations: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class AnalysesEntry:
    """What is computed from features and recordings.

    Attributes
    ----------
    wanted : some of `ANALYSES`
    maps : statistics that are mapped
    """

    wanted: tuple[str, ...] = ()
    unique: UniqueEntry = field(default_factory=UniqueEntry)
    permutations: PermutationsEntry = field(default_factory=PermutationsEntry)
    maps: tuple[str, ...] = _STATS

    def __contains__(self, name: str) -> bool:
        return name in self.wanted


def parse_analyses(table: Table, *, has_recordings: bool) -> AnalysesEntry:
    """The analyses that a study file asks for.

    Raises
    ------
    ValueError : unknown keys, values of another type, maps or figures of scores that are not computed
    """
    table.check_keys(ANALYSES)
    wanted = {name: _is_wanted(table, name) for name in ANALYSES}
    for name in _OF_SCORES:
        if wanted[name] and not wanted["encode"]:
            raise table.wrong(name, "left out where encode is false, as it is of its scores", repr(table.values[name]))
    chosen = tuple(name for name in ANALYSES if has_recordings and wanted[name])
    return AnalysesEntry(chosen, _unique(table), _permutations(table), _maps(table))


def _is_wanted(table: Table, name: str) -> bool:
    value = table.values.get(name, name == "encode")
    if isinstance(value, dict) and name in ("unique", "permutations", "maps"):
        return True
    if not isinstance(value, bool):
        tables = ", or a table" if name in ("unique", "permutations", "maps") else ""
        raise table.wrong(name, f"true or false{tables}", repr(value))
    return value


def _inner(table: Table, name: str, keys: tuple[str, ...]) -> Table:
    value = table.values.get(name)
    inner = Table(table.path, table.named(name), value if isinstance(value, dict) else {})
    inner.check_keys(keys)
    return inner


def _unique(table: Table) -> UniqueEntry:
    entry = _inner(table, "unique", _UNIQUE)
    changes: dict[str, Any] = {
        name: entry.whole_number(name, least)
        for name, least in (("n_components", 1), ("band_weights", 1), ("permutations", 1), ("seed", 0))
        if name in entry.values
    }
    if "covariates" in entry.values:
        changes["covariates"] = entry.word("covariates", _COVARIATES)
    return UniqueEntry(**changes)


def _permutations(table: Table) -> PermutationsEntry:
    entry = _inner(table, "permutations", ("permutations", "seed"))
    least = {"permutations": 1, "seed": 0}
    return PermutationsEntry(**{name: entry.whole_number(name, least[name]) for name in entry.values})


def _maps(table: Table) -> tuple[str, ...]:
    from gradkern.study._maps import check_statistics

    entry = _inner(table, "maps", ("stats",))
    if "stats" not in entry.values:
        return _STATS
    stats = tuple(entry.listed("stats", str, "a list of statistics, see `gradkern maps`"))
    check_statistics(stats, f"{table.path}: {entry.named('stats')}")
    return stats
