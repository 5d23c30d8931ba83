"""cross_val_score and cross_val_predict against a slow nested loop in float64, with weights and missing targets."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut, ShuffleSplit

from gradkern.ridge import RidgeCV, cross_val_predict, cross_val_score
from tests.ridge_truth import ALPHAS, EPS32, decided, fit_by_svd, responses, score_columns

pytestmark = pytest.mark.usefixtures("one_thread")
GROUPS = np.repeat(np.arange(24), 3)
SHAPES = [(72, 10), (72, 100)]


def problem(n, d, v=6, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) + 2
    return X, responses(rng, X, v=v) + 3


def fit(X, Y, w, alphas):
    """Coefficients [a, d, v] and intercepts [a, v] of weighted ridge."""
    x0, y0 = w @ X / w.sum(), w @ Y / w.sum()
    root = np.sqrt(w)[:, None]
    coef, _ = fit_by_svd(root * (X - x0), root * (Y - y0), alphas, intercept=False)
    return coef, y0 - np.einsum("d,adv->av", x0, coef)


def nested(X, Y, w, outer, inner_of, scoring):
    """Scores [f, v] and predictions [n, v], alphas by inner R2; and which targets [f, v] are sure of their alpha."""
    scores, sure, predictions = [], [], np.full(Y.shape, np.nan)
    for train, test in outer:
        inner = inner_of(train)
        found = np.zeros((len(ALPHAS), Y.shape[1]))
        for fitted, held_out in inner:
            a, b = train[fitted], train[held_out]
            coef, bias = fit(X[a], Y[a], w[a], ALPHAS)
            for i in range(len(ALPHAS)):
                found[i] += score_columns(Y[b], X[b] @ coef[i] + bias[i], "r2", w[b]) / len(inner)
        coef, bias = fit(X[train], Y[train], w[train], ALPHAS)
        targets = np.arange(Y.shape[1])
        best = found.argmax(0)
        predictions[test] = X[test] @ coef[best, :, targets].T + bias[best, targets]
        scores.append(score_columns(Y[test], predictions[test], scoring, w[test]))
        sure.append(decided(found))
    return np.array(scores), predictions, np.array(sure)


@pytest.mark.parametrize("scoring", ["r", "r2"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_scores_and_predictions_are_those_of_a_slow_nested_loop(n, d, weighted, scoring):
    X, Y = problem(n, d)
    w = np.random.default_rng(1).uniform(0.1, 4, n) if weighted else np.ones(n)
    outer = list(GroupKFold(4).split(X, groups=GROUPS))
    scores, predictions, sure = nested(
        X,
        Y,
        w,
        outer,
        lambda train: list(GroupKFold(3).split(train, groups=GROUPS[train])),
        scoring,
    )
    assert sure.all()
    how = {"cv": 4, "inner_cv": 3, "groups": GROUPS, "sample_weight": w if weighted else None}
    got = cross_val_score(X, Y, ALPHAS, scoring=scoring, **how)
    np.testing.assert_allclose(got, scores, rtol=0, atol=1e-9)
    np.testing.assert_allclose(cross_val_predict(X, Y, ALPHAS, **how), predictions, rtol=0, atol=1e-8)
    narrow = cross_val_score(X.astype(np.float32), Y.astype(np.float32), ALPHAS, scoring=scoring, **how)
    np.testing.assert_allclose(narrow, scores, rtol=0, atol=100 * EPS32)


@pytest.mark.parametrize("how", [{}, {"scoring": "r2"}, {"standardize": True}, {"selection": "loo"}], ids=str)
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_a_weight_counts_as_so_many_samples(n, d, how):
    X, Y = problem(n, d)
    sessions = np.arange(n) % 6  # splits that do not depend on how often a sample is there
    weights = np.random.default_rng(1).integers(0, 4, n)
    if how.get("selection") == "loo":
        weights = np.minimum(weights, 1)  # a copy that stays would tell of the sample left out
    index = np.repeat(np.arange(n), weights)
    splits = {"cv": LeaveOneGroupOut(), "inner_cv": LeaveOneGroupOut()}
    ours = cross_val_score(X, Y, ALPHAS, groups=sessions, sample_weight=weights, **splits, **how)
    theirs = cross_val_score(X[index], Y[index], ALPHAS, groups=sessions[index], **splits, **how)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-8)
    how = {name: value for name, value in how.items() if name == "selection"}
    ours = cross_val_predict(X, Y, ALPHAS, groups=sessions, sample_weight=weights, **splits, **how)
    theirs = cross_val_predict(X[index], Y[index], ALPHAS, groups=sessions[index], **splits, **how)
    assert np.isfinite(ours).all()  # those of weight 0 too
    np.testing.assert_allclose(ours[index], theirs, rtol=0, atol=1e-7)


def test_each_fold_is_a_weighted_ridge_fitted_on_its_training_samples():
    X, Y = problem(72, 10)
    weights = np.random.default_rng(1).uniform(0, 3, 72) * (np.arange(72) % 5 > 0)
    predicted = cross_val_predict(X, Y, ALPHAS, cv=4, inner_cv=3, groups=GROUPS, sample_weight=weights)
    for train, test in GroupKFold(4).split(X, groups=GROUPS):
        model = RidgeCV(ALPHAS, cv=3).fit(X[train], Y[train], groups=GROUPS[train], sample_weight=weights[train])
        np.testing.assert_allclose(predicted[test], model.predict(X[test]), rtol=0, atol=1e-10)


def test_held_out_weights_change_scores_but_no_prediction():
    X, Y = problem(72, 10)
    one, other = np.ones(72), np.ones(72)
    other[:18] = np.random.default_rng(1).uniform(0.1, 4, 18)  # the first of four folds
    predicted = [cross_val_predict(X, Y, ALPHAS, cv=4, sample_weight=each) for each in (one, other)]
    np.testing.assert_array_equal(predicted[0][:18], predicted[1][:18])
    scores = [cross_val_score(X, Y, ALPHAS, cv=4, sample_weight=each)[0] for each in (one, other)]
    assert (np.abs(scores[0] - scores[1]) > 1e-4).all()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(71), r"sample_weight must hold one weight per sample, shape \(72,\), got shape \(71,\)"),
        (-np.ones(72), "sample_weight must be finite and not negative, got -1.0 for sample 0"),
        (np.zeros(72), "sample_weight must not be zero for all samples"),
        (np.r_[np.zeros(60), np.ones(12)], "sample_weight must leave fold 0 2 samples to train on and 1 to test"),
        (np.r_[np.ones(18), np.zeros(50), np.ones(4)], "sample_weight must leave fold"),
    ],
)
@pytest.mark.parametrize("op", [cross_val_score, cross_val_predict])
def test_impossible_weights_are_named(op, weights, message):
    with pytest.raises(ValueError, match=f"{op.__name__}: {message}"):
        op(*problem(72, 5), ALPHAS, cv=4, sample_weight=weights)


# Several feature spaces


def test_feature_spaces_have_the_same_folds_whatever_the_splitter_draws():
    (X, Y), (other, _) = problem(72, 10), problem(72, 90, seed=1)
    drawn = {"cv": ShuffleSplit(3, test_size=0.3), "inner_cv": KFold(3, shuffle=True)}  # no seed: new ones every time
    twice = cross_val_score({"one": X, "same": X.copy(), "other": other}, Y, ALPHAS, **drawn)
    np.testing.assert_array_equal(twice["one"], twice["same"])
    pairs = list(KFold(4).split(X))
    once = cross_val_score({"one": X, "other": other}, Y, ALPHAS, cv=iter(pairs))  # can be read once only
    np.testing.assert_allclose(once["other"], cross_val_score(other, Y, ALPHAS, cv=pairs), rtol=0, atol=1e-10)


def test_feature_spaces_of_other_samples_are_named():
    (X, Y), (other, _) = problem(72, 10), problem(71, 90)
    message = "all feature spaces must have the same number of samples, got 72 in shallow and 71 in deep"
    with pytest.raises(ValueError, match=f"cross_val_score: {message}"):
        cross_val_score({"shallow": X, "deep": other}, Y)
    frame = pd.DataFrame(X).rename(columns={3: "edge"})
    frame.loc[7, "edge"] = np.nan
    with pytest.raises(
        ValueError, match=r"deep must be finite, got 1 values .*, the first at \[7, 3\] \(column 'edge'"
    ):
        cross_val_score({"shallow": X, "deep": frame}, Y)


# Arrays


@pytest.mark.parametrize("one_target", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_tensors_files_and_arrays_are_read_alike(n, d, weighted, one_target, tmp_path):
    h5py = pytest.importorskip("h5py")
    X, Y = problem(n, d)
    Y = Y[:, 4] if one_target else Y
    weights = np.random.default_rng(1).uniform(0, 3, n) * (np.arange(n) % 5 > 0) if weighted else None
    how = {"cv": 4, "inner_cv": 3}
    scores = cross_val_score(X, Y, ALPHAS, sample_weight=weights, **how)
    predictions = cross_val_predict(X, Y, ALPHAS, sample_weight=weights, **how)
    assert scores.shape == (4, *Y.shape[1:])
    assert predictions.shape == Y.shape
    tensors = torch.from_numpy(X), torch.from_numpy(Y)
    same = None if weights is None else torch.from_numpy(weights)
    with h5py.File(tmp_path / "xy.h5", "w") as file:
        for x, y, w in (
            (*tensors, same),
            (file.create_dataset("x", data=X), file.create_dataset("y", data=Y), weights),
            (pd.DataFrame(X), pd.Series(Y) if one_target else pd.DataFrame(Y), weights),
            (X.tolist(), Y.tolist(), None if weights is None else weights.tolist()),
        ):
            got = cross_val_score(x, y, ALPHAS, sample_weight=w, **how)
            assert isinstance(got, torch.Tensor) == isinstance(x, torch.Tensor)
            np.testing.assert_allclose(np.asarray(got), scores, rtol=0, atol=1e-12)
            got = cross_val_predict(x, y, ALPHAS, sample_weight=w, **how)
            np.testing.assert_allclose(np.asarray(got), predictions, rtol=0, atol=1e-11)


def test_targets_with_nan_are_nan_and_leave_the_others_alone():
    X, Y = problem(72, 10)
    holes, weights = Y.copy(), np.random.default_rng(1).uniform(0.2, 2, 72)
    holes[3, 2] = holes[50, 4] = np.nan
    with pytest.warns(UserWarning, match="cross_val_score: 2 of 6 targets have no defined score in some folds"):
        got = cross_val_score(X, holes, ALPHAS, cv=4, sample_weight=weights)
    assert np.isnan(got[:, [2, 4]]).all()
    whole = cross_val_score(X, Y, ALPHAS, cv=4, sample_weight=weights)
    np.testing.assert_allclose(got[:, [0, 1, 3, 5]], whole[:, [0, 1, 3, 5]], rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match=r"cross_val_predict: Y must be finite, got 2 values .* the first at \[3, 2\]"):
        cross_val_predict(X, holes, ALPHAS, cv=4, sample_weight=weights)


def test_a_held_out_fold_with_one_weighted_sample_has_no_score_and_says_so():
    X, Y = problem(72, 10)
    weights = np.ones(72)
    weights[1:18] = 0
    with pytest.warns(UserWarning, match="cross_val_score: 6 of 6 targets have no defined score in some folds"):
        got = cross_val_score(X, Y, ALPHAS, cv=4, sample_weight=weights)
    assert np.isnan(got[0]).all()
    assert np.isfinite(got[1:]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cross_val_predict(X, Y, ALPHAS, cv=4, sample_weight=weights)
