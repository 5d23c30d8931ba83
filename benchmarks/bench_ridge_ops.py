"""The fused ops of the ridge engine beside the plain torch that they replace, and beside their floors.

`column_moments` is measured beside torch's passes over each fold (`passes`) and beside one read of y (`y.sum()`);
`fold_scores` beside the torch expressions (`expressions`), and beside their three BLAS products alone, whose
factors are formed before the clock starts (`blas`); `select_scale` beside its expression.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.conftest import Compare
from gradkern.kernels import ops, reference
from tests.cases import MOMENTS_BENCH, SCALE_BENCH, SCORES_BENCH, MomentsCase, ScaleCase, ScoresCase

CUDA = pytest.param("cuda", 1, marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"))
DEVICES = [("cpu", 1), ("cpu", 2), CUDA]
ROUNDS = 30


def check(got: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for result, true in zip(got, expected, strict=True):
        torch.testing.assert_close(result.cpu().double(), true, rtol=1e-6, atol=1e-9 * float(true.abs().max()))


def what(case: Any, dtype: torch.dtype, threads: int, rival: str) -> dict[str, Any]:
    name = f"{case}-{str(dtype).removeprefix('torch.')}"
    return {"case": name, "threads": threads, "impl": "gradkern", "rival": rival}


def passes(y: Tensor, group: Tensor, f: int) -> Callable[[], Any]:
    """Each fold is copied to float64 and reduced; a fold whose rows lie together is a slice of y."""
    indices = [(group == g).nonzero()[:, 0] for g in range(f)]
    together = [int(index[-1] - index[0]) == len(index) - 1 for index in indices]
    rows = [
        slice(int(index[0]), int(index[-1]) + 1) if near else index
        for index, near in zip(indices, together, strict=True)
    ]

    def moments_of(fold: Tensor) -> tuple[Tensor, ...]:
        wide = fold.double()
        total = wide.sum(0)
        spread = (wide - total / len(fold)).square_().sum(0)
        return total, spread, fold.amin(0), fold.amax(0)

    return lambda: [moments_of(y[index]) for index in rows]


@pytest.mark.parametrize(("device", "threads"), DEVICES)
@pytest.mark.parametrize("case", MOMENTS_BENCH, ids=str)
@pytest.mark.parametrize("rival", ["passes", "y.sum()"])
def test_column_moments(case: MomentsCase, rival: str, device: str, threads: int, compare: Compare) -> None:
    torch.set_num_threads(threads)
    inputs = case.inputs(torch.float32)
    y, group = (tensor.to(device) for tensor in inputs)
    check(ops.column_moments(y, group, case.f), reference.column_moments(*inputs, case.f))
    other = passes(y, group, case.f) if rival == "passes" else lambda: y.sum()
    call = lambda: ops.column_moments(y, group, case.f)  # noqa: E731
    compare("column_moments", what(case, y.dtype, threads, rival), call, other, rounds=ROUNDS, device=device)


def expressions(B: Tensor, D: Tensor, E: Tensor, F: Tensor, S: Tensor, U: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
    wide = B.double()
    return S @ (wide * D), (U @ (wide * E)).addmm_(W, wide * F)


@pytest.mark.parametrize(("device", "threads"), DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", SCORES_BENCH, ids=str)
@pytest.mark.parametrize("rival", ["expressions", "blas"])
def test_fold_scores(
    case: ScoresCase, rival: str, dtype: torch.dtype, device: str, threads: int, compare: Compare
) -> None:
    torch.set_num_threads(threads)
    inputs = case.inputs(dtype)
    arrays = [tensor.to(device) for tensor in inputs]
    B, D, E, F, S, U, W = arrays
    check(ops.fold_scores(*arrays), reference.fold_scores(*inputs))
    BD, BE, BF = B.double() * D, B.double() * E, B.double() * F
    rivals: dict[str, Callable[[], Any]] = {
        "expressions": lambda: expressions(*arrays),
        "blas": lambda: (S @ BD, (U @ BE).addmm_(W, BF)),
    }
    call = lambda: ops.fold_scores(*arrays)  # noqa: E731
    compare("fold_scores", what(case, dtype, threads, rival), call, rivals[rival], rounds=ROUNDS, device=device)


@pytest.mark.parametrize(("device", "threads"), DEVICES)
@pytest.mark.parametrize("case", SCALE_BENCH, ids=str)
def test_select_scale(case: ScaleCase, device: str, threads: int, compare: Compare) -> None:
    torch.set_num_threads(threads)
    inputs = case.inputs(torch.float32)
    C, values, alpha = (tensor.to(device) for tensor in inputs)
    check((ops.select_scale(C, values, alpha),), (reference.select_scale(*inputs),))
    call = lambda: ops.select_scale(C, values, alpha)  # noqa: E731
    rival = lambda: C / (values[:, None] + alpha).to(C.dtype)  # noqa: E731
    compare("select_scale", what(case, C.dtype, threads, "expression"), call, rival, rounds=ROUNDS, device=device)
