"""The definition of each op in plain torch, with float64 sums and without regard to speed.

The native kernels are tested against these functions, and a device without a native kernel runs them. Integers are
computed modulo 2^64 in int64, whose products wrap around; a mask makes shifts to the right logical.
"""

from typing import NamedTuple

import torch
from torch import Tensor

SEGMENT = 64
_CHUNK = 4096  # segments hashed at a time


def _signed(value: int) -> int:
    value %= 1 << 64
    return value - (1 << 64) if value >= 1 << 63 else value


def _shift_right(z: Tensor, bits: int) -> Tensor:
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def mix64(z: Tensor) -> Tensor:
    """The splitmix64 finaliser of each element, an int64 that is read as unsigned (Steele, Lea & Flood 2014)."""
    z = (z ^ _shift_right(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shift_right(z, 27)) * _signed(0x94D049BB133111EB)
    return z ^ _shift_right(z, 31)


def segment_hashes(segments: Tensor, k: int, seed: int, nnz: int) -> tuple[Tensor, Tensor]:
    """Signs and offsets of segments, by their numbers: the definition of the randomness of the sketch.

    key = mix64(mix64(seed) + (s + 1) * 0x9E3779B97F4A7C15); signs = the bits of mix64(key + 2q);
    offset = high64(mix64(key + 2q + 1) * k).

    Parameters
    ----------
    segments : int64 [s], segment numbers

    Returns
    -------
    signs : float64 [s, nnz, 64], +1 or -1
    offsets : int64 [s, nnz], in [0, k)
    """
    device = segments.device
    mixed_seed = mix64(torch.tensor(seed, device=device))
    key = mix64(mixed_seed + (segments + 1) * _signed(0x9E3779B97F4A7C15))[:, None]
    q = torch.arange(nnz, device=device)
    bits = mix64(key + 2 * q)[:, :, None] >> torch.arange(SEGMENT, device=device)
    signs = 1.0 - 2.0 * (bits & 1).double()
    hashed = mix64(key + 2 * q + 1)
    low = _shift_right((hashed & 0xFFFFFFFF) * k, 32)
    offsets = _shift_right(_shift_right(hashed, 32) * k + low, 32)
    return signs, offsets


def _buckets(first: int, count: int, spec: tuple[int, int, int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    k, seed, nnz, first_segment = spec
    numbers = torch.arange(first, first + count, device=device) + first_segment
    signs, offsets = segment_hashes(numbers, k, seed, nnz)
    return signs / nnz**0.5, (offsets[:, :, None] + torch.arange(SEGMENT, device=device)) % k


def sketch(x: Tensor, k: int, seed: int = 0, nnz: int = 1, first_segment: int = 0) -> Tensor:
    """S vec(x[i]) for each sample, in float64.

    out[i, (offset[s, q] + j) mod k] += signs[s, q, j] * x[i, s, j] / sqrt(nnz), where the rows of x[i] are cut into
    segments of 64 columns, the last of a row padded with zeros, and s counts them row by row.

    Parameters
    ----------
    x : [n, rows, cols]

    Returns
    -------
    float64 [n, k]
    """
    n, rows, cols = x.shape
    segments = rows * -(-cols // SEGMENT)
    padded = torch.nn.functional.pad(x.double(), (0, -cols % SEGMENT)).reshape(n, segments, SEGMENT)
    out = padded.new_zeros(n, k)
    for first in range(0, segments, _CHUNK):
        chunk = padded[:, first : first + _CHUNK]
        signs, buckets = _buckets(first, chunk.shape[1], (k, seed, nnz, first_segment), x.device)
        out.index_add_(1, buckets.reshape(-1), (chunk[:, :, None] * signs).flatten(1))
    return out


def sketch_adjoint(y: Tensor, rows: int, cols: int, seed: int = 0, nnz: int = 1, first_segment: int = 0) -> Tensor:
    """S^T y[i] for each sample, in float64: <S x, y> = <x, S^T y>.

    Parameters
    ----------
    y : [n, k]

    Returns
    -------
    float64 [n, rows, cols]
    """
    n, k = y.shape
    segments = rows * -(-cols // SEGMENT)
    x = y.new_zeros(n, segments, SEGMENT, dtype=torch.float64)
    for first in range(0, segments, _CHUNK):
        count = min(_CHUNK, segments - first)
        signs, buckets = _buckets(first, count, (k, seed, nnz, first_segment), y.device)
        gathered = y.double()[:, buckets.reshape(-1)].reshape(n, count, nnz, SEGMENT)
        x[:, first : first + count] = (gathered * signs).sum(2)
    return x.reshape(n, rows, segments // max(rows, 1) * SEGMENT)[:, :, :cols]


def sketch_outer(
    a: Tensor, g: Tensor, k: int, seed: int = 0, nnz: int = 1, first_segment: int = 0, bias: bool = False
) -> Tensor:
    """S vec(sum_t g[i, t] a[i, t]^T) for each sample, in float64.

    Parameters
    ----------
    a : [n, t, p]
    g : [n, t, o]
    bias : give a one more column, which is all ones

    Returns
    -------
    float64 [n, k]
    """
    a = torch.nn.functional.pad(a.double(), (0, int(bias)), value=1.0)
    gradient = torch.einsum("nto,ntp->nop", g.double(), a)
    return sketch(gradient, k, seed, nnz, first_segment)


class Window(NamedTuple):
    """The geometry of a convolution in pairs [height, width]; a 1-d convolution has height 1."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


def sketch_conv(x: Tensor, g: Tensor, window: Window, spec: tuple[int, int, int, int], bias: bool = False) -> Tensor:
    """S vec(gradient of the weight [o, c / groups * kh * kw] of a convolution) for each sample, in float64.

    Parameters
    ----------
    x : [n, c, h, w]
    g : [n, o, out_h, out_w], the gradient at the convolution's output
    spec : k, seed, nnz, first_segment
    bias : give the gradient one more column, the sums of g over positions

    Returns
    -------
    float64 [n, k]
    """
    n, o, groups, positions = len(x), g.shape[1], window.groups, g.shape[2] * g.shape[3]
    cols = x.shape[1] // groups * window.kernel_size[0] * window.kernel_size[1]
    patches = x.new_zeros(n, groups, cols, positions, dtype=torch.float64)
    if patches.numel() > 0:  # torch unfolds no empty image
        unfolded = torch.nn.functional.unfold(
            x.double(), window.kernel_size, window.dilation, window.padding, window.stride
        )
        patches = unfolded.reshape(n, groups, cols, positions)
    gradient = torch.einsum("ngot,ngct->ngoc", g.double().reshape(n, groups, o // groups, positions), patches)
    gradient = gradient.reshape(n, o, cols)
    if bias:
        gradient = torch.cat([gradient, g.double().sum((2, 3))[:, :, None]], 2)
    return sketch(gradient, *spec)


def column_moments(y: Tensor, group: Tensor, f: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sum, spread, minimum and maximum of every column over every group of rows, in float64.

    The spread is the sum of squares about the group's own mean.

    Parameters
    ----------
    y : [n, b]
    group : [n], the group of each row in [0, f), or -1 for none
    f : number of groups

    Returns
    -------
    sum, spread, low, high : float64 [f, b]; an empty group has 0, 0, inf and -inf
    """
    sums = y.new_zeros(4, f, y.shape[1], dtype=torch.float64)
    sums[2], sums[3] = torch.inf, -torch.inf
    for g in range(f):
        rows = y[group == g].double()
        if len(rows):
            sums[0, g] = rows.sum(0)
            sums[1, g] = (rows - rows.mean(0)).square().sum(0)
            sums[2, g], sums[3, g] = rows.amin(0), rows.amax(0)
    return sums[0], sums[1], sums[2], sums[3]


def fold_scores(B: Tensor, D: Tensor, E: Tensor, F: Tensor, S: Tensor, U: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
    """S (B * D) and U (B * E) + W (B * F), in float64.

    Parameters
    ----------
    B, D, E, F : [r, b]
    S, U, W : [a, r]

    Returns
    -------
    product, square : float64 [a, b]
    """
    B = B.double()
    return S @ (B * D), U @ (B * E) + W @ (B * F)


def select_scale(C: Tensor, values: Tensor, alpha: Tensor) -> Tensor:
    """C[j, t] / (values[j] + alpha[t]) in float64.

    Parameters
    ----------
    C : [q, b]
    values : [q]
    alpha : [b]

    Returns
    -------
    float64 [q, b]
    """
    return C.double() / (values.double()[:, None] + alpha.double())
