"""Which tokens of a layer's output make a feature, and whether they are sketched, or pooled and left as they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from gradkern.features._engine.layout import as_matrices, sum_dtype
from gradkern.features._features import sketch_facts
from gradkern.kernels._sketch import Sketch

TOKENS = ("all", "class", "registers", "patches", "mean", "rms")
_POOLED = ("class", "mean", "rms")
_OF_ANY_OUTPUT = ("mean", "rms")  # of tokens and of feature maps


@dataclass(frozen=True)
class Reduction:
    """Turns a layer's output [n, ...] into features: [n, k], or [n, choices, k] for several choices of tokens.

    Attributes
    ----------
    tokens : "all" is the whole output; "class", "registers", "patches" those tokens; "mean" and "rms" (root mean
        square) pool over all positions. A sequence of them is an axis of the features.
    sketch : "raw" leaves pooled tokens as they are, k = their width
    prefix : how many class tokens and register tokens stand before the patches; None if unknown
    patches : how many patches an image has; None if unknown
    """

    tokens: str | tuple[str, ...]
    sketch: Sketch | Literal["raw"]
    prefix: tuple[int, int] | None
    patches: int | None = None

    def __call__(self, x: Tensor, channels_last: bool = False) -> Tensor:
        """The features of an output [n, t, d], [n, d], [n, d, h, w], or with `channels_last` [n, h, w, d]."""
        if isinstance(self.tokens, str):
            return self._features(x, self.tokens, channels_last)
        return torch.stack([self._features(x, choice, channels_last) for choice in self.tokens], 1)

    @property
    def map(self) -> Sketch:
        """The sketch of weight gradients."""
        return self.sketch if isinstance(self.sketch, Sketch) else Sketch(1024)

    def facts(self) -> dict[str, Any]:
        return sketch_facts(self.sketch)

    def _features(self, x: Tensor, choice: str, channels_last: bool) -> Tensor:
        if choice not in ("all", *_OF_ANY_OUTPUT) and x.dim() != 3:
            raise ValueError(f"tokens {choice!r} are for outputs [n, tokens, d], got {list(x.shape)}")
        chosen = as_matrices(x) if choice == "all" else self._choose(_positions(x, channels_last), choice)
        return self.sketch(chosen.contiguous()) if isinstance(self.sketch, Sketch) else chosen.flatten(1).float()

    def _choose(self, x: Tensor, choice: str) -> Tensor:
        if choice == "mean":
            return x.to(sum_dtype(x)).mean(1, keepdim=True)
        if choice == "rms":
            return x.to(sum_dtype(x)).square().mean(1, keepdim=True).sqrt()
        if self.prefix is None:
            raise ValueError(f"tokens {choice!r} need a model whose spec says where they are (load_model)")
        class_tokens, prefix = self.prefix[0], sum(self.prefix)
        if prefix and x.shape[1] == self.patches:
            raise ValueError(f"tokens {choice!r}: this layer has the {self.patches} patches only")
        parts = {"class": slice(class_tokens), "registers": slice(class_tokens, prefix), "patches": slice(prefix, None)}
        chosen = x[:, parts[choice]]
        if chosen.shape[1] == 0:
            raise ValueError(f"tokens {choice!r}: this layer has none among its {x.shape[1]} tokens")
        return chosen


def check_reduction(
    tokens: str | Sequence[str], sketch: Sketch | Literal["raw"] | None, kinds: Sequence[str], spec: Any, image: Tensor
) -> Reduction:
    """The reduction for a model with this spec and images like this one.

    Raises
    ------
    ValueError : tokens that do not exist, or a sketch that does not go with them
    """
    choices = tokens if isinstance(tokens, str) else tuple(tokens)
    listed = (choices,) if isinstance(choices, str) else choices
    if not listed or len(set(listed)) < len(listed) or not set(listed) <= set(TOKENS):
        raise ValueError(f"tokens must be of {list(TOKENS)}, one or several, each once, got {tokens!r}")
    if sketch is not None and sketch != "raw" and not isinstance(sketch, Sketch):
        raise ValueError(f'sketch must be a Sketch or "raw", got {sketch!r}')
    if sketch == "raw" and not set(listed) <= set(_POOLED):
        raise ValueError(f'sketch "raw" is for pooled tokens, {list(_POOLED)}, got tokens {tokens!r}')
    if sketch == "raw" and "weight_gradient" in kinds:
        raise ValueError('weight_gradient is always sketched, got sketch "raw"')
    counts = getattr(spec, "class_tokens", None), getattr(spec, "register_tokens", None)
    prefix = None if counts[0] is None or counts[1] is None else (int(counts[0]), int(counts[1]))
    side = getattr(spec, "patch_size", None)
    patches = (image.shape[-2] // side) * (image.shape[-1] // side) if side else None
    return Reduction(choices, sketch or Sketch(1024), prefix, patches)


def _positions(x: Tensor, channels_last: bool) -> Tensor:
    """Tokens, a feature map or a vector [n, d] as positions [n, t, d]."""
    if x.dim() == 2:
        return x[:, None]
    if x.dim() == 3:
        return x
    return x.flatten(1, -2) if channels_last else x.flatten(2).mT
