"""sketch_outer and sketch_conv beside the batch-summed weight gradient, which a plain backward pass computes.

Two other ways to a sketch of each sample's gradient are measured as well: forming the gradients and sketching them
(`formed`), and the two-sided projection of LoGra (`factored`, whose k = 32 x 32 is noisier: see the accuracy table).
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import gradkern
from benchmarks.conftest import Compare
from gradkern.kernels import ops, reference
from tests.cases import CONV_BENCH, OUTER_BENCH, ConvCase, OuterCase

DTYPES = (torch.float32, torch.bfloat16)
CUDA = pytest.param("cuda", 1, marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"))
DEVICES = [("cpu", 1), ("cpu", 2), CUDA]
ROUNDS = 30


Run = Callable[[Tensor, Tensor], Tensor]


def fused(case: OuterCase, device: str, dtype: torch.dtype) -> Run:
    return lambda a, g: ops.sketch_outer(a, g, case.spec, case.bias)


def formed(case: OuterCase, device: str, dtype: torch.dtype) -> Run:
    return lambda a, g: gradkern.sketch(torch.bmm(g.mT, a), case.k)


def factored(case: OuterCase, device: str, dtype: torch.dtype) -> Run:
    """Project both factors by stored matrices, then multiply: three library calls."""
    side = int(case.k**0.5)
    _, _, p, o = case.sizes
    left, right = (torch.randn(size, side, device=device, dtype=dtype) / side**0.5 for size in (o, p))
    return lambda a, g: torch.bmm((g @ left).mT, a @ right)


IMPLS = {"gradkern": fused, "formed": formed, "factored": factored}


def summed(a: Tensor, g: Tensor) -> Tensor:
    """What autograd computes for a Linear layer."""
    return g.flatten(0, 1).mT @ a.flatten(0, 1)


def check(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got.cpu().double(), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def name(case: Any, dtype: torch.dtype) -> str:
    return f"{case}-{str(dtype).removeprefix('torch.')}"


@pytest.mark.parametrize(("device", "threads"), DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", OUTER_BENCH, ids=str)
@pytest.mark.parametrize("impl", IMPLS)
def test_outer(case: OuterCase, dtype: torch.dtype, impl: str, device: str, threads: int, compare: Compare) -> None:
    torch.set_num_threads(threads)
    a, g = (x.to(device) for x in case.inputs(dtype))
    run = IMPLS[impl](case, device, dtype)
    if impl == "gradkern":
        check(run(a[:2], g[:2]), reference.sketch_outer(a[:2].cpu(), g[:2].cpu(), *case.spec))
    what = {"case": name(case, dtype), "threads": threads, "impl": impl, "rival": "summed gradient"}
    compare("sketch_outer", what, lambda: run(a, g), lambda: summed(a, g), rounds=ROUNDS, device=device)


@pytest.mark.parametrize(("device", "threads"), DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", CONV_BENCH, ids=str)
def test_conv(case: ConvCase, dtype: torch.dtype, device: str, threads: int, compare: Compare) -> None:
    torch.set_num_threads(threads)
    x, g = (tensor.to(device) for tensor in case.inputs(dtype))
    expected = reference.sketch_conv(x[:1].cpu(), g[:1].cpu(), case.window, case.spec)
    check(ops.sketch_conv(x[:1], g[:1], case.spec, case.window, False), expected)
    weight = torch.zeros(case.o, case.x[1] // case.groups, *case.kernel, dtype=dtype, device=device)

    def rival() -> Any:
        return torch.ops.aten.convolution_backward(
            g, x, weight, None, case.stride, case.padding, case.dilation, False, [0, 0], case.groups,
            [False, True, False],
        )  # fmt: skip

    what = {"case": name(case, dtype), "threads": threads, "impl": "gradkern", "rival": "convolution_backward"}
    call = lambda: ops.sketch_conv(x, g, case.spec, case.window, False)  # noqa: E731
    compare("sketch_conv", what, call, rival, rounds=ROUNDS, device=device)
