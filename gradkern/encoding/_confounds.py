"""All that a response may reflect without reflecting a gradient: what a claim "beyond ..." has to leave behind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from gradkern._display import as_html, as_text
from gradkern.encoding._checks import check_matrix
from gradkern.encoding._image_statistics import CELL, image_statistics
from gradkern.encoding._nuisances import nuisances as difficulty_of
from gradkern.errors import Refused, naming
from gradkern.features._features import Features

_SHARP = 0.5  # temperature of the sharpened softmax
_TEMPERATURES = (0.1, 0.04)  # of student and teacher in self-distillation
_ROWS_AT_ONCE = 4096
_SAME_LOSS = 1e-3  # relative: to which a loss tells which class it is the cross-entropy with

_Matrices = dict[str, Any]  # name -> [n, c]


@dataclass(frozen=True, eq=False)
class Scaled:
    """Features, each image's multiplied by a number of its own, computed whenever they are read.

    Their linear kernel is that of the features times the outer product of the factor with itself.

    Attributes
    ----------
    values : [n, d]
    factor : [n]
    """

    values: Any
    factor: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    def __len__(self) -> int:
        return len(self.factor)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        scaled: NDArray[Any] = np.asarray(self.values) * self.factor[:, None]
        return scaled.astype(dtype or np.float32, copy=False)


@dataclass(frozen=True, repr=False, eq=False)
class Confounds:
    """What a claim about gradients must exclude, in named parts, for n images.

    Attributes
    ----------
    parts : part -> name -> [n, c], floating point, read by `np.asarray`; large ones are memory maps or computed then
    missing : part, or part/name -> why it is not there
    """

    parts: Mapping[str, Mapping[str, Any]]
    missing: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(next(iter(self.parts.values())).values())))

    def take(self, images: Any) -> "Confounds":
        """The confounds of some images, in this order; they are read and copied."""
        rows = np.asarray(images)
        parts = {
            part: {name: np.asarray(values)[rows] for name, values in matrices.items()}
            for part, matrices in self.parts.items()
        }
        return replace(self, parts=parts)

    def __repr__(self) -> str:
        return as_text(*self._summary())

    def _repr_html_(self) -> str:
        return as_html(*self._summary())

    def _summary(self) -> tuple[str, dict[str, str]]:
        rows = {
            part: ", ".join(f"{name} {values.shape[1]}" for name, values in matrices.items())
            for part, matrices in self.parts.items()
        }
        return f"Confounds of {len(self)} images", rows | {f"no {part}": why for part, why in self.missing.items()}


@naming("confounds")
def confounds(
    features: Features,
    images: Any = None,
    labels: Any = None,
    nuisances: Any = None,
    outputs: Any = None,
    user: Mapping[str, Any] | None = None,
) -> Confounds:
    """Collect what responses may reflect without reflecting a gradient: everything that a claim must exclude.

    Parts, and what they hold:

    - "activations": those of all captured layers;
    - "scaled activations": the same divided by their norm, and multiplied by the scalar factors of the objective's
      gradient: 1 - p of the target for the cross-entropy, 1 / norm of the features or of the embedding for the
      feature norm, self-distillation's surrogate and contrastive losses;
    - "outputs": of a model with logits the logits, their softmax p, the softmax of twice the logits, log p, p log p;
      what else the capture has of the output, and the softmax of a projection at the temperatures .1 and .04; and "loss
      gradient", the gradient of the loss with respect to the logits or the features before the head, of which
      gradients at earlier layers are images under the Jacobian;
    - "labels": one-hot, the labels given, the predicted class, and those of the objective where they are others;
    - "image statistics": `image_statistics` of the whole image, those of the cells of the grid, and the squares of
      both, each a matrix of its own, because there are ten times as many of cells;
    - "difficulty": `nuisances`, the margin between the two largest logits, and the largest probability;
    - "user": what is given.

    Columns of image statistics and difficulty are z-scored over images, and those that do not vary are left out.

    Parameters
    ----------
    features : of `capture` or `load_features`
    images : that the features are of, in their order, as `image_statistics` takes them; or what it returned
    labels : [n], of any type, or [n, c] numbers; or several by name
    nuisances : [n, m] beside those of `nuisances(features)`, which come in any case
    outputs : [n, c], the logits, for features of folders of earlier versions
    user : name -> [n, c], other confounds

    Returns
    -------
    Confounds, whose `missing` says which parts there are not, and why

    Raises
    ------
    ValueError : no activations, or a part of another number of images, or that is not finite

    Examples
    --------
    >>> from gradkern import capture, objectives
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(1))
    >>> images = torch.rand(5, 3, 8, 8)
    >>> features = capture(model, images, objectives.FeatureNorm(), layers=["0"])
    >>> parts = confounds(features, images).parts
    >>> {name: values.shape for name, values in parts["activations"].items()}
    {'0': (5, 1024)}
    """
    n = len(features.losses)
    activations = _activations(features)
    logits = _logits(features, outputs, n)
    missing: dict[str, str] = {}
    targets = _targets(features, logits)
    parts: dict[str, _Matrices] = {
        "activations": activations,
        "scaled activations": _scaled(features, activations, logits, targets),
        "outputs": _outputs(features, logits, targets, missing),
        "labels": _labels(features, labels, logits, n),
        "image statistics": _image_statistics(images, n),
        "difficulty": _difficulty(features, nuisances, logits, missing),
        "user": {name: check_matrix(f"user[{name!r}]", _floating(values), n) for name, values in (user or {}).items()},
    }
    reasons = {
        "outputs": "the features hold no outputs, and none were given",
        "labels": "none were given, and the features hold neither labels nor logits",
        "image statistics": "no images were given, or their statistics do not vary",
        "difficulty": "the features have no objective",
        "user": "none were given",
    }
    empty = {part: why for part, why in reasons.items() if not parts[part]}
    there = {part: matrices for part, matrices in parts.items() if matrices}
    return Confounds(there, {**empty, **missing})


def _activations(features: Features) -> _Matrices:
    layers = {layer: features[kind, layer] for kind, layer in features if kind == "activation"}
    if not layers:
        raise ValueError(f"features must hold activations, got {sorted({kind for kind, _ in features})}")
    matrices = {layer: np.asarray(values).reshape(len(values), -1) for layer, values in layers.items()}
    for layer, values in matrices.items():
        for start in range(0, len(values), _ROWS_AT_ONCE):
            if not np.isfinite(values[start : start + _ROWS_AT_ONCE]).all():
                raise ValueError(f"activations of {layer!r} must be finite, got NaN or inf")
    return matrices


def _logits(features: Features, outputs: Any, n: int) -> NDArray[np.float64] | None:
    """The logits that are given or captured."""
    logits = features.outputs.get("logits") if outputs is None else outputs
    return None if logits is None else check_matrix("outputs", np.asarray(logits, dtype=np.float64), n)


def _outputs(
    features: Features, logits: NDArray[Any] | None, targets: NDArray[Any] | None, missing: dict[str, str]
) -> _Matrices:
    read: _Matrices = {}
    if logits is not None:
        log_p = _log_softmax(logits)
        p = np.exp(log_p)
        read = {
            "logits": logits,
            "softmax": p,
            "sharpened softmax": np.exp(_log_softmax(logits / _SHARP)),
            "log-probabilities": log_p,
            "p log p": p * log_p,
        }
    others = {
        name: check_matrix(f"outputs {name!r}", np.asarray(values, dtype=np.float64), len(features.losses))
        for name, values in features.outputs.items()
        if name != "logits"
    }
    if "projection" in others:
        for temperature in _TEMPERATURES:
            softmax = np.exp(_log_softmax(others["projection"] / temperature))
            others[f"softmax of the projection at {temperature}"] = softmax
    return {**read, **others, **_loss_gradient(features, {**read, **others}, targets, missing)}


def _loss_gradient(
    features: Features, read: _Matrices, targets: NDArray[Any] | None, missing: dict[str, str]
) -> _Matrices:
    """dL/dz with respect to the logits z, or for the feature norm dL/df with respect to the features f."""
    if features.objective == "feature-norm" and "features" in read:
        norm = np.linalg.norm(read["features"], axis=1, keepdims=True)
        return {"loss gradient": read["features"] * _inverse(norm)}
    gradient = _LOSS_GRADIENTS.get(features.objective)
    if gradient is None:
        missing["outputs/loss gradient"] = f"there is no formula for the objective {features.objective!r}"
        return {}
    if "logits" not in read or (features.objective == "cross-entropy" and targets is None):
        missing["outputs/loss gradient"] = "the logits, or the labels that the cross-entropy was with, are not known"
        return {}
    return {"loss gradient": gradient(read["softmax"], read["log-probabilities"], targets)}


# dL/dz, z the logits: docs/gradients.md
_LOSS_GRADIENTS: dict[str, Callable[..., NDArray[np.float64]]] = {
    "cross-entropy": lambda p, log_p, targets: p - targets,
    "entropy": lambda p, log_p, targets: -p * (log_p - (p * log_p).sum(1, keepdims=True)),
    "kl-uniform": lambda p, log_p, targets: p - 1 / p.shape[1],
}


def _targets(features: Features, logits: NDArray[Any] | None) -> NDArray[np.float64] | None:
    """What the cross-entropy was with, [n, c]: the objective's labels, or the predicted class if the loss is its."""
    if logits is None or features.objective != "cross-entropy":
        return None
    classes = logits.shape[1]
    if features.labels is not None:
        labels = features.labels.numpy()
        return np.asarray(labels if labels.ndim == 2 else np.eye(classes)[labels], dtype=np.float64)
    expected, losses = -_log_softmax(logits).max(1), features.losses.double().numpy()
    if not np.allclose(losses, expected, rtol=_SAME_LOSS, atol=_SAME_LOSS):
        return None
    predicted: NDArray[np.float64] = np.eye(classes)[logits.argmax(1)]
    return predicted


