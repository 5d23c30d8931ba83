"""Values of a study file that a command line changes: `--set encode.folds=3`."""

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gradkern.study._toml import Table, check_depth, read_toml
from gradkern.study.runner._sections import RunDescription, parse_run

_MOST_STEPS = 16  # of a key
_SHORT = {"recordings": "file", "images": "folder", "nuisances": "file", "labels": "file"}  # "name" elsewhere
_OF_DEBUG = ("encode", "maps", "figures")  # tests and claims need more than a few images


def read_run(
    path: Path,
    changes: Sequence[str] = (),
    *,
    debug: bool = False,
    folder: Path | None = None,
    stored: Path | None = None,
) -> RunDescription:
    """Read a study file, with changes of its values.

    Parameters
    ----------
    changes : "a.b=c" each; c is TOML, or else a word
    debug : cut the study to 8 images, the first and the last layer, and 100 targets, in a folder of its own
    folder : of tasks and results; None: named as the file
    stored : a copy of the file that is read in its place; paths in it are relative to the file

    Raises
    ------
    FileNotFoundError : there is no such file
    ValueError : not TOML, unknown keys (the nearest known one is named), a change that is none
    """
    file = read_toml(stored or path)
    values: dict[str, Any] = dict(file.values)
    for change in changes:
        name, sign, text = change.partition("=")
        steps = _steps(name.strip())
        if not sign or not steps or not all(steps) or len(steps) > _MOST_STEPS:
            raise ValueError(f"set must be of the form a.b=c, got {change!r}")
        values = _changed(values, steps, _value(text.strip()), change, _SHORT.get(steps[0], "name"))
    description = parse_run(Table(path, "", values))
    place = folder or description.folder
    if debug:
        from gradkern.ridge._cross_validation import CrossValidation

        cv = CrossValidation(**{**vars(description.encode.cv), "folds": min(description.encode.cv.folds, 4)})
        return RunDescription(
            **{
                **vars(description),
                "folder": place / "debug",
                "debug": True,
                "analyses": replace(
                    description.analyses,
                    wanted=tuple(name for name in description.analyses.wanted if name in _OF_DEBUG),
                ),
                "encode": type(description.encode)(cv, description.encode.raw_gradients, description.encode.block),
            }
        )
    return RunDescription(**{**vars(description), "folder": place})


def _steps(name: str) -> list[str]:
    """The steps of a key as TOML writes it, with quotes where a step has dots."""
    try:
        table = tomllib.loads(f"{name} = 0")
    except (tomllib.TOMLDecodeError, RecursionError):
        return [""]
    steps = []
    value: Any = table
    while isinstance(value, dict) and len(value) == 1:
        step, value = next(iter(value.items()))
        steps.append(step)
    return steps


def _value(text: str) -> Any:
    """A value as TOML has it; what is no TOML is a word."""
    try:
        parsed = tomllib.loads(f"value = {text}")
        check_depth(parsed)
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return parsed["value"] if list(parsed) == ["value"] else text


def _changed(values: dict[str, Any], steps: Sequence[str], value: Any, change: str, short: str) -> dict[str, Any]:
    """The values with another one; `short` is the key that a word stands for where a table may be."""
    first, *rest = steps
    if not rest:
        return {**values, first: value}
    inner = values.get(first, {})
    if isinstance(inner, str):  # "dino" = "dinov2-base", and models.dino.seed=1
        inner = {short: inner}
    if not isinstance(inner, dict):
        raise ValueError(f"set must change a value of a table, got {change!r}, where {first!r} is {inner!r}")
    return {**values, first: _changed(inner, rest, value, change, short)}
