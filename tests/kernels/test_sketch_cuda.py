"""Values, NaN and bits of the CUDA kernels of sketch_outer and sketch_conv, emulated and on a device."""

import ctypes
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests import emulate
from tests.cases import CONV, MODEL_DTYPES, OUTER, ConvCase, OuterCase, WeightCase, draw
from tests.rounding import bound, uneven


def emulated_run(library: ctypes.CDLL, case: WeightCase, x: Tensor, g: Tensor, **options: int) -> Tensor:
    options = {"bias": case.bias, "shift": case.shift, **options}
    if isinstance(case, OuterCase):
        return emulate.sketch_outer(library, x, g, case.spec, **options)
    return emulate.sketch_conv(library, x, g, flat_window(case), case.spec, **options)


def flat_window(case: ConvCase) -> tuple[int, ...]:
    return (*case.kernel, *case.stride, *case.padding, *case.dilation, case.groups)


def on_device(case: WeightCase, inputs: tuple[Tensor, Tensor], allow_tf32: bool = False) -> Tensor:
    return case.run(*(x.cuda() for x in inputs), allow_tf32=allow_tf32).cpu()


@pytest.mark.parametrize("case", OUTER + CONV, ids=str)
@pytest.mark.parametrize("dtype", MODEL_DTYPES, ids=str)
class TestValues:
    def test_emulated_equals_truth(self, case: WeightCase, dtype: torch.dtype, emulated: ctypes.CDLL) -> None:
        inputs = case.inputs(dtype)
        out = emulated_run(emulated, case, *inputs)
        torch.testing.assert_close(out.double(), case.truth(*inputs), rtol=0, atol=bound(case, *inputs))

    @pytest.mark.gpu
    def test_cuda_equals_truth(self, case: WeightCase, dtype: torch.dtype) -> None:
        inputs = case.inputs(dtype)
        out, again = (on_device(case, inputs) for _ in range(2))
        assert torch.equal(out, again)
        torch.testing.assert_close(out.double(), case.truth(*inputs), rtol=0, atol=bound(case, *inputs))


@pytest.mark.parametrize("case", [OUTER[10], CONV[6]], ids=str)
class TestTF32:
    def test_emulated_one_pass_is_as_exact_as_tf32(self, case: WeightCase, emulated: ctypes.CDLL) -> None:
        inputs = case.inputs(torch.float32)
        out = emulated_run(emulated, case, *inputs, allow_tf32=True).double()
        error = (out - case.truth(*inputs)).abs().max()
        assert bound(case, *inputs) < error < bound(case, *inputs, tf32=True)

    @pytest.mark.gpu
    def test_cuda_one_pass_is_as_exact_as_tf32(self, case: WeightCase) -> None:
        inputs = case.inputs(torch.float32)
        error = (on_device(case, inputs, allow_tf32=True).double() - case.truth(*inputs)).abs().max()
        assert bound(case, *inputs) < error < bound(case, *inputs, tf32=True)


# Many positions: a product that lets tensor cores carry its sums drops their last bits over and over.
LONG = (
    OuterCase((1, 3136, 64, 16), 1024, bias=True),
    ConvCase((1, 3, 56, 56), 16, padding=(1, 1), k=1024),  # 3,136 positions
)
FLOAT32_ERROR = 2e-6  # relative, as docs/sketch.md says


def relative_error(case: WeightCase, mean: float, run: Callable[[Tensor, Tensor], Tensor]) -> float:
    x, g = (values + mean for values in case.inputs(torch.float32))
    truth = case.truth(x, g)
    return float((run(x, g).double() - truth).norm() / truth.norm())


@pytest.mark.parametrize("mean", [0.0, 1.0])
class TestManyPositions:
    @pytest.mark.parametrize("case", LONG, ids=str)
    def test_emulated_three_passes_keep_float32(self, case: WeightCase, mean: float, emulated: ctypes.CDLL) -> None:
        assert relative_error(case, mean, lambda x, g: emulated_run(emulated, case, x, g)) < FLOAT32_ERROR

    @pytest.mark.gpu
    @pytest.mark.parametrize("case", [*LONG, OuterCase((2, 12544, 147, 64), 1024)], ids=str)
    def test_cuda_three_passes_keep_float32(self, case: WeightCase, mean: float) -> None:
        assert relative_error(case, mean, lambda *inputs: on_device(case, inputs)) < FLOAT32_ERROR


# Ragged last segments, with and without a bias; each way of making values, and of keeping buckets.
POISONED = (
    OuterCase((1, 17, 70, 130), 4000),
    OuterCase((1, 17, 70, 130), 20011, bias=True),
    ConvCase((1, 8, 6, 6), 20, k=4000, bias=True),
    ConvCase((1, 70, 4, 4), 20, (1, 1), k=4000),
    ConvCase((1, 9, 6, 6), 9, groups=9, k=4000),
    ConvCase((1, 1, 9, 9), 16, (7, 1), k=4000),  # positions behind the last one would meet the NaN
    ConvCase((1, 1, 8, 9), 16, (7, 1), k=4000),  # the first of them would
)


