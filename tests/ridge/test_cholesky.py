"""The path without eigenpairs: the same scores, alphas and coefficients, or a refusal where it would lose digits."""

import types

import numpy as np
import pytest
import torch
from sklearn.model_selection import KFold, ShuffleSplit

from gradkern.ridge import RidgeCV, cross_val_score
from gradkern.ridge._engine import kfold
from gradkern.ridge._engine import solve as solve_module
from gradkern.ridge._engine.cholesky import pays, suits_cholesky, whiten
from gradkern.ridge._engine.folds import resolve_folds
from gradkern.ridge._engine.inputs import DevicePlan, Targets
from gradkern.ridge._engine.solve import AlphaSelection, FitOptions
from tests.ridge_truth import (
    DESIGNS,
    duplicated_columns,
    fit_by_svd,
    offset_of_100_sd,
    responses,
    scores_by_svd,
    well_posed,
)

pytestmark = pytest.mark.usefixtures("one_thread")
WIDE, TINY = np.logspace(-3, 6, 10), np.logspace(-9, 6, 16)
REFUSED = {"wider_than_tall", "training_folds_wider_than_tall"}  # directions that only test samples have


@pytest.fixture
def by_cholesky(monkeypatch):
    """Tried at every fit; the list says whether it was taken."""
    taken, build = [], solve_module.factor_by_cholesky

    def built(*given):
        solver = build(*given)
        taken.append(solver is not None)
        return solver

    monkeypatch.setattr(solve_module, "suits_cholesky", lambda *_: True)
    monkeypatch.setattr(solve_module, "factor_by_cholesky", built)
    return taken


def data(design=well_posed, dtype=np.float32):
    rng = np.random.default_rng(4)
    X = design(rng)
    return X.astype(dtype), responses(rng, X).astype(dtype)


def both(X, Y, alphas, **options):
    """Models by eigenpairs and without."""
    plain = solve_module.factor_by_cholesky
    try:
        solve_module.factor_by_cholesky = lambda *_: None
        eigen = RidgeCV(alphas, store_scores=True, **options).fit(X, Y)
    finally:
        solve_module.factor_by_cholesky = plain
    return eigen, RidgeCV(alphas, store_scores=True, **options).fit(X, Y)


