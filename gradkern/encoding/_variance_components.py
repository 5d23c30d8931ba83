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
from scipy.linalg import cholesky, solve_triangular
from scipy.linalg.lapack import dtrtri
from scipy.optimize import nnls

Floats = NDArray[np.float64]
Spectrum = tuple[Floats, Floats]  # eigenvalues [n], eigenvectors [n, n]

SHARES = np.array([0, 0.03, 0.08, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.93, 0.98])
_MOST_SHAPES = 6
_GAIN = 4.0  # in log-likelihood, which a target must have to say what it reads
_WORTH = 0.02  # of the gain of all targets, which a further shape must add
_LEAST_TARGETS = 4
_STEPS = 5  # of the weights' fit: in the first any kernel may come in, in the others those that are in are weighed
_LEAST_NOISE = 0.01
_ROUNDING = 1e-4  # of products of kernels in float32, of which some are alike
_TARGETS_FOR_SHAPES = 2000
_SAME_NOISE = 4.0  # standard errors of a variance that sampling alone reaches


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
    """Variance components of v targets: `shape` and `share` [v] are indices into `shapes` and `SHARES`.

    `log_likelihood` is the sum over targets.
    """

    shapes: Sequence[Shape]
    shape: NDArray[np.int64]
    share: NDArray[np.int64]
    log_likelihood: float

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
    stack = np.stack([kernel.astype(np.float32) for kernel in kernels.values()])
    shapes = []
    for kernel in np.unique(first[first >= 0]):
        weights = _fitted_weights(stack, seen[:, first == kernel], int(kernel))
        mixture = np.tensordot(weights, stack, 1).astype(np.float64)
        values, vectors = _spectrum(mixture / max(np.trace(mixture) / len(Y), 1e-9))
        present = {names[number]: float(weights[number]) for number in np.flatnonzero(weights)}
        shapes.append(Shape(present, values, vectors))
    if not shapes:
        return only_noise(Y)
    likelihoods = np.stack([_log_likelihoods(shape.values, shape.vectors, Y) for shape in shapes])
    flat = likelihoods.reshape(-1, Y.shape[1])
    shape, share = np.divmod(flat.argmax(0), len(SHARES))
    return Components(shapes, shape, share, float(flat.max(0).sum()))


def only_noise(Y: Floats) -> Components:
    """Components of responses [n, v] that read nothing."""
    n, v = Y.shape
    nothing = np.zeros(v, dtype=np.int64)
    likelihood = float(-0.5 * n * np.log(np.square(Y).sum(0) / n).sum())
    return Components([Shape({}, np.zeros(n), np.eye(n))], nothing, nothing, likelihood)


def noise_scales(components: Components, Y: Floats) -> Floats | None:
    """Standard deviation [n] of the noise of each image, relative to the others; None where it is the same in all.

    An image's noise is its error when it is predicted from all others, in units of the error that is expected there.
    What sampling alone does to the mean over targets is taken out (empirical Bayes on the logarithm).
    """
    errors = np.empty_like(Y)
    for shape, share in components.cells():
        members = components.members((shape, share))
        precision = components.shapes[shape].whitening(SHARES[share], power=1.0)
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


def _fitted_weights(stack: NDArray[np.float32], Y: Floats, first: int) -> Floats:
    """Weights [k] of kernels [k, n, n] that maximize the likelihood of pooled targets, none negative.

    Every step regresses the products of responses on the kernels, in the metric of the covariance that the step before
    found: iterated weighted least squares, whose fixed point has the largest restricted likelihood (Fisher scoring).
    """
    k, n = len(stack), len(Y)
    weights, noise = np.zeros(k), 0.5
    weights[first] = 0.5
    for step in range(_STEPS):
        live = np.flatnonzero(weights) if step else np.arange(k)
        present = np.flatnonzero(weights)
        covariance = np.tensordot(weights[present], stack[present], 1).astype(np.float64)
        covariance[np.diag_indices(n)] += noise
        whitening = np.asarray(dtrtri(cholesky(covariance, lower=True, check_finite=False), lower=1)[0])
        half = whitening.astype(np.float32)
        kernels = np.stack([half @ stack[number] @ half.T for number in live] + [half @ half.T])
        responses = (whitening @ Y).astype(np.float32)
        seen = np.array([np.vdot(responses, kernel @ responses) for kernel in kernels], dtype=np.float64) / Y.shape[1]
        flat = kernels.reshape(len(kernels), -1)
        products = (flat @ flat.T).astype(np.float64)
        size = np.sqrt(np.diag(products))
        root = cholesky(products / np.outer(size, size) + _ROUNDING * np.eye(len(size)), check_finite=False)
        found = nnls(root, solve_triangular(root, seen / size, trans=1, check_finite=False))[0] / size
        weights = np.zeros(k)
        weights[live], noise = found[:-1], max(float(found[-1]), _LEAST_NOISE)
    return weights