@pytest.mark.parametrize("where", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", POISONED, ids=str)
class TestNaN:
    def inputs(self, case: WeightCase, dtype: torch.dtype, where: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """One NaN reaches the buckets of its products and no other."""
        inputs = case.inputs(dtype)
        inputs[where].flatten()[inputs[where].numel() // 2] = float("nan")
        expected = case.truth(*inputs).isnan()
        assert 0 < expected.sum() < expected.numel()
        return inputs, expected

    def test_emulated_stays_in_its_buckets(
        self, case: WeightCase, dtype: torch.dtype, where: int, emulated: ctypes.CDLL
    ) -> None:
        inputs, expected = self.inputs(case, dtype, where)
        assert torch.equal(emulated_run(emulated, case, *inputs).isnan(), expected)

    @pytest.mark.gpu
    def test_cuda_stays_in_its_buckets(self, case: WeightCase, dtype: torch.dtype, where: int) -> None:
        inputs, expected = self.inputs(case, dtype, where)
        assert torch.equal(on_device(case, inputs).isnan(), expected)


SCHEDULED = (
    OuterCase((1, 70, 70, 130), nnz=2, bias=True),
    OuterCase((1, 40, 64, 64), 20011, bias=True),
    ConvCase((1, 8, 7, 7), 20, k=100, nnz=2, bias=True),
    ConvCase((1, 9, 6, 6), 18, groups=9, k=64, bias=True),
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", SCHEDULED, ids=str)
def test_emulated_bits_do_not_depend_on_the_schedule(
    case: WeightCase, dtype: torch.dtype, emulated: ctypes.CDLL
) -> None:
    inputs = [uneven(x.shape, dtype) for x in case.inputs(dtype)]
    first = emulated_run(emulated, case, *inputs, schedule=1)
    for schedule in range(2, 6):
        assert torch.equal(emulated_run(emulated, case, *inputs, schedule=schedule), first)


@pytest.mark.parametrize("case", [OUTER[5], OUTER[12], CONV[6], CONV[20]], ids=str)
def test_emulated_bits_do_not_depend_on_the_batch(case: WeightCase, emulated: ctypes.CDLL) -> None:
    inputs = case.inputs(torch.bfloat16)
    alone = [emulated_run(emulated, case, *(x[i : i + 1] for x in inputs)) for i in range(2)]
    assert torch.equal(torch.cat(alone), emulated_run(emulated, case, *inputs))


@pytest.mark.parametrize("case", [OUTER[4], OUTER[9], CONV[7], CONV[20]], ids=str)
def test_emulated_buckets_are_in_shared_memory_where_two_blocks_fit(case: WeightCase, emulated: ctypes.CDLL) -> None:
    """Buckets are in the result where they do not fit into shared memory, with the same bits."""
    stage, system = 128 * (72 * 4 + 16), 1024  # of a block
    enough = 2 * (stage + 4 * case.k + system)
    results = []
    for multiprocessor, expected in ((enough, stage + 4 * case.k), (enough - 1, stage)):
        with (
            emulate.setting(emulated, "most_shared_bytes", ctypes.c_uint64, 0) as most,
            emulate.setting(emulated, "multiprocessor_bytes", ctypes.c_int, multiprocessor),
        ):
            results.append(emulated_run(emulated, case, *case.inputs(torch.float32)))
            assert most.value == expected
    assert torch.equal(*results)


@pytest.mark.parametrize("k", [64, 20011])
def test_emulated_slices_are_long(k: int, emulated: ctypes.CDLL) -> None:
    """The slices write little beside the gradients that they sum."""
    n, t, p, o = 2, 1, 1300, 1300
    floats = emulated.emulated_sketch_outer_workspace(*emulate.integers(n, t, p, o, k), False)
    padded = 1344 * 1408  # whole tiles
    assert 0 < floats <= n * (padded / 7 + k)


LAYERS = (  # c, side, o, kernel, stride, padding, groups: ResNet-50, ConvNeXt-L, EfficientNet-B0
    (3, 224, 64, 7, 2, 3, 1), (64, 56, 64, 1, 1, 0, 1), (64, 56, 64, 3, 1, 1, 1), (64, 56, 256, 1, 1, 0, 1),
    (256, 56, 64, 1, 1, 0, 1), (128, 56, 128, 3, 2, 1, 1), (256, 56, 512, 1, 2, 0, 1), (128, 28, 128, 3, 1, 1, 1),
    (512, 28, 128, 1, 1, 0, 1), (256, 14, 256, 3, 1, 1, 1), (256, 14, 1024, 1, 1, 0, 1), (512, 7, 512, 3, 1, 1, 1),
    (2048, 7, 512, 1, 1, 0, 1),
    (3, 224, 192, 4, 4, 0, 1), (192, 56, 192, 7, 1, 3, 192), (192, 56, 384, 2, 2, 0, 1), (384, 28, 384, 7, 1, 3, 384),
    (768, 14, 768, 7, 1, 3, 768), (768, 14, 1536, 2, 2, 0, 1), (1536, 7, 1536, 7, 1, 3, 1536),
    (3, 224, 32, 3, 2, 1, 1), (32, 112, 32, 3, 1, 1, 32), (32, 112, 16, 1, 1, 0, 1), (16, 112, 96, 1, 1, 0, 1),
    (96, 112, 96, 3, 2, 1, 96), (144, 56, 144, 3, 1, 1, 144), (144, 56, 144, 5, 2, 2, 144), (144, 28, 40, 1, 1, 0, 1),
    (240, 28, 240, 5, 1, 2, 240), (240, 28, 240, 3, 2, 1, 240), (480, 14, 480, 3, 1, 1, 480),
    (480, 14, 112, 1, 1, 0, 1), (672, 14, 672, 5, 1, 2, 672), (672, 14, 672, 5, 2, 2, 672), (192, 7, 1152, 1, 1, 0, 1),
    (1152, 7, 1152, 3, 1, 1, 1152), (1152, 7, 320, 1, 1, 0, 1),
)  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_emulated_every_multiprocessor_has_a_block(layer: tuple[int, ...], emulated: ctypes.CDLL) -> None:
    """Of 16 samples, on the 132 multiprocessors of an H200; where rows and columns are few, positions are cut."""
    c, side, o, kernel, stride, padding, groups = layer
    n, k, out = 16, 1024, (side + 2 * padding - kernel) // stride + 1
    x, g = torch.empty(n, c, side, side, device="meta"), torch.empty(n, o, out, out, device="meta")
    window = (kernel, kernel, stride, stride, padding, padding, 1, 1, groups)
    shape = emulate.conv_shape(x, g, window)
    floats = emulated.emulated_sketch_conv_workspace(shape, ctypes.c_int64(k), False)
    assert 132 <= floats // k <= 1200


def test_emulated_one_slice_needs_no_workspace(emulated: ctypes.CDLL) -> None:
    k = 2**20  # for which it is not worth while to cut
    assert emulated.emulated_sketch_outer_workspace(*emulate.integers(2, 9, 64, 128, k), True) == 0
    for case in (CONV[6], CONV[20]):
        shape = emulate.conv_shape(*case.inputs(torch.float32), flat_window(case))
        assert emulated.emulated_sketch_conv_workspace(shape, ctypes.c_int64(k), case.bias) == 0


class TestLargeArrays:
    """Arrays of more than 2^31 elements that take no memory, as only their last sample is touched."""

    def test_outer_emulated(self, emulated: ctypes.CDLL) -> None:
        n, t, p, o = 2**31 // (8 * 512) + 2, 8, 512, 8
        a = torch.empty(n, t, p, dtype=torch.bfloat16)
        g = torch.empty(n, t, o, dtype=torch.bfloat16)
        a[-1], g[-1] = draw((t, p), torch.bfloat16, 1), draw((t, o), torch.bfloat16, 2)
        out = emulate.last_sample(emulated, "sketch_outer", (a, g), emulate.integers(n, t, p, o), 64)
        assert torch.equal(out, emulate.sketch_outer(emulated, a[-1:], g[-1:], (64, 0, 1, 0))[0])
        swapped = emulate.last_sample(emulated, "sketch_outer", (g, a), emulate.integers(n, t, o, p), 64)
        assert torch.equal(swapped, emulate.sketch_outer(emulated, g[-1:], a[-1:], (64, 0, 1, 0))[0])

    @pytest.mark.parametrize("groups", [1, 16])
    def test_conv_emulated(self, groups: int, emulated: ctypes.CDLL) -> None:
        case = ConvCase((1, 16, 16, 16), 16, padding=(1, 1), groups=groups, k=64)
        n = 2**31 // (16 * 16 * 16) + 2
        x, g = (torch.empty(n, 16, 16, 16, dtype=torch.bfloat16) for _ in range(2))
        x[-1], g[-1] = (tensor[0] for tensor in case.inputs(torch.bfloat16))
        sizes = [emulate.conv_shape(x, g, flat_window(case))]
        out = emulate.last_sample(emulated, "sketch_conv", (x, g), sizes, 64)
        assert torch.equal(out, emulate.sketch_conv(emulated, x[-1:], g[-1:], flat_window(case), (64, 0, 1, 0))[0])


@pytest.mark.parametrize("axis", [0, 1])
def test_conv_of_too_large_an_image_is_refused_emulated(axis: int, emulated: ctypes.CDLL) -> None:
    sides, padding = [1, 1], [0, 0]
    sides[axis], padding[axis] = 2, 2**29 - 1
    case = ConvCase((1, 1, *sides), 1, (1, 1), padding=(padding[0], padding[1]))
    with pytest.raises(RuntimeError, match=r"a side of x with its padding must be below 2\^30"):
        emulated_run(emulated, case, torch.ones(1, 1, *sides), torch.ones(1, 1, 1, 1))
