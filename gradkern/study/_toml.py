"""Typed access to the tables of a TOML file; errors name the file and the key."""

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

_DEEPEST = 32  # tables and lists within one another


@dataclass(frozen=True)
class Table:
    """A table of a TOML file: its file, its key ("" for the whole file), and its values."""

    path: Path
    key: str
    values: Mapping[str, Any]

    def named(self, name: str) -> str:
        """The whole key of a value: "settings.alphas"."""
        return f"{self.key}.{name}" if self.key else name

    def wrong(self, name: str, wanted: str, got: Any) -> ValueError:
        return wrong(self.path, self.named(name), wanted, got)

    def check_keys(self, keys: Sequence[str], also: Sequence[str] = ()) -> None:
        """Refuse unknown keys with the nearest known one; keys in `also` are read, but not advertised."""
        for name in self.values:
            if name in keys or name in also:
                continue
            nearest = get_close_matches(name, keys, 1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            where = f"keys of {self.key}" if self.key else "keys"
            raise wrong(self.path, where, f"some of {', '.join(keys)}", f"{name!r}{hint}")

    def typed(self, name: str, kind: Any, wanted: str) -> Any:
        """The value of a key, which must be there and of a type; true and false are no numbers."""
        value = self.values.get(name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(name, wanted, repr(value))
        return value

    def listed(self, name: str, kind: Any, wanted: str) -> list[Any]:
        """The value of a key: a list with at least one value, all of a type."""
        values: list[Any] = self.typed(name, list, wanted)
        if not values or not all(isinstance(value, kind) and not isinstance(value, bool) for value in values):
            raise self.wrong(name, wanted, repr(values))
        return values

    def table(self, name: str, wanted: str) -> "Table":
        """The table of a key, with at least one value."""
        table = Table(self.path, self.named(name), self.typed(name, dict, wanted))
        if not table.values:
            raise self.wrong(name, f"{wanted}, of at least one", "none")
        return table

    def whole_number(self, name: str, least: int) -> int:
        wanted = f"a whole number of at least {least}"
        value: int = self.typed(name, int, wanted)
        if value < least:
            raise self.wrong(name, wanted, value)
        return value

    def word(self, name: str, words: Sequence[str]) -> str:
        value = self.values[name]
        if value not in words:
            raise self.wrong(name, f"one of {', '.join(words)}", repr(value))
        return str(value)

    def numbers(self, name: str, wanted: str, good: Callable[[Sequence[float]], bool]) -> tuple[float, ...]:
        values = self.listed(name, int | float, wanted)
        if not np.isfinite(values).all() or not good(values):
            raise self.wrong(name, wanted, values)
        return tuple(map(float, values))


def read_toml(path: Path) -> Table:
    """The values of a file.

    Raises
    ------
    FileNotFoundError, ValueError : there is no such file; it is not TOML
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a study file, but there is no such file")
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
            check_depth(values)
            return Table(path, "", values)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} must be TOML: {error}") from error


def check_depth(values: Any) -> None:
    """Refuse tables and lists that are nested more deeply than any that are read.

    Raises
    ------
    RecursionError : they are
    """
    inner = [values]
    for _ in range(_DEEPEST):
        inner = [
            value
            for outer in inner
            for value in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(value, dict | list)
        ]
        if not inner:
            return
    raise RecursionError(f"tables and lists must be at most {_DEEPEST} deep, got more")


def wrong(path: Path, key: str, wanted: str, got: Any) -> ValueError:
    return ValueError(f"{path}: {key} must be {wanted}, got {got}")


@contextmanager
def located(path: Path, key: str) -> Iterator[None]:
    """Put the file and the key before the message of an error; the exception and its traceback stay the same."""
    try:
        yield
    except (ValueError, OSError) as error:
        if len(error.args) == 1 and str(error) == error.args[0]:
            error.args = (f"{path}: {key}: {error}",)
            raise
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(f"{path}: {key}: {error}") from error
