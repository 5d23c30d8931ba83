"""How results show themselves: a line per field that fits a screen, or a small table in a notebook."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from html import escape
from typing import Any

import numpy as np

from gradkern._excluded import Excluded

_SHOWN = 6  # entries of a field that holds many
_WIDEST = 100  # characters of a line


class Summary:
    """A dataclass whose arrays are described by shape and range instead of being printed."""

    @property
    def brief(self) -> str:
        """The object in a few words, as part of another."""
        return type(self).__name__

    def __repr__(self) -> str:
        width = max((len(name) for name, _ in self._lines()), default=0)
        lines = [f"  {name:<{width}}  {text}" for name, text in self._lines()]
        return "\n".join([type(self).__name__, *lines])

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in self._lines())
        return f"<table><caption>{type(self).__name__}</caption>{rows}</table>"

    def _lines(self) -> Iterator[tuple[str, str]]:
        for field in fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            text = describe(getattr(self, field.name))
            yield field.name, text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."


def describe(value: Any) -> str:
    """A value in one line."""
    if isinstance(value, Summary):
        return value.brief
    if isinstance(value, Excluded):
        return f"{value.count} {value.what}: {value.reason}"
    if isinstance(value, np.ndarray) and value.ndim:
        return _describe_array(value)
    if isinstance(value, Mapping):
        return _several([f"{name}: {describe(value[name])}" for name in list(value)[:_SHOWN]], len(value))
    if isinstance(value, tuple | list):
        return _several([describe(entry) for entry in value[:_SHOWN]], len(value))
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    return str(value)


def _several(texts: list[str], count: int) -> str:
    """As many of the texts as fit a line, and how many there are besides."""
    for shown in range(len(texts), 0, -1):
        more = [f"and {count - shown} more"] if count > shown else []
        line = "; ".join([*texts[:shown], *more])
        if len(line) <= _WIDEST:
            break
    return line if texts else "none"


def _describe_array(values: np.ndarray) -> str:
    shape = f"{values.dtype} [{', '.join(map(str, values.shape))}]"
    if values.dtype == bool:
        return f"{shape}, {int(values.sum())} true"
    if values.dtype.kind not in "iuf" or not values.size:
        return shape
    known = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    extent = f", {known.min():.4g} to {known.max():.4g}" if known.size else ""
    return f"{shape}{extent}" + (f", {values.size - known.size} NaN" if known.size < values.size else "")
