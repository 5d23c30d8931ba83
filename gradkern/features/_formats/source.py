"""What a reader of features gives back, and arrays in single files."""

import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern._hdf5 import reading_hdf5

_NAMES = ("names", "image_names", "file_names", "filenames", "stimulus_ids", "ids", "images", "stimuli", "keys")
ENDINGS = (".npy", ".npz", ".h5", ".hdf5", ".pt", ".pth", ".safetensors", ".txt")


@dataclass(frozen=True)
class Source:
    """Features as they were read.

    Parameters
    ----------
    arrays : by layer, or by (kind, layer)
    names : of the images in the order of the rows; None where the source has none
    facts : what else the source says
    """

    arrays: Mapping[Any, Any]
    names: Sequence[str] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def read_arrays(path: Path) -> Source:
    """All arrays of numbers in one file, and the names of images if it has some; an array without a name is "features".

    Raises
    ------
    ValueError : the file is damaged, holds something else, or several arrays that could be the names of the images
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        hint = "; its variables have lost the endings of their images' names" if ending == ".mat" else ""
        raise ValueError(f"{path} must end in {', '.join(ENDINGS)}, got {ending or 'no ending'!r}{hint}")
    if ending == ".npy":
        return Source({"features": _map_npy(path)})
    if ending in (".h5", ".hdf5"):
        return _with_names(path, _hdf5(path))
    reading = {".npz": _npz, ".safetensors": read_safetensors, ".txt": _text}.get(ending, _torch)
    try:
        content = reading(path)
    except (ModuleNotFoundError, FileNotFoundError):
        raise
    except Exception as error:  # parsers raise what they find in damaged files
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} cannot be read: {reason} (is it damaged or cut short?)") from error
    return _with_names(path, content)


def read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(str(path)))


def strings(values: Any) -> list[str] | None:
    """The words of a vector of words; None if it is none."""
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "OSU":
        return None
    words = [value.decode("utf-8") if isinstance(value, bytes) else value for value in array.tolist()]
    return words if all(isinstance(word, str) for word in words) else None


def _map_npy(path: Path) -> NDArray[Any]:
    """A .npy file, mapped to memory; what is written to the array does not reach the file."""
    try:
        values: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    except Exception as error:
        hint = (
            " (it is a pickle, which can run any code)"
            if "pickle" in str(error) or "Python objects" in str(error)
            else " (is it cut short?)"
        )
        raise ValueError(f"{path} cannot be read as an array: {error}{hint}") from error
    size, expected = path.stat().st_size, getattr(values, "offset", 0) + values.nbytes
    if isinstance(values, np.memmap) and size != expected:
        raise ValueError(f"{path} must have {expected} bytes by its header, got {size}")
    return values


def _npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _text(path: Path) -> dict[str, Any]:
    return {"features": np.loadtxt(path, ndmin=2)}


def _torch(path: Path) -> dict[str, Any]:
    import torch

    if zipfile.is_zipfile(path):  # torch does not compare checksums
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of {damaged} is another")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"it must hold tensors, names and numbers alone: {error}") from error
    return dict(content) if isinstance(content, Mapping) else {"features": content}


def _hdf5(path: Path) -> dict[str, Any]:
    """Every dataset by its path in the file."""
    import h5py

    content: dict[str, Any] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            content[name] = item.asstr()[()] if h5py.check_string_dtype(item.dtype) else item[()]

    with reading_hdf5(path) as file:
        file.visititems(keep)
    return content


def _with_names(path: Path, content: Mapping[str, Any]) -> Source:
    words = {name: values for name in content if (values := strings(content[name])) is not None}
    chosen = words if len(words) < 2 else {n: words[n] for n in words if n.rpartition("/")[2].lower() in _NAMES}
    if words and len(chosen) != 1:
        raise ValueError(f"{path} must hold one list of the images' names, got {', '.join(sorted(words))}")
    left = sorted(words.keys() - chosen.keys())
    arrays = {name: values for name, values in content.items() if name not in words}
    return Source(arrays, next(iter(chosen.values()), None), {"left_out": left} if left else {})
