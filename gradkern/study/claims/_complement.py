"""What is left of responses when confounds are taken out of them, out of fold, by kernel ridge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.stats._bootstrap import Floats

_ACTIVATIONS = "activations"
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


def kernel_smoother(kernels: Mapping[str, Floats], folds: Sequence[tuple[Any, Any]]) -> KernelSmoother:
    """Decompose kernels of confounds once, for all responses to the same images.

    Candidates are the kernels of activations, linear and with the nonlinear ones, these with each other part, all of
    them, and all with little of the activations.

    Parameters
    ----------
    kernels : of `mean_kernels_of`, part -> [n, n], centered and of mean diagonal 1
    folds : of training and test rows
    """
    names = list(kernels)
    activations = [name for name in names if name.startswith(_ACTIVATIONS)]
    others = [name for name in names if name not in activations]
    mixtures = [dict.fromkeys(activations[:1], 1.0), dict.fromkeys(activations, 1.0)]
    mixtures += [dict.fromkeys([*activations, name], 1.0) for name in others]
    if others:
        mixtures += [dict.fromkeys(names, 1.0), {name: 0.1 if name in activations else 1.0 for name in names}]
    candidates = [_unit(sum(weight * kernels[name] for name, weight in mixture.items())) for mixture in mixtures]
    return KernelSmoother(tuple(_fold(candidates, *rows) for rows in folds))


def _unit(kernel: Any) -> Floats:
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
