"""fold_scores: weighted sums of products, against float64 on every instruction set and emulated."""

import pytest
import torch
from torch import Tensor

from gradkern import _native
from gradkern.errors import naming
from gradkern.kernels import ops, reference
from tests import emulate
from tests.cases import RIDGE_DTYPES, SCORES, ScoresCase
from tests.fake_capsule import cuda_capsule
from tests.rounding import uneven

EPS = torch.finfo(torch.float64).eps
Scores = tuple[Tensor, ...]


def assert_true(results: Scores, inputs: tuple[Tensor, ...]) -> None:
    """Within c * eps * sqrt(additions) * the sum of magnitudes."""
    true = reference.fold_scores(*inputs)
    bounds = reference.fold_scores(*(x.abs() for x in inputs))
    additions = 2 * len(inputs[0]) + 2
    for result, expected, bound in zip(results, true, bounds, strict=True):
        assert result.dtype == torch.float64
        assert result.shape == expected.shape
        assert ((result - expected).abs() <= 4 * EPS * additions**0.5 * bound).all()


@pytest.mark.parametrize("dtype", RIDGE_DTYPES, ids=str)
@pytest.mark.parametrize("case", SCORES, ids=str)
class TestValues:
    @pytest.mark.parametrize("isa", _native.isas())
    def test_cpu_equals_truth(self, case: ScoresCase, dtype: torch.dtype, isa: str, monkeypatch) -> None:
        monkeypatch.setenv("GRADKERN_ISA", isa)
        inputs = case.inputs(dtype)
        assert_true(ops.fold_scores(*inputs), inputs)

    def test_emulated_equals_truth(self, case: ScoresCase, dtype: torch.dtype, emulated) -> None:
        inputs = case.inputs(dtype)
        assert_true(emulate.fold_scores(emulated, *inputs), inputs)

    @pytest.mark.gpu
    def test_cuda_equals_truth(self, case: ScoresCase, dtype: torch.dtype) -> None:
        inputs = case.inputs(dtype)
        results, again = (ops.fold_scores(*(x.cuda() for x in inputs)) for _ in range(2))
        assert all(map(torch.equal, results, again))
        assert_true(tuple(result.cpu() for result in results), inputs)


@pytest.mark.parametrize("a", range(1, 18))
@pytest.mark.parametrize("isa", _native.isas())
def test_every_number_of_alphas(a: int, isa: str, monkeypatch) -> None:
    """Each number of alphas has a tile of its own."""
    monkeypatch.setenv("GRADKERN_ISA", isa)
    inputs = ScoresCase(a, 40, 30).inputs(torch.float32)
    assert_true(ops.fold_scores(*inputs), inputs)


def test_products_are_formed_in_float64() -> None:
    """Products in float32 would overflow."""
    B = torch.full((1, 1), 1e30)
    unit = torch.ones(1, 1, dtype=torch.float64)
    product, square = ops.fold_scores(B, B, unit, B, unit, unit, unit)
    assert float(product) == float(B.double() ** 2)
    assert float(square) == float(B.double() + B.double() ** 2)


class TestBits:
    def inputs(self) -> tuple[Tensor, ...]:
        """Another order of additions would give other bits."""
        shapes = [x.shape for x in ScoresCase(11, 300, 500).inputs(torch.float32)]
        dtypes = [torch.float32, torch.float32, torch.float64, *[torch.float32], *[torch.float64] * 3]
        return tuple(uneven(tuple(shape), dtype) for shape, dtype in zip(shapes, dtypes, strict=True))

    def test_do_not_depend_on_threads(self) -> None:
        before = torch.get_num_threads()
        inputs = self.inputs()
        try:
            results = []
            for threads in (1, 2, 3, 8):
                torch.set_num_threads(threads)
                results.append(ops.fold_scores(*inputs))
        finally:
            torch.set_num_threads(before)
        assert all(all(map(torch.equal, result, results[0])) for result in results)

    @pytest.mark.parametrize("isa", _native.isas())
    def test_do_not_depend_on_other_columns(self, isa: str, monkeypatch) -> None:
        monkeypatch.setenv("GRADKERN_ISA", isa)
        inputs = self.inputs()
        whole = ops.fold_scores(*inputs)
        for columns in (slice(0, 1), slice(7, 100)):
            strip = ops.fold_scores(*(x[:, columns].contiguous() for x in inputs[:4]), *inputs[4:])
            assert all(torch.equal(x, y[:, columns]) for x, y in zip(strip, whole, strict=True))

    def test_do_not_depend_on_the_schedule_emulated(self, emulated) -> None:
        inputs = ScoresCase(17, 40, 130).inputs(torch.float32)
        first = emulate.fold_scores(emulated, *inputs, schedule=1)
        for schedule in range(2, 5):
            results = emulate.fold_scores(emulated, *inputs, schedule=schedule)
            assert all(map(torch.equal, results, first))


