"""Variance components of responses: of what confounds the responses to images are made, and how much is noise.

A target whose response is drawn at random from the readouts of confounds has the covariance over images

    V = h (w_1 K_1 + ... + w_k K_k) + (1 - h) I,

with a kernel K of each readout. Targets that read the same things share the weights w, their *shape*; the share h of
the variance is each target's own. Both are found by maximum likelihood.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky
from scipy.linalg.lapack import dpotri

Floats = NDArray[np.float64]
Spectrum = tuple[Floats, Floats]  # eigenvalues [n], eigenvectors [n, n]

SHARES = np.array([0, 0.03, 0.08, 0.15, 0.25, 0.35, 0.5, 0.65, 0.8, 0.93, 0.98])
_MOST_SHAPES = 6
_GAIN = 4.0  # in log-likelihood, which a target must have to say what it reads
_WORTH = 0.02  # of the gain of all targets, which a further shape must add
_LEAST_TARGETS = 4
_STEPS = 25  # of the weights' fit
_OTHERS = 0.05  # initial weight of all kernels that did not open the shape
_FEWEST = 0.002  # a smaller weight is set to 0
_TARGETS_FOR_SHAPES = 2000
_SAME_NOISE = 4.0  # standard errors of a variance that sampling alone reaches


@dataclass(frozen=True, eq=False)
class Shape:
    """Weights of the kernels that some targets share, and the kernel's eigenvalues [n] and eigenvectors [n, n]."""

    weights: Mapping[str, float]
    values: Floats
    vectors: Floats

    def whitening(self, share: float) -> Floats:
        """V^(-1/2) [n, n] of a target with this share."""
        scale = 1 / np.sqrt(share * self.values + 1 - share)
        return (self.vectors * scale) @ self.vectors.T


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


def variance_components(
    kernels: Mapping[str, Floats], Y: Floats, seed: int = 0, spectra: dict[str, Spectrum] | None = None
) -> Components:
    """Fit shapes and shares to standardized responses Y [n, v], given centered kernels [n, n] of mean diagonal 1.

    `spectra` keeps the kernels' eigenvalues and eigenvectors for the next responses to the same images.
    """
    known = {} if spectra is None else spectra
    drawn = np.arange(Y.shape[1])
    if len(drawn) > _TARGETS_FOR_SHAPES:
        drawn = np.random.default_rng(seed).choice(drawn, _TARGETS_FOR_SHAPES, replace=False)
    seen = Y[:, drawn]
    alone = np.empty((len(kernels), len(drawn)))
    for number, (name, kernel) in enumerate(kernels.items()):
        spectrum = known[name] if name in known else _spectrum(kernel)
        if spectra is not None:
            spectra[name] = spectrum
        alone[number] = _log_likelihoods(*spectrum, seen).max(0)
    noise = -0.5 * len(Y) * np.log(np.square(seen).sum(0) / len(Y))
    first = _first_kernels(alone - noise)
    names = list(kernels)
    stack = np.stack(list(kernels.values()))
    shapes = []
    for kernel in np.unique(first[first >= 0]):
        weights = _fitted_weights(stack, seen[:, first == kernel], int(kernel))
        mixture = np.tensordot(weights, stack, 1)
        values, vectors = _spectrum(mixture / max(np.trace(mixture) / len(Y), 1e-9))
        present = {names[number]: float(weights[number]) for number in np.flatnonzero(weights)}
        shapes.append(Shape(present, values, vectors))
    if not shapes:
        nothing = np.zeros(Y.shape[1], dtype=np.int64)
        return Components([Shape({}, np.zeros(len(Y)), np.eye(len(Y)))], nothing, nothing)
    likelihoods = np.stack([_log_likelihoods(shape.values, shape.vectors, Y) for shape in shapes])
    best = likelihoods.reshape(-1, Y.shape[1]).argmax(0)
    shape, share = np.divmod(best, len(SHARES))
    return Components(shapes, shape, share)


def noise_scales(components: Components, Y: Floats) -> Floats | None:
    """Standard deviation [n] of the noise of each image, relative to the others; None where it is the same in all.

    An image's noise is its error when it is predicted from all others, in units of the error that is expected there.
    What sampling alone does to the mean over targets is taken out (empirical Bayes on the logarithm).
    """
    errors = np.empty_like(Y)
    for shape, share in components.cells():
        members = components.members((shape, share))
        precision = np.linalg.matrix_power(components.shapes[shape].whitening(SHARES[share]), 2)
        errors[:, members] = (precision @ Y[:, members]) / np.sqrt(np.diag(precision))[:, None]
    errors /= np.sqrt(np.square(errors).mean(0))
    correlation = errors.T @ errors / len(Y)
    independent = np.trace(correlation) ** 2 / np.square(correlation).sum()  # targets, in effect
    # the correlations of n samples are not 0 where the targets are independent
    independent = 1 / max(1 / independent - 1 / len(Y), 1 / Y.shape[1])
    logarithms = np.log(np.square(errors).mean(1))
    logarithms -= logarithms.mean()
    by_chance = 2 / independent
    true = logarithms.var() - by_chance
    if true < _SAME_NOISE * by_chance / np.sqrt(len(Y)):
        return None
    scales: Floats = np.exp(0.5 * logarithms * true / logarithms.var())
    return scales


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


def _fitted_weights(stack: Floats, Y: Floats, first: int) -> Floats:
    """Weights [k] of kernels [k, n, n] that maximize the likelihood of pooled targets, up to small ones, which are 0.

    Every step multiplies a weight by the ratio of what the data have in its direction to what the model has there; the
    likelihood is stationary where all ratios are 1 (Zhou et al. 2019, J. Comput. Graph. Stat. 28:350).
    """
    k, n = len(stack), len(Y)
    weights = np.full(k + 1, _OTHERS / k)
    weights[first] += 0.5 - _OTHERS / 2
    weights[-1] = 0.5 - _OTHERS / 2  # of the noise
    flat = stack.reshape(k, -1)
    for step in range(_STEPS):
        if step == _STEPS - 5:
            weights = np.where(weights > _FEWEST * weights.sum(), weights, 0)
            weights[-1] = max(weights[-1], 1e-6)
        covariance = (weights[:-1] @ flat).reshape(n, n)
        covariance[np.diag_indices(n)] += weights[-1]
        lower = dpotri(cholesky(covariance, lower=True, check_finite=False), lower=1)[0]
        precision = np.tril(lower) + np.tril(lower, -1).T
        residual = precision @ Y
        product = residual @ residual.T / Y.shape[1]
        seen = np.append(flat @ product.ravel(), np.trace(product))
        expected = np.append(flat @ precision.ravel(), np.trace(precision))
        weights = weights * seen / expected
    fitted: Floats = weights[:-1]
    return fitted