@pytest.mark.parametrize("alphas", [WIDE, TINY], ids=["wide", "tiny"])
@pytest.mark.parametrize("scoring", ["r2", "r"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("design", DESIGNS)
def test_scores_and_models_are_those_of_eigenpairs(design, dtype, scoring, alphas, by_cholesky):
    X, Y = data(design, dtype)
    eigen, ours = both(X, Y, alphas, scoring=scoring)
    assert by_cholesky == [design.__name__ not in REFUSED]
    true = scores_by_svd(X, Y, alphas, list(KFold(5).split(X)), scoring)
    error, other = (np.abs(model.scores_ - true).max() for model in (ours, eigen))
    rounding = 1e-10 if dtype == np.float64 else 2e-7
    assert error <= 2 * other + rounding
    np.testing.assert_array_equal(ours.alpha_, eigen.alpha_)
    chosen, targets = np.searchsorted(alphas, ours.alpha_), np.arange(Y.shape[1])
    coef, intercept = fit_by_svd(X.astype(np.float64), Y.astype(np.float64), alphas)
    predicted = X.astype(np.float64) @ coef[chosen, :, targets].T + intercept[chosen, targets]
    found = [X.astype(np.float64) @ model.coef_.T.astype(np.float64) + model.intercept_ for model in (ours, eigen)]
    error, other = (np.abs(each - predicted).max() for each in found)
    assert error <= 3 * other + 10 * rounding


@pytest.mark.parametrize(
    "options",
    [
        {"fit_intercept": False},
        {"alpha_per_target": False},
        {"cv": ShuffleSplit(3, test_size=0.3, random_state=0)},
        {"cv": 7, "max_memory": 20_000},
        {"cv": KFold(4, shuffle=True, random_state=0)},
    ],
    ids=str,
)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scoring", ["r2", "r"])
def test_options_mean_the_same(options, weighted, scoring, by_cholesky):
    X, Y = data(dtype=np.float64)
    weights = np.random.default_rng(1).integers(0, 4, len(X)) + 0.5 * weighted if weighted else None
    ours = RidgeCV(WIDE, scoring=scoring, store_scores=True, **options).fit(X, Y, sample_weight=weights)
    assert by_cholesky == [True]
    solve_module.factor_by_cholesky = lambda *_: None
    theirs = RidgeCV(WIDE, scoring=scoring, store_scores=True, **options).fit(X, Y, sample_weight=weights)
    for name in ("alpha_", "coef_", "intercept_", "best_score_", "scores_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-9, atol=1e-10)


def test_no_eigenpairs_are_computed(by_cholesky, monkeypatch):
    X, Y = data()

    def none(*_):
        raise AssertionError("eigh")

    monkeypatch.setattr(torch.linalg, "eigh", none)
    model = RidgeCV(WIDE).fit(X, Y)
    assert cross_val_score(X, Y, WIDE).shape == (5, Y.shape[1])
    assert len(by_cholesky) == 6
    with pytest.raises(AssertionError, match="eigh"):
        RidgeCV(WIDE, coef="dual").fit(X, Y)
    with pytest.raises(AssertionError, match="eigh"):
        RidgeCV(WIDE, standardize=True).fit(X, Y)
    assert model.coef_.shape == (Y.shape[1], X.shape[1])


def test_targets_without_a_score_are_treated_alike(by_cholesky):
    X, Y = data()
    Y[:, 2], Y[7, 5] = 3.0, np.nan
    with pytest.warns(UserWarning, match="RidgeCV: 1 of 12 targets"):
        eigen, ours = both(X, Y, WIDE)
    for name in ("alpha_", "coef_", "intercept_", "best_score_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(eigen, name), atol=2e-6)


def test_the_same_call_gives_the_same_bits(by_cholesky):
    X, Y = data()
    first, second = (RidgeCV(TINY).fit(X, Y) for _ in range(2))
    np.testing.assert_array_equal(first.coef_, second.coef_)
    np.testing.assert_array_equal(first.best_score_, second.best_score_)


def test_predictions_of_all_alphas_are_never_kept(by_cholesky, monkeypatch):
    X, Y = data()
    whole = RidgeCV(TINY, store_scores=True).fit(X, Y)
    formed = []
    monkeypatch.setattr(kfold, "_PREDICTED", 1)
    split = torch.split
    monkeypatch.setattr(
        torch, "split", lambda *given: formed.append([len(each) for each in split(*given)]) or split(*given)
    )
    parts = RidgeCV(TINY, store_scores=True).fit(X, Y)
    assert formed == [[1] * len(TINY)] * 5
    np.testing.assert_allclose(parts.scores_, whole.scores_, atol=1e-6)


def test_what_rounding_leaves_of_the_mean_is_accounted_for(by_cholesky, monkeypatch):
    X, Y = (torch.from_numpy(each) for each in data(offset_of_100_sd))
    choice = AlphaSelection(torch.tensor([1.0], dtype=torch.float64), "kfold", "r2", resolve_folds(5, len(X)))
    targets = Targets(Y, DevicePlan(X.device, X.dtype, X.device))
    at_offset = []
    for way in (lambda *_: True, lambda *_: False):
        monkeypatch.setattr(solve_module, "suits_cholesky", way)
        solver = solve_module.factor(X, choice, FitOptions())
        (block,) = solve_module.solve(solver, targets, None, shared=False)
        moved = solver.principal.leftover @ block.coefficients.double()
        at_offset.append(block.at_offset)
    assert by_cholesky == [True]
    assert moved.abs().max() > 1e-6
    torch.testing.assert_close(*at_offset, rtol=0, atol=float(moved.abs().max()) / 100)


def test_only_chosen_alphas_are_inverted():
    X = torch.from_numpy(data()[0])
    whitened = whiten(X, True, None, 1.0)
    alpha = torch.tensor([4.0, 1.0, 4.0], dtype=torch.float64)
    cross = torch.randn(X.shape[1], 3)
    placed = whitened.shrink(cross, alpha)
    assert set(whitened.inverses) == {1.0, 4.0}
    Z = whitened.principal.coordinates.double() - whitened.principal.mean
    expected = [
        torch.linalg.solve(Z.T @ Z + a * whitened.penalty, c.double()) for a, c in zip(alpha, cross.T, strict=True)
    ]
    torch.testing.assert_close(placed.double(), torch.stack(expected, 1), rtol=0, atol=1e-6)


# What it refuses


def test_alpha_too_small_for_repeated_features_is_refused(by_cholesky):
    X = torch.from_numpy(data(duplicated_columns)[0])
    assert whiten(X, True, None, 1e-6) is not None
    assert whiten(X, True, None, 1e-12) is None
    X, Y = data(duplicated_columns)
    model = RidgeCV(np.logspace(-12, 3, 16)).fit(X, Y)
    assert by_cholesky == [False]
    assert np.isfinite(model.coef_).all()


def test_a_direction_of_one_fold_alone_is_refused(by_cholesky):
    X, Y = data(dtype=np.float64)
    X[:, 4] = 0
    X[:10, 4] = np.arange(10)  # varies in the first test fold only
    eigen, ours = both(X, Y, TINY)
    assert by_cholesky == [False]
    np.testing.assert_array_equal(ours.scores_, eigen.scores_)
    eigen, ours = both(X, Y, np.logspace(0, 5, 6))
    assert by_cholesky == [False, True]
    np.testing.assert_allclose(ours.scores_, eigen.scores_, atol=1e-10)


# When it is chosen


def features(n, d, cuda=True):
    """As far as the rule looks."""
    return types.SimpleNamespace(shape=(n, d), is_cuda=cuda, device=torch.device("cuda"), element_size=lambda: 4)


@pytest.mark.parametrize(
    ("n", "d", "folds", "alphas", "gibibytes", "wanted"),
    [
        (8000, 4096, 5, 10, 80, True),
        (8000, 4096, 5, 20, 80, False),  # more products than divided differences
        (8000, 4096, 10, 20, 80, False),
        (8000, 4096, 10, 19, 80, True),
        (50_000, 4096, 5, 10, 80, False),
        (8000, 4095, 5, 10, 80, False),  # not wide
        (4096, 4096, 5, 10, 80, False),  # not tall
        (8000, 4096, 5, 10, 7, False),  # 1.98 GB of predictors and inverses
    ],
)
def test_it_is_chosen_on_a_gpu_where_it_can_lose_little(n, d, folds, alphas, gibibytes, wanted, monkeypatch):
    memory = types.SimpleNamespace(total_memory=gibibytes * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: memory)
    split = resolve_folds(folds, n)
    assert suits_cholesky(features(n, d), split, alphas) == wanted
    assert not suits_cholesky(features(n, d, cuda=False), split, alphas)


def test_products_are_counted_once_for_every_tested_sample():
    folds = resolve_folds(ShuffleSplit(4, test_size=0.5, random_state=0), 1000)
    a = 3
    ours = 2 * 1000 * 100 + 2 * a * 2000 * 100 + 4 * 100**2
    theirs = 2 * 1000 * 100 + 28 * 100**2
    assert pays(features(1000, 100), folds, a) == (ours <= 1.25 * theirs)
    assert pays(features(1000, 900), folds, a)


@pytest.mark.gpu
def test_a_gpu_scores_without_eigenpairs(by_cholesky):
    X, Y = data()
    ours = RidgeCV(WIDE, device="cuda").fit(X, Y)
    assert by_cholesky == [True]
    solve_module.factor_by_cholesky = lambda *_: None
    eigen = RidgeCV(WIDE).fit(X, Y)
    np.testing.assert_array_equal(ours.alpha_, eigen.alpha_)
    np.testing.assert_allclose(ours.best_score_, eigen.best_score_, atol=2e-6)
