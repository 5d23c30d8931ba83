"""Controls of features: what a score is worth once something has been taken out of them, or mixed up in them.

Controls that need the model (shuffled targets, random cotangents, feedback alignment, untrained weights) are captured:
`gradkern.features._engine.gradient_controls`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import xarray as xr
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from gradkern.encoding._scale import unit_size
from gradkern.features._engine.gradient_controls import derangement
from gradkern.features._features import Features
from gradkern.kernels._sketch import sketch
from gradkern.ridge._alphas import DEFAULT_ALPHAS
from gradkern.ridge._ridge_cv import RidgeCV


def unit_length(X: np.ndarray) -> np.ndarray:
    """Each row divided by its Euclidean norm; a row of zeros (no gradient at all) stays zero."""
    length = np.linalg.norm(X, axis=1, keepdims=True)
    result = np.zeros_like(X)
    np.divide(X, length, out=result, where=length > 0)
    return result


def layer_permuted(features: Mapping[str, np.ndarray], seed: int = 0) -> dict[str, np.ndarray]:
    """Every layer's features under the name of another layer: order in depth is lost, and nothing else.

    Parameters
    ----------
    features : layer -> [n, d], at least two; d may differ
    seed : of the derangement, uniform among those of so many layers

    Raises
    ------
    ValueError : fewer than two layers
    """
    names = list(features)
    if len(names) < 2:
        raise ValueError(f"layer_permuted: features must be of at least 2 layers, got {names}")
    order = derangement(len(names), seed)
    return {name: features[names[other]] for name, other in zip(names, order, strict=True)}


def image_permuted(X: np.ndarray, seed: int = 0, images: Any = None) -> np.ndarray:
    """Every image's features replaced by those of another image: their distribution stays, what they say is lost.

    Parameters
    ----------
    X : [n, d]
    seed : of the derangement, uniform among those of so many images
    images : [n], which image each row is of, where images repeat: rows of one image move as one. None: each row is an
        image.

    Returns
    -------
    [n, d]

    Raises
    ------
    ValueError : fewer than two images, or rows of one image that differ
    """
    X = _matrix("image_permuted", "X", X)
    labels = np.arange(len(X)) if images is None else np.asarray(images)
    if labels.shape != (len(X),):
        raise ValueError(f"image_permuted: images must be [{len(X)}], one for each row of X, got {list(labels.shape)}")
    _, first, which = np.unique(labels, return_index=True, return_inverse=True)
    differ = (X[first[which]] != X).any(axis=1)
    if differ.any():
        raise ValueError(
            f"image_permuted: X must be the same in all rows of an image, got others for image "
            f"{labels[differ.argmax()]!r} in row {differ.argmax()}"
        )
    if len(first) < 2:
        raise ValueError(f"image_permuted: X must hold at least 2 images, got {len(first)}")
    moved: np.ndarray = X[first[derangement(len(first), seed)[which]]]
    return moved


def nuisances(features: Features, kind: str = "gradient") -> xr.DataArray:
    """What an image's gradient may owe to the image being hard, in numbers: a band to partial out.

    Columns "loss"; "entropy" of the prediction in nats, where the model has logits; "log norm/LAYER" of the gradient
    at each layer (of its sketch, which has the norm to a relative error of about 1 / sqrt(2 k)).

    Parameters
    ----------
    features : of `capture`, with an objective
    kind : of gradient

    Returns
    -------
    [image, nuisance], float64

    Raises
    ------
    ValueError : no such kind, no losses, or an image whose gradient is zero (which has no logarithm)
    """
    layers = [layer for each, layer in features if each == kind]
    if not layers or kind == "activation":
        raise ValueError(
            f"nuisances: kind must be a gradient of the features, got {kind!r}; there are "
            f"{sorted({each for each, _ in features})}"
        )
    columns = {"loss": features.losses.double().numpy()}
    if features.entropy is not None:
        columns["entropy"] = features.entropy.double().numpy()
    for layer in layers:
        norm = features[kind, layer].double().flatten(1).norm(dim=1).numpy()
        if (norm == 0).any():
            raise ValueError(f"nuisances: {kind} of {layer!r} must not be zero, got that for image {norm.argmin()}")
        columns[f"log norm/{layer}"] = np.log(norm)
    bad = [name for name, values in columns.items() if not np.isfinite(values).all()]
    if bad:
        raise ValueError(f"nuisances: features must be finite, got others in {', '.join(bad)}")
    return xr.DataArray(
        np.column_stack(list(columns.values())), dims=("image", "nuisance"), coords={"nuisance": list(columns)}
    )


class Residualizer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """What ridge regression on some features leaves of others: G - (A W + b), W and b of the rows that `fit` saw.

    A transformer of X = [A | G], so that it nests in cross-validation: in a pipeline each training part fits its own.
    Each column of G has its own alpha, by k-fold cross-validation inside those rows. What is left has no linear
    relation to A in the rows of `fit` but for the shrinkage: A'(G - A W - b) = alpha W, A centred.

    Parameters
    ----------
    given : how many of the first columns of X are A
    alphas, cv : as of `RidgeCV`

    Attributes
    ----------
    ridge_ : the fitted RidgeCV
    """

    def __init__(self, given: int, *, alphas: Any = DEFAULT_ALPHAS, cv: Any = 5) -> None:
        self.given = given
        self.alphas = alphas
        self.cv = cv

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> Self:
        """Fit on X [n, given + d]; `groups` [n] are kept together when alphas are chosen; y is not looked at."""
        X = validate_data(self, X, dtype=[np.float64, np.float32])
        if isinstance(self.given, bool) or not isinstance(self.given, int) or not 0 < self.given < X.shape[1]:
            raise ValueError(f"Residualizer: given must be in 1..{X.shape[1] - 1}, columns of X, got {self.given!r}")
        ridge = RidgeCV(self.alphas, cv=self.cv)
        self.ridge_ = ridge.fit(X[:, : self.given], X[:, self.given :], groups=groups)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """[n, d], of X [n, given + d]"""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        left: np.ndarray = X[:, self.given :] - self.ridge_.predict(X[:, : self.given])
        return left


def residualize(
    G: np.ndarray, A: np.ndarray | Sequence[np.ndarray], train: Any, *, alphas: Any = DEFAULT_ALPHAS, groups: Any = None
) -> np.ndarray:
    """Gradients less what activations predict of them, fitted on training rows alone: see `Residualizer`.

    Parameters
    ----------
    G : [n, d]
    A : [n, a], activations of the same layer; or a list of them, of all layers, side by side, each divided by the
        root mean square norm of its centred training rows, so that none is penalised more than another
    train : bool [n], or indices of the training rows
    alphas : as of `RidgeCV`
    groups : [n] labels that are kept together when alphas are chosen (images, where they repeat)

    Returns
    -------
    [n, d] of all rows

    Raises
    ------
    ValueError : wrong shapes, NaN or inf, rows that do not exist
    """
    G = _matrix("residualize", "G", G)
    several = isinstance(A, list | tuple)
    parts = [_matrix("residualize", "A", part) for part in (A if several else [A])]
    for part in parts:
        if len(part) != len(G):
            raise ValueError(f"residualize: A must have the {len(G)} rows of G, got {len(part)}")
    if not parts:
        raise ValueError("residualize: A must hold at least one matrix, got none")
    rows = _rows(train, len(G))
    if several:
        parts = [part / unit_size(part[rows]) for part in parts]
    X = np.column_stack([*parts, G])
    fitted = Residualizer(X.shape[1] - G.shape[1], alphas=alphas)
    labels = None if groups is None else np.asarray(groups)
    if labels is not None and labels.shape != (len(G),):
        raise ValueError(f"residualize: groups must be [{len(G)}], got {list(labels.shape)}")
    left: np.ndarray = fitted.fit(X[rows], groups=None if labels is None else labels[rows]).transform(X)
    return left


def match_dimension(sets: Mapping[str, np.ndarray], k: int, seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """Every feature set sketched to the same k, once for each seed: a score then owes nothing to how wide a set is.

    Parameters
    ----------
    sets : name -> [n, d], d at least k: a narrower set would still be of lower dimension
    k : of `gradkern.sketch`, at least 64
    seeds : of the sketches; others than the capture's, whose map would be applied twice

    Returns
    -------
    name -> float32 [seeds, n, k]

    Raises
    ------
    ValueError : a set with fewer than k columns, NaN or inf, no seeds, one twice, or one that a sketch has not
    """
    if not sets or len(seeds) == 0 or len(set(seeds)) < len(seeds):
        raise ValueError(
            f"match_dimension: sets and seeds must be at least one each, no seed twice, got {list(sets)}, {list(seeds)}"
        )
    matrices = {name: _matrix("match_dimension", f"sets[{name!r}]", X) for name, X in sets.items()}
    for name, X in matrices.items():
        if X.shape[1] < k:
            raise ValueError(
                f"match_dimension: k must be at most the width of every set, got {k} and {X.shape[1]} of {name!r}"
            )
    return {
        name: np.stack([sketch(np.ascontiguousarray(X), k, seed=seed) for seed in seeds])
        for name, X in matrices.items()
    }


class EffectiveRank(NamedTuple):
    """With l the eigenvalues of the covariance and p = l / sum(l)."""

    participation: float  # 1 / sum(p^2)
    entropy: float  # exp(-sum(p log p))


def effective_rank(X: np.ndarray) -> EffectiveRank:
    """How many dimensions features fill: from 1 to min(n - 1, d), columns centred.

    Parameters
    ----------
    X : [n, d]

    Raises
    ------
    ValueError : NaN or inf, or features that do not vary

    Notes
    -----
    Participation ratio: Gao et al., bioRxiv 214262, 2017. Entropy: after Roy & Vetterli, EUSIPCO 2007, who take
    singular values in the place of l.
    """
    X = _matrix("effective_rank", "X", X).astype(np.float64)
    largest = np.abs(X).max()
    if largest > 0:
        X = X / largest  # gradients may be 1e-200 in size: their squares are nothing
    centred = X - X.mean(0)
    products = centred @ centred.T if len(X) < X.shape[1] else centred.T @ centred
    values = np.linalg.eigvalsh(products).clip(min=0)
    if not values.sum() > X.size * np.finfo(np.float64).eps ** 2:
        raise ValueError("effective_rank: X must vary over its rows, got the same row everywhere")
    p = values / values.sum()
    p = p[p > 0]
    return EffectiveRank(float(1 / (p**2).sum()), float(np.exp(-(p * np.log(p)).sum())))


def _rows(train: Any, n: int) -> np.ndarray:
    chosen = np.asarray(train)
    if chosen.dtype == bool and chosen.shape == (n,):
        return np.flatnonzero(chosen)
    is_index = chosen.ndim == 1 and np.issubdtype(chosen.dtype, np.integer)
    if not is_index or len(np.unique(chosen)) < len(chosen) or not np.isin(chosen, np.arange(n)).all():
        raise ValueError(
            f"residualize: train must be bool [{n}] or distinct indices in 0..{n - 1}, got {chosen.dtype} "
            f"{list(chosen.shape)}"
        )
    return chosen


def _matrix(function: str, argument: str, X: Any) -> np.ndarray:
    values = np.asarray(X)
    if values.ndim != 2 or 0 in values.shape or not np.issubdtype(values.dtype, np.floating):
        raise ValueError(
            f"{function}: {argument} must be a floating-point matrix [n, d], got {values.dtype} {list(values.shape)}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{function}: {argument} must be finite, got NaN or inf")
    return values
