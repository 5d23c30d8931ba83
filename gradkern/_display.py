"""How objects that users hold are shown: as a few lines of text, and in a notebook as a small table."""

from collections.abc import Mapping, Sequence
from html import escape

_LISTED = 4  # names that are listed in full


def as_text(title: str, rows: Mapping[str, str]) -> str:
    """A title and a line for each row."""
    width = max(map(len, rows), default=0)
    return "\n".join([title, *(f"  {name:<{width}}  {value}" for name, value in rows.items())])


def as_html(title: str, rows: Mapping[str, str]) -> str:
    """A table with a caption."""
    body = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
    return f"<table><caption>{escape(title)}</caption>{body}</table>"


def listed(names: Sequence[str]) -> str:
    """Names in a row; of many the first two and the last one."""
    if len(names) <= _LISTED:
        return ", ".join(names)
    return f"{', '.join(names[:2])}, ..., {names[-1]}"
