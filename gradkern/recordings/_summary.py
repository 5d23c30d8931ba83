"""How objects of this package show themselves: a few lines of text, and a small table in notebooks."""

from collections.abc import Sequence
from html import escape

_WIDEST = 100  # characters of a value
_MOST = 8  # lines of one name

Rows = Sequence[tuple[str, str]]


def as_text(title: str, rows: Rows) -> str:
    """The title, and a line for every name and value; a repeated name is written once."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join([title, *(f"  {name:<{width}}  {value}".rstrip() for name, value in _fitted(rows))])


def as_html(title: str, rows: Rows) -> str:
    """The same as a table."""
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in _fitted(rows))
    return f"<table><caption>{escape(title)}</caption>{cells}</table>"


def _fitted(rows: Rows) -> list[tuple[str, str]]:
    """Rows without long values, repeated names, or too many lines of one name."""
    fitted: list[tuple[str, str]] = []
    names = [name for name, _ in rows]
    for number, (name, value) in enumerate(rows):
        before = names[:number].count(name)
        if before < _MOST:
            short = value if len(value) <= _WIDEST else f"{value[: _WIDEST - 3]}..."
            fitted.append(("" if before else name, short))
        elif before == _MOST:
            fitted.append(("", f"... and {names.count(name) - _MOST} more"))
    return fitted