def _scaled(
    features: Features, activations: _Matrices, logits: NDArray[Any] | None, targets: NDArray[Any] | None
) -> _Matrices:
    """Activations divided by their norm, and times the scalar factors of the objective's gradient."""
    factors = {}
    for name in ("features", "embedding"):
        if name in features.outputs:
            norm = np.linalg.norm(np.asarray(features.outputs[name], dtype=np.float64), axis=1)
            factors[f"divided by the norm of the {name}"] = _inverse(norm)
    if features.objective == "feature-norm" and not factors:
        factors["divided by the norm of the features"] = _inverse(features.losses.double().numpy())
    if logits is not None and targets is not None:
        factors["times 1 - p of the target"] = 1 - (np.exp(_log_softmax(logits)) * targets).sum(1)
    scaled: _Matrices = {}
    for layer, values in activations.items():
        norm = np.linalg.norm(values, axis=1).astype(np.float64)
        scaled[f"{layer} of unit length"] = Scaled(values, _inverse(norm))
        scaled.update({f"{layer} {name}": Scaled(values, factor) for name, factor in factors.items()})
    return scaled


def _inverse(norm: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / norm, and 0 where that is 0: then there is nothing to scale."""
    inverse: NDArray[np.float64] = np.divide(1, norm, out=np.zeros_like(norm), where=norm > 0)
    return inverse


def _labels(features: Features, labels: Any, logits: NDArray[Any] | None, n: int) -> _Matrices:
    given = labels if isinstance(labels, Mapping) else {"given": labels} if labels is not None else {}
    named = {name: _one_hot(f"labels {name!r}", values, n) for name, values in given.items()}
    predicted = None if logits is None else logits.argmax(1)
    own = features.labels
    if own is not None and (predicted is None or not np.array_equal(own.numpy(), predicted)):
        named["of the objective"] = _one_hot("labels of the features", own, n)
    if predicted is not None:
        named["predicted class"] = _one_hot("predicted class", predicted, n)
    return named


def _one_hot(name: str, labels: Any, n: int) -> NDArray[np.float64]:
    """A column for each label that there is; numbers [n, c] stay as they are."""
    values = np.asarray(labels)
    if values.ndim == 2:
        return check_matrix(name, _floating(values), n)
    if values.shape != (n,):
        raise ValueError(f"{name} must be [{n}] or [{n}, c], got {list(values.shape)}")
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got NaN or inf")
    kinds, column = np.unique(values, return_inverse=True)
    table: NDArray[np.float64] = np.eye(len(kinds))[column]
    return table


def _image_statistics(images: Any, n: int) -> _Matrices:
    if images is None:
        return {}
    table = images if isinstance(images, xr.DataArray) else image_statistics(images)
    values = check_matrix("images", np.asarray(table, dtype=np.float64), n)
    names = table["statistic"].to_numpy() if "statistic" in table.coords else [""] * values.shape[1]
    of_cell = np.array([CELL in str(name) for name in names])
    tables: _Matrices = {}
    for name, chosen in (("whole image", ~of_cell), ("cells", of_cell)):
        statistics = _z_scored(values[:, chosen])
        squares = None if statistics is None else _z_scored(statistics**2)
        tables.update({key: x for key, x in ((name, statistics), (f"{name}, squares", squares)) if x is not None})
    return tables


def _difficulty(features: Features, nuisances: Any, logits: NDArray[Any] | None, missing: dict[str, str]) -> _Matrices:
    tables: _Matrices = {}
    if any(kind == "gradient" for kind, _ in features):
        try:
            tables["nuisances"] = difficulty_of(features).to_numpy()
        except Refused as why:  # an image without a gradient has no logarithm of its norm
            missing["difficulty/norms"] = str(why)
            known = [features.losses] if features.entropy is None else [features.losses, features.entropy]
            finite = [values.double().numpy() for values in known if not values.isnan().all()]
            if finite:
                tables["nuisances"] = np.stack(finite, 1)
    if nuisances is not None:
        tables["nuisances given"] = check_matrix("nuisances", _floating(nuisances), len(features.losses))
    if logits is not None:
        largest = np.sort(logits, axis=1)[:, -2:]
        certainty = np.exp(_log_softmax(logits).max(1))
        tables["margin and certainty"] = np.stack([largest[:, -1] - largest[:, 0], certainty], 1)
    scaled = {name: _z_scored(values) for name, values in tables.items()}
    return {name: values for name, values in scaled.items() if values is not None}


def _z_scored(values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Columns with mean 0 and standard deviation 1, without those that do not vary; None if none does."""
    centered = values - values.mean(0)
    size = centered.std(0)
    varies = size > 1e-9 * np.maximum(np.abs(values).max(0), 1e-300)
    return centered[:, varies] / size[varies] if varies.any() else None


def _log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    log_p: NDArray[np.float64] = torch.from_numpy(np.asarray(logits, dtype=np.float64)).log_softmax(1).numpy()
    return log_p


def _floating(values: Any) -> NDArray[Any]:
    """Integers and truth values as float64, anything else as it is."""
    array = np.asarray(values)
    return array.astype(np.float64) if array.dtype.kind in "iub" else array
