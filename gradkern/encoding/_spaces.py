"""Feature spaces of several captures side by side: models x objectives x kinds x layers, each with a name."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.encoding._matching import MatchedRows, same_images
from gradkern.encoding._transforms import unit_length
from gradkern.errors import naming
from gradkern.features._features import CapturedImages, Features

NO_OBJECTIVE = "none"  # of activations, which no objective changes
COORDINATES = ("model", "objective", "kind", "layer", "depth")
_SAME = 1e-5  # to which capture promises that an image's features are the same in every batch
_IMAGES_AT_ONCE = 4096


@dataclass(frozen=True)
class FeatureSpace:
    """The name of a feature space: features of one kind at one layer of a model, under an objective.

    Parameters
    ----------
    objective : "none" for activations, which do not depend on it
    kind : "activation", "gradient", "weight_gradient", or a control such as "gradient/image-permuted"
    depth : of the layer in [0, 1]; NaN where it is not known. Names that differ in depth alone are equal.
    """

    model: str
    objective: str
    kind: str
    layer: str
    depth: float = field(default=float("nan"), compare=False)

    def __str__(self) -> str:
        return "/".join((self.model, self.objective, self.kind, self.layer))


class CapturedSpaces(dict[FeatureSpace, Any]):
    """Feature spaces whose rows are of known images, by which they are matched with recordings.

    What is added by `|` must have the same rows.
    """

    def __init__(self, spaces: Mapping[FeatureSpace, Any], images: CapturedImages):
        super().__init__(spaces)
        self.images = images

    def __or__(self, other: Any) -> "CapturedSpaces":  # type: ignore[override]  # of one type of key
        return CapturedSpaces({**self, **other}, self.images)


@naming("join_captures")
def join_captures(captures: Sequence[Features], models: Sequence[str] | None = None) -> CapturedSpaces:
    """Join the feature spaces of captures of the same images; nothing is copied, and memory maps stay memory maps.

    Activations do not depend on the objective. Those that several captures of a model hold are read and compared; they
    must be equal, and come once, with the objective "none".

    Parameters
    ----------
    captures : of `capture` or `load_features`; models, objectives and layers may differ
    models : names of the captures' models. None: the names in the captures, followed by ", untrained" where weights
        are random

    Returns
    -------
    FeatureSpace -> [images, d]; [images, tokens, d] where several tokens were captured. Rows are in the order of the
    first capture's images, whose names and hashes are `images` of the mapping

    Raises
    ------
    ValueError : no captures; captures of different images, by names, by pixels, or for one model by the hash of what it
        was given (of different models that have neither, by their number alone); one name for two models; a gradient
        captured twice; activations of one model that differ
    """
    if not captures:
        raise ValueError("captures must be at least one, got none")
    names = _named(captures, models)
    _check_one_model_a_name(captures, names)
    orders = row_orders(captures, names)
    spaces: dict[FeatureSpace, Any] = {}
    origin: dict[FeatureSpace, Features] = {}
    for number, (name, captured) in enumerate(zip(names, captures, strict=True)):
        depth = captured.facts.get("depth", {})
        order = orders[number]
        for (kind, layer), captured_values in captured.items():
            values: Any = captured_values if order is None else MatchedRows(captured_values, order)
            objective = NO_OBJECTIVE if kind == "activation" else captured.objective
            space = FeatureSpace(name, objective, kind, layer, float(depth.get(layer, np.nan)))
            if space not in spaces:
                spaces[space], origin[space] = values, captured
            elif kind == "activation":
                _check_equal(space, (spaces[space], values), (origin[space], captured))
            else:
                raise ValueError(
                    f"a gradient must come once, got {space} from two captures; give them different names of models"
                )
    return CapturedSpaces(spaces, captures[0].images)


def unit_gradients(spaces: Mapping[FeatureSpace, Any]) -> dict[FeatureSpace, Any]:
    """Bring each image's gradient to unit length (see `unit_length`) whenever it is read; activations stay."""
    unit = {
        space: values if space.kind == "activation" else Derived(values, tuple(values.shape), unit_length)
        for space, values in spaces.items()
    }
    return CapturedSpaces(unit, spaces.images) if isinstance(spaces, CapturedSpaces) else unit


@dataclass(frozen=True, eq=False)
class Derived:
    """A feature space of a known shape that is computed from another one whenever it is read.

    Captures of many layers are larger than memory, so that nothing is read before an analysis needs it.
    """

    values: Any
    shape: tuple[int, ...]
    transform: Callable[[np.ndarray], np.ndarray]

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.transform(np.asarray(self.values)).astype(dtype or np.float32, copy=False)


def coordinates(spaces: Iterable[FeatureSpace]) -> dict[str, Any]:
    """xarray coordinates of feature spaces: their names as "feature", and what these consist of along it."""
    listed = list(spaces)
    along = {name: ("feature", [getattr(space, name) for space in listed]) for name in COORDINATES}
    return {"feature": [str(space) for space in listed], **along}