@pytest.mark.parametrize("which", range(4))
def test_nan_stays_in_its_column(which: int, emulated) -> None:
    inputs = ScoresCase(5, 40, 30).inputs(torch.float32)
    inputs[which][21, 29] = float("nan")
    for product, square in (ops.fold_scores(*inputs), emulate.fold_scores(emulated, *inputs)):
        expected = torch.zeros(5, 30, dtype=torch.bool)
        expected[:, 29] = True
        assert torch.equal(product.isnan(), expected if which < 2 else torch.zeros_like(expected))
        assert torch.equal(square.isnan(), expected if which != 1 else torch.zeros_like(expected))


class TestTorch:
    def test_opcheck(self) -> None:
        torch.library.opcheck(torch.ops.gradkern.fold_scores, SCORES[3].inputs(torch.float32))

    def test_a_device_without_a_kernel_runs_the_reference(self) -> None:
        inputs = SCORES[3].inputs(torch.float32)
        meta = torch.ops.gradkern.fold_scores(*(x.to("meta") for x in inputs))
        assert [result.shape for result in meta] == [result.shape for result in reference.fold_scores(*inputs)]


B, WIDE, WEIGHTS = torch.zeros(4, 3), torch.zeros(4, 3).double(), torch.zeros(2, 4).double()
GOOD = {"B": B, "D": B, "E": WIDE, "F": B, "S": WEIGHTS, "U": WEIGHTS, "W": WEIGHTS}


def run(**arguments: Tensor) -> None:
    ops.fold_scores(**{**GOOD, **arguments})


def native(threads: int = 1, **arguments: object) -> None:
    out = torch.zeros(2, 3).double()
    arrays = {**GOOD, "product": out, "square": out, **arguments}
    capsule = torch.utils.dlpack.to_dlpack
    capsules = {key: capsule(array) if isinstance(array, Tensor) else array for key, array in arrays.items()}
    with naming("fold_scores"):
        _native.fold_scores(**capsules, execution=(threads, False))


ERRORS = [
    (lambda: run(B=B[0]), r"fold_scores: B must be \[r, b\], got shape \[3\]"),
    (lambda: run(S=WEIGHTS[0]), r"fold_scores: S must be \[a, r\], got shape \[4\]"),
    (lambda: run(B=B.bfloat16()), "fold_scores: B must be float32 or float64, got bfloat16"),
    (lambda: run(B=WIDE), "fold_scores: D must be float64, got float32"),
    (lambda: run(D=torch.zeros(3, 4).T), "fold_scores: D must be contiguous"),
    (lambda: run(E=B), "fold_scores: E must be float64, got float32"),
    (lambda: run(F=B[:3]), r"fold_scores: F must have shape \[4, 3\], got \[3, 3\]"),
    (lambda: run(F=WIDE), "fold_scores: F must be float32, got float64"),
    (lambda: run(S=WEIGHTS[:, :3].contiguous()), r"fold_scores: S must have shape \[2, 4\], got \[2, 3\]"),
    (lambda: run(U=WEIGHTS[:1]), r"fold_scores: U must have shape \[2, 4\], got \[1, 4\]"),
    (lambda: run(W=WEIGHTS.float()), "fold_scores: W must be float64, got float32"),
    (lambda: native(threads=0), "fold_scores: threads must be at least 1, got 0"),
    (lambda: native(product=torch.zeros(2, 3)), "fold_scores: product must be float64, got float32"),
    (lambda: native(square=torch.zeros(2, 4).double()), r"fold_scores: square must have shape \[2, 3\], got \[2, 4\]"),
    (lambda: native(D=cuda_capsule((4, 3))), "fold_scores: D must be on the device of B, got cuda:0 beside cpu:0"),
]


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[message[:60] for _, message in ERRORS])
def test_bad_input_is_named(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()
