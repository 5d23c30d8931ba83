"""select_scale: a quotient by a sum of two vectors, against float64 and against the bits of torch."""

import pytest
import torch
from torch import Tensor

from gradkern import _native
from gradkern.errors import naming
from gradkern.kernels import ops, reference
from tests import emulate
from tests.cases import RIDGE_DTYPES, SCALE, ScaleCase
from tests.fake_capsule import cuda_capsule


def assert_true(out: Tensor, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    """The bits of torch, and three roundings of the truth: of the sum, of the sum to the dtype, of the quotient."""
    C, values, alpha = inputs
    assert out.dtype == C.dtype
    assert torch.equal(out, C / (values[:, None] + alpha).to(C.dtype))
    tolerance = 2 * torch.finfo(C.dtype).eps
    torch.testing.assert_close(out.double(), reference.select_scale(*inputs), rtol=tolerance, atol=0)


@pytest.mark.parametrize("dtype", RIDGE_DTYPES, ids=str)
@pytest.mark.parametrize("case", SCALE, ids=str)
class TestValues:
    @pytest.mark.parametrize("isa", _native.isas())
    def test_cpu_equals_truth(self, case: ScaleCase, dtype: torch.dtype, isa: str, monkeypatch) -> None:
        monkeypatch.setenv("GRADKERN_ISA", isa)
        inputs = case.inputs(dtype)
        assert_true(ops.select_scale(*inputs), inputs)

    def test_emulated_equals_truth(self, case: ScaleCase, dtype: torch.dtype, emulated) -> None:
        inputs = case.inputs(dtype)
        assert_true(emulate.select_scale(emulated, *inputs), inputs)

    @pytest.mark.gpu
    def test_cuda_equals_truth(self, case: ScaleCase, dtype: torch.dtype) -> None:
        inputs = case.inputs(dtype)
        assert_true(ops.select_scale(*(x.cuda() for x in inputs)).cpu(), inputs)


def test_bits_do_not_depend_on_threads() -> None:
    before = torch.get_num_threads()
    inputs = ScaleCase(500, 301).inputs(torch.float32)
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert_true(ops.select_scale(*inputs), inputs)
    finally:
        torch.set_num_threads(before)


def test_undefined_quotients_are_those_of_torch(emulated) -> None:
    C = torch.tensor([[1.0, 0.0, float("nan")]])
    values, alpha = torch.zeros(1).double(), torch.tensor([0.0, 0.0, 1.0]).double()
    for out in (ops.select_scale(C, values, alpha), emulate.select_scale(emulated, C, values, alpha)):
        assert out[0, 0] == torch.inf
        assert out[0, 1:].isnan().all()


class TestTorch:
    def test_opcheck(self) -> None:
        torch.library.opcheck(torch.ops.gradkern.select_scale, SCALE[3].inputs(torch.float32))

    def test_a_device_without_a_kernel_runs_the_reference(self) -> None:
        C, values, alpha = SCALE[3].inputs(torch.float32)
        out = ops._scale_default(C, values, alpha)
        torch.testing.assert_close(out, ops.select_scale(C, values, alpha), rtol=3e-7, atol=0)


C, VALUES, ALPHA = torch.zeros(2, 3), torch.ones(2).double(), torch.ones(3).double()


def native(out: object, threads: int = 1) -> None:
    capsule = torch.utils.dlpack.to_dlpack
    out = capsule(out) if isinstance(out, Tensor) else out
    with naming("select_scale"):
        _native.select_scale(capsule(C), capsule(VALUES), capsule(ALPHA), out, (threads, False))


ERRORS = [
    (lambda: ops.select_scale(C[0], VALUES, ALPHA), r"select_scale: C must be \[q, b\], got shape \[3\]"),
    (lambda: ops.select_scale(C.half(), VALUES, ALPHA), "select_scale: C must be float32 or float64, got float16"),
    (lambda: ops.select_scale(C.T, ALPHA, VALUES), "select_scale: C must be contiguous"),
    (lambda: ops.select_scale(C, ALPHA, ALPHA), r"select_scale: values must have shape \[2\], got \[3\]"),
    (lambda: ops.select_scale(C, VALUES, VALUES), r"select_scale: alpha must have shape \[3\], got \[2\]"),
    (lambda: ops.select_scale(C, VALUES.float(), ALPHA), "select_scale: values must be float64, got float32"),
    (lambda: ops.select_scale(C, VALUES, ALPHA.float()), "select_scale: alpha must be float64, got float32"),
    (lambda: native(C.double()), "select_scale: out must be float32, got float64"),
    (lambda: native(torch.zeros(3, 3)), r"select_scale: out must have shape \[2, 3\], got \[3, 3\]"),
    (lambda: native(C.clone(), threads=0), "select_scale: threads must be at least 1, got 0"),
    (lambda: native(cuda_capsule((2, 3))), "select_scale: out must be on the device of C, got cuda:0 beside cpu:0"),
]


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[message[:60] for _, message in ERRORS])
def test_bad_input_is_named(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()
