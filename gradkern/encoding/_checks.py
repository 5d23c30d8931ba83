"""What a feature matrix must be."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def check_matrix(name: str, X: Any, rows: int | None = None) -> NDArray[Any]:
    """Return X [n, d] as an array; `rows` is the n that it must have.

    Raises
    ------
    ValueError : X is empty, is not floating-point, has another shape, or holds NaN or inf
    """
    values = np.asarray(X)
    is_matrix = values.ndim == 2 and 0 not in values.shape and np.issubdtype(values.dtype, np.floating)
    if not is_matrix or (rows is not None and len(values) != rows):
        shape = f"[{'n' if rows is None else rows}, d]"
        raise ValueError(f"{name} must be a floating-point matrix {shape}, got {values.dtype} {list(values.shape)}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got {int((~np.isfinite(values)).sum())} NaN or inf")
    return values
