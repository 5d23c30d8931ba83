"""RidgeCV's options: weights, standardized features, missing targets, one alpha for all, kinds of coefficients."""

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.linear_model import Ridge
from sklearn.linear_model import RidgeCV as SklearnRidgeCV
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gradkern.ridge import RidgeCV, cross_val_score, ridge_path
from gradkern.ridge._engine import inputs
from tests.ridge_truth import ALPHAS, EPS32, Stored, responses, scores_by_svd

pytestmark = pytest.mark.usefixtures("one_thread")
SHAPES = [(80, 12), (40, 60)]


def problem(n, d, seed=0, v=9):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * rng.uniform(0.1, 5, d) + rng.uniform(-3, 3, d)
    return X, responses(rng, X, v=v)


def folds_of(n, k=4):
    return [(train, test) for train, test in KFold(k).split(np.zeros(n))]


# Weights


@pytest.mark.parametrize(("n", "d"), SHAPES)
@pytest.mark.parametrize(
    "how",
    [{}, {"scoring": "r"}, {"standardize": True}, {"standardize": True, "scoring": "r"}, {"fit_intercept": False}],
    ids=str,
)
def test_a_weight_counts_as_so_many_samples(n, d, how):
    X, Y = problem(n, d)
    weights = np.random.default_rng(1).integers(0, 4, n)
    index = np.repeat(np.arange(n), weights)
    folds = folds_of(n)
    repeated = [tuple(np.flatnonzero(np.isin(index, side)) for side in fold) for fold in folds]
    ours = RidgeCV(ALPHAS, cv=folds, store_scores=True, **how).fit(X, Y, sample_weight=weights)
    theirs = RidgeCV(ALPHAS, cv=repeated, store_scores=True, **how).fit(X[index], Y[index])
    np.testing.assert_allclose(ours.scores_, theirs.scores_, atol=1e-9)
    np.testing.assert_array_equal(ours.alpha_, theirs.alpha_)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-9)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-8)
    assert ours.score(X, Y, sample_weight=weights) == pytest.approx(theirs.score(X[index], Y[index]), abs=1e-9)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_weighted_leave_one_out_is_scikit_learns(n, d):
    X, Y = problem(n, d)
    weights = np.random.default_rng(1).uniform(0.2, 3, n)
    ours = RidgeCV(ALPHAS, selection="loo").fit(X, Y, sample_weight=weights)
    theirs = SklearnRidgeCV(ALPHAS, alpha_per_target=True).fit(X, Y, sample_weight=weights)
    np.testing.assert_array_equal(ours.alpha_, theirs.alpha_)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-8)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-8)


@pytest.mark.parametrize("selection", ["kfold", "loo", "gcv"])
def test_equal_weights_change_no_choice(selection):
    X, Y = problem(60, 10)
    plain = RidgeCV(ALPHAS, selection=selection).fit(X, Y)
    ones = RidgeCV(ALPHAS, selection=selection).fit(X, Y, sample_weight=np.ones(60))
    np.testing.assert_array_equal(ones.alpha_, plain.alpha_)
    np.testing.assert_allclose(ones.best_score_, plain.best_score_, atol=1e-12)


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
    with pytest.raises(ValueError, match=f"RidgeCV: {message}"):
        RidgeCV(ALPHAS).fit(*problem(60, 5), sample_weight=weights)


# Standardised features


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_features_are_standardised_by_each_training_fold(n, d, dtype):
    X, Y = problem(n, d)
    X[:, 3] = 2.0  # constant: it stays, and counts for nothing
    X, Y = X.astype(dtype), Y.astype(dtype)
    folds = folds_of(n)
    expected = np.zeros((len(ALPHAS), Y.shape[1]))
    for train, test in folds:
        scaler = StandardScaler().fit(X[train].astype(np.float64))
        pair = [(np.arange(len(train)), np.arange(len(train), n))]
        rows = np.concatenate([scaler.transform(X[part].astype(np.float64)) for part in (train, test)])
        expected += scores_by_svd(rows, Y[np.concatenate([train, test])], ALPHAS, pair) / len(folds)
    for grid in (ALPHAS, np.unique(np.r_[ALPHAS, np.geomspace(1e-2, 1e6, 50)[1:-1] * 1.01])):  # predicted; divided
        model = RidgeCV(grid, cv=folds, standardize=True, store_scores=True).fit(X, Y)
        got = model.scores_[np.searchsorted(grid, ALPHAS)]
        np.testing.assert_allclose(got, expected, atol=2e-5 if dtype == np.float32 else 1e-9)
    piped = make_pipeline(StandardScaler(), Ridge(alpha=1.0)).fit(X.astype(np.float64), Y.astype(np.float64))
    one = RidgeCV([1.0], cv=folds, standardize=True).fit(X, Y)
    np.testing.assert_allclose(one.predict(X), piped.predict(X.astype(np.float64)), atol=500 * np.finfo(dtype).eps)


