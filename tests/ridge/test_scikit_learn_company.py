"""The estimators in scikit-learn's company: clones, pipelines, searches, routed groups and weights."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    StratifiedKFold,
    cross_validate,
)
from sklearn.model_selection import cross_val_predict as sklearn_cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gradkern.ridge import BandedRidgeCV, RidgeClassifierCV, RidgeCV
from tests.ridge_truth import ALPHAS, responses

pytestmark = pytest.mark.usefixtures("one_thread")
GROUPS = np.repeat(np.arange(24), 3)
WEIGHTS = np.random.default_rng(1).uniform(0.2, 3, 72)
ESTIMATORS = [RidgeCV, BandedRidgeCV, RidgeClassifierCV]


def problem(kind):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((72, 6)) + 1
    if kind is RidgeClassifierCV:
        return X, np.array(["face", "house", "word"])[(X[:, :3] + rng.standard_normal((72, 3))).argmax(1)]
    return X, responses(rng, X, v=4)


def requesting(kind, **options):
    """An estimator that asks for groups and weights, and what to pass."""
    model = kind(alphas=ALPHAS, **options).set_fit_request(groups=True, sample_weight=True)
    model.set_score_request(sample_weight=True)
    return model, {"groups": GROUPS, "sample_weight": WEIGHTS}


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_cross_validate_routes_to_every_fit_and_score(kind, routing):
    X, y = problem(kind)
    model, params = requesting(kind)
    found = cross_validate(model, X, y, params=params, cv=GroupKFold(3), return_estimator=True, error_score="raise")
    for number, (train, test) in enumerate(GroupKFold(3).split(X, groups=GROUPS)):
        alone = clone(model).fit(X[train], y[train], **{name: each[train] for name, each in params.items()})
        np.testing.assert_array_equal(found["estimator"][number].coef_, alone.coef_)
        assert found["test_score"][number] == alone.score(X[test], y[test], sample_weight=WEIGHTS[test])


def searches_route_to_pipelines() -> bool:
    """Whether scikit-learn routes weights to the score of a Pipeline of its own in a search: 1.6 does not."""
    ridge = Ridge().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    try:
        GridSearchCV(make_pipeline(ridge), {"ridge__alpha": [1.0]}, cv=2).fit(
            np.eye(4), np.ones(4), sample_weight=np.ones(4)
        )
    except sklearn.exceptions.UnsetMetadataPassedError:
        return False
    return True


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_pipelines_and_searches_route_too(kind, routing):
    X, y = problem(kind)
    model, params = requesting(kind, cv=3)
    scaler = StandardScaler().set_fit_request(sample_weight=True)
    piped = make_pipeline(scaler, model).fit(X, y, **params)
    scaled = scaler.fit_transform(X, sample_weight=WEIGHTS)
    alone = clone(model).fit(scaled, y, **params)
    np.testing.assert_array_equal(piped[-1].coef_, alone.coef_)
    if not searches_route_to_pipelines():
        pytest.skip(f"scikit-learn {sklearn.__version__} routes no weights to the score of a Pipeline in a search")
    step = kind.__name__.lower()
    grid = {f"{step}__cv": [3, 4], f"{step}__fit_intercept": [True, False]}
    search = GridSearchCV(make_pipeline(scaler, model), grid, cv=GroupKFold(3), error_score="raise")
    search.fit(X, y, **params)
    best = search.cv_results_["params"][0]
    again = cross_validate(
        make_pipeline(scaler, model).set_params(**best), X, y, params=params, cv=GroupKFold(3), error_score="raise"
    )
    np.testing.assert_allclose(search.cv_results_["mean_test_score"][0], again["test_score"].mean(), rtol=1e-12)
    assert set(search.best_params_) == set(grid)
    predicted = sklearn_cross_val_predict(piped, X, y, params=params, cv=GroupKFold(3))
    assert predicted.shape == y.shape


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_what_nobody_asked_for_is_refused_by_the_router(kind, routing):
    X, y = problem(kind)
    with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="groups"):
        make_pipeline(kind()).fit(X, y, groups=GROUPS)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_frame_goes_through_a_pipeline_with_its_names(kind):
    X, y = problem(kind)
    frame = pd.DataFrame(X, columns=list("abcdef"))
    piped = make_pipeline(StandardScaler(), kind(alphas=ALPHAS)).set_output(transform="pandas").fit(frame, y)
    assert piped[-1].feature_names_in_.tolist() == list("abcdef")
    without = make_pipeline(StandardScaler(), kind(alphas=ALPHAS)).fit(X, y)
    np.testing.assert_allclose(piped[-1].coef_, without[-1].coef_, rtol=0, atol=1e-13)
    assert piped.predict(frame).shape == y.shape
    with pytest.raises(ValueError, match="The feature names should match"):
        piped.predict(frame.rename(columns={"c": "z"}))
    tensor = piped[-1].fit(torch.from_numpy(X), y)  # has no names, and leaves none behind
    assert not hasattr(tensor, "feature_names_in_")


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_clones_and_pickles_are_the_same_model(kind):
    X, y = problem(kind)
    model = kind(alphas=ALPHAS[::-1], cv=KFold(3), fit_intercept=False)
    twin = clone(model)
    assert {name: str(value) for name, value in twin.get_params().items()} == {
        name: str(value) for name, value in model.get_params().items()
    }
    model.fit(X, y)
    assert not hasattr(clone(model), "coef_")
    np.testing.assert_array_equal(twin.fit(X, y).coef_, model.coef_)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


# The classifier


def test_the_classifier_keeps_groups_whole_in_given_folds_and_refuses_them_where_it_has_none():
    X, y = problem(RidgeClassifierCV)
    pairs = list(KFold(4).split(X))
    RidgeClassifierCV(ALPHAS, cv=pairs).fit(X, y, groups=np.arange(72) // 18)
    with pytest.raises(ValueError, match="cv, fold 0 must keep each group on one side, got 1 groups in both"):
        RidgeClassifierCV(ALPHAS, cv=pairs).fit(X, y, groups=np.arange(72) // 17)
    with pytest.raises(ValueError, match="groups need selection='kfold', got selection='loo', which ignores them"):
        RidgeClassifierCV(ALPHAS, selection="loo").fit(X, y, groups=GROUPS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_classifier_takes_tensors(classes, dtype):
    X, y = problem(RidgeClassifierCV)
    y = np.where(y == "word", "house", y) if classes == 2 else y
    tensor = torch.from_numpy(X).to(dtype)
    ours, theirs = (RidgeClassifierCV(ALPHAS).fit(each, y) for each in (tensor, tensor.numpy()))
    assert isinstance(ours.coef_, torch.Tensor)
    assert ours.coef_.dtype == dtype
    codes = ours.decision_function(tensor)
    assert isinstance(codes, torch.Tensor)
    np.testing.assert_array_equal(codes.numpy(), theirs.decision_function(tensor.numpy()))
    np.testing.assert_array_equal(ours.predict(tensor), theirs.predict(tensor.numpy()))
    assert ours.score(tensor, y) == theirs.score(tensor.numpy(), y)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda X: X.astype("datetime64[D]"), ValueError, "X must hold real numbers, got datetime64"),
        (lambda X: X.astype(str), ValueError, "not compatible with arrays of bytes/strings"),
        (
            lambda X: X[:-1],
            ValueError,
            "X and y must have the same number of samples, got 71 and 72",
        ),
        (
            lambda X: pd.DataFrame(np.where(np.eye(72, 6) > 0, np.nan, X), columns=list("abcdef")),
            ValueError,
            r"RidgeClassifierCV: X must be finite, got 6 values .*, the first at \[0, 0\] \(column 'a'\)",
        ),
    ],
)
def test_features_that_no_classifier_can_take_are_named(change, error, message):
    X, y = problem(RidgeClassifierCV)
    with pytest.raises(error, match=message):
        RidgeClassifierCV(ALPHAS).fit(change(X), y)


def test_a_splitter_that_needs_labels_sees_them_in_the_classifier_only():
    X, y = problem(RidgeClassifierCV)
    RidgeClassifierCV(ALPHAS, cv=StratifiedKFold(3)).fit(X, y)
    with pytest.raises(TypeError, match="RidgeCV: cv must split without looking at y, got StratifiedKFold"):
        RidgeCV(ALPHAS, cv=StratifiedKFold(3)).fit(*problem(RidgeCV))
