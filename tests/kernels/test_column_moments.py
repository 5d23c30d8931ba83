"""column_moments: sums of every column over groups of rows, against float64 on every instruction set and emulated."""

import ctypes

import numpy as np
import pytest
import torch
from torch import Tensor

from gradkern import _native
from gradkern.errors import naming
from gradkern.kernels import ops, reference
from tests import emulate
from tests.cases import MOMENTS, RIDGE_DTYPES, MomentsCase, draw
from tests.fake_capsule import cuda_capsule
from tests.rounding import uneven

EPS = torch.finfo(torch.float64).eps
Moments = tuple[Tensor, ...]


def emulated_run(library: ctypes.CDLL, case: MomentsCase, dtype: torch.dtype, schedule: int = 0) -> Moments:
    y, group = case.inputs(dtype)
    return emulate.column_moments(library, y, group, case.f, schedule=schedule, apart=case.apart)


def assert_true(results: Moments, case: MomentsCase, dtype: torch.dtype) -> None:
    """Within c * eps * sqrt(n) * scale, whose scale is n times the largest value, or the spread about a row."""
    y, group = case.inputs(dtype)
    true = reference.column_moments(y, group, case.f)
    assert [result.dtype for result in results] == [torch.float64, torch.float64, dtype, dtype]
    largest = y.double().abs().amax(0) if y.numel() else torch.zeros(case.b)
    assert ((results[0] - true[0]).abs() <= 2 * EPS * case.n**1.5 * largest).all()
    assert ((results[1] - true[1]).abs() <= 32 * EPS * case.n**0.5 * (1 + true[1])).all()
    assert (results[1] >= 0).all()
    assert torch.equal(results[2].double(), true[2])
    assert torch.equal(results[3].double(), true[3])


@pytest.mark.parametrize("dtype", RIDGE_DTYPES, ids=str)
@pytest.mark.parametrize("case", MOMENTS, ids=str)
class TestValues:
    @pytest.mark.parametrize("isa", _native.isas())
    def test_cpu_equals_truth(self, case: MomentsCase, dtype: torch.dtype, isa: str, monkeypatch) -> None:
        monkeypatch.setenv("GRADKERN_ISA", isa)
        y, group = case.inputs(dtype)
        assert_true(ops.column_moments(y, group, case.f), case, dtype)

    def test_emulated_equals_truth(self, case: MomentsCase, dtype: torch.dtype, emulated) -> None:
        assert_true(emulated_run(emulated, case, dtype), case, dtype)

    @pytest.mark.gpu
    def test_cuda_equals_truth(self, case: MomentsCase, dtype: torch.dtype) -> None:
        y, group = case.inputs(dtype)
        results, again = (ops.column_moments(case.spaced(y.cuda()), group.cuda(), case.f) for _ in range(2))
        assert all(map(torch.equal, results, again))
        assert_true(tuple(result.cpu() for result in results), case, dtype)


def equal(results: Moments, others: Moments) -> bool:
    return all(map(torch.equal, results, others))


class TestBits:
    case = MomentsCase(700, 515, 3, "turns")

    def inputs(self) -> tuple[Tensor, Tensor]:
        """Another order of additions would give other bits."""
        return uneven((self.case.n, self.case.b), decades=8), self.case.inputs(torch.float32)[1]

    def test_do_not_depend_on_threads(self) -> None:
        before = torch.get_num_threads()
        y, group = self.inputs()
        try:
            results = []
            for threads in (1, 2, 3, 8):
                torch.set_num_threads(threads)
                results.append(ops.column_moments(y, group, self.case.f))
        finally:
            torch.set_num_threads(before)
        assert all(equal(result, results[0]) for result in results)

    def test_do_not_depend_on_the_instruction_set(self, monkeypatch) -> None:
        y, group = self.inputs()
        results = []
        for isa in _native.isas():
            monkeypatch.setenv("GRADKERN_ISA", isa)
            results.append(ops.column_moments(y, group, self.case.f))
        assert all(equal(result, results[0]) for result in results)

    def test_do_not_depend_on_other_columns(self) -> None:
        y, group = self.inputs()
        whole = ops.column_moments(y, group, self.case.f)
        for first, last in ((0, 1), (3, 40), (250, 515)):
            columns = ops.column_moments(y[:, first:last], group, self.case.f)
            assert equal(columns, tuple(result[:, first:last] for result in whole))

    @pytest.mark.parametrize("dtype", RIDGE_DTYPES, ids=str)
    def test_do_not_depend_on_the_schedule_emulated(self, dtype: torch.dtype, emulated) -> None:
        y, group = uneven((300, 33), dtype, decades=8), torch.arange(300, dtype=torch.int32) % 2
        first = emulate.column_moments(emulated, y, group, 2, schedule=1)
        for schedule in range(2, 5):
            assert equal(emulate.column_moments(emulated, y, group, 2, schedule=schedule), first)


