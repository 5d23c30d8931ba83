"""A second, independent implementation of the sketch: Python integers and NumPy, one segment at a time."""

import math

import numpy as np

MASK = (1 << 64) - 1


def mix64(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def sketch(x: np.ndarray, k: int, seed: int, nnz: int, first_segment: int) -> np.ndarray:
    n, rows, cols = x.shape
    per_row = math.ceil(cols / 64)
    out = np.zeros((n, k))
    for row in range(rows):
        for block in range(per_row):
            s = first_segment + row * per_row + block
            key = mix64((mix64(seed) + (s + 1) * 0x9E3779B97F4A7C15) & MASK)
            segment = x[:, row, block * 64 : (block + 1) * 64].astype(np.float64)
            for q in range(nnz):
                signs = mix64((key + 2 * q) & MASK)
                offset = (mix64((key + 2 * q + 1) & MASK) * k) >> 64
                for j in range(segment.shape[1]):
                    sign = -1.0 if signs >> j & 1 else 1.0
                    out[:, (offset + j) % k] += sign * segment[:, j] / math.sqrt(nnz)
    return out
