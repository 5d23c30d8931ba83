"""Kernels of features, made orthogonal to all that confounds and noise can put into products of responses.

Whitened responses e = W y to images have the covariance W V W, with V a sum of kernels of confounds with unknown
weights and of noise with an unknown variance in each image. A kernel R that is orthogonal, over pairs of different
images, to W K W for each kernel K and to W D W for the noise D of each single image gives

    E sum_{i != j} R_ij e_i e_j = 0

whatever the weights and the variances are: what is estimated of them decides how precise the sum is, not what it
estimates. These are the unbiased quadratic estimators of variance components of Rao (1971), Journal of Multivariate
Analysis 1, and in the words of double machine learning (Chernozhukov et al. 2018) the statistic is orthogonal to the
nuisance parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

_ROUNDING = 1e-5  # of products of unit kernels in float32, of which some are alike


@dataclass(frozen=True, eq=False)
class ExcludedKernels:
    """Whitened kernels [m, m] of confounds, of which some are excluded at a time, and the noise of each image.

    Attributes
    ----------
    whitening : [m, m], with the mean over images taken out
    apart : [m, m], pairs of images with independent noise, the only ones that count
    flat : [k, m m], whitened kernels of norm 1
    by_noise : [k, m], inner products of these with the noise of each image
    noise : inner products [m, m] of the noise of images, factorized
    """

    whitening: Floats32
    apart: NDArray[np.bool_]
    flat: Floats32
    by_noise: Floats
    noise: tuple[Floats, bool]
    _factors: dict[bytes, tuple[Floats, bool]] = field(default_factory=dict)

    @classmethod
    def of(cls, kernels: Sequence[Floats32], whitening: Floats, apart: NDArray[np.bool_]) -> "ExcludedKernels":
        half = (whitening - whitening.mean(0)).astype(np.float32)
        half -= half.mean(1, keepdims=True)
        flat = np.empty((len(kernels), half.size), dtype=np.float32)
        by_noise = np.empty((len(kernels), len(half)))
        for number, kernel in enumerate(kernels):
            whitened = _whitened(kernel, half, apart)
            whitened /= max(float(np.linalg.norm(whitened)), 1e-30)
            flat[number], by_noise[number] = whitened.ravel(), _by_noise(whitened, half)
        noise = _noise_products(half, apart)
        noise[np.diag_indices(len(half))] *= 1 + _ROUNDING
        return cls(half, apart, flat, by_noise, cho_factor(noise))

    @cached_property
    def _products(self) -> Floats:
        """Inner products [k, k] of the kernels in what noise leaves of them."""
        among = (self.flat @ self.flat.T).astype(np.float64)
        products: Floats = among - self.by_noise @ cho_solve(self.noise, self.by_noise.T)
        return products

    def _factor(self, chosen: NDArray[np.int64]) -> tuple[Floats, bool]:
        key = chosen.tobytes()
        if key not in self._factors:
            inner = self._products[np.ix_(chosen, chosen)] + _ROUNDING * np.eye(len(chosen))
            self._factors[key] = cho_factor(inner)
        return self._factors[key]

    def kernel(self, kernel: NDArray[np.float64]) -> Floats32:
        """A kernel of features as it is in pairs of whitened responses."""
        return _whitened(kernel.astype(np.float32), self.whitening, self.apart)

    def orthogonal(self, whitened: Floats32, subsets: Sequence[NDArray[np.int64]]) -> list[Floats32]:
        """What is left of a whitened kernel beside each of some subsets of the excluded kernels and all noise."""
        noise = _by_noise(whitened, self.whitening)
        beside = (self.flat @ whitened.ravel()).astype(np.float64)
        right = beside - noise @ cho_solve(self.noise, self.by_noise.T)
        weights = np.zeros((len(subsets), len(self.flat)))
        variances = np.empty((len(subsets), len(noise)))
        for row, chosen in enumerate(subsets):
            weights[row, chosen] = cho_solve(self._factor(chosen), right[chosen])
            variances[row] = cho_solve(self.noise, noise - weights[row] @ self.by_noise)
        taken: Floats32 = (weights.astype(np.float32) @ self.flat).reshape(-1, *whitened.shape)
        half = self.whitening
        rest: list[Floats32] = []
        for excluded, sizes in zip(taken, variances.astype(np.float32), strict=True):
            left = whitened - excluded - (half * sizes) @ half.T
            rest.append(np.where(self.apart, left, np.float32(0)))
        return rest


def _whitened(kernel: Floats32, half: Floats32, apart: NDArray[np.bool_]) -> Floats32:
    whitened: Floats32 = np.asarray(half @ kernel @ half.T, dtype=np.float32)
    whitened[~apart] = 0
    return whitened


def _by_noise(whitened: Floats32, half: Floats32) -> Floats:
    """Inner products [m] of a kernel with the noise of each image."""
    products: Floats = np.einsum("ij,ij->j", whitened @ half, half).astype(np.float64)
    return products


def _noise_products(half: Floats32, apart: NDArray[np.bool_]) -> Floats:
    """Inner products [m, m] of the noise of images, over pairs that are apart."""
    columns = half.astype(np.float64)
    products: Floats = np.square(columns.T @ columns)
    _, group = np.unique(~apart, axis=0, return_inverse=True)
    if group.max() + 1 == len(group):
        products -= np.square(columns).T @ np.square(columns)
        return products
    for number in range(group.max() + 1):
        inside = columns[group.ravel() == number]
        products -= np.square(inside.T @ inside)
    return products
