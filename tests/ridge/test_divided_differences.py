"""Divided differences in part in float32: where they may be, what they leave of R2, and where they may not."""

import pytest
import torch
from torch import Tensor

from gradkern import RidgeCV
from gradkern.ridge._engine import divided_differences as divided
from gradkern.ridge._engine.folds import resolve_folds
from gradkern.ridge._engine.kfold import FoldFactors, factor_folds, score_folds
from gradkern.ridge._engine.principal_coordinates import principal_coordinates

ALPHAS = torch.logspace(4, -1, 8, dtype=torch.float64)
N, D = 4000, 300


def features(power: float = 0.5, seed: int = 0) -> Tensor:
    """With a power-law spectrum along random directions."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(D, D, generator=generator)).Q
    return torch.randn(N, D, generator=generator) * torch.arange(1, D + 1).float() ** -power @ basis


def factored(X: Tensor, scoring: str = "r2") -> FoldFactors:
    folds = resolve_folds(5, N, None)
    return factor_folds(principal_coordinates(X, True), folds, ALPHAS.to(X.device), scoring)


def parts(kfold: FoldFactors) -> list[divided.DividedDifferences]:
    found = [factor.sums for factor in kfold.factors]
    assert all(isinstance(each, divided.DividedDifferences) for each in found)
    return found


def whole(part: divided.DividedDifferences) -> Tensor:
    """N, from its tiles and the rest."""
    r = part.shrinkage.shape[1]
    N = torch.zeros(r, r, dtype=torch.float64)
    for tile in part.differences:
        N[tile.rows, tile.columns] = tile.values
    return N if part.distant is None else N + part.distant.double()


@pytest.mark.parametrize("power", [0.3, 0.5, 1.0])
def test_both_parts_are_the_whole_and_only_distant_pairs_are_float32(power: float) -> None:
    X = features(power)
    for narrow, wide in zip(parts(factored(X)), parts(factored(X, "r")), strict=True):
        assert narrow.distant is not None
        assert wide.distant is None  # small predictions have an r too
        # r takes test samples about another mean: compare with the same fold in one piece
        values = 1 / narrow.shrinkage[-1] - ALPHAS[-1]
        ratio = torch.minimum(values, values[:, None]) / torch.maximum(values, values[:, None])
        assert ratio[narrow.distant != 0].max() < 0.7 + 1e-6
        assert whole(narrow).isfinite().all()


@pytest.mark.parametrize("power", [0.3, 0.5, 1.0])
def test_scores_of_ordinary_and_of_the_worst_targets(power: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise, signal in all directions, and targets along the two directions whose pair float32 moves most."""
    X = features(power)
    generator = torch.Generator().manual_seed(1)
    kfold = factored(X)
    part = parts(kfold)[0]
    values = 1 / part.shrinkage[-1] - ALPHAS[-1]
    W = (part.far_weights[-1] * values.sqrt())[:, None] * part.distant * values.sqrt()
    worst = divmod(int(W.abs().argmax()), len(values))
    Z = kfold.coordinates @ kfold.factors[0].vectors
    along = Z[:, list(worst)] / Z[:, list(worst)].norm(dim=0)
    targets = [torch.randn(N, 40, generator=generator), X @ torch.randn(D, 40, generator=generator)]
    targets += [along, along.sum(1, keepdim=True), along[:, :1] - along[:, 1:]]
    Y = torch.cat([each / each.std(0) for each in targets], 1)
    Y = Y - Y.mean(0)
    exact = score_folds(factored(X.double()), Y.double()).scores
    here = score_folds(kfold, Y).scores
    monkeypatch.setattr(divided, "_apart", lambda *arguments: None)
    without = score_folds(factored(X), Y).scores
    assert not torch.equal(here, without)  # the monkeypatch did something
    assert (here - exact).abs().max() < 2e-6
    assert (here - exact).abs().max() < 2 * (without - exact).abs().max() + 1e-6


def test_a_fold_that_tests_what_it_hardly_trained_on_stays_float64() -> None:
    X = features()
    X[: N // 5] *= 30  # the first fold's test samples
    found = parts(factored(X))
    assert found[0].distant is None


def test_float64_and_small_problems_stay_float64() -> None:
    X = features()
    assert all(part.distant is None for part in parts(factored(X.double())))
    assert all(part.distant is None for part in parts(factored(X[:, :200])))


def test_an_estimator_uses_it() -> None:
    """And its choice is that of float64."""
    X = features()
    generator = torch.Generator().manual_seed(2)
    Y = X @ torch.randn(D, 50, generator=generator) * torch.linspace(0, 0.3, 50) + torch.randn(
        N, 50, generator=generator
    )
    narrow = RidgeCV(ALPHAS, store_scores=True).fit(X, Y)
    wide = RidgeCV(ALPHAS, store_scores=True).fit(X.double(), Y.double())
    torch.testing.assert_close(narrow.scores_.double(), wide.scores_, rtol=0, atol=1e-6)
    torch.testing.assert_close(narrow.alpha_, wide.alpha_)


@pytest.mark.parametrize(
    ("capability", "fast"),
    [((7, 0), True), ((8, 0), True), ((9, 0), True), ((10, 0), True), ((7, 5), False), ((8, 6), False), ((8, 9), False),
     ((10, 3), False), ((12, 0), False)],
)  # fmt: skip
def test_float64_is_multiplied_on_gpus_that_are_made_for_it(
    capability: tuple[int, int], fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere float64 has a 32nd or a 64th of the rate of float32, and distant pairs are multiplied in float32."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert divided.has_fast_float64(torch.device("cuda")) is fast
    assert not divided.has_fast_float64(torch.device("cpu"))
