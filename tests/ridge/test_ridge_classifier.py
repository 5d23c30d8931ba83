"""RidgeClassifierCV: scikit-learn's classifier with any splitter."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import RidgeClassifier
from sklearn.linear_model import RidgeClassifierCV as SklearnRidgeClassifierCV
from sklearn.model_selection import StratifiedKFold
from sklearn.utils.estimator_checks import check_estimator

from gradkern.ridge import RidgeClassifierCV, RidgeCV
from tests.ridge_truth import ALPHAS

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def flowers():
    return load_iris(return_X_y=True)


@pytest.mark.parametrize("kwargs", [{}, {"selection": "loo"}, {"class_weight": "balanced", "standardize": True}])
def test_scikit_learn_accepts_the_estimator(kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_estimator(RidgeClassifierCV(**kwargs))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("weight", [None, "balanced", {0: 1.0, 1: 3.0, 2: 0.5}])
def test_the_model_is_scikit_learns(flowers, classes, weight):
    X, y = (part[flowers[1] < classes] for part in flowers)
    weight = {key: value for key, value in weight.items() if key < classes} if isinstance(weight, dict) else weight
    ours = RidgeClassifierCV([2.0], class_weight=weight).fit(X, y)
    theirs = RidgeClassifier(alpha=2.0, class_weight=weight).fit(X, y)
    np.testing.assert_allclose(ours.coef_, np.atleast_2d(theirs.coef_), atol=1e-10)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), atol=1e-10)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    assert ours.score(X, y) == theirs.score(X, y)


def test_leave_one_out_chooses_scikit_learns_alpha(flowers):
    X, y = flowers
    ours, theirs = RidgeClassifierCV(ALPHAS, selection="loo").fit(X, y), SklearnRidgeClassifierCV(ALPHAS).fit(X, y)
    np.testing.assert_array_equal(ours.ridge_.alpha_, theirs.alpha_)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


def test_folds_are_stratified_and_groups_stay_whole(flowers):
    X, y = flowers
    codes = 2.0 * (y[:, None] == np.arange(3)) - 1
    whole = RidgeClassifierCV(ALPHAS).fit(X, y).ridge_
    direct = RidgeCV(ALPHAS, cv=list(StratifiedKFold(5).split(X, y)), alpha_per_target=False).fit(X, codes)
    np.testing.assert_array_equal(whole.best_score_, direct.best_score_)
    grouped = RidgeClassifierCV(ALPHAS).fit(X, y, groups=np.arange(150) // 3).ridge_
    assert not np.array_equal(grouped.best_score_, whole.best_score_)


def test_bad_labels_are_named(flowers):
    X, y = flowers
    with pytest.raises(ValueError, match=r"y must have at least 2 classes \(with weight\), got 1 class, 7"):
        RidgeClassifierCV().fit(X, np.full(150, 7))
    with pytest.raises(ValueError, match="Unknown label type"):
        RidgeClassifierCV().fit(X, y + 0.5)
