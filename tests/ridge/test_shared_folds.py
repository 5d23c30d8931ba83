"""Nested scores from statistics that all fits share, against fits that are made one by one."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold, LeaveOneGroupOut

from gradkern.ridge import CrossValidation, RidgeCV, cross_val_score

ALPHAS = np.logspace(-2, 4, 9)
EPS32 = np.finfo(np.float32).eps
pytestmark = pytest.mark.usefixtures("one_thread")


def make_data(dtype=np.float64, n=150, d=12, v=6, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * np.linspace(0.2, 3, d) + 2
    Y = X @ rng.standard_normal((d, v)) + np.linspace(2, 12, v) * rng.standard_normal((n, v)) + np.linspace(-5, 50, v)
    return X.astype(dtype), Y.astype(dtype)


def one_by_one(X, Y, folds, **choice):
    """r, R2 and alphas [f, v] of a ridge fitted to the training samples of every fold alone."""
    r, r2, alphas = [], [], []
    for train, test in folds:
        model = RidgeCV(ALPHAS, **choice).fit(X[train], Y[train])
        predicted, y = model.predict(X[test]), Y[test]
        r.append([np.corrcoef(a, b)[0, 1] for a, b in zip(y.T, predicted.T, strict=True)])
        r2.append(1 - ((y - predicted) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0))
        alphas.append(model.alpha_)
    return np.array([r, r2]), np.array(alphas)


@pytest.mark.parametrize(("n", "d", "folds"), [(150, 12, 5), (150, 140, 5), (90, 31, 2), (121, 64, 11), (40, 60, 4)])
@pytest.mark.filterwarnings("ignore:.*smallest alpha")
def test_gcv_scores_are_those_of_single_fits(n, d, folds):
    X, Y = make_data(n=n, d=d)
    expected, chosen = one_by_one(X, Y, KFold(folds).split(X), selection="gcv")
    scores, alphas = cross_val_score(X, Y, ALPHAS, cv=folds, selection="gcv", scoring=("r", "r2"), return_alphas=True)
    np.testing.assert_allclose(scores, expected, atol=1e-9)
    np.testing.assert_array_equal(alphas, chosen)


@pytest.mark.parametrize(("n", "d", "folds"), [(150, 12, 5), (90, 31, 3), (132, 40, 11), (60, 70, 4)])
def test_inner_folds_that_are_the_other_outer_folds_equal_a_nested_loop(n, d, folds):
    X, Y = make_data(n=n, d=d, v=3)
    labels = np.arange(n) * folds // n
    expected = []
    for train, test in LeaveOneGroupOut().split(X, groups=labels):
        inner = list(LeaveOneGroupOut().split(train, groups=labels[train]))
        fits = [
            GridSearchCV(Ridge(solver="svd"), {"alpha": ALPHAS}, cv=inner).fit(X[train], y[train]).predict(X[test])
            for y in Y.T
        ]
        expected.append([np.corrcoef(y[test], fit)[0, 1] for y, fit in zip(Y.T, fits, strict=True)])
    outer = cross_val_score(X, Y, ALPHAS, cv=LeaveOneGroupOut(), inner_cv="outer", groups=labels)
    splitter = cross_val_score(X, Y, ALPHAS, cv=LeaveOneGroupOut(), inner_cv=LeaveOneGroupOut(), groups=labels)
    np.testing.assert_allclose(outer, expected, atol=1e-9)
    np.testing.assert_allclose(splitter, expected, atol=1e-9)


@pytest.mark.parametrize("inner", [{"selection": "gcv"}, {"selection": "kfold", "inner_folds": "outer"}])
def test_float32_scores_equal_float64_scores_also_far_from_zero(inner):
    X, Y = make_data(v=40)
    Y = np.float32(Y + np.linspace(0, 3000, 40))
    cv = CrossValidation(alphas=tuple(ALPHAS), **inner)
    wide = cross_val_score(X, Y.astype(np.float64), cv=cv, scoring=("r", "r2"))
    narrow = cross_val_score(X.astype(np.float32), Y, cv=cv, scoring=("r", "r2"))
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, wide, atol=100 * EPS32)


@pytest.mark.parametrize("inner", [{"selection": "gcv"}, {"selection": "kfold", "inner_cv": "outer"}])
def test_held_out_responses_influence_no_bit_of_a_choice(inner):
    X, Y = make_data(np.float32, v=40)
    fine = np.logspace(-2, 4, 400)
    _, before = cross_val_score(X, Y, fine, cv=5, return_alphas=True, **inner)
    Y[:30] = 1e4 * np.random.default_rng(1).standard_normal((30, 40)) + 1e6  # the first fold
    scores, after = cross_val_score(X, Y, fine, cv=5, return_alphas=True, **inner)
    np.testing.assert_array_equal(after[0], before[0])
    assert (after[1:] != before[1:]).any()
    assert np.abs(scores[0]).max() < 0.7


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("inner", [{"selection": "gcv"}, {"selection": "kfold", "inner_cv": "outer"}])
@pytest.mark.filterwarnings("ignore:.*have no defined score")
def test_odd_targets_are_scored_as_single_fits_score_them(dtype, inner):
    X, Y = make_data(dtype, v=8)
    Y[:, 1] = 7  # constant
    Y[:, 2] = np.nan
    Y[3, 3] = np.nan  # held out by the first fold, trained on by the others
    Y[30:60, 4] = -2  # constant in the second fold
    Y[30:, 5] = 1  # constant in all folds but the first
    Y[:, 6] = X @ np.arange(12)  # nothing is left of it
    scores, alphas = cross_val_score(X, Y, ALPHAS, cv=5, scoring=("r", "r2"), return_alphas=True, **inner)
    noiseless = cross_val_score(X, Y[:, 6:7], ALPHAS, cv=5, sample_weight=np.ones(150), **inner)
    assert np.isnan(scores[:, :, [1, 2, 3]]).all()
    assert np.isnan(alphas[:, 2]).all()
    assert (alphas[:, 1] == ALPHAS[-1]).all()
    assert np.isnan(alphas[:, 3]).tolist() == [False, True, True, True, True]
    assert np.isnan(scores[0, :, 4]).tolist() == [False, True, False, False, False]
    assert np.isnan(scores[0, 1:, 5]).all()
    assert alphas[0, 5] == ALPHAS[-1]
    np.testing.assert_allclose(scores[0, :, 6:7], noiseless, atol=1e-6)
    alone = cross_val_score(X, Y[:, [0, 7]], ALPHAS, cv=5, scoring=("r", "r2"), **inner)
    np.testing.assert_allclose(scores[:, :, [0, 7]], alone, atol=4 * np.finfo(dtype).eps)


def test_features_that_only_few_samples_have_are_scored_as_in_float64():
    X, Y = make_data(np.float64, v=20)
    X = np.hstack([X, np.zeros((150, 2))])
    X[:3, 12] = 40  # nearly all of a direction is in the first fold
    X[100:, 13] = 1e-3
    wide = cross_val_score(X, Y, cv=5, selection="gcv", scoring=("r", "r2"))
    narrow = cross_val_score(X.astype(np.float32), Y.astype(np.float32), cv=5, selection="gcv", scoring=("r", "r2"))
    np.testing.assert_allclose(narrow, wide, atol=1e-4)


def test_each_feature_space_has_its_own_precision_and_rank():
    X, Y = make_data(np.float32)
    spaces = {
        "narrow": X,
        "wide": X.astype(np.float64),
        "low rank": X[:, :3] @ np.ones((3, 30), np.float32),
        "0": 0 * X,
    }
    with pytest.warns(UserWarning, match="6 of 6 targets of '0' have no defined score"):
        scores = cross_val_score(spaces, Y, ALPHAS, cv=5, selection="gcv")
    np.testing.assert_allclose(scores["narrow"], scores["wide"], atol=100 * EPS32)
    alone = cross_val_score(spaces["low rank"], Y, ALPHAS, cv=5, selection="gcv")
    np.testing.assert_array_equal(scores["low rank"], alone)


@pytest.mark.parametrize(
    ("cv", "message"),
    [(2, "inner_cv='outer' needs at least 3 outer folds"), ([([0, 1, 2], [3, 4])] * 3, "inner_cv='outer' needs")],
)
def test_other_folds_must_be_there(cv, message):
    X, Y = make_data()
    with pytest.raises(ValueError, match=message):
        cross_val_score(X, Y, ALPHAS, cv=cv, inner_cv="outer")
