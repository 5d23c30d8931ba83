"""Features as files: written batch by batch, and gone on with after an interruption.

A folder holds one .npy an array, `losses.npy`, and `capture.json`: what was asked for and how many images are done.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradkern.features._features import Features, Key
from gradkern.kernels._sketch import Sketch

_STATE = "capture.json"


def load_features(folder: Any) -> Features:
    """What `capture(..., out=folder)` wrote, mapped: nothing is read yet.

    `facts` tells "objective_facts", "model_sha256" and "images_sha256" as well, by which captures are told apart.

    Raises
    ------
    FileNotFoundError : the folder holds no capture, or an array of it is missing
    ValueError : the capture is not finished
    """
    place = Path(folder).expanduser()
    if not (place / _STATE).is_file():
        raise FileNotFoundError(
            f"load_features: folder must hold {_STATE}, as capture(..., out=) writes it, got {place}"
        )
    state = json.loads((place / _STATE).read_text())
    asked, about = state["request"], state["request"]["objective"] or {}
    if state["done"] < state["images"]:
        raise ValueError(
            f"load_features: {place} must be finished, got {state['done']} of {state['images']} images; the same call "
            "of capture goes on with it"
        )
    files = FeatureFiles(place, asked, state["images"])
    arrays = files.tensors()
    losses, entropy = arrays.pop(("losses", "")), arrays.pop(("entropy", ""), None)
    sketch = Sketch(*(asked[f"sketch_{name}"] for name in ("k", "seed", "nnz"))) if "sketch_k" in asked else "raw"
    tokens = asked["tokens"] if isinstance(asked["tokens"], str) else tuple(asked["tokens"])
    name, exact = str(about.get("name", "none")), about.get("exact", True)
    told = {"objective_facts": about, "model_sha256": asked["model"], "images_sha256": asked["images"]["sha256"]}
    return Features(arrays, losses, name, sketch, asked["dtype"], tokens, {**files.facts, **told}, exact, entropy)


class Arrays:
    """Features in memory."""

    def __init__(self, count: int):
        self.count = count
        self.arrays: dict[Key, Tensor] = {}
        self.facts: dict[str, Any] = {}

    def open(self, shapes: Mapping[Key, tuple[int, ...]], facts: Mapping[str, Any]) -> None:
        self.facts = dict(facts)
        self.arrays = {key: torch.empty(self.count, *shape) for key, shape in shapes.items()}

    def write(self, start: int, values: Mapping[Key, Tensor]) -> None:
        for key, part in values.items():
            self.arrays[key][start : start + len(part)] = part

    def tensors(self) -> dict[Key, Tensor]:
        return dict(self.arrays)


class FeatureFiles:
    """Memory-mapped arrays of one capture.

    Raises
    ------
    FileExistsError : the folder holds something else, or another capture (what differs is named)
    """

    def __init__(self, folder: Path, request: Mapping[str, Any], count: int):
        self.folder, self.request, self.count = folder, json.loads(json.dumps(dict(request))), count
        self.done = 0
        self.arrays: dict[Key, np.ndarray] = {}
        self._extra: dict[str, Any] = {}
        self._keys: list[Key] = []
        if (folder / _STATE).is_file():
            self._read()
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FileExistsError(f"capture: out must be a new folder or an earlier capture, got {folder}")

    def _read(self) -> None:
        state = json.loads((self.folder / _STATE).read_text())
        keys = sorted(set(state["request"]) | set(self.request))
        other = [key for key in keys if state["request"].get(key) != self.request.get(key)]
        if other:
            listed = "; ".join(f"{k}: {state['request'].get(k)!r}, now {self.request.get(k)!r}" for k in other)
            raise FileExistsError(f"capture: out {self.folder} holds another capture, which had {listed}")
        self.done, self._extra = state["done"], state["facts"]
        self._keys = [(kind, layer) for kind, layer in state["arrays"]]

    @property
    def facts(self) -> dict[str, Any]:
        """What the first batch found out."""
        return self._extra

    def open(self, shapes: Mapping[Key, tuple[int, ...]], facts: Mapping[str, Any]) -> None:
        """Make the arrays, or open those of an earlier call; `shapes` are of one image's features."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._extra = self._extra or dict(facts)
        if self.done:
            for kind, layer in self._keys:
                self.arrays[kind, layer] = np.lib.format.open_memmap(self._path(kind, layer), mode="r+")
            return
        self._keys = list(shapes)
        self._save()  # first: from now on the folder is this capture's
        for (kind, layer), shape in shapes.items():
            self.arrays[kind, layer] = np.lib.format.open_memmap(
                self._path(kind, layer), mode="w+", dtype=np.float32, shape=(self.count, *shape)
            )

    def _path(self, kind: str, layer: str) -> Path:
        kind = kind.replace("/", ".")  # of a control: no folder
        return self.folder / (f"{kind}-{layer}.npy" if layer else f"{kind}.npy")

    def write(self, start: int, values: Mapping[Key, Tensor]) -> None:
        """A batch from image `start` on; it counts only when all of it is on the disk."""
        for key, array in self.arrays.items():  # a folder of an older version has no entropy
            part = values[key]
            array[start : start + len(part)] = part.numpy()
            array.flush()  # type: ignore[attr-defined]  # a memmap
        self.done = start + len(next(iter(values.values())))
        self._save()

    def tensors(self) -> dict[Key, Tensor]:
        """Memory maps; what is written to them does not reach the files."""
        self.arrays.clear()
        return {key: torch.from_numpy(np.load(self._path(*key), mmap_mode="c")) for key in self._keys}

    def _save(self) -> None:
        state = {"request": self.request, "images": self.count, "done": self.done, "facts": self._extra}
        state["arrays"] = [list(key) for key in self._keys]
        new = self.folder / f"{_STATE}.new"
        new.write_text(json.dumps(state, indent=1))
        new.replace(self.folder / _STATE)
