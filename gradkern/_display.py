"""How objects that users hold are shown: as a few lines of text, and in a notebook as a small table."""

import textwrap
from collections.abc import Mapping, Sequence
from html import escape

_LINE = 100  # characters
_LISTED = 4  # names that are listed in full


def as_text(title: str, rows: Mapping[str, str]) -> str:
    """A title and each row under it; long values go on in further lines."""
    width = max(map(len, rows), default=0)
    lines = [title]
    for name, value in rows.items():
        first, *others = textwrap.wrap(value, _LINE - width - 4) or [""]
        lines += [f"  {name:<{width}}  {first}", *(f"{'':<{width + 4}}{other}" for other in others)]
    return "\n".join(lines)


def as_html(title: str, rows: Mapping[str, str]) -> str:
    """A table with a caption."""
    body = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
    return f"<table><caption>{escape(title)}</caption>{body}</table>"


def listed(names: Sequence[str]) -> str:
    """Names in a row; of many the first two and the last one."""
    if len(names) <= _LISTED:
        return ", ".join(names)
    return f"{', '.join(names[:2])}, ..., {names[-1]}"
