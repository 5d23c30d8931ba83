"""Features that are wider than there are images, by way of the images' products: they need not fit into memory."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.encoding._matching import columns_of

BYTES_AT_ONCE = 2**28  # of columns in float64


def image_coordinates(X: Any, images: NDArray[np.int64]) -> tuple[NDArray[np.float32], float]:
    """Coordinates [m, at most m - 1] of some images among which all distances are those of the features [n, d].

    With the products K = (X - mean)(X - mean)' = U diag(l) U', they are U l^1/2. A ridge regression on them makes the
    predictions of one on X. Columns of X are read part by part; X may be a memory map, or a dataset of HDF5.

    Returns
    -------
    coordinates, and the root mean square norm of the centered rows of all of X (see `unit_size`)

    Raises
    ------
    ValueError : NaN or inf
    """
    m, d = len(images), X.shape[1]
    is_stored = hasattr(X, "__getitem__") and not hasattr(X, "iloc")
    stored = X if is_stored else np.asarray(X)  # what computes its values gives all of them at once
    step = max(1, min(d, BYTES_AT_ONCE // (8 * max(m, len(X)))))
    products, squares = np.zeros((m, m)), 0.0
    for start in range(0, d, step):
        part = columns_of(stored, slice(start, start + step)).astype(np.float64)
        squares += float(((part - part.mean(0)) ** 2).sum())
        part = part[images]
        part -= part.mean(0)
        products += part @ part.T
    if not (np.isfinite(products).all() and np.isfinite(squares)):
        raise ValueError("features must be finite, got NaN or inf")
    size = (squares / len(X)) ** 0.5 or 1.0
    values, vectors = np.linalg.eigh(products)
    kept = values > max(values[-1], 0) * m * np.finfo(np.float64).eps
    if not kept.any():
        return np.zeros((m, 1), np.float32), size
    coordinates: NDArray[np.float32] = (vectors[:, kept] * np.sqrt(values[kept])).astype(np.float32)
    return coordinates, size
