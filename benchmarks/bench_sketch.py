"""The sketch beside one read of x (x.sum()), which is its floor, and beside two other random projections.

All take the whole x [n, rows, cols] float32 to [n, k]. The table of the count sketch and the Gaussian matrix are made
before the clock starts: gradkern needs neither.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import gradkern
from benchmarks.conftest import Compare
from gradkern.kernels import reference
from tests.cases import SKETCH_BENCH, WIDTH, SketchCase

Project = Callable[[Tensor], Tensor]


def fused(case: SketchCase, device: str) -> Project:
    return lambda x: gradkern.sketch(x, case.k)


def read(case: SketchCase, device: str) -> Project:
    return lambda x: x.sum()


def index_add(case: SketchCase, device: str) -> Project:
    """The same map as `gradkern.sketch`, its buckets and signs stored: a count sketch as it is commonly written."""
    d = case.shape[1] * case.shape[2]
    signs, offsets = reference.segment_hashes(torch.arange(d // WIDTH), case.k, 0, 1)
    buckets = ((offsets + torch.arange(WIDTH)) % case.k).flatten().to(device)
    flips = signs.flatten().float().to(device)
    return lambda x: x.new_zeros(len(x), case.k).index_add_(1, buckets, x.flatten(1) * flips)


def gaussian(case: SketchCase, device: str) -> Project:
    d = case.shape[1] * case.shape[2]
    matrix = torch.randn(d, case.k, device=device) / case.k**0.5
    return lambda x: x.flatten(1) @ matrix


# name: (how to make it, rounds)
IMPLS = {"gradkern": (fused, 100), "x.sum()": (read, 100), "index_add_": (index_add, 20), "gaussian": (gaussian, 10)}
CUDA = pytest.param("cuda", 1, marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"))


def check(name: str, project: Project, case: SketchCase, x: Tensor) -> None:
    """Two samples against the reference, or for the Gaussian against the inner products that it must keep."""
    samples = x[:2]
    got = project(samples).double().cpu()
    if name in ("gradkern", "index_add_"):
        # float32 sums of d / k terms of size 1
        tolerance = 1e-6 * samples[0].numel() / case.k
        torch.testing.assert_close(got, reference.sketch(samples.cpu(), case.k), rtol=0, atol=tolerance)
    elif name == "gaussian":
        flat = samples.flatten(1).double().cpu()
        error = (got @ got.T - flat @ flat.T).abs().max() / flat.pow(2).sum(1).max()
        assert error < 5 * (2 / case.k) ** 0.5


# One implementation after the other, the Gaussian last: after its gigabytes malloc gives every result fresh pages.
@pytest.mark.parametrize(("device", "threads"), [("cpu", 1), ("cpu", 2), CUDA])
@pytest.mark.parametrize("case", SKETCH_BENCH, ids=str)
@pytest.mark.parametrize("impl", IMPLS)
def test_sketch(case: SketchCase, impl: str, device: str, threads: int, compare: Compare) -> None:
    torch.set_num_threads(threads)
    make, rounds = IMPLS[impl]
    project = make(case, device)
    x = case.inputs(torch.float32, device)
    check(impl, project, case, x)
    what: dict[str, Any] = {"case": str(case), "threads": threads, "impl": impl, "rival": "x.sum()"}
    compare("sketch", what, lambda: project(x), lambda: x.sum(), rounds=rounds, device=device)
