"""File names of BIDS: entities, and which sidecar, events and confounds belong to a run."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gradkern.recordings._formats.files import existing_file

RUN = ("sub", "ses", "task", "acq", "ce", "rec", "dir", "run")  # entities that tell runs apart
_CONFOUNDS = ("_desc-confounds_timeseries.tsv", "_desc-confounds_regressors.tsv", "_bold_confounds.tsv")


def entities(name: str) -> dict[str, str]:
    """The pairs in a file's name: {"sub": "01", "run": "2"} of sub-01_run-2_bold.nii.gz."""
    words = name.partition(".")[0].split("_")
    return dict(word.split("-", 1) for word in words if "-" in word)


def suffixes(name: str) -> tuple[str, ...]:
    """The words of a file's name that are no pairs: ("bold",)."""
    return tuple(word for word in name.partition(".")[0].split("_") if "-" not in word)


def run_of(name: str) -> tuple[str | None, ...]:
    """The entities that tell runs apart."""
    pairs = entities(name)
    return tuple(pairs.get(key) for key in RUN)


def inherited(name: str, folders: Iterable[Path], endings: tuple[str, ...]) -> list[Path]:
    """Files that apply to a file by BIDS' inheritance, the nearest folder first.

    A file applies if all its entities are those of the name. Of one folder, those with the most entities come first.
    """
    wanted = entities(name).items()
    files = []
    for folder in folders:
        if not folder.is_dir():
            continue
        names = [path for path in folder.iterdir() if path.name.endswith(endings) and path.name[:1] != "."]
        apply = [path for path in names if entities(path.name).items() <= wanted]
        files += sorted(apply, key=lambda path: (-len(entities(path.name)), path.name))
    return files


def levels(folder: Path, root: Path) -> list[Path]:
    """A folder and those above it, up to the root of the data set."""
    above = [folder, *folder.parents]
    return above[: above.index(root) + 1] if root in above else [folder]


def sidecar(path: Path, root: Path | None = None) -> dict[str, tuple[Any, Path]]:
    """What the JSON files of a file say, each key with the file that says it; nearer files come before others.

    Raises
    ------
    ValueError : a file is no JSON object
    """
    facts: dict[str, tuple[Any, Path]] = {}
    for file in inherited(path.name, levels(path.parent, root or path.parent), (".json",)):
        if suffixes(file.name) != suffixes(path.name):
            continue
        try:
            content = json.loads(existing_file(file).read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise TypeError(f"got a {type(content).__name__}")
        except (ValueError, TypeError) as error:
            raise ValueError(f"{file} must be JSON with a number as StartTime and the like: {error}") from error
        for key, value in content.items():
            facts.setdefault(key, (value, file))
    return facts


def number_in(facts: Mapping[str, tuple[Any, Path]], key: str) -> tuple[float, Path] | None:
    """A number of a sidecar, and the file; None if no file states it.

    Raises
    ------
    ValueError : it is no number
    """
    if key not in facts:
        return None
    value, file = facts[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{file} must be JSON with a number as {key}, got {value!r}")
    return float(value), file


def confounds_of(path: Path) -> Path | None:
    """The table of confounds that fMRIPrep wrote beside a run."""
    if "sub" not in entities(path.name):
        return None
    wanted = run_of(path.name)
    files = sorted(
        file for file in path.parent.iterdir() if file.name.endswith(_CONFOUNDS) and run_of(file.name) == wanted
    )
    single = [file for file in files if "echo" not in entities(file.name)] or files
    return existing_file(single[0]) if single else None
