"""Sketches of weight gradients equal the sketch of the gradient, on every instruction set and for every shape."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import gradkern
from gradkern import _native, sketch_conv, sketch_outer
from gradkern.errors import naming
from gradkern.kernels import baselines, ops, reference
from tests.cases import CONV, MODEL_DTYPES, OUTER, ConvCase, OuterCase, WeightCase
from tests.rounding import bound, uneven


@pytest.fixture(params=_native.isas())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GRADKERN_ISA", request.param)
    return request.param


class TestReference:
    """The formulas against autograd, sample by sample."""

    def test_outer_is_the_gradient_of_a_linear_layer(self) -> None:
        layer = torch.nn.Linear(70, 9).double()
        a, g = torch.randn(3, 5, 70).double(), torch.randn(3, 5, 9).double()
        for i in range(3):
            weight, bias = torch.autograd.grad((layer(a[i]) * g[i]).sum(), [layer.weight, layer.bias])
            joint = torch.cat([weight, bias[:, None]], 1)[None]
            expected = reference.sketch(joint, 100, seed=2)[0]
            torch.testing.assert_close(reference.sketch_outer(a, g, 100, seed=2, bias=True)[i], expected)
            expected = reference.sketch(weight[None], 100, seed=2)[0]
            torch.testing.assert_close(reference.sketch_outer(a, g, 100, seed=2)[i], expected)

    @pytest.mark.parametrize("case", [case for case in CONV if case.x[1] > 0], ids=str)
    def test_conv_is_the_gradient_of_a_convolution(self, case: ConvCase) -> None:
        x, g = case.inputs(torch.float64)
        window = case.window
        weight = torch.zeros(case.o, case.x[1] // case.groups, *case.kernel, dtype=torch.float64, requires_grad=True)
        offset = torch.zeros(case.o, dtype=torch.float64, requires_grad=True)
        for i in range(len(x)):
            out = torch.nn.functional.conv2d(
                x[i : i + 1], weight, offset, case.stride, case.padding, case.dilation, window.groups
            )
            gradients = torch.autograd.grad((out * g[i]).sum(), [weight, offset])
            joint = [gradients[0].flatten(1), gradients[1][:, None]]
            expected = reference.sketch(torch.cat(joint[: 1 + case.bias], 1)[None], *case.spec)[0]
            torch.testing.assert_close(case.truth(x, g)[i], expected)


@pytest.mark.parametrize("dtype", MODEL_DTYPES, ids=str)
@pytest.mark.parametrize("case", OUTER + CONV, ids=str)
def test_equals_reference(case: WeightCase, dtype: torch.dtype, isa: str) -> None:
    x, g = (shifted(tensor, case.shift) for tensor in case.inputs(dtype))
    out = case.run(x, g)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), case.truth(x, g), rtol=0, atol=bound(case, x, g))


class TestAnyShape:
    @given(
        shape=st.tuples(st.integers(1, 2), st.integers(1, 70), st.integers(1, 140), st.integers(1, 20)),
        k=st.integers(64, 300),
        nnz=st.integers(1, 3),
        bias=st.booleans(),
        dtype=st.sampled_from(MODEL_DTYPES),
    )
    @settings(max_examples=60, deadline=None)
    def test_outer(self, shape: tuple[int, int, int, int], k: int, nnz: int, bias: bool, dtype: torch.dtype) -> None:
        case = OuterCase(shape, k, nnz, bias=bias)
        a, g = case.inputs(dtype)
        torch.testing.assert_close(case.run(a, g).double(), case.truth(a, g), rtol=0, atol=bound(case, a, g))

    @given(
        size=st.tuples(st.integers(5, 20), st.integers(5, 40)),
        kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
        stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
        padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
        dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
        channels=st.sampled_from([(3, 7, 1), (4, 8, 2), (6, 6, 6), (4, 12, 4), (5, 10, 5), (64, 6, 1)]),
        bias=st.booleans(),
        dtype=st.sampled_from(MODEL_DTYPES),
    )
    @settings(max_examples=80, deadline=None)
    def test_conv(self, size, kernel, stride, padding, dilation, channels, bias, dtype) -> None:
        c, o, groups = channels
        case = ConvCase((2, c, *size), o, kernel, stride, padding, dilation, groups, 100, bias=bias)
        x, g = case.inputs(dtype)
        torch.testing.assert_close(case.run(x, g).double(), case.truth(x, g), rtol=0, atol=bound(case, x, g))


PROBLEMS = {
    "outer": (lambda x, g: sketch_outer(x, g, 100, bias=True), (5, 300, 130), (5, 300, 70)),
    "conv": (lambda x, g: sketch_conv(x, g, 100, kernel_size=3, padding=1), (5, 32, 20, 20), (5, 48, 20, 20)),
    "pointwise": (lambda x, g: sketch_conv(x, g, 100, kernel_size=1), (5, 130, 20, 13), (5, 48, 20, 13)),
    "depthwise": (
        lambda x, g: sketch_conv(x, g, 64, kernel_size=3, padding=1, groups=200),
        (5, 200, 20, 20),
        (5, 200, 20, 20),
    ),
}


@pytest.mark.parametrize("dtype", MODEL_DTYPES, ids=str)
@pytest.mark.parametrize("problem", PROBLEMS)
class TestBits:
    def test_do_not_depend_on_the_batch(self, problem: str, dtype: torch.dtype) -> None:
        run, x_shape, g_shape = PROBLEMS[problem]
        x, g = uneven(x_shape, dtype), uneven(g_shape, dtype)
        whole = run(x, g)
        for size in (1, 2, 3):
            parts = [run(*batch) for batch in zip(x.split(size), g.split(size), strict=True)]
            assert torch.equal(torch.cat(parts), whole)

    def test_do_not_depend_on_threads(self, problem: str, dtype: torch.dtype) -> None:
        run, x_shape, g_shape = PROBLEMS[problem]
        x, g = uneven(x_shape, dtype), uneven(g_shape, dtype)
        before = torch.get_num_threads()
        try:
            results = []
            for threads in (1, 2, 3, 8):
                torch.set_num_threads(threads)
                results.append(torch.cat([run(x, g), run(x[:1], g[:1])]))
        finally:
            torch.set_num_threads(before)
        assert all(torch.equal(result, results[0]) for result in results)

    def test_do_not_depend_on_alignment(self, problem: str, dtype: torch.dtype) -> None:
        run, x_shape, g_shape = PROBLEMS[problem]
        x, g = uneven(x_shape, dtype), uneven(g_shape, dtype)
        assert torch.equal(run(shifted(x), shifted(g)), run(x, g))


def shifted(x: Tensor, by: int = 1) -> Tensor:
    """Copy x to `by` elements behind a multiple of 64 bytes."""
    memory = torch.empty(x.numel() + by, dtype=x.dtype)
    return memory[by:].view(x.shape).copy_(x)


@pytest.mark.parametrize("dtype", MODEL_DTYPES, ids=str)
@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=str)
class TestNotFinite:
    """A value that is not finite reaches the buckets of its products and no other."""

    @pytest.mark.parametrize("bias", [False, True])
    def test_outer(self, value: float, dtype: torch.dtype, bias: bool, isa: str) -> None:
        case = OuterCase((2, 20, 70, 9), 4096, bias=bias)
        for factor in ("a", "g"):
            a, g = case.inputs(dtype)
            (a if factor == "a" else g)[1, 3, 4] = value
            out, expected = case.run(a, g), case.truth(a, g)
            assert torch.equal(out.isfinite(), expected.isfinite())
            assert not out[1].isfinite().all()

    @pytest.mark.parametrize("groups", [1, 6])
    def test_conv(self, value: float, dtype: torch.dtype, groups: int, isa: str) -> None:
        case = ConvCase((2, 6, 11, 13), 6, (3, 3), groups=groups, k=4096, stride=(2, 2), bias=True)
        for factor in ("x", "g"):
            x, g = case.inputs(dtype)
            (x if factor == "x" else g)[1, 2, 3, 4] = value
            out, expected = case.run(x, g), case.truth(x, g)
            assert torch.equal(out.isfinite(), expected.isfinite())
            assert not out[1].isfinite().all()


@pytest.mark.parametrize("case", [OUTER[4], CONV[6], CONV[12], CONV[20]], ids=str)
def test_gradient_is_that_of_the_reference(case: WeightCase) -> None:
    inputs = case.inputs(torch.float32)
    y = torch.randn(len(inputs[0]), case.k, generator=torch.Generator().manual_seed(3))
    ours = [x.clone().requires_grad_() for x in inputs]
    if isinstance(case, OuterCase):
        out = ops.sketch_outer(*ours, case.spec, case.bias)
    else:
        out = ops.sketch_conv(*ours, case.spec, case.window, case.bias)
    (out * y).sum().backward()
    doubles = [x.double().requires_grad_() for x in inputs]
    (case.truth(*doubles) * y.double()).sum().backward()
    for mine, expected in zip(ours, doubles, strict=True):
        torch.testing.assert_close(mine.grad.double(), expected.grad, rtol=1e-4, atol=1e-4)


class TestDoors:
    def test_linear_and_convolution_hooks_agree_with_one_image_at_a_time(self) -> None:
        """A 1x1 convolution is a Linear layer whose positions are pixels."""
        x, g = torch.randn(2, 70, 5, 6), torch.randn(2, 9, 5, 6)
        conv = sketch_conv(x, g, 100, kernel_size=1, seed=4, bias=True)
        outer = sketch_outer(x.flatten(2).mT.contiguous(), g.flatten(2).mT.contiguous(), 100, seed=4, bias=True)
        torch.testing.assert_close(conv, outer, rtol=0, atol=1e-4)

    def test_one_dimension(self) -> None:
        x, g = torch.randn(2, 3, 50), torch.randn(2, 5, 25)
        flat = sketch_conv(x, g, 64, kernel_size=(7,), stride=2, padding=3)
        square = sketch_conv(x[:, :, None], g[:, :, None], 64, kernel_size=(1, 7), stride=(1, 2), padding=(0, 3))
        assert torch.equal(flat, square)

    def test_parts_of_a_model_add_up(self) -> None:
        a, g = torch.randn(2, 9, 128), torch.randn(2, 9, 10)
        whole = sketch_outer(a, g, 256)
        parts = [sketch_outer(a, g[:, :, r : r + 5].contiguous(), 256, first_segment=2 * r) for r in (0, 5)]
        torch.testing.assert_close(parts[0] + parts[1], whole, rtol=0, atol=1e-4)

    def test_factor_takes_the_projection_from_both_sides(self) -> None:
        a, g = torch.randn(2, 9, 70), torch.randn(2, 9, 10)
        assert torch.equal(sketch_outer(a, g, 96, factor=(12, 8), seed=3), baselines.factored(a, g, (12, 8), seed=3))
        ones = torch.cat([a, torch.ones(2, 9, 1)], 2)
        with_bias = sketch_outer(a, g, 96, factor=(12, 8), bias=True)
        assert torch.equal(with_bias, baselines.factored(ones, g, (12, 8)))

    def test_numpy_in_numpy_out(self) -> None:
        a, g = (np.random.default_rng(i).standard_normal((2, 5, 70)).astype(np.float32) for i in (0, 1))
        out = sketch_outer(a, g, 64)
        assert isinstance(out, np.ndarray)
        np.testing.assert_array_equal(out, sketch_outer(torch.tensor(a), torch.tensor(g), 64).numpy())
        x = a[:, :, None, :]
        assert isinstance(sketch_conv(x, x, 64, kernel_size=1), np.ndarray)

    def test_opcheck(self) -> None:
        a, g = torch.randn(2, 5, 70), torch.randn(2, 5, 9)
        torch.library.opcheck(torch.ops.gradkern.sketch_outer, (a, g, 64, 0, 1, 0, True, False))
        x, y = torch.randn(2, 4, 6, 7), torch.randn(2, 8, 6, 7)
        window = [3, 3], [1, 1], [1, 1], [1, 1], 2
        torch.library.opcheck(torch.ops.gradkern.sketch_conv, (x, y, 64, 0, 1, 0, *window, True, False))

    def test_a_device_without_a_kernel_runs_the_reference(self) -> None:
        a, g = torch.randn(2, 5, 70), torch.randn(2, 5, 9)
        out = ops._outer_default(a, g, 64, 0, 1, 0, True, False)
        torch.testing.assert_close(out, sketch_outer(a, g, 64, bias=True), rtol=0, atol=1e-4)
        x, y = torch.randn(2, 4, 6, 7), torch.randn(2, 8, 6, 7)
        out = ops._conv_default(x, y, 64, 0, 1, 0, [3, 3], [1, 1], [1, 1], [1, 1], 2, True, False)
        expected = sketch_conv(x, y, 64, kernel_size=3, padding=1, groups=2, bias=True)
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-4)

    def test_compile_without_a_break(self) -> None:
        compiled = torch.compile(lambda a, g: sketch_outer(a.relu(), g, 64), fullgraph=True, backend="aot_eager")
        a, g = torch.randn(2, 5, 70), torch.randn(2, 5, 9)
        torch.testing.assert_close(compiled(a, g), sketch_outer(a.relu(), g, 64))


def lazy_zeros(*shape: int) -> Tensor:
    """Zeros that take no memory until they are written."""
    return torch.from_numpy(np.zeros(shape, np.uint16)).view(torch.bfloat16)


def test_arrays_beyond_two_billion_elements() -> None:
    """Offsets need 64 bits: only the last positions are not zero."""
    t = 2**25 + 3
    a, g = lazy_zeros(1, t, 65), lazy_zeros(1, t, 1)
    a[0, -3:], g[0, -3:] = 1.5, 2.0
    expected = sketch_outer(a[:, -3:], g[:, -3:], 64)
    assert torch.equal(sketch_outer(a, g, 64), expected)
    side = 46342  # its square is above 2^31
    for channels, height in ((1, side), (4, side // 4)):  # channel by channel, and as a product
        x, y = lazy_zeros(1, channels, height, side), lazy_zeros(1, channels, height, side)
        x[0, -1, -1, -4:], y[0, -1, -1, -4:] = 1.5, 2.0
        assert sketch_conv(x, y, 64, kernel_size=1).abs().sum() == 12.0


def test_memory_is_that_of_a_block_whatever_the_batch() -> None:
    """32 samples whose gradients would take 288 MB; the process grows by less than one of them."""
    code = """
        import resource, torch, gradkern
        torch.set_num_threads(2)
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        a, g = torch.randn(32, 64, 768), torch.randn(32, 64, 3072)
        x, y = torch.randn(32, 64, 56, 56), torch.randn(32, 256, 56, 56)
        gradkern.sketch_outer(a[:2, :1, :64].contiguous(), g[:2, :1, :64].contiguous(), 1024)
        before = peak()
        gradkern.sketch_outer(a, g, 1024)
        outer = peak() - before
        gradkern.sketch_conv(x, y, 1024, kernel_size=3, padding=1)
        print(outer, peak() - before)
    """
    env = {**os.environ, "MALLOC_ARENA_MAX": "2"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, env=env
    )
    outer, conv = map(float, done.stdout.split())
    assert outer < 9
    assert conv < 9


A, G = torch.zeros(2, 5, 70), torch.zeros(2, 5, 9)
X, Y = torch.zeros(2, 4, 6, 7), torch.zeros(2, 8, 6, 7)
ERRORS = [
    (lambda: sketch_outer(A, G, 32), ValueError, "sketch_outer: k must be at least 64, got 32"),
    (lambda: sketch_outer(A, G, 64, nnz=0), ValueError, r"sketch_outer: nnz must be in 1\.\.k, got 0"),
    (lambda: sketch_outer(A[0], G, 64), ValueError, r"sketch_outer: a must be \[n, t, p\], got shape \[5, 70\]"),
    (lambda: sketch_outer(A, G[0], 64), ValueError, r"sketch_outer: g must be \[n, t, o\], got shape \[5, 9\]"),
    (lambda: sketch_outer(A, G[:1], 64), ValueError, "sketch_outer: g must have the samples of a, got 1 beside 2"),
    (
        lambda: sketch_outer(A, G[:, :4].contiguous(), 64),
        ValueError,
        r"sketch_outer: g must be \[n, t, o\] beside a \[n, t, p\], got shape \[2, 4, 9\] beside \[2, 5, 70\]",
    ),
    (
        lambda: sketch_outer(A, G.bfloat16(), 64),
        ValueError,
        "sketch_outer: g must have the dtype of a, got bfloat16 beside float32",
    ),
    (
        lambda: sketch_outer(A.double(), G.double(), 64),
        ValueError,
        "sketch_outer: a must be float32, bfloat16 or float16, got float64",
    ),
    (lambda: sketch_outer(A, G.to("meta"), 64), ValueError, "g must be on the device of a, got meta beside cpu"),
    (lambda: sketch_outer(A[:, :, ::2], G, 64), ValueError, r"sketch_outer: a must be contiguous, got shape .*strides"),
    (lambda: sketch_outer(A.numpy()[:, ::-1], G, 64), ValueError, "sketch_outer: a must be contiguous.*strides"),
    (lambda: sketch_outer(A, G.mT.contiguous().mT, 64), ValueError, "sketch_outer: g must be contiguous"),
    (lambda: sketch_outer([[1.0]], G, 64), TypeError, "sketch_outer: a must be a torch, NumPy or CuPy array"),
    (lambda: sketch_outer(A, G, 96, factor=(12, 9)), ValueError, r"k_o \* k_i = k = 96, got \(12, 9\)"),
    (
        lambda: sketch_outer(A, G, 96, factor=(12, 8), nnz=2),
        ValueError,
        "factor has no nnz and no first_segment, got 2",
    ),
    (
        lambda: sketch_outer(A.int(), G, 64),
        ValueError,
        "sketch_outer: a must be float32, bfloat16 or float16, got int32",
    ),
    (lambda: sketch_outer(A, G, 64, bias="no"), TypeError, "sketch_outer: bias must be True or False, got 'no'"),
    (lambda: conv(bias=None), TypeError, "sketch_conv: bias must be True or False, got None"),
    (lambda: conv(x=X[0, 0]), ValueError, r"sketch_conv: x must be \[n, c, h, w\] or \[n, c, w\], got shape \[6, 7\]"),
    (lambda: conv(g=Y[0]), ValueError, r"sketch_conv: g must be \[n, o, out_h, out_w\], got shape \[8, 6, 7\]"),
    (
        lambda: conv(padding=0),
        ValueError,
        r"sketch_conv: g must be \[n, o, 4, 5\] for x of height and width \[6, 7\], got height and width \[6, 7\]",
    ),
    (lambda: conv(groups=3), ValueError, "sketch_conv: groups must divide the channels of x and of g, got 3 for 4 and"),
    (lambda: conv(groups=0), ValueError, "sketch_conv: groups must divide"),
    (
        lambda: conv(stride=0),
        ValueError,
        r"stride and dilation must be at least 1, got \[3, 3\], \[0, 0\] and \[1, 1\]",
    ),
    (lambda: conv(padding=-1), ValueError, r"sketch_conv: padding must not be negative, got \[-1, -1\]"),
    (lambda: conv(dilation=2**40), ValueError, r"dilation must be below 2\^20"),
    (lambda: conv(padding="same"), ValueError, "sketch_conv: padding must be an integer or 2 of them, got 'same'"),
    (
        lambda: sketch_conv(torch.ones(1, 2, 4), torch.ones(1, 3, 1), 64, kernel_size=4, dilation=2, padding=1),
        ValueError,
        r"sketch_conv: kernel_size must fit into the padded x, \[6\], got \[7\] with dilation",
    ),
    (
        lambda: sketch_conv(torch.ones(1, 2, 9, 4), torch.ones(1, 3, 1, 1), 64, kernel_size=7),
        ValueError,
        r"kernel_size must fit into the padded x, \[9, 4\], got \[7, 7\]",
    ),
    (lambda: conv(kernel_size=(3, 3, 3)), ValueError, r"kernel_size must be an integer or 2 of them, got \(3, 3, 3\)"),
    (lambda: conv(k=63), ValueError, "sketch_conv: k must be at least 64, got 63"),
]


def conv(x: Tensor = X, g: Tensor = Y, k: int = 64, **window: object) -> Tensor:
    return sketch_conv(x, g, k, **{"kernel_size": 3, "padding": 1, **window})


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=[message[:40] for _, _, message in ERRORS])
def test_bad_input_is_named(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_bad_workspace_or_address_is_refused() -> None:
    capsule = torch.utils.dlpack.to_dlpack
    arrays = capsule(A), capsule(G), capsule(torch.empty(0)), capsule(torch.empty(2, 65))
    with (
        pytest.raises(ValueError, match=r"sketch_outer: out must have shape \[2, 64\], got \[2, 65\]"),
        naming("sketch_outer"),
    ):
        _native.sketch_outer(*arrays, (64, 0, 1, 0), False, (1, False))
    odd = np.frombuffer(bytearray(4 * 71), np.uint8)[1:-3].view(np.float32)
    with pytest.raises(ValueError, match="sketch: x must begin at a multiple of its element's 4 bytes"):
        gradkern.sketch(torch.from_numpy(odd)[None], 64)
