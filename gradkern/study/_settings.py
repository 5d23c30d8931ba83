"""What a verdict is of, and how its claims are tested."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradkern.errors import naming
from gradkern.hierarchy._latency import Latency
from gradkern.hierarchy._layers import Preference, checked_depth
from gradkern.recordings._recording import Recording
from gradkern.ridge._cross_validation import CrossValidation

KINDS = ("activation", "gradient")
IMAGE_PERMUTED = "gradient/image-permuted"  # the control that the verdict makes itself
ALL_LAYERS, SAME_LAYER, NUISANCES = "activations of all layers", "activations of the same layer", "nuisances"
EVERYTHING = "activations of all layers, nuisances and captured controls"
# what gradients are held against beside captured controls
_MADE = (IMAGE_PERMUTED, ALL_LAYERS, SAME_LAYER, NUISANCES, EVERYTHING)
LEAST = {"permutations": 19, "bootstraps": 20, "targets": 1, "places": 20, "axes": 1, "seed": 0}
_LEAST_LAYERS = 3


@dataclass(frozen=True, eq=False)
class Study:
    """What a verdict is of.

    Parameters
    ----------
    features : kind -> of every layer, shallow to deep, [images, d]; "activation" and "gradient"; any other kind is a
        control that gradients are held against
    depth : [l], relative depth of the layers in [0, 1]
    fmri, meg : a recording a subject, a row an image; row i of the features is image i of the recordings
    axis : the column of the fMRI's targets that says how high in the hierarchy a target is, such as "distance" (to V1)
    nuisances : [images, m], what an image's gradient may owe to the image being hard: loss, entropy and norms, as
        `controls.nuisances` has them

    Raises
    ------
    ValueError : fewer than 3 layers, depths all the same or not rising in [0, 1], kinds with other layers or images, a
        kind that the verdict makes itself, features or nuisances that are not floating-point matrices or not finite,
        activations or gradients that do not vary, an image in several rows, no recording, a subject twice
    """

    features: Mapping[str, Sequence[Any]]
    depth: Any
    fmri: Sequence[Recording] = ()
    meg: Sequence[Recording] = ()
    axis: str = "distance"
    nuisances: Any = None

    def __post_init__(self) -> None:
        missing = [kind for kind in KINDS if kind not in self.features]
        if missing:
            raise ValueError(f"Study: features must have the kinds {KINDS}, got none of {missing[0]!r}")
        layers = len(self.features["activation"])
        if layers < _LEAST_LAYERS:
            raise ValueError(f"Study: layers must be at least {_LEAST_LAYERS} to have an order, got {layers}")
        with naming("Study"):
            at = checked_depth(self.depth, layers)
        if (np.diff(at) < 0).any() or at[0] < 0 or at[-1] > 1:
            raise ValueError(f"Study: depth must rise from shallow to deep in [0, 1], got {at.tolist()}")
        sizes = {kind: [len(layer) for layer in each] for kind, each in self.features.items()}
        if any(each != sizes["activation"] or len(set(each)) > 1 for each in sizes.values()):
            raise ValueError(f"Study: all kinds must have the same layers and images, got images {sizes}")
        for kind, each in self.features.items():
            for number, layer in enumerate(each):
                _check_matrix(f"{kind!r} of layer {number}", layer, None)
                if kind in KINDS and not np.ptp(layer, axis=0).any():
                    raise ValueError(f"Study: {kind!r} of layer {number} must vary, got the same row for every image")
        for kind in _MADE:
            if kind in self.features:
                raise ValueError(f"Study: features must not have the kind {kind!r}, which the verdict makes itself")
        if self.nuisances is not None:
            _check_matrix("nuisances", self.nuisances, sizes["activation"][0])
        if not self.fmri and not self.meg:
            raise ValueError("Study: fmri or meg must have a recording, got none")
        for name, recordings in (("fmri", self.fmri), ("meg", self.meg)):
            subjects = [one.subject for one in recordings]
            if len(set(subjects)) < len(subjects):
                raise ValueError(f"Study: {name} must have a recording a subject, got {subjects}")
            for one in recordings:
                one.check_images(sizes["activation"][0])
                if len(np.unique(one.image_ids)) < len(one.image_ids):
                    raise ValueError(f"Study: {name} must have a row an image, got repeats: average_repeats() them")

    @property
    def controls(self) -> tuple[str, ...]:
        return tuple(kind for kind in self.features if kind not in KINDS)


@dataclass(frozen=True)
class VerdictSettings:
    """How the claims are tested.

    Parameters
    ----------
    cv : folds of images, penalties and how they are chosen; its scheme must be "image"
    permutations, bootstraps : of every test, of every interval
    layer : place of the layer whose features stand for a kind where one feature space is meant; None: the middle one
    targets : at most so many of each recording's targets, drawn at random, are scored
    places : at most so many places of a map go into its spatial null
    axes : see `unique.partial_permutation_test`; of activations and controls with more columns than that
    latency, preference : how curves become latencies, and scores over layers depths
    seed : of everything drawn
    """

    cv: CrossValidation = field(default_factory=CrossValidation)
    permutations: int = 1000
    bootstraps: int = 500
    layer: int | None = None
    targets: int = 2000
    places: int = 400
    axes: int | None = None
    latency: Latency = field(default_factory=Latency)
    preference: Preference = field(default_factory=lambda: Preference("centre of mass"))
    seed: int = 0

    def __post_init__(self) -> None:
        if self.cv.by != "image":
            raise ValueError(f"VerdictSettings: cv must hold out images, by='image', got {self.cv.by!r}")
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"VerdictSettings: {name} must be at least {least}, got {value}")


def _check_matrix(name: str, given: Any, images: int | None) -> None:
    values = np.asarray(given)
    good = values.ndim == 2 and values.shape[1] and values.dtype.kind == "f"
    if not good or (images is not None and len(values) != images):
        wanted = "images" if images is None else images
        raise ValueError(f"Study: {name} must be floating-point [{wanted}, d], got {values.dtype} {list(values.shape)}")
    if not np.isfinite(values).all():
        raise ValueError(f"Study: {name} must be finite, got {int((~np.isfinite(values)).sum())} NaN or inf")
