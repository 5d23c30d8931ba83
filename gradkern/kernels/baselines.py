"""Other random projections of a Linear layer's per-sample weight gradient G_i = sum_t g[i, t] a[i, t]^T.

For comparison, in plain torch: these functions compute what other methods compute, not as fast as they could. Each map
preserves inner products on average and is a function of the layer's shape, the size of the result and the seed;
matrices and tables are drawn on the CPU. Inputs of any floating dtype are converted to float32, in which everything is
computed and returned; a split of the batch changes results by float32 rounding alone. benchmarks/README.md compares
their errors with that of `gradkern.sketch`.
"""

import operator
from typing import Any

import torch
from torch import Tensor

from gradkern.errors import naming

_BLOCK = 1 << 22  # entries of the Gaussian matrix that exist at a time


@naming("gaussian")
def gaussian(x: Tensor, k: int, *, seed: int = 0) -> Tensor:
    """Project each sample with a dense Gaussian matrix: x[i] P, the entries of P [D, k] drawn from N(0, 1/k).

    The variance of <x P, y P> is (|x|^2 |y|^2 + <x, y>^2) / k. P is drawn block by block and never stored whole; sums
    are float32.

    Parameters
    ----------
    x : [n, ...], floating; each sample is flattened to D entries
    k : size of the projection, at least 1
    seed : selects P, in [0, 2^63)

    Returns
    -------
    [n, k] float32, on the device of x

    Raises
    ------
    TypeError : x is not a tensor, or k or seed not an integer
    ValueError : x without a dimension of samples or not floating, k below 1, seed outside its range

    Notes
    -----
    Johnson & Lindenstrauss (1984); TRAK (Park et al., ICML 2023) projects gradients this way.

    Examples
    --------
    >>> import torch
    >>> from gradkern.kernels import baselines
    >>> baselines.gaussian(torch.randn(4, 96, 64), 256).shape
    torch.Size([4, 256])
    """
    _check_tensor("x", x)
    if x.dim() < 1:
        raise ValueError("x must be [n, ...], got a scalar")
    k = _positive("k", k)
    generator = _generator(seed)
    flat = x.reshape(len(x), x.shape[1:].numel())
    out = flat.new_zeros(len(flat), k, dtype=torch.float32)
    rows = max(1, _BLOCK // k)
    for first in range(0, flat.shape[1], rows):
        columns = flat[:, first : first + rows].float()
        out += columns @ torch.randn(columns.shape[1], k, generator=generator, dtype=torch.float32, device="cpu").to(
            x.device
        )
    result: Tensor = out / k**0.5
    return result


@naming("factored")
def factored(a: Tensor, g: Tensor, factor: tuple[int, int], *, seed: int = 0) -> Tensor:
    """Project each sample's weight gradient from both sides: vec(P_o G_i P_i^T) = vec(sum_t (P_o g_t) (P_i a_t)^T).

    The entries of P_o [k_o, o] are drawn from N(0, 1/k_o), those of P_i [k_i, p] from N(0, 1/k_i). G is never formed.
    With N = G^T H and M = G H^T the variance of the inner product for G and H is

        (|N|^2 + tr N^2) / k_i + (|M|^2 + tr N^2) / k_o + (|G|^2 |H|^2 + |M|^2 + |N|^2 + <G, H>^2) / (k_i k_o),

    which for G = H of rank 1 is 2/k_o + 2/k_i + 4/(k_o k_i), in units of |G|^4: far more than 2/(k_o k_i).

    Parameters
    ----------
    a : [n, t, p], floating, the layer's input
    g : [n, t, o], floating, the gradient at its output
    factor : (k_o, k_i), rows of P_o and of P_i
    seed : selects P_o and P_i, in [0, 2^63)

    Returns
    -------
    [n, k_o * k_i] float32, on the device of a

    Raises
    ------
    TypeError : a or g is not a tensor, or seed not an integer
    ValueError : a and g that do not fit together, a factor that is not two positive integers, seed outside its range

    Notes
    -----
    LoGra (Choe et al., arXiv 2405.13954) with Gaussian factors.

    Examples
    --------
    >>> import torch
    >>> from gradkern.kernels import baselines
    >>> baselines.factored(torch.randn(4, 9, 64), torch.randn(4, 9, 96), (16, 8)).shape
    torch.Size([4, 128])
    """
    _check_factors(a, g)
    k_o, k_i = _check_pair(factor)
    generator = _generator(seed)
    p_o = torch.randn(k_o, g.shape[2], generator=generator, dtype=torch.float32, device="cpu").to(g.device) / k_o**0.5
    p_i = torch.randn(k_i, a.shape[2], generator=generator, dtype=torch.float32, device="cpu").to(a.device) / k_i**0.5
    left, right = g.float() @ p_o.T, a.float() @ p_i.T
    result: Tensor = (left.mT @ right).reshape(len(a), k_o * k_i)
    return result


@naming("tensor_sketch")
def tensor_sketch(a: Tensor, g: Tensor, k: int, *, seed: int = 0) -> Tensor:
    """Sketch each sample's weight gradient by two count sketches: irfft(sum_t rfft(C_o g_t) rfft(C_i a_t)).

    A count sketch C adds every entry, with a random sign, to one random bucket of k. The product of frequencies is the
    circular convolution of the two sketches: entry (i, j) of G goes to bucket (h_o(i) + h_i(j)) mod k. The variance of
    the inner product for G and H is at most 11 |G|^2 |H|^2 / k.

    Parameters
    ----------
    a : [n, t, p], floating, the layer's input
    g : [n, t, o], floating, the gradient at its output
    k : buckets, at least 1
    seed : selects signs and buckets, in [0, 2^63)

    Returns
    -------
    [n, k] float32, on the device of a

    Raises
    ------
    TypeError : a or g is not a tensor, or k or seed not an integer
    ValueError : a and g that do not fit together, k below 1, seed outside its range

    Notes
    -----
    Pham & Pagh (KDD 2013); the bound is that of Avron, Nguyen & Woodruff (NIPS 2014).

    Examples
    --------
    >>> import torch
    >>> from gradkern.kernels import baselines
    >>> baselines.tensor_sketch(torch.randn(4, 9, 64), torch.randn(4, 9, 96), 256).shape
    torch.Size([4, 256])
    """
    _check_factors(a, g)
    k = _positive("k", k)
    generator = _generator(seed)
    hash_o, hash_i = (_hash(x.shape[2], k, generator, x.device) for x in (g, a))
    out = a.new_zeros(len(a), k, dtype=torch.float32)
    if a.shape[1] == 0:  # MKL has no FFT of zero rows
        return out
    for i in range(len(a)):  # one sample at a time: [t, k] frequencies of a whole batch would fill the memory
        product = torch.fft.rfft(_count_sketch(g[i], k, hash_o)) * torch.fft.rfft(_count_sketch(a[i], k, hash_i))
        out[i] = torch.fft.irfft(product.sum(0), n=k)
    return out


def _hash(size: int, k: int, generator: torch.Generator, device: torch.device) -> tuple[Tensor, Tensor]:
    """Draw the buckets and signs of `size` entries."""
    buckets = torch.randint(k, (size,), generator=generator)
    signs = 1.0 - 2.0 * torch.randint(2, (size,), generator=generator)
    return buckets.to(device), signs.to(device)


def _count_sketch(x: Tensor, k: int, hashed: tuple[Tensor, Tensor]) -> Tensor:
    buckets, signs = hashed
    return x.new_zeros(len(x), k, dtype=torch.float32).index_add_(1, buckets, x.float() * signs)


def _check_tensor(argument: str, x: Any) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{argument} must be a tensor, got {type(x).__name__}")
    if not x.is_floating_point():
        raise ValueError(f"{argument} must be floating point, got {x.dtype}")


def _check_factors(a: Tensor, g: Tensor) -> None:
    _check_tensor("a", a)
    _check_tensor("g", g)
    if a.dim() != 3 or g.dim() != 3 or a.shape[:2] != g.shape[:2]:
        raise ValueError(f"a and g must be [n, t, p] and [n, t, o], got shapes {list(a.shape)} and {list(g.shape)}")
    if a.device != g.device:
        raise ValueError(f"a and g must be on one device, got {a.device} and {g.device}")


def _check_pair(factor: Any) -> tuple[int, int]:
    message = f"factor must be two positive integers, got {factor!r}"
    try:
        k_o, k_i = (operator.index(size) for size in factor)
    except (TypeError, ValueError):
        raise ValueError(message) from None
    if min(k_o, k_i) < 1:
        raise ValueError(message)
    return k_o, k_i


def _positive(argument: str, value: Any) -> int:
    size = _integer(argument, value)
    if size < 1:
        raise ValueError(f"{argument} must be at least 1, got {size}")
    return size


def _generator(seed: Any) -> torch.Generator:
    number = _integer("seed", seed)
    if not 0 <= number < 1 << 63:
        raise ValueError(f"seed must be in [0, 2^63), got {number}")
    return torch.Generator().manual_seed(number)


def _integer(argument: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{argument} must be an integer, got {value!r}") from None