# One alpha, all scores


def test_one_alpha_for_all_has_the_best_mean_score():
    X, Y = problem(80, 30)
    each = RidgeCV(ALPHAS, store_scores=True).fit(X, Y)
    one = RidgeCV(ALPHAS, alpha_per_target=False, max_memory=1, store_scores=True).fit(X, Y)
    assert each.scores_.shape == (len(ALPHAS), 9)
    np.testing.assert_allclose(each.best_score_, each.scores_.max(0))
    best = each.scores_.mean(1).argmax()
    np.testing.assert_array_equal(one.alpha_, ALPHAS[best])
    np.testing.assert_allclose(one.best_score_, each.scores_[best], atol=1e-12)
    down = RidgeCV(ALPHAS[::-1], store_scores=True).fit(X, Y)
    np.testing.assert_allclose(down.scores_, each.scores_[::-1], atol=1e-14)
    single = RidgeCV(ALPHAS, store_scores=True).fit(X, Y[:, 0])
    np.testing.assert_allclose(single.scores_, each.scores_[:, 0], atol=1e-12)


# Coefficients


@pytest.mark.parametrize("how", [{}, {"standardize": True}, {"fit_intercept": False}], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_dual_coefficients_are_the_same_model(n, d, weighted, how):
    X, Y = problem(n, d)
    weights = np.random.default_rng(1).uniform(0.2, 3, n) if weighted else None
    primal = RidgeCV(ALPHAS, **how).fit(X, Y, sample_weight=weights)
    dual = RidgeCV(ALPHAS, coef="dual", **how).fit(X, Y, sample_weight=weights)
    assert dual.dual_coef_.shape == (9, n)
    assert not hasattr(dual, "coef_")
    np.testing.assert_allclose(dual.dual_coef_ @ dual.X_fit_, primal.coef_, atol=1e-9)
    np.testing.assert_allclose(dual.predict(X), primal.predict(X), atol=1e-8)


def test_without_coefficients_there_are_scores_but_no_predictions():
    X, Y = problem(60, 10)
    none, primal = RidgeCV(ALPHAS, coef="none").fit(X, Y), RidgeCV(ALPHAS).fit(X, Y)
    np.testing.assert_array_equal(none.alpha_, primal.alpha_)
    np.testing.assert_array_equal(none.best_score_, primal.best_score_)
    assert not hasattr(none, "coef_")
    with pytest.raises(ValueError, match=r"RidgeCV\.predict: needs the coefficients, got coef='none'"):
        none.predict(X)


# Targets with NaN


@pytest.mark.parametrize("selection", ["kfold", "loo", "gcv"])
def test_targets_with_nan_are_left_out_and_counted(selection):
    X, Y = problem(60, 10)
    holes = Y.copy()
    holes[3, 2] = holes[50, 7] = np.nan
    with pytest.warns(UserWarning, match="RidgeCV: 2 of 9 targets hold NaN; their scores, alphas and coefficients"):
        model = RidgeCV(ALPHAS, selection=selection).fit(X, holes)
    whole = RidgeCV(ALPHAS, selection=selection).fit(X, Y)
    others = [0, 1, 3, 4, 5, 6, 8]
    for name in ("alpha_", "best_score_", "coef_", "intercept_"):
        assert np.isnan(getattr(model, name)[[2, 7]]).all(), name
        np.testing.assert_allclose(getattr(model, name)[others], getattr(whole, name)[others], atol=1e-12)
    with pytest.raises(ValueError, match="RidgeCV: Y must have a target without NaN, got none among 1"):
        RidgeCV(ALPHAS).fit(X, holes[:, 2])


# scikit-learn's company


def test_groups_and_weights_are_routed():
    X, Y = problem(60, 10)
    groups, weights = np.repeat(np.arange(20), 3), np.random.default_rng(0).uniform(0.5, 2, 60)
    alone = RidgeCV(ALPHAS).fit(X, Y, groups=groups, sample_weight=weights)
    with sklearn.config_context(enable_metadata_routing=True):
        ridge = RidgeCV(ALPHAS).set_fit_request(groups=True, sample_weight=True)
        scaler = StandardScaler(with_mean=False, with_std=False).set_fit_request(sample_weight=False)
        piped = make_pipeline(scaler, ridge).fit(X, Y, groups=groups, sample_weight=weights)
    np.testing.assert_array_equal(piped[-1].alpha_, alone.alpha_)
    np.testing.assert_allclose(piped[-1].coef_, alone.coef_, atol=1e-12)


def test_bad_features_are_named_by_their_column():
    X, Y = problem(60, 3)
    frame = pd.DataFrame(X, columns=["edge", "face", "word"])
    frame.loc[7, "face"] = np.inf
    with pytest.raises(ValueError, match=r"X must be finite, got 1 values .*, the first at \[7, 1\] \(column 'face'\)"):
        RidgeCV(ALPHAS).fit(frame, Y)


def test_tensors_and_float32_take_all_options():
    X, Y = problem(60, 10)
    given = [torch.from_numpy(each).float() for each in (X, Y)]
    how = {"standardize": True, "coef": "dual", "alpha_per_target": False, "store_scores": True}
    weights = torch.rand(60) + 0.5
    ours = RidgeCV(ALPHAS, **how).fit(*given, sample_weight=weights)
    truth = RidgeCV(ALPHAS, **how).fit(X, Y, sample_weight=weights.numpy())
    assert isinstance(ours.scores_, torch.Tensor)
    np.testing.assert_allclose(ours.scores_.numpy(), truth.scores_, atol=200 * EPS32)
    np.testing.assert_allclose(ours.predict(given[0]).numpy(), truth.predict(X), atol=1e-3)


# A path, several feature spaces, responses in a file


@pytest.mark.parametrize("n_targets", [1, 9])
def test_stored_responses_are_read_by_ranges(n_targets, tmp_path):
    h5py = pytest.importorskip("h5py")
    X, Y = problem(60, 10, v=n_targets)
    expected = RidgeCV(ALPHAS).fit(X, Y)
    with h5py.File(tmp_path / "y.h5", "w") as file:
        for given in (Stored(Y), file.create_dataset("y", data=Y)):
            model = RidgeCV(ALPHAS, max_memory=1).fit(X, given)
            np.testing.assert_allclose(model.coef_, expected.coef_, atol=1e-12)
            weighted = RidgeCV(ALPHAS).fit(X, given, sample_weight=np.r_[np.zeros(2), np.ones(58)])
            assert weighted.coef_.shape == (n_targets, 10)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_a_path_is_a_ridge_for_every_alpha(n, d, weighted, intercept):
    X, Y = problem(n, d)
    weights = np.random.default_rng(1).uniform(0, 3, n) if weighted else None
    coef, bias = ridge_path(X, Y, ALPHAS, fit_intercept=intercept, sample_weight=weights)
    for number, alpha in enumerate(ALPHAS):
        one = Ridge(alpha=alpha, fit_intercept=intercept).fit(X, Y, sample_weight=weights)
        np.testing.assert_allclose(coef[number], one.coef_, atol=1e-7)
        np.testing.assert_allclose(bias[number], one.intercept_, atol=1e-6)
    down, _ = ridge_path(X, Y[:, 0], ALPHAS[::-1], fit_intercept=intercept, sample_weight=weights)
    np.testing.assert_allclose(down, coef[::-1, 0], atol=1e-12)


def test_several_feature_spaces_share_one_read(monkeypatch):
    (X, Y), (other, _) = problem(60, 10), problem(60, 90, seed=1)
    spaces = {"shallow": X, "deep": other}
    monkeypatch.setattr(inputs, "LARGEST_PART", 60 * 4 * 4)  # four targets at a time

    together = cross_val_score(spaces, stored := Stored(Y), ALPHAS, cv=4)
    assert stored.reads == 3
    for name, space in spaces.items():
        np.testing.assert_allclose(together[name], cross_val_score(space, Y, ALPHAS, cv=4), atol=1e-9)
    broken = other.copy()
    broken[2, 3] = np.nan
    with pytest.raises(ValueError, match=r"cross_val_score: deep must be finite, got 1 values .* at \[2, 3\]"):
        cross_val_score({**spaces, "deep": broken}, Y, ALPHAS)
    with pytest.raises(ValueError, match="cross_val_score: X must hold at least one feature space, got none"):
        cross_val_score({}, Y)


def test_a_nan_in_a_target_leaves_the_others_scores():
    X, Y = problem(60, 10)
    holes = Y.copy()
    holes[3, 2] = np.nan
    with pytest.warns(UserWarning, match="cross_val_score: 1 of 9 targets have no defined score in some folds"):
        found = cross_val_score(X, holes, ALPHAS, cv=4)
    assert np.isnan(found[:, 2]).all()
    np.testing.assert_allclose(np.delete(found, 2, 1), np.delete(cross_val_score(X, Y, ALPHAS, cv=4), 2, 1), atol=1e-12)


def test_standardised_scores_do_not_depend_on_the_units_of_features():
    X, Y = problem(60, 10)
    units = np.random.default_rng(2).uniform(0.01, 100, 10)
    plain = cross_val_score(X, Y, ALPHAS, cv=4, standardize=True)
    np.testing.assert_allclose(cross_val_score(X * units, Y, ALPHAS, cv=4, standardize=True), plain, atol=1e-9)
