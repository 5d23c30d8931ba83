"""Variance components of responses: of what confounds the responses to images are made, and how much is noise.

A target whose response is drawn at random from the readouts of confounds has the covariance over images

    V = h (w_1 K_1 + ... + w_k K_k) + (1 - h) I,

with a kernel K of each readout. Targets that read the same things share the weights w, their *shape*; the share h of
the variance is each target's own. Both are found by maximum likelihood.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import nnls

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Spectrum = tuple[Floats, Floats]  # eigenvalues [n], eigenvectors [n, n]

SHARES = np.array([0, 0.15, 0.4, 0.65, 0.88])
_MOST_SHAPES = 3
_GAIN = 4.0  # in log-likelihood, which a target must have to say what it reads
_WORTH = 0.02  # of the gain of all targets, which a further shape must add
_LEAST_TARGETS = 4
_STEPS = 4  # of the weights' fit: in the first any kernel may come in, in the others those that are in are weighed
_AT_ONCE = 8  # kernels, whose transposes are copied
_FIRST_SHARE = 0.5  # of the kernel that the fit of weights begins with
_LEAST_NOISE = 0.01
_LEAST_WEIGHT = 0.003  # of all weights: kernels that are alike share a weight, and each takes time
_ROUNDING = 1e-4  # of products of kernels in float32, of which some are alike
_TARGETS_FOR_SHAPES = 2000


@dataclass(frozen=True, eq=False)
class KernelSet:
    """Centered kernels [n, n] of mean diagonal 1, by name, and what was computed of them for earlier responses.

    Attributes
    ----------
    matrices : name -> kernel, in float32
    keeps_spectra : whether spectra are kept for the next responses, which takes twice the memory of the kernels each
    """

    matrices: Mapping[str, Floats32]
    keeps_spectra: bool = False
    _spectra: dict[str, Spectrum] = field(default_factory=dict, repr=False)
    _products: dict[str, Floats] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, kernels: Mapping[str, NDArray[Any]], keeps_spectra: bool = False) -> "KernelSet":
        return cls({name: kernel.astype(np.float32) for name, kernel in kernels.items()}, keeps_spectra)

    def __len__(self) -> int:
        """Images."""
        return len(next(iter(self.matrices.values())))

    def spectrum(self, name: str) -> Spectrum:
        if name in self._spectra:
            return self._spectra[name]
        spectrum = _spectrum(self.matrices[name].astype(np.float64))
        if self.keeps_spectra:
            self._spectra[name] = spectrum
        return spectrum

    def first_products(self, first: str, names: Sequence[str], precision: Floats) -> Floats:
        """`_products` of kernels with the precision [n, n] that the fit from this kernel begins with."""
        if first not in self._products:
            self._products[first] = _products(list(self.matrices.values()), precision)
        order = {name: number for number, name in enumerate(self.matrices)}
        chosen = [order[name] for name in names]
        products: Floats = self._products[first][np.ix_(chosen, chosen)]
        return products

    def mixture(self, weights: Mapping[str, float]) -> Floats:
        """Weighted sum [n, n] of kernels."""
        total = np.zeros((len(self), len(self)))
        for name, weight in weights.items():
            total += weight * self.matrices[name]
        return total


@dataclass(frozen=True, eq=False)
class Shape:
    """Weights of the kernels that some targets share, and the kernel's eigenvalues [n] and eigenvectors [n, n]."""

    weights: Mapping[str, float]
    values: Floats
    vectors: Floats

    def whitening(self, share: float, power: float = 0.5) -> Floats:
        """V^(-power) [n, n] of a target with this share."""
        whitening: Floats = (self.vectors * (share * self.values + 1 - share) ** -power) @ self.vectors.T
        return whitening


@dataclass(frozen=True, eq=False)
class Components:
    """Variance components of v targets: `shape` and `share` [v] are indices into `shapes` and `SHARES`."""

    shapes: Sequence[Shape]
    shape: NDArray[np.int64]
    share: NDArray[np.int64]

    def cells(self) -> list[tuple[int, int]]:
        """Pairs of shape and share that some target has."""
        return sorted({(int(shape), int(share)) for shape, share in zip(self.shape, self.share, strict=True)})

    def members(self, cell: tuple[int, int]) -> NDArray[np.int64]:
        return np.flatnonzero((self.shape == cell[0]) & (self.share == cell[1]))

    def whitening(self, cell: tuple[int, int]) -> Floats:
        """V^(-1/2) [n, n] of the targets of a cell."""
        shape, share = cell
        return self.shapes[shape].whitening(SHARES[share])

    def of(self, Y: Floats) -> "Components":
        """Components of other standardized responses [n, v], of the same shapes."""
        return _assigned(self.shapes, Y)


def variance_components(kernels: KernelSet, Y: Floats, names: Iterable[str] | None = None, seed: int = 0) -> Components:
    """Fit shapes and shares to standardized responses Y [n, v].

    `names` are those of the kernels that responses may read; None: all.
    """
    chosen = list(kernels.matrices if names is None else names)
    drawn = np.arange(Y.shape[1])
    if len(drawn) > _TARGETS_FOR_SHAPES:
        drawn = np.random.default_rng(seed).choice(drawn, _TARGETS_FOR_SHAPES, replace=False)
    seen = Y[:, drawn]
    noise = -0.5 * len(Y) * np.log(np.square(seen).sum(0) / len(Y))
    alone = np.stack([_log_likelihoods(*kernels.spectrum(name), seen).max(0) for name in chosen])
    first = _first_kernels(alone - noise)
    shapes = []
    for number in np.unique(first[first >= 0]):
        weights = _fitted_weights(kernels, chosen, seen[:, first == number], chosen[number])
        mixture = kernels.mixture(weights)
        shapes.append(Shape(weights, *_spectrum(mixture / max(np.trace(mixture) / len(Y), 1e-9))))
    if not shapes:
        return only_noise(Y)
    return _assigned(shapes, Y)


