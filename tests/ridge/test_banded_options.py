"""BandedRidgeCV's options: weights, standardized features, missing targets, all scores, stored responses, grids."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gradkern.ridge import BandedRidgeCV, RidgeCV
from gradkern.ridge._engine import banded as engine
from gradkern.ridge._engine.band_weights import resolve_band_weights
from tests.ridge_truth import ALPHAS, DESIGNS, EPS32, Stored, fit_by_svd, responses, scores_by_svd

pytestmark = pytest.mark.usefixtures("one_thread")

WIDTHS = (5, 9, 6)
RATIOS = np.array([[0.5, 0.3, 0.2], [0.9, 0.05, 0.05], [0.0, 0.4, 0.6]])
SIZES = [80, 17]  # more samples than coordinates, and fewer


def problem(n, seed=0, v=9):
    rng = np.random.default_rng(seed)
    X = np.concatenate([rng.standard_normal((n, d)) * 5.0**-b + b for b, d in enumerate(WIDTHS)], 1)
    wanted = sum(responses(rng, part, v=v, noise=0) for part in np.split(X, np.cumsum(WIDTHS)[:-1], axis=1))
    return X, wanted + rng.standard_normal((n, v))


def folds_of(n, k=4):
    return list(KFold(k).split(np.zeros(n)))


def banded(**options):
    return BandedRidgeCV(WIDTHS, ALPHAS, **{"band_weights": RATIOS, "cv": 4, "store_scores": True, **options})


# Weights


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(
    "how",
    [{}, {"scoring": "r"}, {"standardize": True}, {"standardize": True, "scoring": "r"}, {"fit_intercept": False}],
    ids=str,
)
def test_a_weight_counts_as_so_many_samples(n, how):
    X, Y = problem(n)
    weights = np.random.default_rng(1).integers(1, 4, n) * (np.arange(n) % 8 != 3)
    index = np.repeat(np.arange(n), weights)
    folds = folds_of(n)
    repeated = [tuple(np.flatnonzero(np.isin(index, side)) for side in fold) for fold in folds]
    ours = banded(cv=folds, **how).fit(X, Y, sample_weight=weights)
    theirs = banded(cv=repeated, **how).fit(X[index], Y[index])
    np.testing.assert_allclose(ours.scores_, theirs.scores_, atol=1e-9)
    np.testing.assert_array_equal(ours.alpha_, theirs.alpha_)
    np.testing.assert_array_equal(ours.band_weights_, theirs.band_weights_)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-9)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-8)
    assert ours.score(X, Y, sample_weight=weights) == pytest.approx(theirs.score(X[index], Y[index]), abs=1e-9)


@pytest.mark.parametrize("n", SIZES)
def test_one_band_with_weights_is_plain_ridge_with_weights(n):
    X, Y = problem(n)
    weights = np.random.default_rng(1).uniform(0.2, 3, n)
    ours = BandedRidgeCV(None, ALPHAS, cv=4).fit(X, Y, sample_weight=weights)
    plain = RidgeCV(ALPHAS, cv=4).fit(X, Y, sample_weight=weights)
    np.testing.assert_array_equal(ours.alpha_, plain.alpha_)
    np.testing.assert_allclose(ours.best_score_, plain.best_score_, atol=1e-10)
    np.testing.assert_allclose(ours.coef_, plain.coef_, atol=1e-9)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(59), r"sample_weight must hold one weight per sample, shape \(60,\), got shape \(59,\)"),
        (-np.ones(60), "sample_weight must be finite and not negative, got -1.0 for sample 0"),
        (np.zeros(60), "sample_weight must not be zero for all samples"),
        (np.r_[np.zeros(50), np.ones(10)], "sample_weight must leave fold 0 2 samples to train on and 1 to test"),
    ],
)
def test_impossible_weights_are_named(weights, message):
    with pytest.raises(ValueError, match=f"BandedRidgeCV: {message}"):
        banded(cv=5).fit(*problem(60), sample_weight=weights)


# Standardised features


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("scoring", ["r2", "r"])
def test_features_are_standardised_by_each_training_fold_and_then_scaled(n, dtype, scoring):
    X, Y = problem(n)
    X[:, 3] = 2.0  # constant: it stays, and counts for nothing
    X, Y = X.astype(dtype), Y.astype(dtype)
    folds = folds_of(n)
    expected = np.zeros((len(RATIOS), len(ALPHAS), Y.shape[1]))
    for train, test in folds:
        scaler = StandardScaler().fit(X[train].astype(np.float64))
        rows = np.concatenate([scaler.transform(X[part].astype(np.float64)) for part in (train, test)])
        pair = [(np.arange(len(train)), np.arange(len(train), n))]
        for number, ratio in enumerate(RATIOS):
            scaled = rows * np.repeat(np.sqrt(ratio), WIDTHS)
            truth = scores_by_svd(scaled, Y[np.r_[train, test]], ALPHAS, pair, scoring)
            expected[number] += truth / len(folds)
    model = banded(cv=folds, standardize=True, scoring=scoring).fit(X, Y)
    tolerance = 2e-5 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(model.scores_, expected, atol=tolerance * max(1, np.abs(expected).max()))
    one = BandedRidgeCV(WIDTHS, [1.0], band_weights=RATIOS[:1], cv=folds, standardize=True).fit(X, Y)
    wide = X.astype(np.float64)
    rows = StandardScaler().fit_transform(wide) * np.repeat(np.sqrt(RATIOS[0]), WIDTHS)
    truth = Ridge(alpha=1.0).fit(rows, Y.astype(np.float64)).predict(rows)
    np.testing.assert_allclose(one.predict(X), truth, atol=500 * np.finfo(dtype).eps)


def test_standardised_bands_do_not_depend_on_the_units_of_features():
    X, Y = problem(80)
    units = np.random.default_rng(2).uniform(0.01, 100, X.shape[1])
    plain, other = (banded(standardize=True).fit(each, Y) for each in (X, X * units))
    np.testing.assert_allclose(other.scores_, plain.scores_, atol=1e-9)
    np.testing.assert_allclose(other.coef_ * units, plain.coef_, atol=1e-9)


# Targets with NaN


@pytest.mark.parametrize("how", [{}, {"standardize": True}, {"fit_intercept": False}], ids=str)
@pytest.mark.parametrize("n", SIZES)
def test_targets_with_nan_are_left_out_and_counted(n, how):
    X, Y = problem(n)
    holes = Y.copy()
    holes[3, 2] = holes[n - 1, 7] = np.nan
    with pytest.warns(UserWarning, match="BandedRidgeCV: 2 of 9 targets hold NaN; their scores, alphas and") as said:
        model = banded(**how).fit(X, holes)
    assert len([warned for warned in said if "chose the" not in str(warned.message)]) == 1  # they are not constant
    whole = banded(**how).fit(X, Y)
    others = [0, 1, 3, 4, 5, 6, 8]
    for name in ("alpha_", "band_weights_", "best_score_", "coef_", "intercept_"):
        assert np.isnan(getattr(model, name)[[2, 7]]).all(), name
        np.testing.assert_allclose(getattr(model, name)[others], getattr(whole, name)[others], atol=1e-10)
    assert np.isnan(model.scores_[..., [2, 7]]).all()
    assert np.isnan(model.predict(X, split=True)[..., 2]).all()
    with pytest.raises(ValueError, match="BandedRidgeCV: Y must have a target without NaN, got none among 1"):
        banded().fit(X, holes[:, 2])


def test_infinite_responses_and_bad_features_are_named():
    X, Y = problem(60)
    Y[7, 4] = np.inf
    with pytest.raises(ValueError, match=r"BandedRidgeCV: Y must be finite .* got inf at \[7, 4\]"):
        banded().fit(X, Y)
    frame = pd.DataFrame(X, columns=[f"unit {number}" for number in range(X.shape[1])])
    frame.loc[7, "unit 1"] = np.nan
    with pytest.raises(ValueError, match=r"X must be finite, .* the first at \[7, 1\] \(column 'unit 1'\)"):
        banded().fit(frame, Y)
    with pytest.raises(ValueError, match="BandedRidgeCV: max_memory must be None or a number of bytes, got 0"):
        banded(max_memory=0).fit(X, Y)


# All scores


@pytest.mark.parametrize("n", SIZES)
def test_all_scores_are_those_of_ridge_on_scaled_features(n):
    X, Y = problem(n)
    model = banded().fit(X, Y)
    assert model.scores_.shape == (3, len(ALPHAS), 9)
    np.testing.assert_allclose(model.candidate_weights_, RATIOS)
    for scores, ratio in zip(model.scores_, RATIOS, strict=True):
        truth = scores_by_svd(X * np.repeat(np.sqrt(ratio), WIDTHS), Y, ALPHAS, folds_of(n))
        np.testing.assert_allclose(scores, truth, atol=1e-10 * max(1, np.abs(truth).max()))
    np.testing.assert_allclose(model.best_score_, model.scores_.max((0, 1)), atol=1e-10)
    down = BandedRidgeCV(WIDTHS, ALPHAS[::-1], band_weights=RATIOS, cv=4, store_scores=True).fit(X, Y)
    np.testing.assert_allclose(down.scores_, model.scores_[:, ::-1], atol=1e-12)
    one = banded().fit(X, Y[:, 3])
    np.testing.assert_allclose(one.scores_, model.scores_[..., 3], atol=1e-10)
    assert not hasattr(one.set_params(store_scores=False).fit(X, Y), "scores_")


@pytest.mark.parametrize("scoring", ["r2", "r"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("design", [each for each in DESIGNS if "wider" not in each.__name__])  # two folds
def test_many_test_samples_are_as_exact_as_few(design, dtype, scoring):
    rng = np.random.default_rng(0)
    X = design(rng).astype(dtype)
    Y = responses(rng, X).astype(dtype)
    widths = (X.shape[1] // 3, X.shape[1] - X.shape[1] // 3)
    scaled = X.astype(np.float64) * np.repeat(np.sqrt([0.8, 0.2]), widths)
    truth = scores_by_svd(scaled, Y, ALPHAS, folds_of(len(X), 2), scoring)
    model = BandedRidgeCV(widths, ALPHAS, band_weights=[(0.8, 0.2)], cv=2, scoring=scoring, store_scores=True).fit(X, Y)
    tolerance = 1e-10 if dtype == np.float64 else 40 * EPS32
    np.testing.assert_allclose(model.scores_[0], truth, rtol=0, atol=tolerance * max(1, np.abs(truth).max()))


def test_a_refit_of_bands_that_nearly_repeat_each_other_is_no_worse_than_ridge_on_them():
    rng = np.random.default_rng(0)
    base = rng.standard_normal((200, 12))
    X = np.concatenate([base, base + 1e-3 * rng.standard_normal((200, 12))], 1).astype(np.float32)
    Y = (X @ rng.standard_normal((24, 30)) + rng.standard_normal((200, 30))).astype(np.float32)
    root = np.repeat(np.sqrt([0.7, 0.3]), 12)
    for alpha in (1e-6, 1e-4, 1e-2):
        coef, bias = fit_by_svd(X.astype(np.float64) * root, Y.astype(np.float64), [alpha])
        truth = X * root @ coef[0] + bias[0]
        ours = BandedRidgeCV((12, 12), [alpha], band_weights=[(0.7, 0.3)]).fit(X, Y).predict(X)
        plain = RidgeCV([alpha]).fit(scaled := (X * root).astype(np.float32), Y).predict(scaled)
        assert np.abs(ours - truth).max() <= 2 * np.abs(plain - truth).max() + 10 * EPS32


# Threads


def threads_of_a_new_thread():
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


def test_ratios_on_several_cores_are_those_on_one(monkeypatch):
    X, Y = problem(80)
    one = banded(band_weights=7).fit(X, Y)
    torch.set_num_threads(2)
    two = [banded(band_weights=7).fit(X, Y) for _ in range(2)]
    assert threads_of_a_new_thread() == torch.get_num_threads() == 2
    for name in ("scores_", "coef_"):
        np.testing.assert_array_equal(getattr(two[0], name), getattr(two[1], name))
        np.testing.assert_allclose(getattr(two[0], name), getattr(one, name), atol=1e-10)

    def fail(*_):
        raise RuntimeError("no eigenpairs")

    monkeypatch.setattr(engine, "eigenpairs", fail)
    with pytest.raises(RuntimeError, match="no eigenpairs"):
        banded(band_weights=7).fit(X, Y)
    assert threads_of_a_new_thread() == torch.get_num_threads() == 2


# Company


def test_stored_responses_are_read_by_ranges(tmp_path):
    h5py = pytest.importorskip("h5py")
    X, Y = problem(60)
    expected = banded().fit(X, Y)
    weights = np.r_[np.zeros(2), np.ones(58)]
    weighted = banded().fit(X, Y, sample_weight=weights)
    with h5py.File(tmp_path / "y.h5", "w") as file:
        for given in (Stored(Y), file.create_dataset("y", data=Y)):
            model = banded(max_memory=1).fit(X, given)
            np.testing.assert_allclose(model.coef_, expected.coef_, atol=1e-12)
            np.testing.assert_allclose(banded().fit(X, given, sample_weight=weights).coef_, weighted.coef_, atol=1e-12)


def test_groups_and_weights_are_routed():
    X, Y = problem(60)
    groups, weights = np.repeat(np.arange(20), 3), np.random.default_rng(0).uniform(0.5, 2, 60)
    alone = banded().fit(X, Y, groups=groups, sample_weight=weights)
    with sklearn.config_context(enable_metadata_routing=True):
        ridge = banded().set_fit_request(groups=True, sample_weight=True)
        scaler = StandardScaler(with_mean=False, with_std=False).set_fit_request(sample_weight=False)
        piped = make_pipeline(scaler, ridge).fit(X, Y, groups=groups, sample_weight=weights)
    np.testing.assert_array_equal(piped[-1].alpha_, alone.alpha_)
    np.testing.assert_array_equal(piped[-1].band_weights_, alone.band_weights_)
    np.testing.assert_allclose(piped[-1].coef_, alone.coef_, atol=1e-12)


def test_tensors_and_float32_take_all_options():
    X, Y = problem(60)
    given = [torch.from_numpy(each).float() for each in (X, Y)]
    weights = torch.rand(60) + 0.5
    ours = banded(standardize=True, sampling="grid", band_weights=6).fit(*given, sample_weight=weights)
    truth = banded(standardize=True, sampling="grid", band_weights=6).fit(X, Y, sample_weight=weights.numpy())
    for name in ("scores_", "candidate_weights_", "band_weights_"):
        assert isinstance(getattr(ours, name), torch.Tensor)
    np.testing.assert_allclose(ours.scores_.numpy(), truth.scores_, atol=200 * EPS32)
    np.testing.assert_allclose(ours.predict(given[0]).numpy(), truth.predict(X), atol=1e-3)


# A grid of ratios


@pytest.mark.parametrize(
    ("n_bands", "m", "steps", "points"), [(2, 20, 19, 20), (3, 20, 4, 15), (3, 21, 5, 21), (4, 4, 1, 4), (1, 9, 1, 1)]
)
def test_a_grid_has_all_multiples_of_a_step_and_no_more_points_than_asked(n_bands, m, steps, points):
    grid = resolve_band_weights(m, n_bands, 0, "grid")
    assert grid.shape == (points, n_bands)
    np.testing.assert_allclose(grid.sum(1), 1, rtol=1e-15)
    wanted = np.stack(np.meshgrid(*[np.arange(steps + 1)] * n_bands), -1).reshape(-1, n_bands)
    wanted = {tuple(each) for each in wanted.tolist() if sum(each) == steps}
    assert {tuple(each) for each in np.rint(grid * steps).astype(int).tolist()} == wanted


def test_a_model_chooses_among_the_points_of_a_grid():
    X, Y = problem(80)
    model = banded(band_weights=15, sampling="grid").fit(X, Y)
    given = banded(band_weights=resolve_band_weights(15, 3, 0, "grid")).fit(X, Y)
    assert len(model.candidate_weights_) == 15
    np.testing.assert_array_equal(model.band_weights_, given.band_weights_)
    np.testing.assert_array_equal(model.coef_, given.coef_)
    for how, message in (
        ({"band_weights": 2}, "BandedRidgeCV: band_weights must be at least the number of bands, 3, for a grid, got 2"),
        ({"sampling": "sobol"}, "BandedRidgeCV: sampling must be one of 'random', 'grid', got 'sobol'"),
    ):
        with pytest.raises(ValueError, match=message):
            banded(**{"sampling": "grid", **how}).fit(X, Y)
