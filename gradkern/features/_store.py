"""Features in memory or as files; files are written batch by batch, and a later call goes on after an interruption.

A folder holds one .npy for each array, `losses.npy`, and `capture.json`: the request and how many images are done.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradkern._files import as_json, differences, written_whole
from gradkern.errors import naming
from gradkern.features._features import Features, Key, features_from
from gradkern.kernels._sketch import Sketch

_STATE_FILE = "capture.json"
_VERSION = 1  # of the folder; one without a version is of version 1 too


@naming("load_features")
def load_features(folder: Any) -> Features:
    """Open the features that `capture(..., out=folder)` wrote, memory-mapped, so that nothing is read yet.

    `facts` has "objective_facts", "model_sha256" and "images_sha256" as well, which tell captures apart.

    Parameters
    ----------
    folder : path of the folder

    Raises
    ------
    FileNotFoundError : the folder holds no capture, or an array is missing
    ValueError : the capture is not finished, or was written by a later version of gradkern
    """
    path = Path(folder).expanduser()
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
            "images_sha256": request["images"]["sha256"],
        },
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
    """

    request: Mapping[str, Any]
    count: int
    done: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    keys: tuple[Key, ...] = ()

    @property
    def is_finished(self) -> bool:
        return self.done >= self.count


def capture_state(folder: Path, request: Mapping[str, Any], count: int) -> CaptureState:
    """The state of a capture into a folder: that of an earlier call, or a new one.

    Raises
    ------
    FileExistsError : the folder holds something else, or another capture (the message says what differs)
    """
    request = as_json(dict(request))
    if (folder / _STATE_FILE).is_file():
        state = _read_state(folder)
        if other := differences(state.request, request):
            raise FileExistsError(f"out {folder} holds another capture, which had {'; '.join(other)}")
        return state
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"out must be a new folder or an earlier capture, got {folder}")
    return CaptureState(request, count)


def saved_arrays(folder: Path, state: CaptureState) -> dict[Key, Tensor]:
    """Memory maps of the arrays; what is written to them does not reach the files."""
    return {key: torch.from_numpy(np.load(_path(folder, key), mmap_mode="c")) for key in state.keys}


class FeatureMemory:
    """Features in memory."""

    def __init__(self, count: int, shapes: Mapping[Key, tuple[int, ...]], facts: Mapping[str, Any]):
        self._arrays = {key: torch.empty(count, *shape, dtype=torch.float32, device="cpu") for key, shape in shapes.items()}
        self._facts = dict(facts)

    def write(self, start: int, values: Mapping[Key, Tensor], loss_scale: float) -> None:
        """A batch from image `start` on."""
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
    folder : is made if need be
    state : of `capture_state`
    shapes : of one image's arrays, in order
    facts : of the first batch; those of an earlier call remain
    """

    def __init__(
        self,
        folder: Path,
        state: CaptureState,
        shapes: Mapping[Key, tuple[int, ...]],
        facts: Mapping[str, Any],
    ):
        folder.mkdir(parents=True, exist_ok=True)
        state = replace(state, facts=state.facts or dict(facts), keys=state.keys if state.done else tuple(shapes))
        self._folder, self._state = folder, state
        self._arrays: dict[Key, np.ndarray] = {}
        if not state.done:
            _save_state(folder, state)  # first: from now on the folder is this capture's
        for key in state.keys:
            settings: dict[str, Any] = {"mode": "r+"}
            if not state.done:
                settings = {"mode": "w+", "dtype": np.float32, "shape": (state.count, *shapes[key])}
            self._arrays[key] = np.lib.format.open_memmap(_path(folder, key), **settings)

    def write(self, start: int, values: Mapping[Key, Tensor], loss_scale: float) -> None:
        """A batch from image `start` on; it counts only when all of it is on the disk."""
        for key, array in self._arrays.items():  # a folder of an older version has no entropy
            rows = values[key]
            array[start : start + len(rows)] = rows.numpy()
            array.flush()  # type: ignore[attr-defined]  # a memmap
        done = start + len(next(iter(values.values())))
        self._state = replace(self._state, done=done, facts={**self._state.facts, "loss_scale": loss_scale})
        _save_state(self._folder, self._state)

    def result(self) -> tuple[dict[Key, Tensor], dict[str, Any]]:
        """Memory maps of the arrays, and the facts."""
        return saved_arrays(self._folder, self._state), dict(self._state.facts)


def _path(folder: Path, key: Key) -> Path:
    kind, layer = key[0].replace("/", "."), key[1]  # the "/" of a control is no folder
    return folder / (f"{kind}-{layer}.npy" if layer else f"{kind}.npy")


def _read_state(folder: Path) -> CaptureState:
    stored = json.loads((folder / _STATE_FILE).read_text())
    version = stored.get("version", _VERSION)
    if version > _VERSION:
        raise ValueError(f"{folder} must be of version {_VERSION} at most, got {version}; it needs a later gradkern")
    keys = tuple((kind, layer) for kind, layer in stored["arrays"])
    return CaptureState(stored["request"], stored["images"], stored["done"], stored["facts"], keys)


def _save_state(folder: Path, state: CaptureState) -> None:
    stored = {
        "version": _VERSION, "request": state.request, "images": state.count, "done": state.done, "facts": state.facts,
        "arrays": [list(key) for key in state.keys],
    }  # fmt: skip
    with written_whole(folder / _STATE_FILE) as aside:
        aside.write_text(json.dumps(stored, indent=1))
