"""Weight gradients formed by the library's batched product, a few samples at a time, and sketched from the L2 cache.

The other way on a GPU is the fused kernel, which never writes a gradient. `is_faster` chooses by predicted times; no
GPU has measured them yet.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gradkern.kernels.reference import SEGMENT, Window

Sketch = Callable[[Tensor], Tensor]  # of gradients [n, rows, cols] to [n, k]

# Of an H200, as benchmarks/machine_code.py counts and assumes; other GPUs have other rates, but similar ratios.
INSTRUCTIONS_A_US = 627_000  # that 132 multiprocessors issue
LAUNCH_US = 5.0  # until a kernel's work has begun
GAP_US = 2.0  # between the kernels of one chunk and the next
L2_BYTES_A_US = 5_500_000
TILE_ROWS, TILE_POSITIONS = 128, 16
ADDING_A_TILE = 8_400  # instructions to add a tile of 128 segments to buckets
SKETCHING_A_SEGMENT = 23
SHARE_OF_CACHE = 0.75  # that a chunk fills


@dataclass(frozen=True)
class Rates:
    """Of a dtype: instructions of the fused kernel for a tile and 16 positions, and FLOPs of the library's product."""

    fused_instructions: float
    library_flops_a_us: float


BFLOAT16 = Rates(1_070, 395e6)  # half of the rate of a large product: t is short, and the output is large
TF32 = Rates(1_060, 197e6)


