"""A permutation test's refits against a plain loop of fits, an order each: gradkern's own, and himalaya's.

What is tested is a session of images that were all shown alike: 515 of them (the shared ones of NSD, repeats averaged),
features of 128 numbers, 5 folds, 10 alphas. All choose alpha anew in every training fold, gradkern by GCV and himalaya,
which has no GCV, by five folds of its own. The rivals run a few orders, and so does the test beside them.
`test_whole` times 1,000 orders of 20,000 targets, beside the same with 100: what is done once cancels.
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
from gradkern.stats import PermutationTest, draw_permutations, permutation_test

ALPHAS = np.logspace(-1, 4, 10)
FOLDS = 5


@dataclass(frozen=True)
class PermutationCase:
    n: int
    d: int
    v: int
    orders: int

    def __str__(self) -> str:
        return f"{self.n}x{self.d}-v{self.v}-a{len(ALPHAS)}-f{FOLDS}-orders{self.orders}"

    def inputs(self) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        x = features(self.n, self.d, generator)
        return x, responses(signal(x, self.v, generator), generator)


SMALL = PermutationCase(515, 128, 2000, 10)
WHOLE = PermutationCase(515, 128, 20_000, 1000)


def permuted(case: PermutationCase, x: Tensor, y: Tensor, keep: bool = False) -> PermutationTest:
    return permutation_test(x, y, ALPHAS, cv=FOLDS, permutations=case.orders, seed=0, keep_null=keep)


def loop_gradkern(case: PermutationCase, x: Tensor, y: Tensor) -> np.ndarray:
    """[orders, v], a plain fit each."""
    orders = draw_permutations(case.n, case.orders, 0).rows
    return np.stack(
        [
            gradkern.cross_val_score(x, y[torch.from_numpy(order)], ALPHAS, cv=FOLDS, selection="gcv").mean(0).numpy()
            for order in orders
        ]
    )


def loop_himalaya(case: PermutationCase, x: Tensor, y: Tensor) -> np.ndarray:
    """[orders, v], a plain fit each."""
    from himalaya.backend import set_backend
    from himalaya.scoring import correlation_score
    from sklearn.model_selection import KFold

    ridge = pytest.importorskip("himalaya.ridge")
    set_backend("torch")
    scores = []
    for order in draw_permutations(case.n, case.orders, 0).rows:
        shuffled, folds = y[torch.from_numpy(order)], []
        for train, test in KFold(FOLDS).split(x):
            model = ridge.RidgeCV(alphas=ALPHAS.astype(np.float32), fit_intercept=True, cv=FOLDS)
            model.fit(x[train], shuffled[train])
            folds.append(correlation_score(shuffled[test], model.predict(x[test])).numpy())
        scores.append(np.mean(folds, axis=0))
    return np.stack(scores)


@pytest.mark.parametrize(("rival", "exact"), [(loop_gradkern, True), (loop_himalaya, False)])
def test_orders(rival: Any, exact: bool, compare: Compare) -> None:
    threads = 2
    torch.set_num_threads(threads)
    x, y = SMALL.inputs()
    ours, theirs = permuted(SMALL, x, y, keep=True).null, rival(SMALL, x, y)
    agreement = float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1])
    same = float((np.abs(ours - theirs) < 1e-5).mean())
    # of two alphas whose GCV is the same to rounding, each takes one; himalaya chooses by other folds altogether
    assert same > 0.998 if exact else agreement > 0.8
    what = {"case": str(SMALL), "threads": threads, "impl": rival.__name__, "rival": "permutation_test"}
    what |= {"agreement": round(agreement, 6), "same_scores": round(same, 5)}
    compare("permutation", what, lambda: rival(SMALL, x, y), lambda: permuted(SMALL, x, y), rounds=3, device="cpu")


def test_whole(compare: Compare) -> None:
    threads = 2
    torch.set_num_threads(threads)
    x, y = WHOLE.inputs()
    tenth = PermutationCase(WHOLE.n, WHOLE.d, WHOLE.v, WHOLE.orders // 10)
    what = {"case": str(WHOLE), "threads": threads, "impl": "permutation_test", "rival": "a tenth of the orders"}
    compare("permutation", what, lambda: permuted(WHOLE, x, y), lambda: permuted(tenth, x, y), rounds=2, device="cpu")
