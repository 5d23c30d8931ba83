"""How objects that users hold are shown: as a few lines of text, and in a notebook as a small table."""

import textwrap
from collections.abc import Mapping, Sequence
from html import escape

_LINE = 100  # characters of a line
_LONGEST = 300  # characters of a value
_MOST = 8  # values under one name
_LISTED = 4  # names that are listed in full

Rows = Mapping[str, str] | Sequence[tuple[str, str]]


def as_text(title: str, rows: Rows) -> str:
    """A title and a line for each name and value; long values go on in further lines, a repeated name stands once."""
    pairs = _shortened(rows)
    width = max((len(name) for name, _ in pairs), default=0)
    lines = [title]
    for name, value in pairs:
        first, *others = textwrap.wrap(value, _LINE - width - 4) or [""]
        lines += [f"  {name:<{width}}  {first}".rstrip(), *(f"{'':<{width + 4}}{other}" for other in others)]
    return "\n".join(lines)


def as_html(title: str, rows: Rows) -> str:
    """The same as a table with a caption."""
    cells = (f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in _shortened(rows))
    return f"<table><caption>{escape(title)}</caption>{''.join(cells)}</table>"


def listed(names: Sequence[str]) -> str:
    """Names in a row; of many the first two and the last one."""
    if len(names) <= _LISTED:
        return ", ".join(names)
    return f"{', '.join(names[:2])}, ..., {names[-1]}"


def _shortened(rows: Rows) -> list[tuple[str, str]]:
    """Rows without very long values, repeated names, or too many values of one name."""
    pairs = list(rows.items()) if isinstance(rows, Mapping) else list(rows)
    names = [name for name, _ in pairs]
    shortened: list[tuple[str, str]] = []
    for number, (name, value) in enumerate(pairs):
        before = names[:number].count(name)
        if before < _MOST:
            shown = value if len(value) <= _LONGEST else f"{value[: _LONGEST - 3]}..."
            shortened.append(("" if before else name, shown))
        elif before == _MOST:
            shortened.append(("", f"... and {names.count(name) - _MOST} more"))
    return shortened
