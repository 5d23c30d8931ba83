"""RidgeCV with an alpha per target against himalaya's RidgeCV at its best setting (torch backend, targets in batches),
and against what one would write in torch: an eigendecomposition per fold, predictions of every alpha.

All get float32, five contiguous folds, an intercept, and the mean of the folds' R2 as the criterion.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import gradkern
from benchmarks.conftest import Compare
from benchmarks.inputs import features, responses, signal
from benchmarks.memory import peak_resident

himalaya = pytest.importorskip("himalaya.ridge")


@dataclass(frozen=True)
class RidgeCase:
    n: int
    d: int
    v: int
    a: int
    rounds: int

    def __str__(self) -> str:
        return f"{self.n}x{self.d}-v{self.v}-a{self.a}"

    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Features, targets and alphas."""
        generator = torch.Generator().manual_seed(0)
        x = features(self.n, self.d, generator)
        y = responses(signal(x, self.v, generator), generator)
        return x, y, torch.logspace(0, 5, self.a)


NILEARN = RidgeCase(2860, 100, 5438, 100, rounds=3)  # the shape of its encoding example
CASES = (RidgeCase(4000, 1024, 20000, 10, rounds=2), RidgeCase(4000, 1024, 20000, 20, rounds=2), NILEARN)


def fit_gradkern(x: Tensor, y: Tensor, alphas: Tensor) -> Tensor:
    return gradkern.RidgeCV(alphas, cv=5).fit(x, y).alpha_


def fit_himalaya(x: Tensor, y: Tensor, alphas: Tensor) -> Tensor:
    from himalaya.backend import set_backend
    from himalaya.scoring import r2_score

    set_backend("torch")
    params = {"score_func": r2_score, "n_targets_batch": 1000, "n_targets_batch_refit": 1000, "warn": False}
    model = himalaya.RidgeCV(alphas=alphas, fit_intercept=True, cv=5, solver_params=params)
    return model.fit(x, y).best_alphas_


def fit_loop(x: Tensor, y: Tensor, alphas: Tensor) -> Tensor:
    """Plain torch: per fold one eigendecomposition, per alpha predictions of what it holds out."""
    folds = torch.arange(len(x)).tensor_split(5)
    scores = torch.zeros(len(alphas), y.shape[1])
    for test in folds:
        train = torch.ones(len(x), dtype=torch.bool)
        train[test] = False
        centre, mean = x[train].mean(0), y[train].mean(0)
        x0, y0, tested, truth = x[train] - centre, y[train] - mean, x[test] - centre, y[test] - mean
        values, vectors = torch.linalg.eigh(x0.T @ x0)
        cross, rotated = vectors.T @ (x0.T @ y0), tested @ vectors
        total = (truth - truth.mean(0)).square().sum(0)
        for number, alpha in enumerate(alphas):
            predicted = rotated @ (cross / (values + alpha)[:, None])
            scores[number] += 1 - (truth - predicted).square().sum(0) / total
    chosen = alphas[scores.argmax(0)]
    x0, y0 = x - x.mean(0), y - y.mean(0)
    values, vectors = torch.linalg.eigh(x0.T @ x0)
    vectors @ ((vectors.T @ (x0.T @ y0)) / (values[:, None] + chosen))  # the coefficients
    return chosen


RIVALS = {"himalaya": fit_himalaya, "torch eigh loop": fit_loop}


