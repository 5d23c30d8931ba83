"""Scores, alphas and coefficients of RidgeCV against float64 SVDs and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.linear_model import RidgeCV as SklearnRidgeCV
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, RepeatedKFold, ShuffleSplit

from gradkern.ridge import RidgeCV
from tests.ridge_truth import (
    ALPHAS,
    DESIGNS,
    EPS32,
    decided,
    fit_by_svd,
    responses,
    score_columns,
    scores_by_svd,
    scores_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("scoring", ["r2", "r"])
@pytest.mark.parametrize("design", DESIGNS)
def test_float64_scores_equal_the_svds_to_1e_10(design, scoring):
    rng = np.random.default_rng(0)
    X = design(rng)
    Y = responses(rng, X)
    truth = scores_by_svd(X, Y, ALPHAS, list(KFold(5).split(X)), scoring)
    got = scores_of(RidgeCV(scoring=scoring), X, Y, ALPHAS)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, truth, rtol=0, atol=1e-10 * max(1, np.abs(truth).max()))


@pytest.mark.parametrize("scoring", ["r2", "r"])
@pytest.mark.parametrize("design", DESIGNS)
def test_float32_scores_equal_the_svds_to_rounding(design, scoring):
    rng = np.random.default_rng(0)
    X = design(rng).astype(np.float32)
    Y = responses(rng, X).astype(np.float32)
    truth = scores_by_svd(X, Y, ALPHAS, list(KFold(5).split(X)), scoring)
    got = scores_of(RidgeCV(scoring=scoring), X, Y, ALPHAS)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, truth, rtol=0, atol=40 * EPS32 * max(1, np.abs(truth).max()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("design", DESIGNS)
def test_alphas_and_coefficients_equal_the_svds(design, dtype):
    rng = np.random.default_rng(1)
    X = design(rng).astype(dtype)
    Y = responses(rng, X).astype(dtype)
    truth = scores_by_svd(X, Y, ALPHAS, list(KFold(5).split(X)))
    model = RidgeCV(ALPHAS).fit(X, Y)
    sure = decided(truth)
    assert sure.sum() >= 6
    np.testing.assert_array_equal(model.alpha_[sure], ALPHAS[truth.argmax(0)][sure])
    wide = X.astype(np.float64)
    coef, _ = fit_by_svd(wide, Y.astype(np.float64), ALPHAS)
    chosen = np.searchsorted(ALPHAS, model.alpha_)
    expected = coef[chosen, :, np.arange(Y.shape[1])]
    # predictions are compared, for collinear columns leave coefficients to rounding
    ours = (wide - wide.mean(0)) @ model.coef_.T.astype(np.float64)
    theirs = (wide - wide.mean(0)) @ expected.T
    tolerance = 1e-10 if dtype == np.float64 else 100 * EPS32
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())
    bias = Y.astype(np.float64).mean(0) - wide.mean(0) @ model.coef_.T.astype(np.float64)
    size = np.abs(Y).max() + (np.abs(wide.mean(0)) @ np.abs(model.coef_.T)).max()
    np.testing.assert_allclose(model.intercept_, bias, rtol=0, atol=8 * np.finfo(dtype).eps * size)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "cv",
    [
        20,
        KFold(3, shuffle=True, random_state=1),
        RepeatedKFold(n_splits=3, n_repeats=2, random_state=1),
        ShuffleSplit(4, test_size=0.25, random_state=1),
        ShuffleSplit(4, train_size=0.4, test_size=0.3, random_state=1),
        [(np.r_[0:50, 0:20], np.arange(60, 80)), (np.arange(100), np.arange(100, 120))],
    ],
)
@pytest.mark.parametrize("d", [12, 130])
def test_any_split_is_scored_as_explicit_predictions_are(cv, d, dtype):
    rng = np.random.default_rng(2)
    X = rng.standard_normal((120, d)).astype(dtype)
    Y = responses(rng, X).astype(dtype)
    folds = list(KFold(cv).split(X)) if isinstance(cv, int) else cv if isinstance(cv, list) else list(cv.split(X))
    truth = scores_by_svd(X, Y, ALPHAS[::2], folds)
    got = scores_of(RidgeCV(cv=cv), X, Y, ALPHAS[::2])
    tolerance = 1e-10 if dtype == np.float64 else 40 * EPS32
    np.testing.assert_allclose(got, truth, rtol=0, atol=tolerance * max(1, np.abs(truth).max()))


def test_uneven_groups_are_scored_as_group_kfold_splits_them():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(12), [1, 2, 3, 5, 8, 13, 21, 1, 2, 3, 5, 8])
    X = rng.standard_normal((len(groups), 10))
    Y = responses(rng, X)
    truth = scores_by_svd(X, Y, ALPHAS, list(GroupKFold(4).split(X, groups=groups)))
    got = scores_of(RidgeCV(cv=4), X, Y, ALPHAS, groups=groups)
    np.testing.assert_allclose(got, truth, rtol=0, atol=1e-10)


@pytest.mark.parametrize("scoring", ["r2", "r"])
@pytest.mark.parametrize("d", [10, 80])
def test_without_intercept_nothing_is_centred(d, scoring):
    rng = np.random.default_rng(4)
    X = rng.standard_normal((60, d)) + 1
    Y = responses(rng, X) + 2
    folds = list(KFold(4).split(X))
    truth = scores_by_svd(X, Y, ALPHAS, folds, scoring, intercept=False)
    got = scores_of(RidgeCV(cv=4, scoring=scoring, fit_intercept=False), X, Y, ALPHAS)
    np.testing.assert_allclose(got, truth, rtol=0, atol=1e-10 * np.abs(truth).max())
    model = RidgeCV(ALPHAS, cv=4, fit_intercept=False).fit(X, Y)
    coef, _ = fit_by_svd(X, Y, model.alpha_, intercept=False)
    np.testing.assert_allclose(model.coef_, coef[np.arange(12), :, np.arange(12)], atol=1e-10)
    assert not model.intercept_.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("grid", [1, 60])
@pytest.mark.parametrize("d", [5, 40])
def test_folds_of_three_keep_their_precision(d, grid, dtype):
    rng = np.random.default_rng(12)
    X = rng.standard_normal((60, d)).astype(dtype)
    Y = responses(rng, X).astype(dtype)
    for scoring in ("r2", "r"):
        truth = scores_by_svd(X, Y, ALPHAS, list(KFold(20).split(X)), scoring)
        got = scores_of(RidgeCV(cv=20, scoring=scoring), X, Y, ALPHAS, grid)
        tolerance = 1e-10 if dtype == np.float64 else 200 * EPS32
        np.testing.assert_allclose(got, truth, rtol=0, atol=tolerance * max(1, np.abs(truth).max()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("design", DESIGNS)
def test_a_long_grid_chooses_what_its_scores_say(design, dtype):
    rng = np.random.default_rng(13)
    X = design(rng).astype(dtype)
    Y = responses(rng, X).astype(dtype)
    alphas = np.logspace(-4, 6, 101)
    truth = scores_by_svd(X, Y, alphas, list(KFold(5).split(X)))
    model = RidgeCV(alphas).fit(X, Y)
    tolerance = 1e-10 if dtype == np.float64 else 40 * EPS32
    np.testing.assert_allclose(model.best_score_, truth.max(0), rtol=0, atol=tolerance)
    chosen = truth[np.searchsorted(alphas, model.alpha_), np.arange(Y.shape[1])]
    np.testing.assert_allclose(chosen, truth.max(0), rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [5, 20])  # divided differences; predictions
def test_r_keeps_its_digits_where_alpha_dwarfs_the_features(k, dtype):
    rng = np.random.default_rng(14)
    X = (1e-5 * rng.standard_normal((150, 20))).astype(dtype)  # as raw gradients are
    Y = responses(rng, X).astype(dtype)
    alphas = np.logspace(-10, 10, 11)
    truth = scores_by_svd(X, Y, alphas, list(KFold(k).split(X)), "r")
    got = scores_of(RidgeCV(cv=k, scoring="r"), X, Y, alphas, grid=1)
    tolerance = 1e-10 if dtype == np.float64 else 40 * EPS32
    np.testing.assert_allclose(got, truth, rtol=0, atol=tolerance)


# Peers


def test_each_target_gets_what_scikit_learns_grid_search_gives_it():
    rng = np.random.default_rng(5)
    X = rng.standard_normal((90, 12))
    Y = responses(rng, X, v=6)
    model = RidgeCV(ALPHAS).fit(X, Y)
    for target in range(6):
        peer = GridSearchCV(Ridge(solver="svd"), {"alpha": ALPHAS}, cv=KFold(5)).fit(X, Y[:, target])
        assert model.alpha_[target] == peer.best_params_["alpha"]
        np.testing.assert_allclose(model.best_score_[target], peer.best_score_, atol=1e-10)
        np.testing.assert_allclose(model.coef_[target], peer.best_estimator_.coef_, atol=1e-10)
        np.testing.assert_allclose(model.intercept_[target], peer.best_estimator_.intercept_, atol=1e-10)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("shape", [(90, 12), (40, 70), (50, 49), (50, 50)])
def test_leave_one_out_equals_scikit_learns(shape, intercept):
    rng = np.random.default_rng(6)
    X = rng.standard_normal(shape)
    Y = responses(rng, X) + 3
    peer = SklearnRidgeCV(ALPHAS, alpha_per_target=True, fit_intercept=intercept).fit(X, Y)
    model = RidgeCV(ALPHAS, selection="loo", fit_intercept=intercept).fit(X, Y)
    np.testing.assert_array_equal(model.alpha_, peer.alpha_)
    np.testing.assert_allclose(model.coef_, peer.coef_, atol=1e-10)
    np.testing.assert_allclose(model.intercept_, peer.intercept_, atol=1e-10)
    variance = ((Y - Y.mean(0)) ** 2).mean(0)
    np.testing.assert_allclose(model.best_score_, 1 + peer.best_score_ / variance, atol=1e-10)


# Leave-one-out and GCV by their definitions


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scoring", ["r2", "r"])
@pytest.mark.parametrize("shape", [(40, 8), (25, 60)])
def test_leave_one_out_equals_leaving_out_one_by_one(shape, scoring, dtype):
    rng = np.random.default_rng(7)
    X = rng.standard_normal(shape).astype(dtype)
    Y = (responses(rng, X, v=5) + 4).astype(dtype)
    wide, alphas = (X.astype(np.float64), Y.astype(np.float64)), ALPHAS[::2]
    predicted = np.empty((len(alphas), *Y.shape))
    for out in range(len(X)):
        kept = np.arange(len(X)) != out
        coef, bias = fit_by_svd(wide[0][kept], wide[1][kept], alphas)
        predicted[:, out] = np.einsum("d,adv->av", wide[0][out], coef) + bias
    truth = np.stack([score_columns(wide[1], each, scoring) for each in predicted])
    got = scores_of(RidgeCV(selection="loo", scoring=scoring), X, Y, alphas)
    # at huge alphas the predictions vary by 1/n of the responses only, and so r is known less well
    tolerance = 1e-10 if dtype == np.float64 else 100 * EPS32
    np.testing.assert_allclose(got, truth, rtol=0, atol=tolerance * len(X))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(40, 8), (25, 60)])
def test_gcv_equals_its_formula(shape, dtype):
    rng = np.random.default_rng(8)
    X = rng.standard_normal(shape).astype(dtype)
    Y = (responses(rng, X, v=5) + 4).astype(dtype)
    n = len(X)
    design = X.astype(np.float64) - X.mean(0, dtype=np.float64)
    y = Y - Y.mean(0, dtype=np.float64)
    truth = []
    for alpha in ALPHAS:
        hat = 1 / n + design @ np.linalg.solve(design.T @ design + alpha * np.eye(shape[1]), design.T)
        gcv = ((y - hat @ y) ** 2).sum(0) / n / (1 - np.trace(hat) / n) ** 2
        truth.append(1 - n * gcv / (y**2).sum(0))
    got = scores_of(RidgeCV(selection="gcv"), X, Y, ALPHAS)
    # (1 - trace) of the truth cancels where the features interpolate
    tolerance = 1e-8 if dtype == np.float64 else 100 * EPS32
    np.testing.assert_allclose(got, truth, rtol=0, atol=tolerance)


# Properties


@given(
    n=st.integers(6, 40),
    d=st.integers(1, 45),
    v=st.integers(1, 5),
    k=st.integers(2, 3),
    scoring=st.sampled_from(["r2", "r"]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_any_shape_is_scored_as_explicit_predictions_are(n, d, v, k, scoring, seed):
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((n, d)), rng.standard_normal((n, v))
    truth = scores_by_svd(X, Y, [0.1, 10.0], list(KFold(k).split(X)), scoring)
    got = scores_of(RidgeCV(cv=k, scoring=scoring), X, Y, [0.1, 10.0])
    assert got.shape == (2, v)
    np.testing.assert_allclose(got, truth, rtol=0, atol=1e-10 * max(1, np.abs(truth).max()))