def _assigned(shapes: Sequence[Shape], Y: Floats) -> Components:
    """The shape and share of the largest likelihood for each target."""
    likelihoods = np.stack([_log_likelihoods(shape.values, shape.vectors, Y) for shape in shapes])
    shape, share = np.divmod(likelihoods.reshape(-1, Y.shape[1]).argmax(0), len(SHARES))
    return Components(shapes, np.where(share == 0, 0, shape), share)  # without a share, all shapes are alike


def only_noise(Y: Floats) -> Components:
    """Components of responses [n, v] that read nothing."""
    n, v = Y.shape
    nothing = np.zeros(v, dtype=np.int64)
    return Components([Shape({}, np.zeros(n), np.eye(n))], nothing, nothing)


def _spectrum(kernel: Floats) -> Spectrum:
    values, vectors = np.linalg.eigh(kernel)
    return np.maximum(values, 0), vectors


def _log_likelihoods(values: Floats, vectors: Floats, Y: Floats) -> Floats:
    """Log-likelihoods [shares, v], with each target's variance profiled out."""
    power = np.square(vectors.T @ Y)
    n = len(Y)
    rows = []
    for share in SHARES:
        variances = share * values + 1 - share
        rows.append(-0.5 * np.log(variances).sum() - 0.5 * n * np.log((1 / variances) @ power / n))
    return np.stack(rows)


def _first_kernels(gains: Floats) -> NDArray[np.int64]:
    """A few kernels [v] that together explain the targets best, by gains [k, v]; -1: nothing that is above noise.

    Kernels are added one after another, the one that adds most first.
    """
    labels = np.full(gains.shape[1], -1)
    clear = np.flatnonzero(gains.max(0) > _GAIN)
    if len(clear) < _LEAST_TARGETS:
        return labels
    chosen: list[int] = []
    reached = np.zeros(len(clear))
    for _ in range(_MOST_SHAPES):
        totals = np.maximum(gains[:, clear], reached).sum(1)
        best = int(totals.argmax())
        if chosen and totals[best] - reached.sum() < _WORTH * reached.sum():
            break
        chosen.append(best)
        reached = np.maximum(reached, gains[best, clear])
    labels[clear] = np.array(chosen)[gains[chosen][:, clear].argmax(0)]
    return labels


def _fitted_weights(kernels: KernelSet, names: Sequence[str], Y: Floats, first: str) -> dict[str, float]:
    """Weights of kernels that maximize the likelihood of pooled targets Y [n, v]; those that are not 0.

    Every step regresses the products of responses on the kernels, in the metric of the covariance that the step before
    found: iterated weighted least squares, whose fixed point has the largest restricted likelihood (Fisher scoring).
    """
    weights, noise = {first: _FIRST_SHARE}, _FIRST_SHARE
    live = list(names)
    for step in range(_STEPS):
        precision = _inverse(kernels.mixture(weights) + noise * np.eye(len(Y)))
        matrices = [kernels.matrices[name] for name in live]
        products = _products(matrices, precision) if step else kernels.first_products(first, live, precision)
        predicted = precision @ Y
        similar = (predicted @ predicted.T).astype(np.float32)
        sums = [*(np.vdot(kernel, similar) for kernel in matrices), np.square(predicted).sum()]
        products = _with_noise(products, matrices, precision)
        size = np.sqrt(np.diag(products))
        root = cholesky(products / np.outer(size, size) + _ROUNDING * np.eye(len(size)), check_finite=False)
        target = solve_triangular(root, np.array(sums) / Y.shape[1] / size, trans=1, check_finite=False)
        fitted = nnls(root, target)[0] / size
        least = _LEAST_WEIGHT * fitted.sum()
        weights = {name: float(weight) for name, weight in zip(live, fitted[:-1], strict=True) if weight > least}
        noise = max(float(fitted[-1]), _LEAST_NOISE)
        live = list(weights)
    return weights


def _inverse(covariance: Floats) -> Floats:
    inverse, _ = dpotri(cholesky(covariance, lower=True, check_finite=False), lower=1)
    lower: Floats = np.tril(inverse)
    return lower + np.tril(lower, -1).T


def _products(matrices: Sequence[Floats32], precision: Floats) -> Floats:
    """Inner products [k, k] of kernels in the metric of a precision P, tr(P K P L)."""
    if not matrices:
        return np.zeros((0, 0))
    half = precision.astype(np.float32)
    weighted = np.stack([half @ kernel for kernel in matrices])
    flat = weighted.reshape(len(weighted), -1)
    products = np.empty((len(weighted), len(weighted)))
    for start in range(0, len(weighted), _AT_ONCE):
        turned = weighted[start : start + _AT_ONCE].transpose(0, 2, 1).reshape(-1, flat.shape[1])
        products[:, start : start + _AT_ONCE] = flat @ turned.T
    return (products + products.T) / 2


def _with_noise(products: Floats, matrices: Sequence[Floats32], precision: Floats) -> Floats:
    """`_products` [k + 1, k + 1] of kernels and of noise."""
    weighted = precision @ precision
    beside = np.array([np.vdot(kernel, weighted) for kernel in matrices])
    return np.block([[products, beside[:, None]], [beside[None], np.array([[np.square(precision).sum()]])]])