@pytest.mark.parametrize("rival", RIVALS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_ridge(case: RidgeCase, rival: str, compare: Compare) -> None:
    threads, fit = 2, RIVALS[rival]
    torch.set_num_threads(threads)
    x, y, alphas = case.inputs()
    some = y[:, :: case.v // 300].contiguous()
    ours, theirs = fit_gradkern(x, some, alphas).float(), fit(x, some, alphas)
    # the rest are ties: neighbours on the grid
    agreement = float((ours / theirs - 1).abs().lt(1e-3).float().mean())
    assert agreement >= 0.99
    what: dict[str, Any] = {"case": str(case), "threads": threads, "impl": rival, "rival": "gradkern"}
    what["same_alphas"] = agreement
    compare(
        "ridge",
        what,
        lambda: fit(x, y, alphas),
        lambda: fit_gradkern(x, y, alphas),
        rounds=case.rounds,
        device="cpu",
    )


def test_number_of_alphas(compare: Compare) -> None:
    torch.set_num_threads(2)
    x, y, few = RidgeCase(4000, 1024, 5000, 10, rounds=5).inputs()
    many = torch.logspace(0, 5, 100)
    what = {"case": "4000x1024-v5000", "threads": 2, "impl": "gradkern, 100 alphas", "rival": "gradkern, 10 alphas"}
    compare("ridge", what, lambda: fit_gradkern(x, y, many), lambda: fit_gradkern(x, y, few), rounds=5, device="cpu")


GPU_CASES = (RidgeCase(8000, 1024, 50000, 20, rounds=3), RidgeCase(8000, 4096, 50000, 10, rounds=3))


def fit_himalaya_cuda(x: Tensor, y: Tensor, alphas: Tensor) -> Tensor:
    from himalaya.backend import set_backend
    from himalaya.scoring import r2_score

    set_backend("torch_cuda")
    params = {"score_func": r2_score, "n_targets_batch": 5000, "n_targets_batch_refit": 5000, "warn": False}
    model = himalaya.RidgeCV(alphas=alphas, fit_intercept=True, cv=5, solver_params=params)
    return model.fit(x, y).best_alphas_


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("way", ["as chosen", "eigenpairs", "cholesky"])
@pytest.mark.parametrize("case", GPU_CASES, ids=str)
def test_ridge_on_a_gpu(case: RidgeCase, way: str, compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rule of gradkern.ridge._engine.cholesky, and each of its two paths whatever the rule says."""
    from gradkern.ridge._engine import solve

    if way != "as chosen":
        monkeypatch.setattr(solve, "suits_cholesky", lambda *_: way == "cholesky")
    x, y, alphas = (each.cuda() for each in case.inputs())
    some = y[:, :: case.v // 300].contiguous()
    ours, theirs = fit_gradkern(x, some, alphas).cpu().float(), fit_himalaya_cuda(x, some, alphas).cpu().float()
    agreement = float((ours / theirs - 1).abs().lt(1e-3).float().mean())
    assert agreement >= 0.99
    what = {"case": f"{case}, {way}", "threads": 1, "impl": "himalaya torch_cuda", "rival": "gradkern"}
    compare(
        "ridge",
        what,
        lambda: fit_himalaya_cuda(x, y, alphas),
        lambda: fit_gradkern(x, y, alphas),
        rounds=case.rounds,
        device="cuda",
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("case", GPU_CASES, ids=str)
def test_targets_from_the_host(case: RidgeCase, compare: Compare) -> None:
    """Y in the host's memory, read and copied ahead, beside Y on the device."""
    x, y, alphas = case.inputs()
    there = x.cuda(), y.cuda()

    def from_host() -> Tensor:
        return gradkern.RidgeCV(alphas, cv=5, device="cuda").fit(x.numpy(), y.numpy()).alpha_

    what = {"case": str(case), "threads": 1, "impl": "gradkern, Y on the host", "rival": "gradkern, Y on the device"}
    compare("ridge", what, from_host, lambda: fit_gradkern(*there, alphas), rounds=case.rounds, device="cuda")


class Stored:
    """Targets [n, v] that take no memory: whatever is asked for is made of few columns, over and over."""

    def __init__(self, n: int, v: int) -> None:
        self.shape, self.ndim, self.dtype = (n, v), 2, np.dtype(np.float32)
        self.few = np.random.default_rng(0).standard_normal((n, 97), dtype=np.float32)

    def __getitem__(self, where: tuple[slice, slice]) -> np.ndarray:
        rows, columns = where
        return self.few[rows][:, np.arange(*columns.indices(self.shape[1])) % 97]


def test_memory(compare: Compare) -> None:
    """300,000 targets need little more than their coefficients."""
    torch.set_num_threads(2)
    n, d, v, folds, block = 4000, 1024, 300_000, 5, 1024
    x, alphas = torch.randn(n, d, generator=torch.Generator().manual_seed(0)), torch.logspace(0, 5, 10)

    def fit(targets: int) -> None:
        gradkern.RidgeCV(alphas, cv=folds).fit(x, Stored(n, targets))

    fit(block)  # what a process loads once is not counted
    peak, bound = peak_resident(lambda: fit(v)), 1.2 * 4 * (v * d + folds * d * block)
    assert peak <= bound
    what: dict[str, Any] = {"case": f"{n}x{d}-v{v}-a10", "threads": 2}
    what |= {"impl": "gradkern", "rival": f"gradkern, {v // 10} targets", "extra_mb": round(peak / 1e6)}
    compare("ridge", what, lambda: fit(v), lambda: fit(v // 10), rounds=1, device="cpu")
