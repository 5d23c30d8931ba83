"""What users of scikit-learn expect: floats for one target, penalties of classifiers, several labels, or a reason."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import RidgeClassifierCV as Theirs
from sklearn.metrics import make_scorer, r2_score
from sklearn.model_selection import LeaveOneOut

from gradkern import BandedRidgeCV, RidgeClassifierCV, RidgeCV, cross_val_score

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 8))
Y = X @ RNG.standard_normal((8, 3)) + RNG.standard_normal((60, 3))
ALPHAS = np.logspace(-2, 3, 11)


@pytest.mark.parametrize("as_array", [np.asarray, np.ndarray.tolist], ids=["NumPy", "lists"])
def test_one_target_has_a_float_for_its_penalty(as_array: Any) -> None:
    one, all_of_them = RidgeCV(ALPHAS).fit(as_array(X), as_array(Y[:, 0])), RidgeCV(ALPHAS).fit(X, Y)
    assert type(one.alpha_) is float
    assert type(one.best_score_) is float
    assert one.alpha_ == all_of_them.alpha_[0]
    assert one.best_score_ == pytest.approx(float(all_of_them.best_score_[0]))
    assert one.predict(as_array(X)).shape == (60,)
    assert one.score(as_array(X), as_array(Y[:, 0])) > 0.5


def test_a_banded_model_of_one_target_as_well() -> None:
    model = BandedRidgeCV([4, 4], alphas=ALPHAS).fit(X, Y[:, 0])
    assert type(model.alpha_) is float
    assert type(model.best_score_) is float


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("per_target", [False, True])
def test_a_classifier_has_its_penalty(classes: int, per_target: bool) -> None:
    labels = (X[:, :classes] + 0.5 * RNG.standard_normal((60, classes))).argmax(1)
    model = RidgeClassifierCV(ALPHAS, alpha_per_target=per_target).fit(X, labels)
    if per_target and classes == 3:
        assert model.alpha_.shape == model.best_score_.shape == (3,)
    else:
        assert model.alpha_ in ALPHAS
        assert type(model.best_score_) is float
    loo = RidgeClassifierCV(ALPHAS, selection="loo").fit(X, labels)
    assert loo.alpha_ == pytest.approx(Theirs(ALPHAS).fit(X, labels).alpha_)


@settings(max_examples=15, deadline=None)
@given(labels=st.integers(2, 4), noise=st.floats(0.1, 2), seed=st.integers(0, 99))
def test_several_labels_are_as_many_classifiers(labels: int, noise: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    several = (X[:, :labels] + noise * rng.standard_normal((60, labels)) > 0).astype(int)
    model = RidgeClassifierCV(ALPHAS, alpha_per_target=True).fit(X, several)
    codes = RidgeCV(ALPHAS).fit(X, 2.0 * several - 1).predict(X)
    np.testing.assert_allclose(model.decision_function(X), codes)
    predicted = model.predict(X)
    assert predicted.shape == several.shape
    assert np.array_equal(predicted, (codes > 0).astype(int))
    assert model.score(X, several) == np.mean((predicted == several).all(1))
    one = RidgeClassifierCV(ALPHAS, cv=[(np.arange(30), np.arange(30, 60))]).fit(X, several[:, 0])
    assert np.array_equal(one.classes_, np.unique(several[:, 0]))


def test_several_labels_are_zeros_and_ones() -> None:
    with pytest.raises(ValueError, match=r"y must be \[n\] labels, or \[n, c\] of 0 and 1, got \[60, 2\]"):
        RidgeClassifierCV().fit(X, np.stack([np.arange(60) % 3] * 2, 1))
    with pytest.raises(ValueError, match="class_weight needs one label a sample, got several"):
        RidgeClassifierCV(class_weight="balanced").fit(X, (Y > 0).astype(int))


@pytest.mark.parametrize(
    ("scoring", "message"),
    [
        (
            "neg_mean_squared_error",
            "got 'neg_mean_squared_error'; in a fold, R2 orders a target's alphas as its squared",
        ),
        (make_scorer(r2_score), "got a function: it would need the predictions of every alpha"),
        (lambda ours, theirs: 0.0, "got a function: it would need the predictions of every alpha"),
    ],
)
def test_other_scores_are_refused_with_the_reason(scoring: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"RidgeCV: scoring must be one of 'r2', 'r', {message}"):
        RidgeCV(scoring=scoring).fit(X, Y)
    with pytest.raises(ValueError, match=f"cross_val_score: scoring must be one of 'r2', 'r', {message}"):
        cross_val_score(X, Y, scoring=scoring)


def test_squared_error_orders_alphas_as_r2_does() -> None:
    train, test = np.arange(40), np.arange(40, 60)
    model = RidgeCV(ALPHAS, cv=[(train, test)], store_scores=True).fit(X, Y)
    center = X[train].mean(0), Y[train].mean(0)
    for number, alpha in enumerate(ALPHAS):
        Z = X[train] - center[0]
        weights = np.linalg.solve(Z.T @ Z + alpha * np.eye(8), Z.T @ (Y[train] - center[1]))
        error = ((Y[test] - (X[test] - center[0]) @ weights - center[1]) ** 2).mean(0)
        spread = ((Y[test] - Y[test].mean(0)) ** 2).mean(0)
        np.testing.assert_allclose(model.scores_[number], 1 - error / spread, rtol=1e-9)


@pytest.mark.parametrize("cv", [60, LeaveOneOut()])
def test_folds_of_one_sample_are_told_of_leave_one_out(cv: Any) -> None:
    with pytest.raises(
        ValueError, match=r"at least 2 samples in every fold, .*; selection='loo' leaves out one at a time"
    ):
        RidgeCV(cv=cv).fit(X, Y)
    assert RidgeCV(selection="loo").fit(X, Y).alpha_.shape == (3,)


def test_float64_is_the_type_of_the_arrays() -> None:
    with pytest.raises(ValueError, match="got 'float64'; all is float64 where X or Y is"):
        RidgeCV(precision="float64").fit(X.astype(np.float32), Y.astype(np.float32))
    assert RidgeCV().fit(X, Y.astype(np.float32)).best_score_.dtype == np.float64
