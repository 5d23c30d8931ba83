"""Captured blocks of images, read as the features of one model and objective at all images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gradkern.encoding._spaces import CapturedSpaces, FeatureSpace
from gradkern.features._features import CapturedImages, Features, Key
from gradkern.features._store import load_features
from gradkern.study.runner._store import Damaged, Store
from gradkern.study.runner._tasks import SpacesOrder


@dataclass(frozen=True, eq=False)
class StackedRows:
    """Rows of several blocks, one after another, read when they are needed."""

    parts: tuple[NDArray[Any], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.parts[0].shape[1:])

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def columns(self, which: slice) -> NDArray[Any]:
        """Some columns of all rows."""
        return np.concatenate([part[:, which] for part in self.parts])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.concatenate(self.parts).astype(dtype or np.float32, copy=False)

    def __getitem__(self, place: Any) -> NDArray[Any]:
        if isinstance(place, slice | int | np.integer):
            selected: NDArray[Any] = np.asarray(self)[place]
            return selected
        rows = np.asarray(place)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        found = np.empty((len(rows), *self.shape[1:]), np.float32)
        start = 0
        for part in self.parts:
            inside = np.flatnonzero((rows >= start) & (rows < start + len(part)))
            found[inside] = part[rows[inside] - start]
            start += len(part)
        return found


def parts_of(store: Store, unit: str) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Places of the captures of a unit, with their kinds and layers.

    Raises
    ------
    Damaged : a capture is not what its manifest says
    """
    for part in store.parts_of(unit):
        place = f"capture/{unit}/{part}"
        facts = store.check(place).facts
        yield place, tuple(facts["kinds"]), tuple(facts["layers"])


class Blocks:
    """The captures of a model and objective, block by block.

    Raises
    ------
    Damaged : a capture is missing or not what its manifest says; the bytes of what is read were compared
    """

    def __init__(self, store: Store, order: SpacesOrder) -> None:
        self.order = order
        self.blocks = [self._block(store, unit) for unit in order.units]

    def _block(self, store: Store, unit: str) -> dict[Key, Features]:
        """(kind, layer) -> the capture that has it."""
        found: dict[Key, Features] = {}
        for place, kinds, layers in parts_of(store, unit):
            pairs = [(kind, layer) for kind in self.order.kinds for layer in self.order.layers]
            wanted = [pair for pair in pairs if pair[0] in kinds and pair[1] in layers and pair not in found]
            if wanted:
                store.check(place, whole=True)
                captured = load_features(store.path(place))
                found |= dict.fromkeys(wanted, captured)
        for kind in self.order.kinds:
            for layer in self.order.layers:
                if (kind, layer) not in found:
                    raise Damaged(f"capture/{unit}", f"it has no {kind} of {layer}", is_there=False)
        return found

    def rows(self, kind: str, layer: str) -> StackedRows:
        """One kind at one layer, [images, d]."""
        return StackedRows(tuple(block[kind, layer][kind, layer].numpy() for block in self.blocks))

    def images(self, names: Sequence[str] | None) -> CapturedImages:
        """Which images the rows are of."""
        first = [next(iter(block.values())) for block in self.blocks]
        hashes = [captured.images.hashes or () for captured in first]
        return CapturedImages(None if names is None else tuple(names), sum(hashes, ()), first[0].images.hashes_are_of)

    def spaces(self, names: Sequence[str] | None, depth: Any) -> CapturedSpaces:
        """Feature spaces under the names of the study."""
        found = {
            FeatureSpace(
                self.order.model, self.order.objective, kind, layer, float(depth.get(layer, np.nan))
            ): self.rows(kind, layer)
            for kind in self.order.kinds
            for layer in self.order.layers
        }
        return CapturedSpaces(found, self.images(names))

    def features(self, names: Sequence[str] | None, activations: "Blocks | None" = None) -> Features:
        """All of it as one capture, in memory where there are several blocks; with the activations of another."""
        captures = [next(iter(block.values())) for block in self.blocks]
        first = captures[0]
        arrays = {}
        for blocks in [self] if activations is None else [activations, self]:
            for kind in blocks.order.kinds:
                for layer in blocks.order.layers:
                    arrays[kind, layer] = _joined([block[kind, layer][kind, layer] for block in blocks.blocks])
        optional = {
            name: None if getattr(first, name) is None else _joined([getattr(captured, name) for captured in captures])
            for name in ("entropy", "labels")
        }
        facts = {**first.facts, "images_sha256": "".join(str(captured.facts["images_sha256"]) for captured in captures)}
        return Features(
            arrays=arrays,
            losses=_joined([captured.losses for captured in captures]),
            objective=first.objective,
            sketch=first.sketch,
            dtype=first.dtype,
            tokens=first.tokens,
            facts=facts,
            exact=first.exact,
            images=self.images(names),
            outputs={name: _joined([captured.outputs[name] for captured in captures]) for name in first.outputs},
            **optional,
        )


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
