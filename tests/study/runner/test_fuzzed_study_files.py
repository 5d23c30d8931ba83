"""Whatever a study file holds, it is read, or refused with an error that names the file."""

import copy
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradkern.study import parse_study
from gradkern.study.runner import read_run

PAGES = Path(__file__).parents[3] / "docs"
FENCES = [
    text
    for page in ("studies.md", "study.md")
    for text in re.findall(r"```toml\n(.*?)```", (PAGES / page).read_text(), re.DOTALL)
]
EXAMPLES = int(os.environ.get("GRADKERN_FUZZ", "40"))  # SECURITY.md: what longer runs found
WORDS = ["", ".", "..", "../x", "/", "a b", "none", "*", "[", "$(x)", "`x`", "\x00", "é", "1e999", "nan", "x" * 300]
LEAVES = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(WORDS),
    st.text(max_size=6),
    st.dates(),
    st.times(),
    st.datetimes(),
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3)
)
fuzzed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to every value of nested tables and lists."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*path, key)
        yield from places(inner, (*path, key))


def put(values: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The values with another one at a place; where an earlier change took the place away, unchanged."""
    changed = copy.deepcopy(values)
    inner: Any = changed
    for key in path[:-1]:
        try:
            inner = inner[key]
        except (KeyError, IndexError, TypeError):
            return changed
    if isinstance(inner, dict) or (isinstance(inner, list) and path[-1] < len(inner)):
        inner[path[-1]] = value
    return changed


def as_toml(value: Any) -> str:
    """A value as TOML writes it, in a line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in value) + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_toml(key)} = {as_toml(inner)}" for key, inner in value.items()) + "}"
    return str(value)


def write(path: Path, values: dict[str, Any]) -> None:
    path.write_text("".join(f"{as_toml(key)} = {as_toml(value)}\n" for key, value in values.items()), encoding="utf-8")


def check(path: Path, changes: list[str] | None = None) -> None:
    """It is read, or the error names the file (or the change of the command line) and what is wrong."""
    for read in (parse_study, lambda path: read_run(path, changes or ())):
        try:
            read(path)
        except ValueError as error:
            assert str(path) in str(error) or "set must" in str(error)  # noqa: PT017


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.toml"


FOUND = [  # by longer runs
    ("images = []", ["recordings.sub-02-meg.images=[]"]),
    ("a key that is a comment", ["#="]),
]


@pytest.mark.parametrize("changes", [changes for _, changes in FOUND], ids=[name for name, _ in FOUND])
def test_what_was_found(path: Path, changes: list[str]) -> None:
    path.write_text(FENCES[1])
    with pytest.raises(ValueError, match=r"recordings.sub-02-meg.images must be|set must be"):
        read_run(path, changes)


@fuzzed
@given(st.sampled_from(FENCES), st.data())
def test_any_value_at_any_place(path: Path, text: str, data: st.DataObject) -> None:
    values = tomllib.loads(text)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(list(places(values))))
        values = put(values, place, data.draw(VALUES))
    write(path, values)
    check(path)


@fuzzed
@given(st.sampled_from(FENCES), st.data())
def test_any_bytes_within_a_file(path: Path, text: str, data: st.DataObject) -> None:
    raw = bytearray(text.encode())
    start = data.draw(st.integers(0, len(raw)))
    raw[start : start + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    path.write_bytes(raw)
    check(path)


@fuzzed
@given(st.sampled_from(FENCES), st.text(max_size=12), st.text(max_size=12))
def test_any_change_of_the_command_line(path: Path, text: str, key: str, value: str) -> None:
    path.write_text(text)
    check(path, [f"{key}={value}"])
    check(path, [f"encode.{key}={value}", f"models={value}"])


def test_values_are_written_as_they_are_read(path: Path) -> None:
    for text in FENCES:
        write(path, tomllib.loads(text))
        assert tomllib.loads(path.read_text(encoding="utf-8")) == tomllib.loads(text)


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = " + "{a=" * 5000, "encode.folds" + ".a" * 5000 + " = 1"])
def test_what_is_nested_too_deeply_is_refused(path: Path, text: str) -> None:
    path.write_text(text)
    check(path)
    path.write_text(FENCES[0])
    check(path, [text.replace("a = ", "encode.folds=").replace(" = ", "=")])
