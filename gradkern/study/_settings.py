"""What a study consists of, and the settings of its tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradkern._display import as_html, as_text, listed
from gradkern.encoding._matching import check_rows
from gradkern.errors import Refused, naming
from gradkern.features._features import Features
from gradkern.hierarchy._latency import Latency
from gradkern.hierarchy._layers import Preference, checked_depth
from gradkern.recordings._recording import Recording
from gradkern.ridge._cross_validation import CrossValidation

KINDS = ("activation", "gradient")
IMAGE_PERMUTED = "gradient/image-permuted"  # the control that the verdict makes itself
COVARIATES = {  # what rows about prediction exclude, in words
    "linear-activations": "linear readouts of the captured activations",
    "activations": "linear and nonlinear readouts of the activations",
    "outputs": "readouts of activations and of the network's outputs",
    "labels": "readouts of activations and of the images' categories",
    "image-statistics": "readouts of activations and of low-level image statistics",
    "difficulty": "readouts of activations and of how difficult the images are",
    "controls": "readouts of activations and of the captured controls",
    "everything": "all that is excluded together",
}
LEAST = {"permutations": 19, "bootstraps": 20, "max_targets": 1, "max_locations": 20, "seed": 0}
_RESERVED = (IMAGE_PERMUTED, *COVARIATES, *COVARIATES.values())
_LEAST_LAYERS = 3


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """Features of a model and the recordings that they are compared with.

    Parameters
    ----------
    features : kind -> features [images, d] of every layer, shallow to deep. "activation" and "gradient" are needed; any
        other kind is a control that gradients are compared with
    depth : [l], relative depth of the layers in [0, 1]
    fmri, meg : one recording per subject, one row per image; row i of the features is image i of the recordings
    hierarchy : column of the fMRI targets with the hierarchy value of each target, such as "distance" (to V1)
    nuisances : [images, m], what an image's gradient may owe to the image being hard: loss, entropy and norms, as
        returned by `encoding.nuisances`, and whatever else is known to matter
    labels : [images], the category of each image, whole numbers or words; None: not known
    images : the images themselves, each uint8 [h, w] or [h, w, 3]
    image_statistics : [images, s], such as luminance and contrast, as returned by `encoding.image_statistics`
    outputs : [images, c], the model's own outputs, such as logits
    test_images : bool [images], images that a mapping is tested on if it is fitted on the others
    captured : the capture that the features are of, which tells the objective and outputs that claims exclude

    Raises
    ------
    ValueError : depths that do not rise in [0, 1], kinds with different layers or images, a reserved kind, matrices
        that are not floating-point, labels that are neither whole numbers nor words or all the same, test images that
        are none or all, no recording, several rows per image, a subject twice
    Refused : fewer than 3 layers; activations or gradients that do not vary; matrices that are not finite
    """

    features: Mapping[str, Sequence[Any]]
    depth: Any
    fmri: Sequence[Recording] = ()
    meg: Sequence[Recording] = ()
    hierarchy: str = "distance"
    nuisances: Any = None
    labels: Any = None
    images: Any = None
    image_statistics: Any = None
    outputs: Any = None
    test_images: Any = None
    captured: Features | None = None

    @naming("Study")
    def __post_init__(self) -> None:
        _check_layers(self.features, self.depth)
        _check_kinds(self.features)
        images = len(self.features["activation"][0])
        for name in ("nuisances", "image_statistics", "outputs"):
            if getattr(self, name) is not None:
                _check_matrix(name, getattr(self, name), images)
        _check_images(self, images)
        if not self.fmri and not self.meg:
            raise ValueError("fmri or meg must have a recording, got none")
        for name, recordings in (("fmri", self.fmri), ("meg", self.meg)):
            _check_recordings(name, recordings, images)

    @property
    def controls(self) -> tuple[str, ...]:
        return tuple(kind for kind in self.features if kind not in KINDS)

    def __repr__(self) -> str:
        return as_text("Study", self._rows())

    def _repr_html_(self) -> str:
        return as_html("Study", self._rows())

    def _rows(self) -> dict[str, str]:
        layers = self.features["activation"]
        rows = {"features": f"{len(layers)} layers, {len(layers[0])} images; {', '.join(self.features)}"}
        for name, recordings in (("fMRI", self.fmri), ("MEG", self.meg)):
            if recordings:
                rows[name] = listed([recording.subject for recording in recordings])
        nuisances = "none" if self.nuisances is None else f"{np.shape(self.nuisances)[1]}"
        rows |= {"hierarchy": self.hierarchy, "nuisances": nuisances}
        if self.labels is not None:
            rows["labels"] = f"{len(np.unique(self.labels))} different ones"
        if self.test_images is not None:
            rows["test images"] = f"{int(np.sum(self.test_images))} of {len(layers[0])}"
        for name in ("image_statistics", "outputs"):
            if getattr(self, name) is not None:
                rows[name.replace("_", " ")] = f"{np.shape(getattr(self, name))[1]}"
        return rows


@dataclass(frozen=True)
class VerdictSettings:
    """Settings of the claims' tests.

    Parameters
    ----------
    cv : cross-validation: folds of images, alphas and their selection; its scheme must be "image"
    permutations, bootstraps : of every test, and of every interval
    layer : index of the layer that is tested where a claim is about one feature space; None: the middle one
    max_targets : score at most this many targets of a recording, drawn at random; time courses are of all
    max_locations : use at most this many locations of a map in its spatial null
    subject_checks : test supported claims again without the subject with the largest estimate, and look for subjects
        whose images are in another order
    latency, preference : how time courses become latencies, and how scores over layers become a preferred depth
    seed : of all random numbers
    """

    cv: CrossValidation = field(default_factory=CrossValidation)
    permutations: int = 1000
    bootstraps: int = 500
    layer: int | None = None
    max_targets: int = 2000
    max_locations: int = 400
    latency: Latency = field(default_factory=Latency)
    preference: Preference = field(default_factory=lambda: Preference("centre of mass"))
    seed: int = 0
    subject_checks: bool = True

    @naming("VerdictSettings")
    def __post_init__(self) -> None:
        if self.cv.by != "image":
            raise ValueError(f"cv must hold out images, by='image', got {self.cv.by!r}")
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")


def _check_layers(features: Mapping[str, Sequence[Any]], depth: Any) -> None:
    missing = [kind for kind in KINDS if kind not in features]
    if missing:
        raise ValueError(f"features must have the kinds {KINDS}, got none of {missing[0]!r}")
    layers = len(features["activation"])
    if layers < _LEAST_LAYERS:
        raise Refused(f"layers must be at least {_LEAST_LAYERS} to have an order, got {layers}")
    at = checked_depth(depth, layers)
    if (np.diff(at) < 0).any() or at[0] < 0 or at[-1] > 1:
        raise ValueError(f"depth must rise from shallow to deep in [0, 1], got {at.tolist()}")


def _check_kinds(features: Mapping[str, Sequence[Any]]) -> None:
    images = {kind: [len(layer) for layer in layers] for kind, layers in features.items()}
    if any(counts != images["activation"] or len(set(counts)) > 1 for counts in images.values()):
        raise ValueError(f"all kinds must have the same layers and images, got images {images}")
    for kind, layers in features.items():
        if kind in _RESERVED:
            raise ValueError(f"features must not have the kind {kind!r}, which the verdict makes itself")
        for number, layer in enumerate(layers):
            _check_matrix(f"{kind!r} of layer {number}", layer, None)
            if kind in KINDS and not np.ptp(layer, axis=0).any():
                raise Refused(f"{kind!r} of layer {number} must vary, got the same row for every image")


def _check_matrix(name: str, matrix: Any, images: int | None) -> None:
    values = np.asarray(matrix)
    good = values.ndim == 2 and values.shape[1] and values.dtype.kind == "f"
    if not good or (images is not None and len(values) != images):
        wanted = "images" if images is None else images
        raise ValueError(f"{name} must be floating-point [{wanted}, d], got {values.dtype} {list(values.shape)}")
    if not np.isfinite(values).all():
        raise Refused(f"{name} must be finite, got {int((~np.isfinite(values)).sum())} NaN or inf")


def _check_images(study: Study, images: int) -> None:
    """Labels, test images and the images themselves."""
    if study.labels is not None:
        labels = np.asarray(study.labels)
        if labels.shape != (images,) or not (labels.dtype.kind in "biuU" or all(isinstance(x, str) for x in labels)):
            wanted = f"[{images}] of whole numbers or words"
            raise ValueError(f"labels must be {wanted}, got {labels.dtype} {list(labels.shape)}")
        if len(np.unique(labels)) < 2:
            raise ValueError(f"labels must be at least 2 different ones, got {str(labels[0])!r} for all images")
    if study.test_images is not None:
        chosen = np.asarray(study.test_images)
        if chosen.shape != (images,) or chosen.dtype != bool:
            raise ValueError(f"test_images must be bool [{images}], got {chosen.dtype} {list(chosen.shape)}")
        if chosen.all() or not chosen.any():
            raise ValueError(f"test_images must be some and not all of {images}, got {int(chosen.sum())}")
    if study.images is not None and len(study.images) != images:
        raise ValueError(f"images must be {images}, as the features have, got {len(study.images)}")


def _check_recordings(name: str, recordings: Sequence[Recording], images: int) -> None:
    subjects = [recording.subject for recording in recordings]
    if len(set(subjects)) < len(subjects):
        raise ValueError(f"{name} must have one recording per subject, got {subjects}")
    for recording in recordings:
        check_rows(recording, images)
        if len(np.unique(recording.image_ids)) < len(recording.image_ids):
            raise ValueError(
                f"{name} must have one row per image, got repeats: average_repeats() keeps the noise ceiling"
            )
