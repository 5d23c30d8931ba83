"""RidgeCV with an alpha per target against himalaya's RidgeCV at its best setting (torch backend, targets in batches).

Both get float32, five contiguous folds, an intercept, and the mean of the folds' R2 as the criterion.
"""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import gradkern
from benchmarks.conftest import Compare

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
        """Features with a power-law spectrum, as networks have, and targets from pure noise to r about 0.6."""
        generator = torch.Generator().manual_seed(0)
        scale = torch.arange(1, self.d + 1).float() ** -0.5
        basis = torch.linalg.qr(torch.randn(self.d, self.d, generator=generator)).Q
        x = torch.randn(self.n, self.d, generator=generator) * scale @ basis
        signal = x @ torch.randn(self.d, self.v, generator=generator)
        strength = torch.linspace(0, 0.75, self.v)
        y = signal / signal.std(0) * strength + torch.randn(self.n, self.v, generator=generator)
        return x, y, torch.logspace(0, 5, self.a)


CASES = (RidgeCase(4000, 1024, 5000, 20, rounds=3), RidgeCase(2860, 100, 5438, 100, rounds=3))


def fit_gradkern(x: Tensor, y: Tensor, alphas: Tensor) -> Tensor:
    return gradkern.RidgeCV(alphas, cv=5).fit(x, y).alpha_


def fit_himalaya(x: Tensor, y: Tensor, alphas: Tensor) -> Tensor:
    from himalaya.backend import set_backend
    from himalaya.scoring import r2_score

    set_backend("torch")
    params = {"score_func": r2_score, "n_targets_batch": 1000, "n_targets_batch_refit": 1000, "warn": False}
    model = himalaya.RidgeCV(alphas=alphas, fit_intercept=True, cv=5, solver_params=params)
    return model.fit(x, y).best_alphas_


@pytest.mark.parametrize("case", CASES, ids=str)
def test_ridge(case: RidgeCase, compare: Compare) -> None:
    threads = 2
    torch.set_num_threads(threads)
    x, y, alphas = case.inputs()
    some = y[:, :: case.v // 300].contiguous()
    ours, theirs = fit_gradkern(x, some, alphas).float(), fit_himalaya(x, some, alphas)
    # the rest are ties: neighbours on the grid
    agreement = float((ours / theirs - 1).abs().lt(1e-3).float().mean())
    assert agreement >= 0.99
    what: dict[str, Any] = {"case": str(case), "threads": threads, "impl": "himalaya", "rival": "gradkern"}
    what["same_alphas"] = agreement
    compare(
        "ridge",
        what,
        lambda: fit_himalaya(x, y, alphas),
        lambda: fit_gradkern(x, y, alphas),
        rounds=case.rounds,
        device="cpu",
    )
