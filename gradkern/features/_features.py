"""What a capture returns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gradkern._display import as_html, as_text, listed
from gradkern.kernels._sketch import Sketch

Key = tuple[str, str]  # (kind, layer)
OUTPUTS = "outputs"  # stands for a kind in a store; the layer is then the field of the model's output


@dataclass(frozen=True)
class CapturedImages:
    """Which images the rows of features are of.

    Attributes
    ----------
    names : of the images, in the order of the rows; None where they have none
    hashes : 32 hexadecimal digits of each; None in folders of older versions
    hashes_are_of : "pixels", which recordings have too, or "prepared" images as the model was given them
    """

    names: tuple[str, ...] | None = None
    hashes: tuple[str, ...] | None = None
    hashes_are_of: str = ""


@dataclass(frozen=True, repr=False)
class Features(Mapping[Key, Tensor]):
    """Features of n images: a mapping (kind, layer) -> float32 [n, k] on the CPU.

    If several tokens were asked for, activations and gradients are [n, tokens, k].

    Attributes
    ----------
    losses : [n], the objective of each image
    objective : its name
    sketch : the map that all features share, or "raw"
    dtype : that the model computed in
    tokens : which tokens were taken; a tuple names the axis of tokens
    facts : the model's name, its weights and the depths of its layers; with `load_features` the hashes of model and
        images; and what the run found: the batch size, the greatest difference between an image alone and in a batch,
        which attention kernel ran, the scale of the losses, parameters that were left out
    exact : True for the objective's formula itself, False for a surrogate; or "user function"
    entropy : [n], of the model's prediction in nats; None where it has no logits, or no objective was given
    images : names and hashes of the images, by which rows are matched with recordings
    outputs : name -> [n, c], what the model returned: "logits", and the "features", "projection" or "embedding" that
        the objective reads, or "features" where it reads nothing of at most 4,096 columns; "output" of a model that
        returns a tensor which an objective of one's own reads. Empty without an objective, and for folders of earlier
        versions
    labels : int64 [n] or soft [n, c], that the objective was given or took from the prediction; None where it has none
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
    images: CapturedImages = field(default_factory=CapturedImages)
    outputs: Mapping[str, Tensor] = field(default_factory=dict)
    labels: Tensor | None = None

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
        """What the features are of, and how they were computed."""
        described = {"objective": self.objective, "exact": self.exact}
        return {**described, **sketch_facts(self.sketch), "dtype": self.dtype, "tokens": self.tokens, **self.facts}

    def __repr__(self) -> str:
        return as_text(self._title(), self._summary())

    def _repr_html_(self) -> str:
        return as_html(self._title(), self._summary())

    def _title(self) -> str:
        return f"Features of {len(self.losses)} images"

    def _summary(self) -> dict[str, str]:
        layers = list(dict.fromkeys(layer for _, layer in self.arrays))
        shapes = sorted({str(list(values.shape)) for values in self.arrays.values()})
        tokens = self.tokens if isinstance(self.tokens, str) else ", ".join(self.tokens)
        exact = self.exact if isinstance(self.exact, str) else "exact" if self.exact else "surrogate"
        rows = {
            **({"images": listed(self.images.names)} if self.images.names else {}),
            "kinds": ", ".join(dict.fromkeys(kind for kind, _ in self.arrays)),
            "layers": f"{len(layers)}: {listed(layers)}",
            "shape": listed(shapes),
            "tokens": tokens,
            "sketch": str(self.sketch),
            "objective": f"{self.objective} ({exact})",
            "computed in": self.dtype,
        }
        if "model" in self.facts:
            rows["model"] = f"{self.facts['model']} ({self.facts.get('weights') or 'own'} weights)"
        return rows


def features_from(
    arrays: Mapping[Key, Tensor],
    *,
    objective: Mapping[str, Any],
    sketch: Sketch | str,
    dtype: str,
    tokens: str | tuple[str, ...],
    facts: Mapping[str, Any],
    images: CapturedImages,
) -> Features:
    """Features from a store's arrays, losses and all else of the objective among them, and its name and exactness."""
    special = {"losses", "entropy", "labels", OUTPUTS}
    labels = arrays.get(("labels", ""))
    return Features(
        arrays={key: values for key, values in arrays.items() if key[0] not in special},
        losses=arrays["losses", ""],
        objective=str(objective["name"]),
        sketch=sketch,
        dtype=dtype,
        tokens=tokens,
        facts=facts,
        exact=objective["exact"],
        entropy=arrays.get(("entropy", "")),
        images=images,
        outputs={name: values for (kind, name), values in arrays.items() if kind == OUTPUTS},
        labels=labels.round().long() if labels is not None and labels.dim() == 1 else labels,
    )


def sketch_facts(sketch: Sketch | str) -> dict[str, Any]:
    if isinstance(sketch, str):
        return {"sketch": sketch}
    return {"sketch_k": sketch.k, "sketch_seed": sketch.seed, "sketch_nnz": sketch.nnz}
