"""Features in memory or as files; files are written batch by batch, and a later call goes on after an interruption.

A folder holds one .npy for each array, `losses.npy`, and `capture.json`: the request and how many images are done.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradkern._files import allocate, as_json, differences, written_whole
from gradkern._lock import is_lock
from gradkern.errors import naming
from gradkern.features._engine.images import ImageSource
from gradkern.features._engine.probe import probe_difference
from gradkern.features._features import CapturedImages, Features, Key, features_from
from gradkern.features._given import given, is_given
from gradkern.kernels._sketch import Sketch

_STATE_FILE = "capture.json"
_NAMES_FILE = "image-names.json"
_HASHES_FILE = "image-hashes.npy"  # S32 [images], hexadecimal; empty for images that are not done
_HASH = np.dtype("S32")
# Of the folder. 1, which a folder without a version is of too, has no outputs and labels; 1 and 2 have no names and
# hashes of the images, and no probe of the model.
_VERSION = 3
_KNOWN = 3  # the version from which on the hash of a model is of all that it does


@naming("load_features")
def load_features(folder: Any) -> Features:
    """Open the features that `capture(..., out=folder)` wrote, memory-mapped, so that nothing is read yet.

    `facts` has "objective_facts", "model_sha256" and "images_sha256" as well, which tell captures apart.

    Parameters
    ----------
    folder : path of the folder; or of a file or folder that `given` reads, with the names of the images

    Raises
    ------
    FileNotFoundError : the folder holds no capture and no features of others, or an array is missing
    ValueError : the capture is not finished, or was written by a later version of gradkern
    """
    path = Path(folder).expanduser()
    if not (path / _STATE_FILE).is_file() and is_given(path):
        return given(path)
    if not (path / _STATE_FILE).is_file():
        raise FileNotFoundError(f"folder must hold {_STATE_FILE}, as capture(..., out=) writes it, got {path}")
    state = _read_state(path)
    request, objective = state.request, state.request["objective"] or {}
    if state.done < state.count:
        raise ValueError(
            f"{path} must be finished, got {state.done} of {state.count} images; the same call of capture goes on "
            "with it"
        )
    tokens = request["tokens"] if isinstance(request["tokens"], str) else tuple(request["tokens"])
    sketch = Sketch(*(request[f"sketch_{name}"] for name in ("k", "seed", "nnz"))) if "sketch_k" in request else "raw"
    return features_from(
        saved_arrays(path, state),
        objective={"name": objective.get("name", "none"), "exact": objective.get("exact", True)},
        sketch=sketch,
        dtype=request["dtype"],
        tokens=tokens,
        facts={
            **state.facts,
            "objective_facts": objective,
            "model_sha256": request["model"],
            "images_sha256": request["images"].get("sha256"),  # None if the last call was stopped at its very end
        },
        images=_saved_images(path, state),
    )


@dataclass(frozen=True)
class CaptureState:
    """How far a capture into a folder has come.

    Attributes
    ----------
    request : everything that decides the features, as JSON has it
    count : images of the capture
    done : images that are written
    facts : what the first batch found out
    keys : of the arrays; empty while none is made
    hashes_are_of : of the images' hashes, "pixels" or "prepared"; "" in folders that have none
    probe : what the model gave for a few images
    version : of the folder
    """

    request: Mapping[str, Any]
    count: int
    done: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    keys: tuple[Key, ...] = ()
    hashes_are_of: str = ""
    probe: Mapping[str, list[float]] = field(default_factory=dict)
    version: int = _VERSION

    @property
    def is_finished(self) -> bool:
        return self.done >= self.count


def images_done(folder: Path) -> tuple[int, int] | None:
    """How many images of a capture into a folder are done, and of how many; None where there is none to go on with."""
    try:
        state = _read_state(folder)
    except (OSError, ValueError, KeyError, TypeError):  # none, or none of this version
        return None
    return state.done, state.count


def capture_state(folder: Path, request: Mapping[str, Any], images: ImageSource) -> CaptureState:
    """The state of a capture into a folder: that of an earlier call, or a new one.

    Raises
    ------
    FileExistsError : the folder holds something else, or another capture (the message says what differs)
    """
    request, count = as_json(dict(request)), len(images)
    request = {**request, "images": {"count": count}}
    if (folder / _STATE_FILE).is_file():
        state = _read_state(folder)
        before = {**state.request, "images": {"count": state.count}}
        if other := differences(before, request):
            unsure = state.version < _KNOWN and state.request.get("model") != request["model"]
            why = "; earlier versions hashed less of a model, and such a folder is read but not gone on with"
            raise FileExistsError(
                f"out {folder} holds another capture, which had {'; '.join(other)}{why if unsure else ''}"
            )
        return state
    if not folder.is_dir() or any(not is_lock(path) for path in folder.iterdir()):
        raise FileExistsError(f"out must be a new folder or an earlier capture, got {folder}")
    return CaptureState(request, count, hashes_are_of=images.hashes_are_of)


def check_same(folder: Path, state: CaptureState, images: ImageSource, now: Mapping[str, Sequence[float]]) -> None:
    """Compare the images that an earlier call has done, and what the model gave for a few, with those of now.

    Raises
    ------
    FileExistsError : the images are others; or the model gives something else, though nothing that is compared of it
        differs
    """
    if (folder / _STATE_FILE).is_file() and (other := _other_images(folder, state, images)):
        raise FileExistsError(f"out {folder} holds another capture, which had {'; '.join(other)}")
    if difference := probe_difference(state.probe, now, str(state.request["dtype"])):
        raise FileExistsError(f"out {folder} holds another capture, whose model gave other outputs: {difference}")


def _other_images(folder: Path, state: CaptureState, images: ImageSource) -> list[str]:
    """What differs between the images of an earlier call and these, by their hashes."""
    before = state.request["images"].get("sha256")
    if before is not None:
        now = images.sha256()
        return [] if now == before else [f"images.sha256: {json.dumps(before)}, now {json.dumps(now)}"]
    if state.hashes_are_of != images.hashes_are_of:
        return [f"images.sha256: of {state.hashes_are_of or 'none'}, now of {images.hashes_are_of}"]
    stored = np.load(folder / _HASHES_FILE) if state.done else np.empty(0, _HASH)
    for i in range(state.done):
        images.load(i)
        if stored[i].decode() != images.hashes[i]:
            return [f"images.sha256: {stored[i].decode()} of image {i}, now {images.hashes[i]}"]
    return []


def _saved_images(folder: Path, state: CaptureState) -> CapturedImages:
    """Names and hashes of the images of a finished capture; None for what a folder does not have."""
    names, hashes = folder / _NAMES_FILE, folder / _HASHES_FILE
    return CapturedImages(
        tuple(json.loads(names.read_text())) if names.is_file() else None,
        tuple(np.load(hashes).astype(str).tolist()) if hashes.is_file() else None,
        state.hashes_are_of,
    )


def saved_arrays(folder: Path, state: CaptureState) -> dict[Key, Tensor]:
    """Memory maps of the arrays; what is written to them does not reach the files."""
    return {key: torch.from_numpy(np.load(_path(folder, key), mmap_mode="c")) for key in state.keys}


class FeatureMemory:
    """Features in memory."""

    def __init__(self, count: int, shapes: Mapping[Key, tuple[int, ...]], facts: Mapping[str, Any]):
        self._arrays = {
            key: torch.empty(count, *shape, dtype=torch.float32, device="cpu") for key, shape in shapes.items()
        }
        self._facts = dict(facts)

    def note(self, facts: Mapping[str, Any]) -> None:
        """Add facts that are known in the end."""
        self._facts.update(facts)

    def write(self, start: int, values: Mapping[Key, Tensor], loss_scale: float, hashes: Sequence[str]) -> None:
        """A batch from image `start` on, and the hashes of its images."""
        self._facts["loss_scale"] = loss_scale
        for key, rows in values.items():
            self._arrays[key][start : start + len(rows)] = rows

    def result(self) -> tuple[dict[Key, Tensor], dict[str, Any]]:
        """The arrays and the facts."""
        return dict(self._arrays), dict(self._facts)


class FeatureFiles:
    """Memory-mapped arrays of one capture, new or gone on with.

    Parameters
    ----------
    folder : that this process alone writes to
    state : of `capture_state`
    shapes : of one image's arrays, in order
    facts : of the first batch; those of an earlier call remain
    names : of the images

    Raises
    ------
    OSError : there is no room on the disk; the message has the bytes that are needed
    """

    def __init__(
        self,
        folder: Path,
        state: CaptureState,
        shapes: Mapping[Key, tuple[int, ...]],
        facts: Mapping[str, Any],
        names: Sequence[str] | None = None,
    ):
        if state.done and (lacking := [_path(folder, key).stem for key in shapes if key not in state.keys]):
            warnings.warn(
                f"capture: {folder} was begun by an earlier version and goes on without {', '.join(lacking)}",
                stacklevel=6,
            )
        state = replace(state, facts=state.facts or dict(facts), keys=state.keys if state.done else tuple(shapes))
        self._folder, self._state = folder, state
        self._arrays: dict[Key, np.ndarray] = {}
        arrays = {key: (np.dtype(np.float32), (state.count, *shapes[key])) for key in state.keys}
        needed = sum(_bytes_of(*array) for array in arrays.values()) + state.count * _HASH.itemsize
        if not state.done:
            self._make_files(arrays, needed, names)
        for key, array in arrays.items():
            path = _path(folder, key)
            with path.open("r+b") as file:  # of a folder of an older version, which may have holes
                allocate(file.fileno(), _bytes_of(*array), folder, needed=needed)
            self._arrays[key] = np.lib.format.open_memmap(path, mode="r+")
        self._hashes = np.lib.format.open_memmap(folder / _HASHES_FILE, mode="r+") if state.hashes_are_of else None

    def _make_files(self, arrays: Mapping[Key, Any], needed: int, names: Sequence[str] | None) -> None:
        """New files, with all their bytes on the disk, in the place of what was there: who reads that keeps it."""
        folder = self._folder
        _save_state(folder, self._state)  # first: from now on the folder is this capture's
        files = {_path(folder, key): array for key, array in arrays.items()}
        if names is not None:
            with written_whole(folder / _NAMES_FILE) as aside:
                aside.write_text(json.dumps(list(names)))
        for path, (dtype, shape) in {**files, folder / _HASHES_FILE: (_HASH, (self._state.count,))}.items():
            with written_whole(path) as aside, aside.open("wb") as file:
                header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                size = file.tell() + _bytes_of(dtype, shape) - _HEADER
                file.flush()
                allocate(file.fileno(), size, folder, needed=needed)

    def note(self, facts: Mapping[str, Any]) -> None:
        """Add facts that are known in the end."""
        request = dict(self._state.request)
        request["images"] = {**request["images"], **facts.get("images", {})}
        own = {name: value for name, value in facts.items() if name != "images"}
        self._state = replace(self._state, request=request, facts={**self._state.facts, **own})
        _save_state(self._folder, self._state)

    def write(self, start: int, values: Mapping[Key, Tensor], loss_scale: float, hashes: Sequence[str]) -> None:
        """A batch from image `start` on, and the hashes of its images; it counts only when all is on the disk."""
        for key, array in self._arrays.items():  # a folder of an older version has no outputs
            rows = values[key]
            array[start : start + len(rows)] = rows.numpy()
            array.flush()  # type: ignore[attr-defined]  # a memmap
        done = start + len(next(iter(values.values())))
        if self._hashes is not None:
            self._hashes[start:done] = np.array(hashes, _HASH)
            self._hashes.flush()
        self._state = replace(self._state, done=done, facts={**self._state.facts, "loss_scale": loss_scale})
        _save_state(self._folder, self._state)

    def result(self) -> tuple[dict[Key, Tensor], dict[str, Any]]:
        """Memory maps of the arrays, and the facts."""
        return saved_arrays(self._folder, self._state), dict(self._state.facts)


_HEADER = 128  # bytes of an array's file before its values, at the least


def _bytes_of(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """Bytes of the file of an array."""
    return _HEADER + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


def _path(folder: Path, key: Key) -> Path:
    kind, layer = (part.replace("/", ".") for part in key)  # a "/" is no folder
    return folder / (f"{kind}-{layer}.npy" if layer else f"{kind}.npy")


def _read_state(folder: Path) -> CaptureState:
    stored = json.loads((folder / _STATE_FILE).read_text())
    version = stored.get("version", 1)
    if version > _VERSION:
        raise ValueError(f"{folder} must be of version {_VERSION} at most, got {version}; it needs a later gradkern")
    keys = tuple((kind, layer) for kind, layer in stored["arrays"])
    more = stored.get("hashes_are_of", ""), stored.get("probe", {}), version
    return CaptureState(stored["request"], stored["images"], stored["done"], stored["facts"], keys, *more)


def _save_state(folder: Path, state: CaptureState) -> None:
    stored = {
        "version": _VERSION, "request": state.request, "images": state.count, "done": state.done, "facts": state.facts,
        "arrays": [list(key) for key in state.keys], "hashes_are_of": state.hashes_are_of, "probe": state.probe,
    }  # fmt: skip
    with written_whole(folder / _STATE_FILE) as aside:
        aside.write_text(json.dumps(stored, indent=1))
