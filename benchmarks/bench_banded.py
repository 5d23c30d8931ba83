"""BandedRidgeCV against himalaya's GroupRidgeCV at its best setting (torch backend, targets in batches).

Both get float32, the same ratios and alphas, five contiguous folds, an intercept, and the mean of the folds' R2.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import gradkern
from benchmarks.conftest import Compare

himalaya = pytest.importorskip("himalaya.ridge")


@dataclass(frozen=True)
class BandedCase:
    n: int
    bands: tuple[int, ...]
    v: int
    a: int
    m: int
    rounds: int

    def __str__(self) -> str:
        return f"{self.n}x{'+'.join(map(str, self.bands))}-v{self.v}-a{self.a}-m{self.m}"

    def inputs(self) -> tuple[Tensor, Tensor]:
        """Bands with a power-law spectrum, as layers have, the later ones smaller, and targets from pure noise to
        r about 0.6 that need the bands in any mixture."""
        generator = torch.Generator().manual_seed(0)
        bands, signals = [], []
        for number, d in enumerate(self.bands):
            scale = torch.arange(1, d + 1).float() ** -0.5 / 3**number
            basis = torch.linalg.qr(torch.randn(d, d, generator=generator)).Q
            bands.append(torch.randn(self.n, d, generator=generator) * scale @ basis)
            signal = bands[-1] @ torch.randn(d, self.v, generator=generator)
            signals.append(signal / signal.std(0) * torch.rand(self.v, generator=generator))
        total = sum(signals)
        strength = torch.linspace(0, 0.75, self.v)
        y = total / total.std(0) * strength + torch.randn(self.n, self.v, generator=generator)
        return torch.cat(bands, 1), y

    def search(self) -> tuple[Tensor, np.ndarray]:
        """Alphas [a], and ratios [m, bands]."""
        ratios = np.random.default_rng(0).dirichlet(np.ones(len(self.bands)), self.m)
        return torch.logspace(-1, 4, self.a), ratios


CASES = (BandedCase(2000, (256, 256), 5000, 10, 6, rounds=3),)


def fit_gradkern(case: BandedCase, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Penalties [v, bands] and scores [v]."""
    alphas, ratios = case.search()
    model = gradkern.BandedRidgeCV(case.bands, alphas, ratios=ratios, cv=5).fit(x, y)
    return model.alpha_[:, None] / model.ratio_, model.best_score_


def fit_himalaya(case: BandedCase, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    from himalaya.backend import set_backend
    from himalaya.scoring import r2_score

    set_backend("torch")
    alphas, ratios = case.search()
    params = {
        "n_iter": torch.from_numpy(ratios).float(),
        "alphas": alphas,
        "score_func": r2_score,
        "n_targets_batch": 1000,
        "n_targets_batch_refit": 1000,
        "progress_bar": False,
        "warn": False,
    }
    groups = np.repeat(np.arange(len(case.bands)), case.bands)
    model = himalaya.GroupRidgeCV(groups=groups, fit_intercept=True, cv=5, solver_params=params).fit(x, y)
    return torch.exp(-model.deltas_.T), model.cv_scores_.amax(0)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_banded(case: BandedCase, compare: Compare) -> None:
    threads = 2
    torch.set_num_threads(threads)
    x, y = case.inputs()
    some = y[:, :: case.v // 300].contiguous()
    (ours, our_scores), (theirs, their_scores) = fit_gradkern(case, x, some), fit_himalaya(case, x, some)
    torch.testing.assert_close(our_scores, their_scores, rtol=0, atol=1e-5)
    # the rest are ties: neighbours on the grid
    agreement = float((ours / theirs - 1).abs().amax(1).lt(1e-3).float().mean())
    assert agreement >= 0.99
    what: dict[str, Any] = {"case": str(case), "threads": threads, "impl": "himalaya", "rival": "gradkern"}
    what["same_penalties"] = agreement
    compare(
        "banded",
        what,
        lambda: fit_himalaya(case, x, y),
        lambda: fit_gradkern(case, x, y),
        rounds=case.rounds,
        device="cpu",
    )
