"""Feature spaces of several captures side by side: models x objectives x kinds x layers, each with its own name."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from gradkern.encoding._controls import unit_length
from gradkern.features._features import Features

NO_OBJECTIVE = "none"  # of activations, which no objective changes
AXES = ("model", "objective", "kind", "layer", "depth")
_SAME = 1e-5  # what capture promises an image's features to be the same to, whatever the batch
_IMAGES_AT_ONCE = 4096


@dataclass(frozen=True)
class Space:
    """Which feature space: `depth` of the layer in [0, 1], NaN where it is not known."""

    model: str
    objective: str
    kind: str
    layer: str
    depth: float = field(default=float("nan"), compare=False)

    def __str__(self) -> str:
        return "/".join((self.model, self.objective, self.kind, self.layer))


def join_captures(captures: Sequence[Features], models: Sequence[str] | None = None) -> dict[Space, Any]:
    """All feature spaces of captures of the same images; nothing is copied, and maps of files stay maps.

    Activations do not depend on the objective: those of one model are read and compared, and of equal ones the first
    are taken, with the objective "none".

    Parameters
    ----------
    captures : of `capture` or `load_features`; models, objectives and layers may differ
    models : what to call the model of each capture; None: as it is called there, followed by ", untrained" of random
        weights

    Returns
    -------
    name -> [images, d]; features of several tokens are [images, tokens, d]

    Raises
    ------
    ValueError : no captures; other images (of other models their number; of one model their hash too, where it is
        known: models prepare images each in its own way); one name for two models; a gradient captured twice;
        activations of one model that differ
    """
    if not captures:
        raise ValueError("join_captures: captures must be at least one, got none")
    names = _named(captures, models)
    _check_one_model_a_name(captures, names)
    _check_images(captures, names)
    spaces: dict[Space, Any] = {}
    origin: dict[Space, Features] = {}
    for name, captured in zip(names, captures, strict=True):
        depth = captured.facts.get("depth", {})
        for (kind, layer), values in captured.items():
            objective = NO_OBJECTIVE if kind == "activation" else captured.objective
            space = Space(name, objective, kind, layer, float(depth.get(layer, np.nan)))
            if space not in spaces:
                spaces[space], origin[space] = values, captured
            elif kind == "activation":
                _check_equal(space, (spaces[space], values), (origin[space], captured))
            else:
                raise ValueError(
                    f"join_captures: a gradient must come once, got {space} from two captures; give them different "
                    "names of models"
                )
    return spaces


def unit_gradients(spaces: Mapping[Space, Any]) -> dict[Space, Any]:
    """The same with each image's gradient at unit length (see `controls.unit_length`), when it is read."""
    return {
        space: values if space.kind == "activation" else Derived(values, tuple(values.shape), unit_length)
        for space, values in spaces.items()
    }


@dataclass(frozen=True, eq=False)
class Derived:
    """A feature space made of another, of the shape told.

    Captures of many layers are larger than memory: nothing is read before an analysis asks.
    """

    values: Any
    shape: tuple[int, ...]
    how: Callable[[np.ndarray], np.ndarray]

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.how(np.asarray(self.values)).astype(dtype or np.float32, copy=False)


def coordinates(spaces: Iterable[Space]) -> dict[str, Any]:
    """ "feature", the names, and along it what they consist of."""
    each = list(spaces)
    along = {axis: ("feature", [getattr(space, axis) for space in each]) for axis in AXES}
    return {"feature": [str(space) for space in each], **along}


def named_spaces(op: str, features: Mapping[Any, Any]) -> dict[str, Any]:
    """Coordinates of feature spaces called by `Space`, by pairs (kind, layer), or by any other name.

    Raises
    ------
    ValueError : none, or two of one name
    """
    if not features:
        raise ValueError(f"{op}: features must hold at least one feature space, got none")
    if all(isinstance(name, Space) for name in features):
        named = coordinates(features)
    elif all(isinstance(name, tuple) and len(name) == 2 for name in features):
        kinds, layers = zip(*features, strict=True)
        joined = [f"{kind}/{layer}" for kind, layer in features]
        named = {"feature": joined, "kind": ("feature", list(kinds)), "layer": ("feature", list(layers))}
    else:
        named = {"feature": [str(name) for name in features]}
    twice = {name for name in named["feature"] if named["feature"].count(name) > 1}
    if twice:
        raise ValueError(f"{op}: features must have different names, got {sorted(twice)} more than once")
    return named


