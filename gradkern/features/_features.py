"""What a capture returns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gradkern.kernels._sketch import Sketch

Key = tuple[str, str]  # (kind, layer)


@dataclass(frozen=True)
class Features(Mapping[Key, Tensor]):
    """Features of n images: a mapping (kind, layer) -> float32 [n, k] on the CPU.

    If several tokens were asked for, activations and gradients are [n, tokens, k].

    Attributes
    ----------
    losses : [n], the objective of each image
    objective : its name
    sketch : the map that all of them share, or "raw"
    dtype : that the model computed in
    tokens : which tokens were taken; a tuple names the axis of tokens
    facts : the model's name, its weights and the depths of its layers; of `load_features` the hashes of model and
        images; and what the run found: the batch size, the greatest difference between an image alone and in a batch,
        which attention kernel ran, the scale of the losses, parameters that were left out
    exact : True, the objective's formula itself; False, a surrogate; or "user function"
    entropy : [n], of the model's prediction in nats; None where it has no logits, or no objective was given
    """

    arrays: Mapping[Key, Tensor]
    losses: Tensor
    objective: str
    sketch: Sketch | str
    dtype: str
    tokens: str | tuple[str, ...] = "all"
    facts: Mapping[str, Any] = field(default_factory=dict)
    exact: bool | str = "user function"
    entropy: Tensor | None = None

    def __getitem__(self, key: Key) -> Tensor:
        if key not in self.arrays:
            raise KeyError(f"no feature {key!r}; there are {sorted(self.arrays)}")
        return self.arrays[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    @property
    def depth(self) -> dict[str, float]:
        """Relative depth in [0, 1] of each layer that the model's spec knows."""
        return dict(self.facts.get("depth", {}))

    def provenance(self) -> dict[str, Any]:
        """What they are of, and how they were computed."""
        stated = {"objective": self.objective, "exact": self.exact}
        return {**stated, **sketch_facts(self.sketch), "dtype": self.dtype, "tokens": self.tokens, **self.facts}


def sketch_facts(sketch: Sketch | str) -> dict[str, Any]:
    if isinstance(sketch, str):
        return {"sketch": sketch}
    return {"sketch_k": sketch.k, "sketch_seed": sketch.seed, "sketch_nnz": sketch.nnz}