@dataclass(frozen=True)
class Product:
    """The gradients of n samples [groups * rows, cols] over t positions; `unfolded` if patches are copied first."""

    n: int
    groups: int
    rows: int
    cols: int
    t: int
    unfolded: bool = False

    @property
    def segments(self) -> int:
        return self.groups * self.rows * -(-self.cols // SEGMENT)

    def bytes_a_sample(self, element: int) -> int:
        """What a sample has in the L2 cache at once: its gradient, and its patches where they are copied."""
        patches = self.groups * self.cols * self.t if self.unfolded else 0
        return (self.segments * SEGMENT + patches) * element

    def chunk(self, element: int, cache: int) -> int:
        """Samples at a time, at least one, of chunks as even as may be."""
        most = max(1, int(SHARE_OF_CACHE * cache) // max(1, self.bytes_a_sample(element)))
        return -(-self.n // -(-self.n // most))


def fused_us(product: Product, rates: Rates) -> float:
    """Predicted time of the fused kernel with every multiprocessor full; it takes tiles of 128 x 64 values."""
    tiles = product.n * product.groups * -(-product.rows // TILE_ROWS) * -(-product.cols // SEGMENT)
    multiplying = rates.fused_instructions * -(-product.t // TILE_POSITIONS)
    gathering = 1.8 if product.unfolded else 1.0  # instructions of its loop, as counted
    return LAUNCH_US + tiles * (gathering * multiplying + ADDING_A_TILE) / INSTRUCTIONS_A_US


def formed_us(product: Product, rates: Rates, element: int, cache: int) -> float:
    """Predicted time of the chunks: the product or the traffic of its operands, then the sketch."""
    flops = 2.0 * product.n * product.groups * product.rows * product.cols * product.t
    traffic = 2.0 * product.n * product.bytes_a_sample(element) / L2_BYTES_A_US
    sketching = product.n * product.segments * SKETCHING_A_SEGMENT / INSTRUCTIONS_A_US
    chunks = -(-product.n // product.chunk(element, cache))
    launches = 2 * LAUNCH_US + (chunks - 1) * GAP_US
    return launches + max(flops / rates.library_flops_a_us, traffic) + sketching


def rates_of(dtype: torch.dtype, allow_tf32: bool) -> Rates | None:
    """None where the kernel is better at any size.

    Its three passes of TF32 are faster than the library's float32 product, and more exact over many positions; a
    gradient in float16 has too small a range.
    """
    if dtype == torch.bfloat16:
        return BFLOAT16
    return TF32 if dtype == torch.float32 and allow_tf32 else None


def is_faster(product: Product, dtype: torch.dtype, allow_tf32: bool, cache: int) -> bool:
    """Whether forming the gradients is predicted to take less time than the fused kernel."""
    rates = rates_of(dtype, allow_tf32)
    if rates is None or not product.n * product.segments * product.t:
        return False
    return formed_us(product, rates, dtype.itemsize, cache) < fused_us(product, rates)


def outer_product(a: Tensor, g: Tensor, bias: bool) -> Product:
    n, t, p = a.shape
    return Product(n, 1, g.shape[2], p + bias, t)


def conv_product(x: Tensor, g: Tensor, window: Window, bias: bool) -> Product:
    kernel_h, kernel_w = window.kernel_size
    cols = x.shape[1] // window.groups * kernel_h * kernel_w
    rows, t = g.shape[1] // window.groups, g.shape[2] * g.shape[3]
    return Product(len(x), window.groups, rows, cols + bias, t, unfolded=not _is_pointwise(window))


def cache_of(x: Tensor) -> int:
    """Bytes of the L2 cache of the GPU that holds x."""
    return int(torch.cuda.get_device_properties(x.device).L2_cache_size)


def suits_outer(a: Tensor, g: Tensor, bias: bool, allow_tf32: bool, cache: int) -> bool:
    """Whether to form these gradients; no for arguments that the kernel refuses, which is left to it."""
    if not (a.dim() == g.dim() == 3 and a.shape[:2] == g.shape[:2] and _are_alike(a, g)):
        return False
    return is_faster(outer_product(a, g, bias), a.dtype, allow_tf32, cache)


def suits_conv(x: Tensor, g: Tensor, window: Window, bias: bool, allow_tf32: bool, cache: int) -> bool:
    """Whether to form these gradients; no for arguments that the kernel refuses, which is left to it."""
    groups = window.groups
    if not (x.dim() == g.dim() == 4 and len(x) == len(g) and _are_alike(x, g)):
        return False
    if groups < 1 or x.shape[1] % groups or g.shape[1] % groups or min(*window.stride, *window.kernel_size) < 1:
        return False
    sizes = zip(x.shape[2:], window.kernel_size, window.stride, window.padding, window.dilation, strict=True)
    outputs = [(side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
               for side, kernel, stride, padding, dilation in sizes]  # fmt: skip
    if list(g.shape[2:]) != outputs or min(*window.padding, *(size - 1 for size in window.dilation)) < 0:
        return False
    return is_faster(conv_product(x, g, window, bias), x.dtype, allow_tf32, cache)


def _are_alike(x: Tensor, g: Tensor) -> bool:
    return x.dtype == g.dtype and x.device == g.device and x.is_contiguous() and g.is_contiguous()


def _is_pointwise(window: Window) -> bool:
    geometry = (*window.kernel_size, *window.stride, *window.padding)  # of tuples, or of lists from torch's dispatch
    return geometry == (1, 1, 1, 1, 0, 0)


def _chunks(product: Product, element: int, cache: int) -> Iterator[slice]:
    size = product.chunk(element, cache)
    return (slice(first, first + size) for first in range(0, product.n, size))


def _with_bias(columns: Tensor, bias: bool, dim: int) -> Tensor:
    """Append a column of ones along `dim`, and zeros up to whole segments, which no sketch can tell from padding."""
    cols = columns.shape[dim]
    behind = -(cols + bias) % SEGMENT
    if not bias and cols % 8 == 0:  # the library's fast kernels want multiples of 16 bytes
        return columns
    shape = list(columns.shape)
    shape[dim] = int(bias)
    ones = columns.new_ones(shape)
    shape[dim] = behind
    return torch.cat([columns, ones, columns.new_zeros(shape)], dim)


def sketch_outer(a: Tensor, g: Tensor, bias: bool, sketch: Sketch, cache: int) -> Tensor:
    """Sketch the gradient sum_t g[i, t] a[i, t]^T of each sample, formed in the dtype of a and g.

    Parameters
    ----------
    a : [n, t, p]
    g : [n, t, o]
    bias : give a one more column, which is all ones
    sketch : from gradients [n, o, cols] to their sketches [n, k]; cols is p, or more with columns of zeros
    cache : bytes of the L2 cache

    Returns
    -------
    [n, k]
    """
    chunks = _chunks(outer_product(a, g, bias), a.element_size(), cache)
    return torch.cat([sketch(torch.bmm(g[chunk].mT, _with_bias(a[chunk], bias, 2))) for chunk in chunks])


def sketch_conv(x: Tensor, g: Tensor, window: Window, bias: bool, sketch: Sketch, cache: int) -> Tensor:
    """Sketch the gradient of a convolution's weight for each sample: patches of x times g, formed in their dtype.

    Parameters
    ----------
    x : [n, c, h, w]
    g : [n, o, out_h, out_w]
    bias : give the gradient one more column, the sums of g over positions
    sketch : from gradients [n, o, cols] to their sketches [n, k]; there may be more columns, of zeros
    cache : bytes of the L2 cache

    Returns
    -------
    [n, k]
    """
    product = conv_product(x, g, window, bias)
    groups, t = product.groups, product.t
    sketches = []
    for chunk in _chunks(product, x.element_size(), cache):
        patches = x[chunk].flatten(2) if not product.unfolded else torch.nn.functional.unfold(
            x[chunk], window.kernel_size, window.dilation, window.padding, window.stride
        )  # fmt: skip
        columns = _with_bias(patches.reshape(len(patches) * groups, -1, t), bias, 1)
        gradient = torch.bmm(g[chunk].reshape(len(columns), -1, t), columns.mT)
        sketches.append(sketch(gradient.reshape(len(patches), groups * product.rows, -1)))
    return torch.cat(sketches)
