"""The sketch: its definition, algebra, statistics and bits, for every instruction set and kind of array."""

import ctypes
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gradkern
from gradkern import Sketch, _native, sketch
from gradkern.errors import naming
from gradkern.kernels import ops, reference
from tests import emulate, numpy_sketch
from tests.cases import DTYPES, SKETCH, SketchCase
from tests.fake_capsule import cuda_capsule

EPS = torch.finfo(torch.float32).eps


def bound(x: torch.Tensor, case: SketchCase) -> float:
    """The tolerance c * eps * sqrt(additions to a bucket) * scale of float32 sums."""
    additions = 1 + x[0].numel() * case.nnz / case.k if len(x) else 1
    scale = float(x.double().abs().max()) if x.numel() else 1.0
    return 4 * EPS * additions**0.5 * scale * max(1.0, additions**0.5)


@pytest.mark.parametrize("case", [c for c in SKETCH if np.prod(c.shape) < 50_000], ids=str)
def test_reference_equals_a_second_implementation(case: SketchCase) -> None:
    x = case.inputs(torch.float64)
    torch.testing.assert_close(
        reference.sketch(x, *case.spec),
        torch.from_numpy(numpy_sketch.sketch(x.numpy(), *case.spec)),
        rtol=0,
        atol=1e-12,
    )


def test_bits_of_the_definition() -> None:
    """Values that must never change: results of one version are compared with the next."""
    x = torch.zeros(1, 1, 70)
    x[0, 0, 0], x[0, 0, 65] = 1.0, 2.0
    expected = numpy_sketch.sketch(x.numpy(), 1024, 42, 1, 7)[0]
    out = sketch(x, 1024, seed=42, first_segment=7)[0]
    assert {int(i): float(out[i]) for i in out.nonzero()} == {int(i): expected[i] for i in expected.nonzero()[0]}
    assert {int(i): float(out[i]) for i in out.nonzero()} == {269: -1.0, 952: -2.0}


@pytest.mark.parametrize("k", [64, 1024, 4096, 70_001])
def test_emulated_slices_are_long(k: int, emulated) -> None:
    """A slice has 1,024 segments, which a block sorts in two batches, and 8 columns for each sum that it writes."""
    x = torch.empty(1, 2**16, 64)
    assert emulate.workspace_floats(emulated, x, k) <= x.numel() * min(k / (1024 * 64), 1 / 8) + k


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", SKETCH, ids=str)
class TestValues:
    def test_cpu_equals_reference(self, case: SketchCase, dtype: torch.dtype) -> None:
        x = case.inputs(dtype)
        out = torch.ops.gradkern.sketch(x, *case.spec)
        assert out.dtype == torch.float32
        torch.testing.assert_close(out.double(), reference.sketch(x, *case.spec), rtol=0, atol=bound(x, case))

    def test_emulated_cuda_equals_reference(self, case: SketchCase, dtype: torch.dtype, emulated) -> None:
        x = case.inputs(dtype)
        out = emulate.sketch(emulated, x, case.spec)
        torch.testing.assert_close(out.double(), reference.sketch(x, *case.spec), rtol=0, atol=bound(x, case))

    @pytest.mark.gpu
    def test_cuda_equals_reference(self, case: SketchCase, dtype: torch.dtype) -> None:
        x = case.inputs(dtype)
        out = torch.ops.gradkern.sketch(x.cuda(), *case.spec)
        again = torch.ops.gradkern.sketch(x.cuda(), *case.spec)
        assert torch.equal(out, again)
        torch.testing.assert_close(out.cpu().double(), reference.sketch(x, *case.spec), rtol=0, atol=bound(x, case))


@pytest.mark.gpu
@pytest.mark.parametrize("case", SKETCH, ids=str)
def test_emulation_and_device_give_the_same_bits(case: SketchCase, emulated) -> None:
    x = case.inputs(torch.float32)
    assert torch.equal(emulate.sketch(emulated, x, case.spec), torch.ops.gradkern.sketch(x.cuda(), *case.spec).cpu())


