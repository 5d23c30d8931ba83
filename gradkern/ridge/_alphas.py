"""The default grid of penalties, and how many targets chose a penalty at its edge."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

# Wide, because raw gradients may be 1e-5 in size; an alpha more costs next to nothing.
DEFAULT_ALPHAS: tuple[float, ...] = tuple(np.logspace(-10, 10, 41).tolist())


_ROUNDING = 1e-5  # of an R2 in float32, with a margin: below, a target is not predicted better than by its mean
_SHOWN = 6  # numbers of a sequence, at most
_WIDEST = 110  # characters of a parameter


@dataclass(frozen=True)
class EdgeCount:
    """How many choices of alpha fell on the smallest and on the largest alpha of the grid.

    A choice is that of a target, or, of nested scores, that of a target in a fold. Counts of several parts add up.

    The largest alpha predicts little more than the mean of the training responses. It is the usual choice for a target
    that the features do not predict. A target that chose the smallest alpha might be predicted better with an even
    smaller one. A grid of one alpha has no edge.

    Attributes
    ----------
    lowest, highest : number of choices of the smallest and of the largest alpha
    choices : number of choices, one for each defined score

    Examples
    --------
    >>> print(EdgeCount(lowest=0, highest=12, choices=20) + EdgeCount(lowest=0, highest=8, choices=10))
    smallest alpha: 0 of 30 choices, largest: 20
    """

    lowest: int
    highest: int
    choices: int

    def __str__(self) -> str:
        return f"smallest alpha: {self.lowest} of {self.choices} choices, largest: {self.highest}"

    def __add__(self, other: "EdgeCount") -> "EdgeCount":
        return EdgeCount(self.lowest + other.lowest, self.highest + other.highest, self.choices + other.choices)


def count_edges(alpha: Tensor, score: Tensor, alphas: Tensor) -> EdgeCount:
    """Count choices alpha [v] with their scores [v] (NaN: none) at the edges of a grid alphas [a], largest first."""
    scored = ~score.isnan()
    chosen = alpha[scored.to(alpha.device)]
    edges = [int((chosen == alphas[at].to(chosen)).sum()) if len(alphas) > 1 else 0 for at in (-1, 0)]
    return EdgeCount(edges[0], edges[1], int(scored.sum()))


def edge_sentences(edges: EdgeCount, alpha: Tensor, score: Tensor, alphas: Tensor, scoring: str) -> list[str]:
    """Sentences about targets [v] for which another grid would probably do better.

    The largest alpha needs no warning where it wins with an R2 of at most 0, as it does for targets without signal: a
    still larger one could only bring the score to that of the mean. Pearson r does not change when predictions shrink,
    so there the largest alpha is as good as any larger one.
    """
    sentences = []
    if edges.lowest:
        sentences.append(
            f"{edges.lowest} of {edges.choices} targets chose the smallest alpha, {float(alphas[-1]):g}; "
            "smaller alphas may predict them better"
        )
    if edges.highest and scoring == "r2":
        predicted = int(((alpha == alphas[0].to(alpha)) & (score > _ROUNDING).to(alpha.device)).sum())
        if predicted:
            sentences.append(
                f"{predicted} of {edges.choices} targets chose the largest alpha, {float(alphas[0]):g}, and are "
                "predicted better than by their mean; larger alphas may predict them better"
            )
    return sentences


def shorten(value: Any) -> str:
    """`repr` of a parameter that fits on a line: of many numbers the first, the last and how many there are."""
    shape = getattr(value, "shape", None)
    if shape is not None and len(shape) != 1:
        return f"<{type(value).__name__} of shape {tuple(shape)}>" if len(shape) > 1 else repr(value)
    if (shape is not None or isinstance(value, tuple | list)) and len(value) > _SHOWN:
        first, last = value[0], value[-1]
        if isinstance(first, float | int | np.number | Tensor):
            return f"{float(first):g}..{float(last):g} ({len(value)})"
        return f"<{type(value).__name__} of {len(value)}>"
    if shape is not None:
        return f"[{', '.join(f'{float(number):g}' for number in value)}]"
    text = repr(value)
    return text if len(text) <= _WIDEST else f"{text[:_WIDEST]}..."
