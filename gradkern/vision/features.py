"""What a capture returns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gradkern.sketch import Sketch

Key = tuple[str, str]  # (kind, layer)


@dataclass(frozen=True)
class Features(Mapping[Key, Tensor]):
    """Sketches of n images: a mapping (kind, layer) -> float32 [n, k] on the CPU.

    Attributes
    ----------
    losses : [n], the objective of each image
    objective : its name
    sketch : the map that all of them share
    dtype : that the model computed in
    """

    arrays: Mapping[Key, Tensor]
    losses: Tensor
    objective: str
    sketch: Sketch
    dtype: str

    def __getitem__(self, key: Key) -> Tensor:
        if key not in self.arrays:
            raise KeyError(f"no feature {key!r}; there are {sorted(self.arrays)}")
        return self.arrays[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def provenance(self) -> dict[str, Any]:
        """How they were computed, besides the model, the images and the objective."""
        return {
            "sketch_k": self.sketch.k,
            "sketch_seed": self.sketch.seed,
            "sketch_nnz": self.sketch.nnz,
            "dtype": self.dtype,
        }