def uneven(shape: tuple[int, int, int]) -> torch.Tensor:
    """Values of very different size: another order of additions gives other bits."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn(shape, generator=generator) * 10 ** (8 * torch.rand(shape, generator=generator) - 4)


@pytest.mark.parametrize("cols", [130, 192])  # a ragged last segment, and none
def test_emulated_bits_do_not_depend_on_the_schedule(cols: int, emulated) -> None:
    x, spec = uneven((1, 90, cols)), (64, 0, 2, 0)
    first = emulate.sketch(emulated, x, spec, schedule=1)
    for schedule in range(2, 8):
        assert torch.equal(emulate.sketch(emulated, x, spec, schedule), first)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_emulated_bits_do_not_depend_on_the_alignment(dtype: torch.dtype, emulated) -> None:
    x, spec = uneven((2, 9, 3 * 64 + 8)).to(dtype), (100, 0, 2, 0)
    assert torch.equal(emulate.sketch(emulated, x, spec), emulate.sketch(emulated, x, spec, offset=1))


@pytest.mark.parametrize("shape", [(5, 9, 130), (2, 1030, 64)], ids=str)  # the last block has one sample; two slices
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_emulated_bits_do_not_depend_on_who_shares_a_block(
    shape: tuple[int, int, int], dtype: torch.dtype, emulated
) -> None:
    x, spec = uneven(shape).to(dtype), (100, 0, 1, 0)
    results, sizes = [], []
    for count in (1, 1000):
        with (
            emulate.multiprocessors(emulated, count),
            emulate.setting(emulated, "most_shared_bytes", ctypes.c_uint64, 0) as most,
        ):
            results.append(emulate.sketch(emulated, x, spec))
            sizes.append(most.value)
    assert sizes[0] > sizes[1]  # the sums of two samples
    assert torch.equal(*results)
    assert torch.equal(results[0][:1], emulate.sketch(emulated, x[:1].contiguous(), spec))


def zeros(shape: tuple[int, int, int]) -> torch.Tensor:
    """Zeros of bfloat16 in untouched memory, 4 GiB of which take none."""
    return torch.from_numpy(np.zeros(shape, np.uint16)).view(torch.bfloat16)


class TestMoreThan31Bits:
    """Arrays of more than 2^31 elements: their end has the sketch of the end alone."""

    @pytest.mark.parametrize("shape", [(2**16 + 1, 1, 2**15), (1, 2**16 + 1, 2**15)], ids=str)
    def test_cpu(self, shape: tuple[int, int, int]) -> None:
        x = zeros(shape)
        x[-1, -1, -100:] = torch.arange(100)
        assert torch.equal(sketch(x, 64)[-1:], self.last_row(x))

    @pytest.mark.parametrize("shape", [(2**16 + 1, 1, 2**15), (1, 2**16 + 1, 2**15), (2**25 + 1, 1, 8)], ids=str)
    def test_emulated(self, shape: tuple[int, int, int], emulated) -> None:
        x = zeros(shape)
        x[-1, -1, -100:] = torch.arange(100)[-shape[2] :]
        blocks = max(len(x), emulate.workspace_floats(emulated, x, 64) // 64)
        assert torch.equal(emulate.block_of_sketch(emulated, x, (64, 0, 1, 0), blocks - 1)[None], self.last_row(x))

    def test_emulated_row(self, emulated) -> None:
        x = zeros((1, 1, 2**31 + 2**15))
        x[..., :100] = torch.arange(100)
        expected = sketch(x[..., :100].contiguous(), 64)
        assert torch.equal(emulate.block_of_sketch(emulated, x, (64, 0, 1, 0), 0)[None], expected)

    @staticmethod
    def last_row(x: torch.Tensor) -> torch.Tensor:
        return sketch(x[-1:, -1:], 64, first_segment=(x.shape[1] - 1) * (x.shape[2] // 64))


class TestBits:
    def test_do_not_depend_on_the_batch(self) -> None:
        x = uneven((7, 50, 100))
        whole = sketch(x, 500)
        for size in (1, 2, 3, 7):
            assert torch.equal(torch.cat([sketch(batch, 500) for batch in x.split(size)]), whole)

    def test_do_not_depend_on_threads(self) -> None:
        before = torch.get_num_threads()
        x = uneven((3, 40, 20_000))  # several parts a sample, cut by sample and by part
        try:
            results = []
            for threads in (1, 2, 3, 8):
                torch.set_num_threads(threads)
                results.append(torch.cat([sketch(x, 128), sketch(x[:1], 128)]))
        finally:
            torch.set_num_threads(before)
        assert all(torch.equal(result, results[0]) for result in results)

    @pytest.mark.parametrize("isa", ["portable", "avx2", "avx512", "avx512bf16"])
    def test_do_not_depend_on_the_instruction_set(self, isa: str, tmp_path, monkeypatch) -> None:
        if isa not in ops.isas():
            pytest.skip(f"this processor has no {isa}")
        expected = self.digest()
        monkeypatch.setenv("GRADKERN_ISA", isa)
        assert ops.current_isa() == isa
        assert self.digest() == expected

    @staticmethod
    def digest() -> list[list[float]]:
        results = []
        for case in SKETCH:
            for dtype in DTYPES:
                x = (uneven(case.shape) if 0 not in case.shape else torch.empty(case.shape)).to(dtype)
                results.append(torch.ops.gradkern.sketch(x, *case.spec).flatten().tolist())
        return results

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
    @pytest.mark.parametrize("isa", _native.isas())
    def test_every_half_is_read_exactly(self, dtype: torch.dtype, isa: str, monkeypatch) -> None:
        monkeypatch.setenv("GRADKERN_ISA", isa)
        values = torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(dtype)
        values = values[values.isfinite()]
        x = values[:, None]  # one value a sample: the result is the value or its negative
        out = sketch(x, 64).abs().max(1).values
        assert torch.equal(out, values.float().abs())
        assert sketch(torch.full((1, 1), float("nan"), dtype=dtype), 64).isnan().any()
        assert sketch(torch.full((1, 1), float("-inf"), dtype=dtype), 64).abs().max() == float("inf")


def test_unknown_instruction_set_is_an_error(monkeypatch) -> None:
    monkeypatch.setenv("GRADKERN_ISA", "mmx")
    with pytest.raises(ValueError, match=r"GRADKERN_ISA: this processor and build run .*portable, got 'mmx'"):
        sketch(torch.ones(1, 64), 64)


class TestAlgebra:
    @given(
        n=st.integers(1, 3),
        rows=st.integers(1, 5),
        cols=st.integers(1, 200),
        k=st.integers(64, 300),
        nnz=st.integers(1, 3),
        seed=st.integers(0, 2**63 - 1),
    )
    @settings(max_examples=40, deadline=None)
    def test_adjoint(self, n: int, rows: int, cols: int, k: int, nnz: int, seed: int) -> None:
        s = Sketch(k, seed, nnz)
        x, y = torch.randn(n, rows, cols).double(), torch.randn(n, k).double()
        left = (s(x).double() * y).sum()
        right = (x * s.adjoint(y, (rows, cols))).sum()
        scale = x.norm() * y.norm()
        assert abs(left - right) <= 8 * EPS * scale * nnz**0.5

    def test_linear(self) -> None:
        s, (x, y) = Sketch(100, 3), torch.randn(2, 4, 6, 77)
        torch.testing.assert_close(s(2 * x - 3 * y), 2 * s(x) - 3 * s(y), rtol=0, atol=32 * EPS * 6)

    def test_sketch_of_a_concatenation_is_the_sum(self) -> None:
        x = torch.randn(3, 10, 100)
        segments = 2  # of a row
        parts = sum(sketch(x[:, r : r + 5].contiguous(), 128, first_segment=r * segments) for r in (0, 5))
        torch.testing.assert_close(parts, sketch(x, 128), rtol=0, atol=32 * EPS * 8)

    def test_columns_in_multiples_of_64_may_be_flattened(self) -> None:
        x = torch.randn(3, 5, 128)
        assert torch.equal(sketch(x, 256), sketch(x.flatten(1), 256))

    def test_gradient_is_the_adjoint_and_back(self) -> None:
        x = torch.randn(2, 3, 70, requires_grad=True)
        y = torch.randn(2, 64, requires_grad=True)
        (sketch(x, 64) * y).sum().backward()
        torch.testing.assert_close(x.grad, Sketch(64).adjoint(y.detach(), (3, 70)))
        torch.testing.assert_close(y.grad, sketch(x.detach(), 64))
        y.grad = None
        (Sketch(64).adjoint(y, (3, 70)) * x).sum().backward()
        torch.testing.assert_close(y.grad, sketch(x.detach(), 64))


@pytest.mark.parametrize("nnz", [1, 4])
def test_error_of_inner_products_is_what_theory_says(nnz: int) -> None:
    """Over 200 seeds: mean <x, y>, variance (|x|^2|y|^2 + <x, y>^2) / k, smaller by sum x^2 y^2 for the diagonal."""
    k, seeds = 256, 200
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 640, generator=generator).double()
    x[3:] += x[:3]  # correlated pairs as well
    x = x / x.norm(dim=1, keepdim=True)
    i, j = torch.triu_indices(6, 6)
    true = (x @ x.T)[i, j]
    estimates = torch.stack([(s @ s.T)[i, j] for s in (sketch(x, k, seed=q, nnz=nnz).double() for q in range(seeds))])
    variance = (1 + true**2) / k
    standard_error = (variance / seeds).sqrt()
    assert ((estimates.mean(0) - true).abs() < 4 * standard_error).all()
    # chi-squared with 200 degrees of freedom: relative standard deviation 0.1; 21 pairs
    ratio = estimates.var(0, correction=0) / variance
    assert (ratio[i != j] > 0.6).all()
    assert (ratio < 1.5).all()
    assert 0.85 < float(ratio[i != j].mean()) < 1.1


class TestArrays:
    def test_numpy_in_numpy_out(self) -> None:
        x = np.random.default_rng(0).standard_normal((3, 100)).astype(np.float32)
        x.flags.writeable = False  # a memory map is read-only
        out = sketch(x, 64)
        assert isinstance(out, np.ndarray)
        np.testing.assert_array_equal(out, sketch(torch.tensor(x), 64).numpy())

    def test_other_libraries_through_dlpack(self, monkeypatch) -> None:
        """CuPy needs a GPU, so a class that only speaks DLPack takes its place."""

        class Array:
            def __init__(self, tensor: torch.Tensor):
                self.tensor = tensor

            def __dlpack__(self, **kwargs: object) -> object:
                return self.tensor.__dlpack__()

            def __dlpack_device__(self) -> tuple[int, int]:
                return (1, 0)

        library = types.ModuleType("arraylib")
        library.from_dlpack = lambda x: Array(torch.from_dlpack(x))
        Array.__module__ = "arraylib.core"
        monkeypatch.setitem(sys.modules, "arraylib", library)
        x = torch.randn(2, 100)
        out = sketch(Array(x), 64)
        assert isinstance(out, Array)
        assert torch.equal(out.tensor, sketch(x, 64))

    @pytest.mark.gpu
    def test_cupy_in_cupy_out(self) -> None:
        cupy = pytest.importorskip("cupy")
        x = torch.randn(3, 100)
        out = sketch(cupy.asarray(x.numpy()), 64)
        assert isinstance(out, cupy.ndarray)
        np.testing.assert_allclose(cupy.asnumpy(out), sketch(x, 64).numpy(), atol=1e-5)


class TestTorch:
    def test_opcheck(self) -> None:
        x = torch.randn(2, 3, 70)
        torch.library.opcheck(torch.ops.gradkern.sketch, (x, 64, 0, 1, 0))
        torch.library.opcheck(torch.ops.gradkern.sketch_adjoint, (torch.randn(2, 64), 3, 70, 0, 1, 0))

    def test_compile_without_a_break(self) -> None:
        compiled = torch.compile(lambda x: sketch(x.relu(), 64).sum(1), fullgraph=True, backend="aot_eager")
        x = torch.randn(2, 3, 70)
        torch.testing.assert_close(compiled(x), sketch(x.relu(), 64).sum(1))
        leaf = x.clone().requires_grad_()
        compiled(leaf).sum().backward()
        expected = x.clone().requires_grad_()
        sketch(expected.relu(), 64).sum().backward()
        torch.testing.assert_close(leaf.grad, expected.grad)

    def test_a_device_without_a_kernel_runs_the_reference(self) -> None:
        x = torch.randn(2, 3, 70)
        out = ops._sketch_default(x, 64, 0, 1, 0)
        torch.testing.assert_close(out, sketch(x, 64), rtol=0, atol=16 * EPS)


X = torch.zeros(2, 3, 100)
ERRORS = [
    (lambda: sketch(X, 32), ValueError, "sketch: k must be at least 64, got 32"),
    (lambda: sketch(X, 2**31), ValueError, r"sketch: k must be below 2\^31, got 2147483648"),
    (lambda: sketch(X, 64, nnz=0), ValueError, r"sketch: nnz must be in 1\.\.k, got 0"),
    (lambda: sketch(X, 64, seed=-1), ValueError, "sketch: seed must not be negative, got -1"),
    (lambda: sketch(X, 64, first_segment=-1), ValueError, "sketch: first_segment must not be negative, got -1"),
    (lambda: Sketch(64.5), TypeError, r"Sketch: k must be an integer, got 64\.5"),
    (lambda: Sketch(63), ValueError, "Sketch: k must be at least 64, got 63"),
    (
        lambda: sketch(X.transpose(1, 2), 64),
        ValueError,
        r"sketch: x must be contiguous, got shape \[2, 100, 3\] with strides \[300, 1, 100\]; call \.contiguous\(\)",
    ),
    (lambda: sketch(X.int(), 64), ValueError, r"sketch: x must be float32, float64, bfloat16 or float16, got int32"),
    (lambda: sketch(X > 0, 64), ValueError, "sketch: x must be float32, .*, got bool"),
    (lambda: sketch(X[0].to_sparse(), 64), ValueError, r"sketch: x must be a dense tensor, got torch\.sparse_coo"),
    (lambda: sketch(X[0, 0], 64), ValueError, r"sketch: x must be \[n, cols\] or \[n, rows, cols\], got shape \[100\]"),
    (lambda: sketch([[1.0]], 64), TypeError, "sketch: x must be a torch, NumPy or CuPy array .*, got list"),
    (lambda: sketch(X.numpy()[:, ::2], 64), ValueError, "sketch: x must be contiguous.*numpy.ascontiguousarray"),
    (lambda: sketch(X.int().numpy(), 64), ValueError, "sketch: x must be float16, float32 or float64, got int32"),
    (lambda: Sketch(64).adjoint(X[0], (5,)), ValueError, r"Sketch: y must be \[n, 64\], got shape \[3, 100\]"),
    (lambda: Sketch(64).adjoint(torch.zeros(1, 64), ()), ValueError, r"Sketch: shape must be \(cols,\)"),
    (lambda: torch.ops.gradkern.sketch(X[0], 64, 0, 1, 0), ValueError, r"sketch: x must be \[n, rows, cols\], got"),
    (lambda: native(out=torch.zeros(2, 65)), ValueError, r"sketch: out must have shape \[2, 64\], got \[2, 65\]"),
    (lambda: native(out=torch.zeros(2, 64).double()), ValueError, "sketch: out and workspace must be float32"),
    (lambda: native(threads=0), ValueError, "sketch: threads must be at least 1, got 0"),
    (
        lambda: native(cuda_capsule((2, 64))),
        ValueError,
        "sketch: out must be on the device of x, got cuda:0 beside cpu:0",
    ),
]


def native(out: object = None, threads: int = 1) -> None:
    capsule = torch.utils.dlpack.to_dlpack
    out = torch.zeros(2, 64) if out is None else out
    out = capsule(out) if isinstance(out, torch.Tensor) else out
    with naming("sketch"):
        _native.sketch(capsule(X), capsule(torch.empty(0)), out, (64, 0, 1, 0), (threads, False))


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=[message[:40] for _, _, message in ERRORS])
def test_bad_input_is_named(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call()


def test_import_needs_no_driver_and_loads_torch_and_numpy_only() -> None:
    others = {"sklearn", "rich", "mne", "nibabel", "matplotlib", "cupy", "xarray", "pandas"}
    code = f"import sys, gradkern; print(*sorted({others} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_public_names_resolve() -> None:
    for name in gradkern.__all__:
        assert getattr(gradkern, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'sketches'"):
        gradkern.sketches  # noqa: B018
