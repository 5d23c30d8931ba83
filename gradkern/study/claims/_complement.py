"""What leaves of responses when activations and nuisances are taken out of them, out of fold, by kernel ridge."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.stats._bootstrap import Floats

_ALPHAS = np.logspace(-6, 1, 15)  # per image, for kernels whose mean diagonal is 1


@dataclass(frozen=True, eq=False)
class _Fold:
    """Eigenpairs of each candidate's centered kernel among training images, and its eigenvectors' values elsewhere."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    candidates: tuple[tuple[Floats, NDArray[np.float32], NDArray[np.float32]], ...]


@dataclass(frozen=True, eq=False)
class KernelSmoother:
    """Kernel ridge of several kernels, of which each target chooses one, and its penalty, in every training set."""

    folds: tuple[_Fold, ...]

    def residuals(self, values: NDArray[Any]) -> NDArray[Any]:
        """What of values [n, k] the kernels do not predict, each image by a fit that did not see it."""
        left = np.empty_like(values)
        for fold in self.folds:
            mean = values[fold.train].mean(0)
            left[fold.test] = values[fold.test] - mean - _predictions(fold, values[fold.train] - mean)
        return left


def kernel_smoother(activations: Sequence[Any], nuisances: Any, folds: Sequence[tuple[Any, Any]]) -> KernelSmoother:
    """Decompose the kernels of confounds once, for all responses to the same images.

    Parameters
    ----------
    activations : [n, d] of every layer: linear and radial kernels
    nuisances : [n, m], or None: the same kernels of the z-scored columns
    folds : of training and test rows
    """
    linear = np.mean([_unit(_linear(X)) for X in activations], axis=0)
    radial = np.mean([_unit(_radial(X)) for X in activations], axis=0)
    candidates = [linear, linear + radial]
    if nuisances is not None:
        values = np.asarray(nuisances, dtype=np.float64)
        scaled = (values - values.mean(0)) / np.where(values.std(0) > 0, values.std(0), 1)
        own = _unit(_linear(scaled)) + _unit(_radial(scaled))
        candidates += [linear + own, linear + radial + own, 0.3 * linear + own]
    return KernelSmoother(tuple(_fold([_unit(kernel) for kernel in candidates], *rows) for rows in folds))


def _linear(X: Any) -> Floats:
    centered = np.asarray(X, dtype=np.float64) - np.mean(X, axis=0)
    kernel: Floats = centered @ centered.T
    return kernel


def _radial(X: Any) -> Floats:
    """The width is the median distance."""
    inner = _linear(X)
    squares = np.diag(inner)
    distances = np.maximum(squares[:, None] + squares - 2 * inner, 0)
    median = np.median(distances)
    return np.exp(-distances / (median if median > 0 else 1))


def _unit(kernel: Floats) -> Floats:
    """The centered kernel, with a mean of 1 on its diagonal."""
    centered: Floats = kernel - kernel.mean(0) - kernel.mean(1)[:, None] + kernel.mean()
    size = np.trace(centered) / len(centered)
    return centered / (size if size > 0 else 1)


def _fold(kernels: Sequence[Floats], train: Any, test: Any) -> _Fold:
    candidates = []
    for kernel in kernels:
        inside, across = kernel[np.ix_(train, train)], kernel[np.ix_(test, train)]
        mean = inside.mean(0)
        values, vectors = np.linalg.eigh(inside - mean - mean[:, None] + mean.mean())
        across = across - across.mean(1)[:, None] - mean + mean.mean()
        factors = vectors.astype(np.float32), (across @ vectors).astype(np.float32)
        candidates.append((np.maximum(values, 0), *factors))
    return _Fold(np.asarray(train), np.asarray(test), tuple(candidates))


def _predictions(fold: _Fold, centered: NDArray[Any]) -> NDArray[Any]:
    """Predictions [m, k] of the test images, by the kernel and penalty of the least GCV error of each target."""
    n, k = centered.shape
    least, predictions = np.full(k, np.inf), np.zeros((len(fold.test), k), centered.dtype)
    size = (centered**2).sum(0)
    for values, vectors, across in fold.candidates:
        inside = vectors.T @ centered
        shrunk = values / (values + n * _ALPHAS[:, None])
        error = size - (2 * shrunk - shrunk**2).astype(centered.dtype) @ inside**2
        error = error / (1 - (1 + shrunk.sum(1)) / n)[:, None] ** 2
        chosen = error.argmin(0)
        better = error[chosen, np.arange(k)] < least
        least[better] = error[chosen, np.arange(k)][better]
        weights = inside[:, better] / (values[:, None] + n * _ALPHAS[chosen[better]])
        predictions[:, better] = across @ weights
    return predictions
