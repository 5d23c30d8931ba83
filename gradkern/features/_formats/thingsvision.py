"""Folders of arrays with a list of the images' names, as thingsvision writes them, or anybody by hand.

thingsvision 2.7 (Muttenthaler & Hebart 2021) writes `file_names.txt`, and `features.npy`, `.h5`, `.pt` or `.txt`; or
parts of that, `features_01.npy`; or chunks by images, `features_0-512.npy`. Those of
several modules have a folder each.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.features._formats.source import ENDINGS, Source, read_arrays

NAMES_FILES = ("file_names.txt", "image_names.txt", "names.txt", "image-names.json", "names.json")
_LABELS = "targets"  # of thingsvision: the classes of the images
_PART = re.compile(r"features(?P<suffix>.*?)_(?P<start>[0-9]+)(?:-(?P<stop>[0-9]+))?")
_OF_CAPTURES = ("capture.json", "image-hashes.npy", "losses.npy")
_NAMED = (".txt", ".h5", ".hdf5")  # formats of much else, which are read where they are called features
_ARRAYS = tuple(ending for ending in ENDINGS if ending not in _NAMED)


def is_folder_of_arrays(folder: Path) -> bool:
    """Whether a folder, or a folder in it, has arrays."""
    return not _is_of_capture(folder) and any(_array_files(place) for place in (folder, *_folders(folder)))


def read_folder(folder: Path) -> Source:
    """Arrays of a folder by layer: the names of the files, or of the folders in it.

    Raises
    ------
    ValueError : several lists of names, chunks with a gap, or parts beside the whole
    """
    arrays: dict[Any, Any] = {}
    left: list[str] = []
    inner: dict[str, Sequence[str]] = {}
    for place in (folder, *_folders(folder)):
        source = _read_one(place)
        left += source.facts["left_out"]
        if source.names is not None:
            inner[str(place.name)] = source.names
        within = place != folder
        for layer, values in source.arrays.items():
            whole = layer == "features" and len(source.arrays) == 1
            name = (place.name if whole else f"{place.name}/{layer}") if within else layer
            arrays[name] = values
    return Source(arrays, _one_list(folder, inner), {"format": "folder of arrays", "left_out": sorted(left)})


def names_beside(folder: Path) -> list[str] | None:
    """The names of images in a list in this folder, or in the one above it; None if there is no list."""
    for place in (folder, folder.parent):
        lists = {name: _read_list(place / name) for name in NAMES_FILES if (place / name).is_file()}
        if lists:
            return list(_one_list(place, lists) or ())
    return None


def _read_one(folder: Path) -> Source:
    """The arrays of one folder, chunks of an array as one."""
    lists = {name: _read_list(folder / name) for name in NAMES_FILES if (folder / name).is_file()}
    files = _array_files(folder)
    labels = [path for path in files if path.stem == _LABELS]
    others = [path for path in files if path.stem != _LABELS]
    parts = [path for path in others if _PART.fullmatch(path.stem)]
    arrays: dict[Any, Any] = {}
    for path in [path for path in others if path not in parts]:
        source = read_arrays(path)
        content = _joined_datasets(path, source.arrays)
        for name, values in content.items():
            layer = path.stem if len(content) == 1 and name == "features" else f"{path.stem}/{name}"
            if layer in arrays:
                raise ValueError(f"{folder} must have one file of every layer, got several of {layer!r}")
            arrays[layer] = values
        if source.names is not None:
            lists[path.name] = list(source.names)
    if parts and any(path.stem.startswith("features") for path in others if path not in parts):
        raise ValueError(f"{folder} must have features in one file or in parts, got both: {parts[0].name} and a whole")
    if parts:
        arrays["features"] = _joined(folder, parts)
    return Source(arrays, _one_list(folder, lists), {"left_out": [path.name for path in labels]})


def _joined(folder: Path, parts: Sequence[Path]) -> NDArray[Any]:
    """Chunks or parts of an array in the order of their numbers, which is not that of their names."""
    matches = {path: _PART.fullmatch(path.stem) for path in parts}
    known = {path: match for path, match in matches.items() if match}
    suffixes = sorted({match["suffix"] for match in known.values()})
    kinds = {(match["stop"] is None, path.suffix) for path, match in known.items()}
    if len(suffixes) > 1 or len(kinds) > 1:
        got = ", ".join(sorted(path.name for path in parts)[:4])
        raise ValueError(f"{folder} must have parts of one array, got {got}")
    ordered = sorted(known, key=lambda path: int(known[path]["start"]))
    blocks = [np.asarray(_single(path)) for path in ordered]
    at = int(known[ordered[0]]["start"])
    if known[ordered[0]]["stop"] is None:
        _check_numbers(folder, [int(known[path]["start"]) for path in ordered])
        return np.concatenate(blocks)
    if at != 0:
        raise ValueError(f"{folder} must have images from 0 on, got {ordered[0].name} first")
    for path, block in zip(ordered, blocks, strict=True):
        start, stop = int(known[path]["start"]), int(known[path]["stop"])
        if start != at or stop - start != len(block):
            raise ValueError(
                f"{folder} must have images without a gap, got {len(block)} rows in {path.name} after {at}"
            )
        at = stop
    return np.concatenate(blocks)


def _joined_datasets(path: Path, arrays: Any) -> dict[Any, Any]:
    """Datasets "features_01", "features_02", ... of a file as one array; others as they are."""
    matches = {name: _PART.fullmatch(str(name)) for name in arrays}
    if len(arrays) < 2 or not all(match and match["stop"] is None for match in matches.values()):
        return dict(arrays)
    numbers = {name: int(match["start"]) for name, match in matches.items() if match}
    ordered = sorted(numbers, key=lambda name: numbers[name])
    _check_numbers(path, [numbers[name] for name in ordered])
    return {"features": np.concatenate([np.asarray(arrays[name]) for name in ordered])}


def _check_numbers(place: Path, numbers: Sequence[int]) -> None:
    if list(numbers) != list(range(numbers[0], numbers[0] + len(numbers))) or numbers[0] > 1:
        raise ValueError(f"{place} must have all parts, numbered from 1, got {list(numbers)}")


def _single(path: Path) -> Any:
    arrays = read_arrays(path).arrays
    if len(arrays) != 1:
        raise ValueError(f"{path} must hold one array, got {sorted(map(str, arrays))}")
    return next(iter(arrays.values()))


def _folders(folder: Path) -> list[Path]:
    """Folders of modules; those of captures are not looked into."""
    places = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(path for path in places if not _is_of_capture(path))


def _is_of_capture(folder: Path) -> bool:
    """Whether `capture` wrote files of a folder, also one that has lost its request."""
    return any((folder / name).is_file() for name in _OF_CAPTURES)


def _array_files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    refused = [path.name for path in files if path.suffix == ".mat" and path.stem.startswith("features")]
    if refused:
        read_arrays(folder / refused[0])  # says why
    named = [path for path in files if path.suffix.lower() in _NAMED and path.stem.startswith("features")]
    return sorted([path for path in files if path.suffix.lower() in _ARRAYS] + named)


def _read_list(path: Path) -> list[str]:
    """Names, one a line or a list in JSON."""
    try:
        text = path.read_text(encoding="utf-8")
        names = json.loads(text) if path.suffix == ".json" else [line for line in text.splitlines() if line.strip()]
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} must be names in UTF-8: {error}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path} must be a list of names, got {type(names).__name__}")
    return names


def _one_list(folder: Path, lists: dict[str, Any]) -> Sequence[str] | None:
    """The list of names, of which all that are there must be the same."""
    first: Sequence[str] | None = None
    for place, names in lists.items():
        if first is not None and list(first) != list(names):
            raise ValueError(f"{folder} must have one list of names, got others in {' and '.join(lists)}: {place}")
        first = names
    return first
