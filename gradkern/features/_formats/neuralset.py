"""Caches of neuralset's image extractors, which are those of exca 0.6: lines of JSON that say where an array lies.

A line has "#key" (the image's path), "#type" and, of a `MemmapArray`, "filename", "offset", "shape" and "dtype".
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.features._formats.source import Source, read_arrays

_INFO = "*-info.jsonl"
_MAPPED = ("MemmapArray", "ContiguousMemmapArray", "TorchTensor")
_LAYERS = re.compile(r"^\s*cache_n_layers:\s*([0-9]+)\s*$", re.MULTILINE)
_SETTINGS = ("full-uid.yaml", "config.yaml", "uid.yaml")


def is_cache(folder: Path) -> bool:
    """Whether a folder is a cache of exca."""
    return any(folder.glob(_INFO))


def read_cache(folder: Path) -> Source:
    """The arrays of all images, in the order of their keys.

    Where the settings beside it state `cache_n_layers`, the first axis of an image's array is the layers.

    Raises
    ------
    FileNotFoundError : a file of arrays is missing
    ValueError : a line is cut short, arrays are of other types or shapes, or an image has two different ones
    """
    values: dict[str, NDArray[Any]] = {}
    for path in sorted(folder.glob(_INFO)):
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            if not line.strip():
                continue  # a line that exca has deleted
            key, array = _entry(folder, path, number, line)
            if key in values and not np.array_equal(values[key], array):
                raise ValueError(f"{folder} must have one array an image, got two of {key!r}")
            values[key] = array
    if not values:
        raise ValueError(f"{folder} must hold arrays of images, got none")
    names = sorted(values)
    shapes = sorted({values[name].shape for name in names})
    if len(shapes) > 1:
        raise ValueError(f"{folder} must have arrays of one shape, got {', '.join(str(list(s)) for s in shapes[:4])}")
    stacked = np.stack([values[name] for name in names])
    facts: dict[str, Any] = {"format": "cache of neuralset"}
    if _has_layers(folder) and stacked.ndim > 2:
        count = stacked.shape[1]
        return Source({f"cached {i}": stacked[:, i] for i in range(count)}, names, facts)
    return Source({"features": stacked}, names, facts)


def _entry(folder: Path, path: Path, number: int, line: bytes) -> tuple[str, NDArray[Any]]:
    try:
        content = json.loads(line)
        key, kind, name = content["#key"], content["#type"], str(content["filename"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"line {number} of {path} must be an entry of exca, got {error} (is it cut short?)") from error
    file = folder / name
    if folder.resolve() not in file.resolve().parents or not file.is_file():
        raise FileNotFoundError(f"{file}, which line {number} of {path} names, is missing")
    if kind == "NumpyArray":
        return key, np.asarray(read_arrays(file).arrays["features"])
    if kind not in _MAPPED:
        raise ValueError(f"{path} must hold arrays ({', '.join((*_MAPPED, 'NumpyArray'))}), got {kind!r} of {key!r}")
    dtype, shape, offset = np.dtype(content["dtype"]), tuple(content["shape"]), int(content["offset"])
    end = offset + int(np.prod(shape)) * dtype.itemsize
    if offset < 0 or end > file.stat().st_size:
        raise ValueError(f"{file} must have {end} bytes for {key!r}, got {file.stat().st_size} (is it cut short?)")
    return key, np.array(np.memmap(file, dtype, "r", offset, shape))


def _has_layers(folder: Path) -> bool:
    files = [place / name for place in (folder, folder.parent) for name in _SETTINGS if (place / name).is_file()]
    return any(_LAYERS.search(path.read_text(encoding="utf-8", errors="replace")) for path in files)
