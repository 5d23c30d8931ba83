"""Feature matrices of unit length, and with images or layers permuted.

Controls that need the model (shuffled targets, random cotangents, feedback alignment, untrained weights) are captured:
see `gradkern.features`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gradkern.encoding._checks import check_matrix
from gradkern.errors import naming
from gradkern.features._engine.gradient_controls import derangement


def unit_length(X: np.ndarray) -> np.ndarray:
    """Divide each row of X [n, d] by its Euclidean norm; a row of zeros (no gradient at all) stays zero."""
    length = np.linalg.norm(X, axis=1, keepdims=True)
    result = np.zeros_like(X)
    np.divide(X, length, out=result, where=length > 0)
    return result


@naming("layer_permuted")
def layer_permuted(features: Mapping[str, np.ndarray], seed: int = 0) -> dict[str, np.ndarray]:
    """Give every layer the features of another layer: the order in depth is lost, and nothing else.

    Parameters
    ----------
    features : layer -> [n, d], at least two layers; d may differ
    seed : seed of the derangement, which is drawn uniformly from all derangements of the layers

    Raises
    ------
    ValueError : fewer than two layers

    Examples
    --------
    >>> {layer: X.shape for layer, X in layer_permuted({"a": np.ones((5, 2)), "b": np.ones((5, 3))}).items()}
    {'a': (5, 3), 'b': (5, 2)}
    """
    layers = list(features)
    if len(layers) < 2:
        raise ValueError(f"features must be of at least 2 layers, got {layers}")
    order = derangement(len(layers), seed)
    return {layer: features[layers[other]] for layer, other in zip(layers, order, strict=True)}


@naming("image_permuted")
def image_permuted(X: np.ndarray, seed: int = 0, images: Any = None) -> np.ndarray:
    """Give every image the features of another image: their distribution stays, the pairing is lost.

    Parameters
    ----------
    X : [n, d]
    seed : seed of the derangement, which is drawn uniformly from all derangements of the images
    images : [n], image of each row, where images repeat: all rows of an image move together. None: each row is an
        image of its own.

    Returns
    -------
    [n, d]

    Raises
    ------
    ValueError : fewer than two images, or an image whose rows differ

    Examples
    --------
    >>> image_permuted(np.random.default_rng(0).standard_normal((5, 2))).shape
    (5, 2)
    """
    X = check_matrix("X", X)
    labels = np.arange(len(X)) if images is None else np.asarray(images)
    if labels.shape != (len(X),):
        raise ValueError(f"images must be [{len(X)}], one for each row of X, got {list(labels.shape)}")
    _, first, group = np.unique(labels, return_index=True, return_inverse=True)
    differ = (X[first[group]] != X).any(axis=1)
    if differ.any():
        row = int(differ.argmax())
        raise ValueError(
            f"X must be the same in all rows of an image, got others for image {labels[row]!r} in row {row}"
        )
    if len(first) < 2:
        raise ValueError(f"X must hold at least 2 images, got {len(first)}")
    permuted: np.ndarray = X[first[derangement(len(first), seed)[group]]]
    return permuted
