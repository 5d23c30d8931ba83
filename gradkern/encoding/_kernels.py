"""Kernels of confounds: how alike a response that reads them must be in two images.

A response y = f(z) whose weights are drawn at random is a Gaussian process. Its covariance over images is the linear
kernel of z where f is linear, the squared kernel where it is an energy (w'z)^2, the arc-cosine kernel where it is
rectified, max(w'z, 0), and the radial basis function where it is any smooth function.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.encoding._confounds import Confounds, Scaled

Floats = NDArray[np.float64]

_WIDTH = 0.5  # of the radial basis function, in medians of the squared distance
_NARROW = 0.15  # a second width, for outputs: nearly the category
_FEW_COLUMNS = 8  # of a table whose columns may each be read alone
_ALIKE = 0.9999  # of the inner product of two kernels of one column
_MOST_LAYERS = 8  # read nonlinearly: neighbouring layers are alike
_ACTIVATIONS, _SCALED, _OUTPUTS = "activations", "scaled activations", "outputs"


def named_kernels(confounds: Confounds, rows: NDArray[np.int64]) -> Iterator[tuple[str, Floats]]:
    """Kernels [m, m] of all parts for m images, each centered and of mean diagonal 1; constant ones are left out."""
    for part, matrices in confounds.parts.items():
        for name, kernel in _KERNELS_OF.get(part, _of_table)(matrices, rows):
            scaled = centered(kernel)
            if scaled is not None:
                yield f"{part}: {name}", scaled


def centered(kernel: Floats) -> Floats | None:
    """A kernel about the mean over images, of mean diagonal 1; None where it does not vary."""
    means = kernel.mean(0)
    about: Floats = kernel - means - means[:, None] + means.mean()
    size = np.trace(about) / len(about)
    return about / size if size > 1e-9 * max(np.abs(kernel).max(), 1e-300) else None


def linear(X: Floats) -> Floats:
    """Linear kernel [n, n] of X [n, d] about its mean, of mean diagonal 1."""
    about = X - X.mean(0)
    size = np.sqrt(np.square(about).sum(1).mean())
    about /= size if size > 0 else 1.0
    kernel: Floats = about @ about.T
    return kernel


def _of_activations(matrices: Mapping[str, Any], rows: NDArray[np.int64]) -> Iterator[tuple[str, Floats]]:
    chosen = _spread(list(matrices), _MOST_LAYERS)
    for layer, values in matrices.items():
        X = _read(values, rows)
        kernel = linear(X)
        yield layer, kernel
        if layer in chosen:
            yield f"{layer}, squared", np.square(kernel)
            yield f"{layer}, rectified", _rectified(kernel)
            yield f"{layer}, smooth", _smooth(kernel, _WIDTH)
            yield f"{layer}, size", linear(np.diag(kernel)[:, None])  # that energies of all readouts share
            yield f"{layer}, norm", linear(np.linalg.norm(X, axis=1)[:, None])


def _of_scaled(matrices: Mapping[str, Any], rows: NDArray[np.int64]) -> Iterator[tuple[str, Floats]]:
    for name in _spread(list(matrices), 2 * _MOST_LAYERS):
        yield name, linear(_read(matrices[name], rows))


def _of_outputs(matrices: Mapping[str, Any], rows: NDArray[np.int64]) -> Iterator[tuple[str, Floats]]:
    for name, values in matrices.items():
        kernel = linear(_read(values, rows))
        yield name, kernel
        yield f"{name}, smooth", _smooth(kernel, _WIDTH)
        yield f"{name}, narrow", _smooth(kernel, _NARROW)


def _of_labels(matrices: Mapping[str, Any], rows: NDArray[np.int64]) -> Iterator[tuple[str, Floats]]:
    for name, values in matrices.items():
        yield name, linear(_read(values, rows))


def _of_table(matrices: Mapping[str, Any], rows: NDArray[np.int64]) -> Iterator[tuple[str, Floats]]:
    """Columns of small tables each by itself, as where a whole brain follows the loss; those that are alike once."""
    seen: list[Floats] = []
    for name, values in matrices.items():
        columns = _read(values, rows)
        few = columns.shape[1] <= _FEW_COLUMNS
        kernel = linear(columns)
        if not few:
            yield name, kernel
        if not few or columns.shape[1] > 1:
            yield f"{name}, smooth", _smooth(kernel, _WIDTH)
        for number, column in enumerate(columns.T if few else ()):
            alone = linear(column[:, None])
            if any(np.vdot(alone, other) > _ALIKE * np.vdot(alone, alone) for other in seen):
                continue
            seen.append(alone)
            yield f"{name}, column {number}", alone
            yield f"{name}, column {number}, smooth", _smooth(alone, _WIDTH)


_KERNELS_OF: dict[str, Callable[[Mapping[str, Any], NDArray[np.int64]], Iterator[tuple[str, Floats]]]] = {
    _ACTIVATIONS: _of_activations,
    _SCALED: _of_scaled,
    _OUTPUTS: _of_outputs,
    "labels": _of_labels,
    "controls": _of_labels,
}


def _read(values: Any, rows: NDArray[np.int64]) -> Floats:
    if isinstance(values, Scaled):
        return np.asarray(values.values)[rows].astype(np.float64) * values.factor[rows, None]
    return np.asarray(values)[rows].astype(np.float64)


def _spread(names: list[str], most: int) -> list[str]:
    """At most this many names, evenly spread from the first to the last."""
    if len(names) <= most:
        return names
    return [names[number] for number in np.unique(np.linspace(0, len(names) - 1, most).round().astype(int))]


def _squared_distances(kernel: Floats) -> Floats:
    size = np.diag(kernel)
    return np.maximum(size + size[:, None] - 2 * kernel, 0)


def _smooth(kernel: Floats, width: float) -> Floats:
    """Radial basis function of the distances that a linear kernel has."""
    distances = _squared_distances(kernel)
    median = np.median(distances[distances > 0]) if (distances > 0).any() else 1.0
    return np.exp(-distances / (width * median))


def _rectified(kernel: Floats) -> Floats:
    """Arc-cosine kernel of degree 1: of max(w'z, 0) with normal weights (Cho & Saul 2009)."""
    norm = np.sqrt(np.maximum(np.diag(kernel), 0))
    sizes = np.outer(norm, norm)
    cosine = np.clip(np.divide(kernel, sizes, out=np.zeros_like(kernel), where=sizes > 0), -1, 1)
    angle = np.arccos(cosine)
    kernel_of_rectified: Floats = sizes * (np.sin(angle) + (np.pi - angle) * cosine) / np.pi
    return kernel_of_rectified
