"""BandedRidgeCV against himalaya's GroupRidgeCV at its best setting (torch backend, targets in batches).

A ratio's time is the whole fit's divided by their number m, at a small and a larger m: of both what is done once is a
part. Both get float32, the same ratios and alphas, five contiguous folds, an intercept, and the mean of the folds' R2.
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
        """Bands, the later ones smaller, and targets that need them in any mixture."""
        generator = torch.Generator().manual_seed(0)
        bands, total = [], torch.zeros(self.n, self.v)
        for number, d in enumerate(self.bands):
            bands.append(features(self.n, d, generator, 3.0**-number))
            total += signal(bands[-1], self.v, generator) * torch.rand(self.v, generator=generator)
        return torch.cat(bands, 1), responses(total, generator)

    def search(self) -> tuple[Tensor, np.ndarray]:
        """Alphas [a], and ratios [m, bands]."""
        ratios = np.random.default_rng(0).dirichlet(np.ones(len(self.bands)), self.m)
        return torch.logspace(-1, 4, self.a), ratios


CASES = (BandedCase(2000, (256, 256), 5000, 10, 6, rounds=3), BandedCase(2000, (256, 256), 5000, 10, 20, rounds=2))


def fit_gradkern(case: BandedCase, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Penalties [v, bands] and scores [v]."""
    alphas, ratios = case.search()
    model = gradkern.BandedRidgeCV(case.bands, alphas, band_weights=ratios, cv=5).fit(x, y)
    return model.alpha_[:, None] / model.band_weights_, model.best_score_


def fit_himalaya(case: BandedCase, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Penalties [v, bands] and scores [v, m]."""
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
    return torch.exp(-model.deltas_.T), model.cv_scores_.T


@pytest.mark.parametrize("case", CASES, ids=str)
def test_banded(case: BandedCase, compare: Compare) -> None:
    threads = 2
    torch.set_num_threads(threads)
    x, y = case.inputs()
    some = y[:, :: case.v // 300].contiguous()
    (ours, our_scores), (theirs, their_scores) = fit_gradkern(case, x, some), fit_himalaya(case, x, some)
    first, second = their_scores.topk(2).values.T
    torch.testing.assert_close(our_scores, first, rtol=0, atol=1e-5)
    decided = first - second > 1e-5  # between ratios; the rest are ties, as are neighbours among alphas
    agreement = float((ours / theirs - 1).abs().amax(1)[decided].lt(1e-3).float().mean())
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