def feature_coordinates(features: Mapping[Any, Any]) -> dict[str, Any]:
    """xarray coordinates of features that are named by `FeatureSpace`, by pairs (kind, layer), or in any other way.

    Raises
    ------
    ValueError : none, or two of one name
    """
    if not features:
        raise ValueError("features must hold at least one feature space, got none")
    if all(isinstance(name, FeatureSpace) for name in features):
        named = coordinates(features)
    elif all(isinstance(name, tuple) and len(name) == 2 for name in features):
        kinds, layers = zip(*features, strict=True)
        joined = [f"{kind}/{layer}" for kind, layer in features]
        named = {"feature": joined, "kind": ("feature", list(kinds)), "layer": ("feature", list(layers))}
    else:
        named = {"feature": [str(name) for name in features]}
    twice = {name for name in named["feature"] if named["feature"].count(name) > 1}
    if twice:
        raise ValueError(f"features must have different names, got {sorted(twice)} more than once")
    return named


def _named(captures: Sequence[Features], models: Sequence[str] | None) -> list[str]:
    if models is not None:
        if isinstance(models, str) or len(models) != len(captures) or not all(models):
            raise ValueError(f"models must be {len(captures)} names, one a capture, got {models!r}")
        return list(models)
    unknown = [number for number, captured in enumerate(captures) if "model" not in captured.facts]
    if unknown:
        raise ValueError(f"models must be named, got captures {unknown} that do not tell theirs")
    return [
        f"{captured.facts['model']}, untrained"
        if captured.facts.get("weights") == "random"
        else captured.facts["model"]
        for captured in captures
    ]


def row_orders(captures: Sequence[Features], models: Sequence[str]) -> list[NDArray[np.int64] | None]:
    """Rows of every capture in the order of the first one's images; None where they are in that order.

    Images are known by their names, or by their pixels. Without either, captures must be of equally many images, those
    of one model of the same ones; another model prepares images in another way, so that hashes of what it was given
    cannot tell whether they are the same.

    Raises
    ------
    ValueError : captures of different images
    """
    counts = [len(captured.losses) for captured in captures]
    if len(set(counts)) > 1:
        raise ValueError(f"captures must be of as many images, got {counts}")
    first = captures[0].images
    known = [same_images(first, captured.images, counts[0]) for captured in captures]
    for name, one, other in _pairs_of_a_model(captures, models):
        is_known = all(same_images(first, captured.images, counts[0]) is not None for captured in (one, other))
        if not is_known and _differ("images_sha256", one, other):
            raise ValueError(f"captures of {name!r} must be of the same images, got others")
    straight = np.arange(counts[0])
    return [None if rows is None or np.array_equal(rows, straight) else rows for rows in known]


def _check_one_model_a_name(captures: Sequence[Features], names: Sequence[str]) -> None:
    for name, one, other in _pairs_of_a_model(captures, names):
        if _differ("model_sha256", one, other):
            raise ValueError(f"two models must have two names, got {name!r} for both (other weights or settings)")


def _pairs_of_a_model(captures: Sequence[Features], names: Sequence[str]) -> Iterator[tuple[str, Features, Features]]:
    for (first, one), (second, other) in combinations(zip(names, captures, strict=True), 2):
        if first == second:
            yield first, one, other


def _differ(fact: str, one: Features, other: Features) -> bool:
    """Whether a fact differs; False where either does not have it: features that were never in files have no hashes."""
    both = one.facts.get(fact), other.facts.get(fact)
    return None not in both and both[0] != both[1]


def _check_equal(space: FeatureSpace, values: tuple[Any, Any], captures: tuple[Features, Features]) -> None:
    """Every image has the same activations in both captures, up to rounding that depends on the batch."""
    first, second = captures
    different = [
        f"{fact} {a!r} and {b!r}"
        for fact, a, b in (
            ("sketch", first.sketch, second.sketch),
            ("tokens", first.tokens, second.tokens),
            ("dtype", first.dtype, second.dtype),
        )
        if a != b
    ]
    worst = np.inf if different or values[0].shape != values[1].shape else _difference(*values)
    slack = max(_SAME, *(4 * float(captured.facts.get("alone_against_batch", 0)) for captured in captures))
    if worst > slack:
        why = ", ".join(different) or f"an image's differ by {worst:.1e} of their norm"
        raise ValueError(
            f"activations of one model must be the same, got others at {space} ({why}); give the "
            "captures different names of models to keep both"
        )


def _difference(first: Any, second: Any) -> float:
    """The largest distance between two captures of an image's activations, relative to their norm."""
    worst = 0.0
    for start in range(0, len(first), _IMAGES_AT_ONCE):
        rows = slice(start, start + _IMAGES_AT_ONCE)
        a, b = (np.asarray(X[rows], dtype=np.float64).reshape(len(X[rows]), -1) for X in (first, second))
        size, apart = np.linalg.norm(a, axis=1), np.linalg.norm(a - b, axis=1)
        ratio = np.divide(apart, size, out=np.where(apart > 0, np.inf, 0.0), where=size > 0)
        worst = max(worst, float(ratio.max()))
    return worst