def _named(captures: Sequence[Features], models: Sequence[str] | None) -> list[str]:
    if models is not None:
        if isinstance(models, str) or len(models) != len(captures) or not all(models):
            raise ValueError(f"join_captures: models must be {len(captures)} names, one a capture, got {models!r}")
        return list(models)
    unknown = [place for place, captured in enumerate(captures) if "model" not in captured.facts]
    if unknown:
        raise ValueError(f"join_captures: models must be named, got captures {unknown} that do not tell theirs")
    return [
        f"{captured.facts['model']}, untrained"
        if captured.facts.get("weights") == "random"
        else captured.facts["model"]
        for captured in captures
    ]


def _check_images(captures: Sequence[Features], names: Sequence[str]) -> None:
    """As many of all; of one model the same. Those of another are prepared otherwise, so that no hash can tell."""
    counts = [len(captured.losses) for captured in captures]
    if len(set(counts)) > 1:
        raise ValueError(f"join_captures: captures must be of as many images, got {counts}")
    for name, one, other in _of_one_model(captures, names):
        if _differ("images_sha256", one, other):
            raise ValueError(f"join_captures: captures of {name!r} must be of the same images, got others")


def _check_one_model_a_name(captures: Sequence[Features], names: Sequence[str]) -> None:
    for name, one, other in _of_one_model(captures, names):
        if _differ("model_sha256", one, other):
            raise ValueError(
                f"join_captures: two models must have two names, got {name!r} for both (other weights or settings)"
            )


def _of_one_model(captures: Sequence[Features], names: Sequence[str]) -> Iterator[tuple[str, Features, Features]]:
    for (first, one), (second, other) in combinations(zip(names, captures, strict=True), 2):
        if first == second:
            yield first, one, other


def _differ(fact: str, one: Features, other: Features) -> bool:
    """False where either does not tell: features that were never in files have no hashes."""
    both = one.facts.get(fact), other.facts.get(fact)
    return None not in both and both[0] != both[1]


def _check_equal(space: Space, values: tuple[Any, Any], captures: tuple[Features, Features]) -> None:
    """Every image's activations are the same, but for what the batches they were in change."""
    first, second = captures
    stated = [
        f"{fact} {a!r} and {b!r}"
        for fact, a, b in (
            ("sketch", first.sketch, second.sketch),
            ("tokens", first.tokens, second.tokens),
            ("dtype", first.dtype, second.dtype),
        )
        if a != b
    ]
    worst = np.inf if stated or values[0].shape != values[1].shape else _difference(*values)
    slack = max(_SAME, *(4 * float(each.facts.get("alone_against_batch", 0)) for each in captures))
    if worst > slack:
        why = ", ".join(stated) or f"an image's differ by {worst:.1e} of their norm"
        raise ValueError(
            f"join_captures: activations of one model must be the same, got others at {space} ({why}); give the "
            "captures different names of models to keep both"
        )


def _difference(first: Any, second: Any) -> float:
    worst = 0.0
    for start in range(0, len(first), _IMAGES_AT_ONCE):
        rows = slice(start, start + _IMAGES_AT_ONCE)
        a, b = (np.asarray(each[rows], dtype=np.float64).reshape(len(each[rows]), -1) for each in (first, second))
        size, apart = np.linalg.norm(a, axis=1), np.linalg.norm(a - b, axis=1)
        ratio = np.divide(apart, size, out=np.where(apart > 0, np.inf, 0.0), where=size > 0)
        worst = max(worst, float(ratio.max()))
    return worst