def both(y: Tensor, group: Tensor, f: int, library: ctypes.CDLL) -> tuple[Moments, Moments]:
    return ops.column_moments(y, group, f), emulate.column_moments(library, y, group, f)


class TestPrecision:
    def test_spread_far_from_zero(self, emulated) -> None:
        """Columns 1e8 standard deviations from zero, where sums of squares about zero keep no digit."""
        y = draw((500, 40), torch.float64, 1) + 1e8
        group = torch.arange(500, dtype=torch.int32) // 250
        true = reference.column_moments(y, group, 2)[1]
        for _, spread, _, _ in both(y, group, 2, emulated):
            torch.testing.assert_close(spread, true, rtol=1e-7, atol=0)  # as many digits as y has of its deviations

    def test_spread_of_a_constant_column_is_zero(self, emulated) -> None:
        y = torch.full((600, 3), 0.1)
        y[300:] = 1e7 + 0.3
        group = torch.arange(600, dtype=torch.int32) // 300
        for _, spread, low, high in both(y, group, 2, emulated):
            assert (spread == 0).all()
            assert torch.equal(low, high)

    def test_spread_is_not_negative(self, emulated) -> None:
        """Columns that are constant except for their first row."""
        y = torch.full((1000, 50), 0.1, dtype=torch.float64) * torch.arange(1, 51)
        y[0] += 1e6
        for _, spread, _, _ in both(y, torch.zeros(1000, dtype=torch.int32), 1, emulated):
            assert (spread >= 0).all()
        for _, spread, _, _ in both(y[:2].clone(), torch.tensor([0, -1], dtype=torch.int32), 1, emulated):
            assert (spread == 0).all()


class TestUndefined:
    def test_nan_stays_in_its_column_and_group(self, emulated) -> None:
        y, group = MomentsCase(80, 40, 3, "turns").inputs(torch.float32)
        y[31, 17] = float("nan")
        for total, spread, low, high in both(y, group, 3, emulated):
            for moment in (total, spread):
                assert moment.isnan().nonzero().tolist() == [[1, 17]]
            assert low.isfinite().all()
            assert high.isfinite().all()

    def test_an_empty_group(self, emulated) -> None:
        group = torch.tensor([0, 2, -1], dtype=torch.int32)
        for total, spread, low, high in both(torch.ones(3, 2), group, 3, emulated):
            assert (total[1] == 0).all()
            assert (spread[1] == 0).all()
            assert (low[1] == torch.inf).all()
            assert (high[1] == -torch.inf).all()
            assert total[[0, 2]].eq(1).all()

    @pytest.mark.parametrize("label", [-2, 3, 2**31 - 1, -(2**31)])
    @pytest.mark.parametrize("row", [0, 299])
    def test_a_label_that_is_no_groups_emulated(self, label: int, row: int, emulated) -> None:
        """The host cannot read labels without waiting, so every sum is NaN."""
        group = torch.arange(300, dtype=torch.int32) % 3
        group[row] = label
        total, spread, _, _ = emulate.column_moments(emulated, torch.ones(300, 33), group, 3)
        assert total.isnan().all()
        assert spread.isnan().all()


class TestLargeArrays:
    """Rows more than 2^31 elements apart from the first, in memory that nothing touches."""

    @staticmethod
    def rows() -> tuple[Tensor, Tensor]:
        apart = 2**30 + 1
        memory = torch.from_numpy(np.zeros(2 * apart + 3, np.float32))
        y = memory.as_strided((3, 3), (apart, 1))
        y[:] = torch.arange(9).view(3, 3)
        return y, torch.zeros(3, dtype=torch.int32)

    def test_cpu(self) -> None:
        y, group = self.rows()
        assert equal(ops.column_moments(y, group, 1), ops.column_moments(y.clone(), group, 1))

    def test_emulated(self, emulated) -> None:
        y, group = self.rows()
        sums = [torch.empty(1, 3, dtype=torch.float64) for _ in range(2)] + [torch.empty(1, 3) for _ in range(2)]
        sizes = emulate.integers(*y.shape, y.stride(0))
        results = map(emulate.pointer, sums)
        call = emulated.emulated_column_moments
        rest = [emulate.pointer(group), ctypes.c_int64(1), *results, ctypes.c_uint64(0)]
        emulate.raise_error(call(emulate.pointer(y), emulate.DTYPES[y.dtype], *sizes, *rest))
        assert equal(tuple(sums), emulate.column_moments(emulated, y.clone(), group, 1))


