"""What the ridge functions refuse, and what they take though it looks odd."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.utils.estimator_checks import check_estimators_dtypes, check_regressors_int

from gradkern.ridge import BandedRidgeCV, RidgeClassifierCV, RidgeCV, cross_val_predict, cross_val_score, ridge_path
from tests.ridge_truth import ALPHAS, decided, responses, scores_by_svd

pytestmark = pytest.mark.usefixtures("one_thread")
CALLS = {
    "RidgeCV": lambda X, Y: RidgeCV(ALPHAS).fit(X, Y),
    "BandedRidgeCV": lambda X, Y: BandedRidgeCV(alphas=ALPHAS).fit(X, Y),
    "cross_val_score": lambda X, Y: cross_val_score(X, Y, ALPHAS),
    "cross_val_predict": lambda X, Y: cross_val_predict(X, Y, ALPHAS),
    "ridge_path": lambda X, Y: ridge_path(X, Y, ALPHAS),
}


def problem(n=60, d=6, v=4):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    return X, responses(rng, X, v=v)


def holding(array, value):
    array = array.astype(object)
    array[3, 2] = value
    return array


def lists(n):
    """An object array that looks 1-D."""
    array = np.empty(n, object)
    array[:] = [[1.0, 2.0] for _ in range(n)]
    return array


# Objects


@pytest.mark.parametrize("op", CALLS)
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda A: holding(A, "a"), ValueError, "must hold real numbers, got objects: could not convert string .* 'a'"),
        (lambda A: holding(A, {}), TypeError, "must hold real numbers, got objects: .* not 'dict'"),
        (lambda A: pd.DataFrame(A).assign(word="x"), ValueError, "must hold real numbers, got objects: could not conv"),
        (lambda A: pd.DataFrame(holding(A, pd.NA)), TypeError, "must hold real numbers, got objects: .* not 'NAType'"),
        (lambda A: np.ma.masked_greater(A, 1.0), ValueError, r"must not have masked values, got \d+ of them; fill"),
        (lambda A: A.astype("datetime64[D]"), ValueError, "must hold real numbers, got datetime64"),
    ],
)
def test_what_holds_no_numbers_is_named(op, change, error, message):
    X, Y = problem()
    with pytest.raises(error, match=f"{op}: X {message}"):
        CALLS[op](change(X), Y)
    with pytest.raises(error, match=f"{op}: Y {message}"):
        CALLS[op](X, change(Y))


@pytest.mark.parametrize("op", CALLS)
def test_lists_in_an_array_are_no_targets(op):
    with pytest.raises(ValueError, match=f"{op}: Y must hold real numbers, got objects"):
        CALLS[op](problem()[0], lists(60))


def test_numbers_in_objects_and_masks_of_nothing_are_taken():
    X, Y = problem()
    plain = RidgeCV(ALPHAS).fit(X, Y)
    for x, y in ((X.astype(object), Y.astype(object)), (np.ma.array(X), np.ma.array(Y))):
        np.testing.assert_array_equal(RidgeCV(ALPHAS).fit(x, y).coef_, plain.coef_)


# Integers


@pytest.mark.parametrize("kind", [RidgeCV, BandedRidgeCV, RidgeClassifierCV])
def test_scikit_learn_wants_integers_to_be_fitted(kind):
    """The reason why integers are widened: with an error instead, these two of its checks fail."""

    class Refusing(kind):
        refused = "X"

        def fit(self, X, y, groups=None):
            if np.asarray(X if self.refused == "X" else y).dtype.kind in "iu":
                raise ValueError("integers")
            return super().fit(X, y, groups)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="integers"):
            check_estimators_dtypes(kind.__name__, Refusing())
        if kind is not RidgeClassifierCV:
            Refusing.refused = "y"
            with pytest.raises(ValueError, match="integers"):
                check_regressors_int(kind.__name__, Refusing())


@pytest.mark.parametrize("op", CALLS)
@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint16, bool])
def test_integers_and_booleans_are_computed_with_as_float64(op, dtype):
    rng = np.random.default_rng(1)
    X, Y = (rng.integers(0, 2 if dtype is bool else 50, shape).astype(dtype) for shape in ((60, 6), (60, 4)))
    got, wanted = CALLS[op](X, Y), CALLS[op](X.astype(np.float64), Y.astype(np.float64))
    got, wanted = (each[0] if isinstance(each, tuple) else getattr(each, "coef_", each) for each in (got, wanted))
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, wanted)


# Names of columns


@pytest.mark.parametrize("op", ["RidgeCV", "cross_val_score", "cross_val_predict", "ridge_path"])
def test_bad_features_are_named_by_their_column(op):
    X, Y = problem(d=3)
    frame = pd.DataFrame(X, columns=["edge", "face", "word"])
    frame.loc[7, "face"] = np.nan
    with pytest.raises(ValueError, match=f"{op}: X must be finite, .* first at .7, 1. .column 'face'."):
        CALLS[op](frame, Y)


def test_predict_names_the_column_too():
    X, Y = problem(d=3)
    frame = pd.DataFrame(X, columns=["edge", "face", "word"])
    model = RidgeCV(ALPHAS).fit(frame, Y)
    with pytest.raises(ValueError, match=r"RidgeCV\.predict: X must be finite, .* first at \[7, 2\] \(column 'word'\)"):
        model.predict(frame.mask(np.arange(180).reshape(60, 3) == 23))


# Alphas


@pytest.mark.parametrize("how", [pd.Series, list, tuple, torch.tensor], ids=["series", "list", "tuple", "tensor"])
@pytest.mark.parametrize("down", [False, True])
def test_results_are_in_the_order_of_alphas_of_any_kind(how, down):
    X, Y = problem()
    values = np.array([10.0, 1.0, 0.1]) if down else np.array([0.1, 1.0, 10.0])
    given = pd.Series(values, index=[7, 8, 9]) if how is pd.Series else how(values)
    truth = scores_by_svd(X, Y, values, [(np.arange(30), np.arange(30, 60)), (np.arange(30, 60), np.arange(30))])
    model = RidgeCV(given, cv=2, store_scores=True).fit(X, Y)
    np.testing.assert_allclose(model.scores_, truth, rtol=0, atol=1e-10)
    coef, _ = ridge_path(X, Y, given)
    for alpha, found in zip(values, coef, strict=True):
        np.testing.assert_allclose(found, Ridge(alpha).fit(X, Y).coef_, rtol=0, atol=1e-10)


# Groups


@pytest.mark.parametrize("op", [RidgeCV, cross_val_score])
@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        (
            np.where(np.arange(60) == 7, np.nan, np.arange(60) // 3),
            ValueError,
            "a label for every sample, got nan",
        ),
        (np.array(["a", None] * 30, object), ValueError, "a label for every sample, got None for sample 1"),
        (np.array(["a", 3] * 30, object), TypeError, "groups must be labels of one kind, got int and str"),
        (np.arange(59), ValueError, r"groups must hold one label per sample, shape \(60,\), got shape \(59,\)"),
        (np.arange(60) // 29, ValueError, "cv, fold 0 must keep each group on one side, got 1 groups in both"),
    ],
)
def test_groups_that_cannot_be_kept_whole_are_named(op, groups, error, message):
    X, Y = problem()
    pairs = [(np.arange(30), np.arange(30, 60)), (np.arange(30, 60), np.arange(30))]
    with pytest.raises(error, match=message):
        RidgeCV(ALPHAS, cv=pairs).fit(X, Y, groups) if op is RidgeCV else op(X, Y, ALPHAS, cv=pairs, groups=groups)


# Folds and Grams at the limit


def test_a_fold_of_one_sample_is_refused_and_says_which_argument():
    X, Y = problem()
    pairs = [(np.arange(30), np.arange(30, 60)), (np.arange(30, 60), [4])]
    for call in (lambda: RidgeCV(ALPHAS, cv=pairs).fit(X, Y), lambda: cross_val_score(X, Y, ALPHAS, cv=pairs)):
        with pytest.raises(ValueError, match="cv must test at least 2 samples in every fold, for a score, got 1"):
            call()
    with pytest.raises(ValueError, match="RidgeCV: cv, fold 0 must train on at least 2 samples, got 1"):
        RidgeCV(ALPHAS, cv=[([0], np.arange(1, 60))]).fit(X, Y)


@pytest.mark.parametrize("selection", ["kfold", "loo", "gcv"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_singular_gram_is_ridge_in_what_its_features_span(selection, dtype):
    X, Y = (each.astype(dtype) for each in problem())
    copied = np.concatenate([X, X, np.ones((60, 3), dtype), np.zeros((60, 2), dtype)], 1)
    alphas = np.logspace(-3, 3, 7)
    twice = RidgeCV(alphas, selection=selection).fit(copied, Y)
    once = RidgeCV(alphas, selection=selection).fit(np.sqrt(dtype(2)) * X, Y)
    tolerance = 1e-10 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(twice.best_score_, once.best_score_, rtol=0, atol=tolerance)
    np.testing.assert_allclose(twice.coef_[:, :6], once.coef_ / np.sqrt(2), rtol=0, atol=tolerance)
    np.testing.assert_allclose(twice.coef_[:, 6:12], twice.coef_[:, :6], rtol=0, atol=tolerance)
    assert not np.abs(twice.coef_[:, 12:]).max()


def test_a_feature_that_varies_in_one_fold_only_is_no_obstacle():
    X, Y = problem()
    X[:, 2] = 0
    X[3, 2] = 50.0  # constant, and so without a coefficient, in the training set of the first fold
    folds = [(np.setdiff1d(np.arange(60), test), test) for test in np.split(np.arange(60), 5)]
    truth = scores_by_svd(X, Y, ALPHAS, folds)
    model = RidgeCV(ALPHAS, store_scores=True).fit(X, Y)
    np.testing.assert_allclose(model.scores_, truth, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(model.alpha_[decided(truth)], ALPHAS[truth.argmax(0)][decided(truth)])


def test_predictions_that_overflow_are_an_error():
    X, Y = (1e30 * each.astype(np.float32) for each in problem())
    with pytest.raises(ValueError, match="cross_val_predict: X and Y must be smaller, or float64"):
        cross_val_predict(X, Y, ALPHAS)
    assert np.isfinite(cross_val_predict(X.astype(np.float64), Y, ALPHAS)).all()
