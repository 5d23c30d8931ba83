"""The CUDA kernels of sketch_outer and sketch_conv, emulated, and where there is a device on it: values, NaN, bits."""

import ctypes
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gradkern import reference
from tests import emulate

EPS = torch.finfo(torch.float32).eps
EPS_TF32 = 2.0**-10
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def normal(*shapes: tuple[int, ...], dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


@dataclass(frozen=True)
class Outer:
    sizes: tuple[int, int, int, int]  # n, t, p, o
    k: int = 64
    nnz: int = 1
    bias: bool = False
    first_segment: int = 0
    shift: int = 0  # of the arrays from the end of a page, in elements

    @property
    def spec(self) -> emulate.Spec:
        return self.k, 3, self.nnz, self.first_segment

    def inputs(self, dtype: torch.dtype) -> list[Tensor]:
        n, t, p, o = self.sizes
        return normal((n, t, p), (n, t, o), dtype=dtype)

    def gradient(self, a: Tensor, g: Tensor) -> Tensor:
        a, g = a.double(), g.double()
        weight = torch.einsum("nto,ntp->nop", g, a)
        return torch.cat([weight, g.sum(1)[:, :, None]], 2) if self.bias else weight

    def emulate(self, library: ctypes.CDLL, a: Tensor, g: Tensor, **how: object) -> Tensor:
        return emulate.sketch_outer(library, a, g, self.spec, bias=self.bias, shift=self.shift, **how)

    def run(self, a: Tensor, g: Tensor, allow_tf32: bool = False) -> Tensor:
        return torch.ops.gradkern.sketch_outer(a, g, *self.spec, self.bias, allow_tf32)

    def __str__(self) -> str:
        text = f"outer-{'x'.join(map(str, self.sizes))}-k{self.k}-nnz{self.nnz}"
        return text + "-bias" * self.bias + f"-shift{self.shift}" * bool(self.shift)


@dataclass(frozen=True)
class Conv:
    x: tuple[int, int, int, int]  # n, c, h, w
    o: int
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    k: int = 256
    nnz: int = 1
    bias: bool = False
    first_segment: int = 0
    shift: int = 0

    @property
    def spec(self) -> emulate.Spec:
        return self.k, 3, self.nnz, self.first_segment

    @property
    def window(self) -> tuple[int, ...]:
        return (*self.kernel, *self.stride, *self.padding, *self.dilation, self.groups)

    def inputs(self, dtype: torch.dtype) -> list[Tensor]:
        geometry = zip(self.x[2:], self.kernel, self.stride, self.padding, self.dilation, strict=True)
        out = [(size + 2 * pad - dil * (width - 1) - 1) // step + 1 for size, width, step, pad, dil in geometry]
        return normal(self.x, (self.x[0], self.o, *out), dtype=dtype)

    def gradient(self, x: Tensor, g: Tensor) -> Tensor:
        x, g = x.double(), g.double().flatten(2)
        taps = g.new_zeros(len(x), 0, g.shape[2])
        if x.numel():
            taps = functional.unfold(x, self.kernel, self.dilation, self.padding, self.stride)
        parts = zip(g.chunk(self.groups, 1), taps.chunk(self.groups, 1), strict=True)
        weight = torch.cat([torch.einsum("not,nct->noc", rows, cols) for rows, cols in parts], 1)
        return torch.cat([weight, g.sum(2, keepdim=True)], 2) if self.bias else weight

    def emulate(self, library: ctypes.CDLL, x: Tensor, g: Tensor, **how: object) -> Tensor:
        return emulate.sketch_conv(library, x, g, self.window, self.spec, bias=self.bias, shift=self.shift, **how)

    def run(self, x: Tensor, g: Tensor, allow_tf32: bool = False) -> Tensor:
        geometry = (list(self.kernel), list(self.stride), list(self.padding), list(self.dilation), self.groups)
        return torch.ops.gradkern.sketch_conv(x, g, *self.spec, *geometry, self.bias, allow_tf32)

    def __str__(self) -> str:
        text = f"conv-{'x'.join(map(str, self.x))}-o{self.o}-{'x'.join(map(str, self.window))}-k{self.k}"
        return text + "-bias" * self.bias + f"-shift{self.shift}" * bool(self.shift)


Case = Outer | Conv

OUTER = (
    Outer((2, 1, 1, 1), bias=True),
    Outer((1, 15, 64, 127), k=65),
    Outer((1, 16, 65, 128), k=1000, nnz=3, bias=True),
    Outer((2, 17, 63, 129), k=1024, bias=True, first_segment=2**40),
    Outer((1, 33, 64, 130), k=20011, bias=True),  # buckets in the result itself; the bias is a segment of its own
    Outer((1, 63, 127, 63), k=300, nnz=2),
    Outer((1, 64, 128, 64), k=1024, bias=True),
    Outer((1, 65, 130, 65), k=1000),
    Outer((1, 200, 72, 136), k=1024),
    Outer((1, 9, 200, 200), k=64, bias=True),
    Outer((2, 3, 330, 260), k=128, nnz=3),  # three slices
    Outer((1, 2, 40, 1300), k=20011),  # several slices whose buckets are in the workspace
    Outer((1, 20, 72, 72), k=200, shift=1),
    Outer((1, 20, 72, 72), k=200, shift=8),
    Outer((0, 3, 5, 5)),
    Outer((2, 0, 5, 5), bias=True),
    Outer((2, 3, 0, 5)),
    Outer((2, 3, 5, 0), bias=True),
    Outer((2, 3, 0, 5), bias=True),
)

CONV = (
    Conv((2, 3, 1, 1), 16, (1, 1), bias=True),  # one position
    Conv((1, 70, 4, 8), 17, (1, 1), k=1000, bias=True),
    Conv((1, 64, 5, 7), 130, (1, 1), nnz=3, first_segment=2**40, bias=True),
    Conv((1, 20, 9, 9), 20, (1, 1), stride=(2, 2)),
    Conv((1, 20, 5, 5), 20, (1, 1), padding=(1, 1)),
    Conv((2, 8, 9, 8), 33, padding=(1, 1), bias=True),
    Conv((1, 7, 12, 11), 64, stride=(2, 1), padding=(0, 1), dilation=(2, 1), k=1000),
    Conv((1, 3, 21, 20), 32, (7, 7), stride=(2, 2), padding=(3, 3), k=20011, bias=True),
    Conv((1, 6, 10, 6), 16, (3, 2), dilation=(1, 2), padding=(1, 1)),
    Conv((1, 12, 6, 6), 60, padding=(1, 1), groups=3, bias=True),  # tiles of 20 rows
    Conv((1, 4, 1, 70), 16, (1, 5), padding=(0, 2)),  # one dimension
    Conv((1, 8, 3, 1), 16, (2, 1), padding=(1, 0)),  # an output one wide
    Conv((1, 12, 3, 8), 140, (1, 1), groups=2, k=500, shift=1),
    Conv((1, 64, 4, 4), 129, nnz=2, padding=(1, 1), k=90),  # three slices
    Conv((2, 9, 8, 7), 9, padding=(1, 1), groups=9, bias=True),  # depthwise
    Conv((1, 5, 9, 9), 10, (5, 5), stride=(2, 2), padding=(2, 2), groups=5, k=1000, nnz=3, first_segment=9),
    Conv((1, 32, 7, 6), 12, padding=(1, 1), groups=4, bias=True),  # groups of 3 rows, two segments a row
    Conv((1, 514, 2, 1), 1028, (2, 1), groups=514, k=64),  # two slices
    Conv((1, 6, 1, 2), 12, (1, 1), groups=6, k=20011),
    Conv((0, 3, 4, 4), 5),
    Conv((2, 0, 4, 4), 5, bias=True),
)

CASES = OUTER + CONV


def bound(case: Case, inputs: list[Tensor], gradient: Tensor, *, tf32: bool = False) -> float:
    """c * eps * sqrt(t) * scale * additions to a bucket: float32 sums of products against float64."""
    if not gradient.any():
        return 0.0
    positions = inputs[1].shape[1] if isinstance(case, Outer) else inputs[1][0, 0].numel()
    additions = 1 + gradient[0].numel() * case.nnz / case.k
    scale = float(inputs[0].double().abs().max()) if inputs[0].numel() else 1.0
    scale = max(1.0, scale) * float(inputs[1].double().abs().max())
    rounding = EPS * additions + (EPS_TF32 * additions**0.5 if tf32 else 0.0)
    return rounding * positions**0.5 * scale


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
class TestValues:
    def test_emulated_equals_truth(self, case: Case, dtype: torch.dtype, emulated: ctypes.CDLL) -> None:
        inputs = case.inputs(dtype)
        gradient = case.gradient(*inputs)
        out = case.emulate(emulated, *inputs)
        expected = reference.sketch(gradient, *case.spec)
        torch.testing.assert_close(out.double(), expected, rtol=0, atol=bound(case, inputs, gradient))

    @pytest.mark.gpu
    def test_cuda_equals_truth(self, case: Case, dtype: torch.dtype) -> None:
        inputs = case.inputs(dtype)
        gradient = case.gradient(*inputs)
        out, again = (case.run(*(x.cuda() for x in inputs)) for _ in range(2))
        assert torch.equal(out, again)
        expected = reference.sketch(gradient, *case.spec)
        torch.testing.assert_close(out.cpu().double(), expected, rtol=0, atol=4 * bound(case, inputs, gradient))


TF32 = (OUTER[8], CONV[5])


@pytest.mark.parametrize("case", TF32, ids=str)
class TestTF32:
    def test_emulated_one_pass_is_as_exact_as_tf32(self, case: Case, emulated: ctypes.CDLL) -> None:
        inputs = case.inputs(torch.float32)
        gradient = case.gradient(*inputs)
        out = case.emulate(emulated, *inputs, allow_tf32=True).double()
        error = (out - reference.sketch(gradient, *case.spec)).abs().max()
        assert bound(case, inputs, gradient) < error < bound(case, inputs, gradient, tf32=True)

    @pytest.mark.gpu
    def test_cuda_one_pass_is_as_exact_as_tf32(self, case: Case) -> None:
        inputs = case.inputs(torch.float32)
        gradient = case.gradient(*inputs)
        out = case.run(*(x.cuda() for x in inputs), allow_tf32=True).cpu().double()
        error = (out - reference.sketch(gradient, *case.spec)).abs().max()
        assert bound(case, inputs, gradient) < error < bound(case, inputs, gradient, tf32=True)


# Ragged last segments, with and without a bias; each way of making values, and of keeping buckets.
POISONED = (
    Outer((1, 17, 70, 130), k=4000),
    Outer((1, 17, 70, 130), k=20011, bias=True),
    Conv((1, 8, 6, 6), 20, k=4000, bias=True),
    Conv((1, 70, 4, 4), 20, (1, 1), k=4000),
    Conv((1, 9, 6, 6), 9, groups=9, k=4000),
    Conv((1, 1, 9, 9), 16, (7, 1), k=4000),  # positions behind the last one would meet the NaN
)


@pytest.mark.parametrize("where", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", POISONED, ids=str)
class TestNaN:
    def inputs(self, case: Case, dtype: torch.dtype, where: int) -> tuple[list[Tensor], Tensor]:
        """One NaN, and the buckets it belongs to."""
        inputs = case.inputs(dtype)
        inputs[where].flatten()[inputs[where].numel() // 2] = float("nan")
        expected = reference.sketch(case.gradient(*inputs), *case.spec).isnan()
        assert 0 < expected.sum() < expected.numel()
        return inputs, expected

    def test_emulated_stays_in_its_buckets(
        self, case: Case, dtype: torch.dtype, where: int, emulated: ctypes.CDLL
    ) -> None:
        inputs, expected = self.inputs(case, dtype, where)
        assert torch.equal(case.emulate(emulated, *inputs).isnan(), expected)

    @pytest.mark.gpu
    def test_cuda_stays_in_its_buckets(self, case: Case, dtype: torch.dtype, where: int) -> None:
        inputs, expected = self.inputs(case, dtype, where)
        assert torch.equal(case.run(*(x.cuda() for x in inputs)).cpu().isnan(), expected)


SCHEDULED = (
    Outer((1, 70, 70, 130), k=64, nnz=2, bias=True),
    Outer((1, 40, 64, 64), k=20011, bias=True),
    Conv((1, 8, 7, 7), 20, k=100, nnz=2, bias=True),
    Conv((1, 9, 6, 6), 18, groups=9, k=64, bias=True),
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", SCHEDULED, ids=str)
def test_bits_do_not_depend_on_the_schedule(case: Case, dtype: torch.dtype, emulated: ctypes.CDLL) -> None:
    inputs = [x * 10 ** (4 * torch.rand_like(x) - 2) for x in case.inputs(dtype)]
    first = case.emulate(emulated, *inputs, schedule=1)
    for schedule in range(2, 6):
        assert torch.equal(case.emulate(emulated, *inputs, schedule=schedule), first)


BATCHES = (OUTER[3], OUTER[10], CONV[5], CONV[14])


@pytest.mark.parametrize("case", BATCHES, ids=str)
def test_bits_do_not_depend_on_the_batch(case: Case, emulated: ctypes.CDLL) -> None:
    inputs = case.inputs(torch.bfloat16)
    alone = [case.emulate(emulated, *(x[i : i + 1] for x in inputs)) for i in range(2)]
    assert torch.equal(torch.cat(alone), case.emulate(emulated, *inputs))


class TestLargeArrays:
    """Arrays of more than 2^31 elements, of which only the last sample is ever touched: the rest takes no memory."""

    def test_outer(self, emulated: ctypes.CDLL) -> None:
        n, t, p, o = 2**31 // (8 * 512) + 2, 8, 512, 8
        a = torch.empty(n, t, p, dtype=torch.bfloat16)
        g = torch.empty(n, t, o, dtype=torch.bfloat16)
        a[-1], g[-1] = (x[0] for x in normal((1, t, p), (1, t, o), dtype=torch.bfloat16))
        out = emulate.last_sample(emulated, "sketch_outer", (a, g), emulate.integers(n, t, p, o), 64)
        assert torch.equal(out, emulate.sketch_outer(emulated, a[-1:], g[-1:], (64, 0, 1, 0))[0])
        swapped = emulate.last_sample(emulated, "sketch_outer", (g, a), emulate.integers(n, t, o, p), 64)
        assert torch.equal(swapped, emulate.sketch_outer(emulated, g[-1:], a[-1:], (64, 0, 1, 0))[0])

    @pytest.mark.parametrize("groups", [1, 16])
    def test_conv(self, groups: int, emulated: ctypes.CDLL) -> None:
        case = Conv((1, 16, 16, 16), 16, padding=(1, 1), groups=groups, k=64)
        n = 2**31 // (16 * 16 * 16) + 2
        x, g = (torch.empty(n, 16, 16, 16, dtype=torch.bfloat16) for _ in range(2))
        x[-1], g[-1] = (each[0] for each in case.inputs(torch.bfloat16))
        sizes = [emulate.conv_shape(x, g, case.window)]
        out = emulate.last_sample(emulated, "sketch_conv", (x, g), sizes, 64)
        assert torch.equal(out, emulate.sketch_conv(emulated, x[-1:], g[-1:], case.window, (64, 0, 1, 0))[0])


@pytest.mark.parametrize("case", [CONV[6], CONV[9], CONV[15]], ids=str)
def test_truth_is_the_gradient_of_torch(case: Conv) -> None:
    x, g = case.inputs(torch.float64)
    weight = torch.zeros(case.o, case.x[1] // case.groups, *case.kernel, dtype=torch.float64, requires_grad=True)
    out = functional.conv2d(x, weight, None, case.stride, case.padding, case.dilation, case.groups)
    (expected,) = torch.autograd.grad(out, weight, g)
    torch.testing.assert_close(case.gradient(x, g)[0, :, : expected[0].numel()], expected.flatten(1))


def test_too_large_an_image_is_refused(emulated: ctypes.CDLL) -> None:
    case = Conv((1, 1, 1, 1), 1, (1, 1), padding=(2**29, 0))
    with pytest.raises(RuntimeError, match=r"sketch_conv: a side of x with its padding must be below 2\^30"):
        case.emulate(emulated, torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