class TestTorch:
    def test_opcheck(self) -> None:
        for case in (MOMENTS[2], MOMENTS[4]):
            torch.library.opcheck(torch.ops.gradkern.column_moments, (*case.inputs(torch.float32), case.f))

    def test_a_device_without_a_kernel_runs_the_reference(self) -> None:
        case = MOMENTS[2]
        for dtype in RIDGE_DTYPES:
            assert_true(ops._moments_default(*case.inputs(dtype), case.f), case, dtype)


Y, GROUP = torch.zeros(4, 3), torch.zeros(4, dtype=torch.int32)
CAPSULE = torch.utils.dlpack.to_dlpack


def native(threads: int = 1, **arguments: object) -> None:
    """Call the native function with results that ops.py would not give it."""
    wide, own = torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2, 3)
    arrays = {"y": Y, "group": GROUP, "sum": wide, "spread": wide, "low": own, "high": own, **arguments}
    capsules = {key: CAPSULE(array) if isinstance(array, Tensor) else array for key, array in arrays.items()}
    with naming("column_moments"):
        _native.column_moments(**capsules, execution=(threads, False))


ERRORS = [
    (lambda: ops.column_moments(Y[0], GROUP, 2), r"column_moments: y must be \[n, b\], got shape \[3\]"),
    (lambda: ops.column_moments(Y, GROUP, -1), "column_moments: f must not be negative, got -1"),
    (lambda: ops.column_moments(Y.half(), GROUP, 2), "column_moments: y must be float32 or float64, got float16"),
    (lambda: ops.column_moments(Y.int(), GROUP, 2), "column_moments: y must be float32, float64, .*, got DLPack"),
    (lambda: ops.column_moments(Y.T, GROUP[:3], 2), r"column_moments: y must have contiguous rows, got shape \[3, 4\]"),
    (lambda: ops.column_moments(Y[:1].expand(4, 3), GROUP, 2), "column_moments: y must have contiguous rows"),
    (lambda: ops.column_moments(Y, GROUP.long(), 2), "column_moments: group must be int32, got DLPack type 0 of 64"),
    (lambda: ops.column_moments(Y, Y[:, 0], 2), "column_moments: group must be int32, got DLPack type 2 of 32 bits"),
    (lambda: ops.column_moments(Y, GROUP[:3], 2), "column_moments: group must label each of the 4 rows of y, got 3"),
    (lambda: ops.column_moments(Y, GROUP[None], 2), "column_moments: group must be contiguous and have 1 dimension"),
    (lambda: ops.column_moments(Y[:2], GROUP[::2], 2), "column_moments: group must be contiguous.* stride 2"),
    (lambda: ops.column_moments(Y, GROUP + 2, 2), "column_moments: group .*from -1 to f - 1 = 1, got 2 for row 0"),
    (lambda: ops.column_moments(Y, GROUP - 2, 2), "column_moments: group .*from -1 to f - 1 = 1, got -2 for row 0"),
    (lambda: native(threads=0), "column_moments: threads must be at least 1, got 0"),
    (lambda: native(spread=torch.zeros(2, 3)), "column_moments: spread must be float64, got float32"),
    (lambda: native(low=torch.zeros(3, 3)), r"column_moments: low must have shape \[2, 3\], got \[3, 3\]"),
    (lambda: native(high=torch.zeros(2, 3).double()), "column_moments: high must be float32, got float64"),
    (lambda: native(sum=torch.zeros(3, 2).double().T), "column_moments: sum must be contiguous"),
    (lambda: native(low=cuda_capsule((2, 3))), "column_moments: low must be on the device of y, got cuda:0 beside cpu"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[message[:60] for _, message in ERRORS])
def test_bad_input_is_named(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()
