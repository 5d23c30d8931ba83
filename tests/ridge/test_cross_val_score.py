"""Held-out scores and predictions against explicit nested loops."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, LeaveOneGroupOut, ShuffleSplit

from gradkern.ridge import RidgeCV, cross_val_predict, cross_val_score, pearson_r
from gradkern.ridge._engine import inputs

ALPHAS = np.logspace(-1, 5, 7)
EPS32 = np.finfo(np.float32).eps
pytestmark = pytest.mark.usefixtures("one_thread")


def make_data(dtype=np.float64, n=96, d=10, v=5):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)) + 3
    Y = X @ rng.standard_normal((d, v)) + np.linspace(1, 8, v) * rng.standard_normal((n, v)) - 2
    return X.astype(dtype), Y.astype(dtype), np.arange(n) // 4


def nested_loop(X, Y, outer, inner_of):
    """Predictions of every outer test set, by scikit-learn, target by target."""
    for train, test in outer:
        predicted = np.empty((len(test), Y.shape[1]))
        for target in range(Y.shape[1]):
            inner = inner_of(train)
            search = GridSearchCV(Ridge(solver="svd"), {"alpha": ALPHAS}, cv=inner).fit(X[train], Y[train, target])
            predicted[:, target] = search.predict(X[test])
        yield test, predicted


def correlations(y, yhat):
    return [np.corrcoef(a, b)[0, 1] for a, b in zip(y.T, yhat.T, strict=True)]


@pytest.mark.parametrize("d", [10, 120])
def test_scores_equal_a_nested_loop(d):
    X, Y, _ = make_data(d=d)
    parts = list(nested_loop(X, Y, KFold(4).split(X), lambda train: KFold(3)))
    r = np.array([correlations(Y[test], predicted) for test, predicted in parts])
    np.testing.assert_allclose(cross_val_score(X, Y, ALPHAS, cv=4, inner_cv=3), r, atol=1e-10)
    r2 = [1 - ((Y[t] - p) ** 2).sum(0) / ((Y[t] - Y[t].mean(0)) ** 2).sum(0) for t, p in parts]
    np.testing.assert_allclose(cross_val_score(X, Y, ALPHAS, cv=4, inner_cv=3, scoring="r2"), r2, atol=1e-10)
    pooled = np.empty_like(Y)
    for test, predicted in parts:
        pooled[test] = predicted
    np.testing.assert_allclose(cross_val_predict(X, Y, ALPHAS, cv=4, inner_cv=3), pooled, atol=1e-9)


def test_groups_are_kept_whole_outside_and_inside():
    X, Y, groups = make_data()
    outer = GroupKFold(4).split(X, groups=groups)
    parts = nested_loop(X, Y, outer, lambda train: list(GroupKFold(3).split(train, groups=groups[train])))
    r = [correlations(Y[test], predicted) for test, predicted in parts]
    got = cross_val_score(X, Y, ALPHAS, cv=4, inner_cv=3, groups=groups)
    np.testing.assert_allclose(got, r, atol=1e-10)


def test_splitters_are_taken_outside_and_inside():
    X, Y, groups = make_data()
    sessions = groups // 6
    outer, inner = LeaveOneGroupOut(), LeaveOneGroupOut()
    parts = nested_loop(
        X,
        Y,
        outer.split(X, groups=sessions),
        lambda train: list(inner.split(train, groups=sessions[train])),
    )
    r = [correlations(Y[test], predicted) for test, predicted in parts]
    got = cross_val_score(X, Y, ALPHAS, cv=outer, inner_cv=inner, groups=sessions)
    assert got.shape == (4, 5)
    np.testing.assert_allclose(got, r, atol=1e-10)


@pytest.mark.parametrize("selection", ["kfold", "loo", "gcv"])
def test_each_fold_is_a_ridge_fitted_on_its_training_samples(selection):
    X, Y, _ = make_data()
    predicted = cross_val_predict(X, Y, ALPHAS, cv=4, inner_cv=3, selection=selection)
    for train, test in KFold(4).split(X):
        model = RidgeCV(ALPHAS, cv=3, selection=selection).fit(X[train], Y[train])
        np.testing.assert_allclose(predicted[test], model.predict(X[test]), atol=1e-11)


@pytest.mark.parametrize("selection", ["kfold", "loo", "gcv"])
def test_held_out_responses_influence_nothing(selection):
    X, Y, _ = make_data(np.float32)
    test = np.arange(24)  # the first of four folds
    options = {"cv": 4, "selection": selection}
    before = cross_val_predict(X, Y, ALPHAS, **options)
    changed = Y.copy()
    changed[test] = 1e3 * np.random.default_rng(1).standard_normal((24, 5))
    after = cross_val_predict(X, changed, ALPHAS, **options)
    np.testing.assert_array_equal(after[test], before[test])
    assert not np.array_equal(after[24:], before[24:])


def test_float32_scores_equal_float64_scores():
    X, Y, groups = make_data()
    wide = cross_val_score(X, Y, ALPHAS, groups=groups)
    narrow = cross_val_score(X.astype(np.float32), Y.astype(np.float32), ALPHAS, groups=groups)
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, wide, atol=100 * EPS32)


def test_tensors_arrays_and_memory_maps_give_the_same_bits(tmp_path):
    X, Y, _ = make_data(np.float32)
    np.save(tmp_path / "Y.npy", Y)
    arrays = cross_val_score(X, Y)
    mapped = cross_val_score(X, np.load(tmp_path / "Y.npy", mmap_mode="r"))
    tensors = cross_val_score(torch.from_numpy(X), torch.from_numpy(Y))
    assert isinstance(tensors, torch.Tensor)
    np.testing.assert_array_equal(arrays, mapped)
    np.testing.assert_array_equal(arrays, tensors.numpy())
    predictions = cross_val_predict(torch.from_numpy(X), torch.from_numpy(Y))
    np.testing.assert_array_equal(predictions.numpy(), cross_val_predict(X, Y))


def test_many_targets_are_scored_as_few_are():
    X, Y, _ = make_data(np.float32, v=2600)  # three blocks
    some = [0, 1023, 1024, 2599]
    np.testing.assert_allclose(cross_val_score(X, Y)[:, some], cross_val_score(X, Y[:, some]), atol=1e-6)


def test_several_scorings_are_of_the_same_fits():
    X, Y, _ = make_data()
    each = [cross_val_score(X, Y, ALPHAS, cv=4, scoring=one) for one in ("r2", "r")]
    np.testing.assert_array_equal(cross_val_score(X, Y, ALPHAS, cv=4, scoring=("r2", "r")), each)
    spaces = cross_val_score({"X": X}, Y[:, 0], ALPHAS, cv=4, scoring=["r"])
    assert spaces["X"].shape == (1, 4)


def test_a_1d_target_loses_its_axis():
    X, Y, _ = make_data()
    np.testing.assert_array_equal(cross_val_score(X, Y[:, 0], cv=4), cross_val_score(X, Y[:, :1], cv=4)[:, 0])
    assert cross_val_predict(X, Y[:, 0]).shape == (96,)


def test_any_outer_split_scores_but_only_a_partition_predicts():
    X, Y, _ = make_data()
    shuffles = ShuffleSplit(6, test_size=0.3, random_state=0)
    assert cross_val_score(X, Y, ALPHAS, cv=shuffles).shape == (6, 5)
    with pytest.raises(ValueError, match="cross_val_predict: cv must hold out every sample exactly once"):
        cross_val_predict(X, Y, ALPHAS, cv=shuffles)
    assert cross_val_predict(X, Y, ALPHAS, cv=96).shape == (96, 5)  # one at a time


def test_a_target_that_does_not_vary_is_nan_and_counted():
    X, Y, _ = make_data()
    Y[:, 1] = 0.1
    Y[:24, 3] = 0.3
    with pytest.warns(UserWarning, match="cross_val_score: 2 of 5 targets have no defined score in some folds"):
        r = cross_val_score(X, Y, ALPHAS, cv=4)
    assert np.isnan(r[:, 1]).all()
    assert np.isnan(r[:, 3]).tolist() == [True, False, False, False]
    assert np.isfinite(r[:, [0, 2, 4]]).all()


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"scoring": "mse"}, ValueError, "cross_val_score: scoring must be one of 'r2', 'r', got 'mse'"),
        ({"scoring": ("r", "mse")}, ValueError, "cross_val_score: scoring must be one of 'r2', 'r', got 'mse'"),
        ({"scoring": ()}, ValueError, r"cross_val_score: scoring must be one of 'r2', 'r', got \(\)"),
        ({"alphas": [-1.0]}, ValueError, r"cross_val_score: alphas must be positive, got -1\.0 at position 0"),
        ({"selection": "best"}, ValueError, "cross_val_score: selection must be one of 'kfold', 'loo', 'gcv'"),
        ({"cv": 96}, ValueError, "cross_val_score: cv must test at least 2 samples in every fold, for a score, got 1"),
        ({"inner_cv": 77}, ValueError, "cross_val_score: inner_cv=77 needs at least 77 samples, got n_samples=76"),
        (
            {"inner_cv": [([0, 1], [2])]},
            TypeError,
            "cross_val_score: inner_cv must be an int or a scikit-learn splitter",
        ),
        (
            {"groups": np.arange(95)},
            ValueError,
            r"cross_val_score: groups must hold one label per sample, shape \(96,\)",
        ),
        (
            {"cv": KFold(5), "groups": np.arange(96) // 7},
            ValueError,
            "cross_val_score: cv, fold 0 must keep each group",
        ),
        ({"inner_cv": 5, "cv": 5, "groups": np.arange(96) // 20}, ValueError, "inner_cv=5 needs at least 5 different"),
    ],
)
@pytest.mark.filterwarnings("ignore:The groups parameter is ignored")
def test_impossible_requests_are_errors(kwargs, error, message):
    X, Y, _ = make_data()
    with pytest.raises(error, match=message):
        cross_val_score(X, Y, **kwargs)


def test_values_that_are_not_finite_are_named(monkeypatch):
    X, Y, _ = make_data()
    Y[7, 2] = np.inf
    monkeypatch.setattr(inputs, "LARGEST_PART", 1)  # a target at a time
    with pytest.raises(ValueError, match=r"cross_val_score: Y must be finite .*, got inf at \[7, 2\]"):
        cross_val_score(X, Y)
    with pytest.raises(ValueError, match=r"cross_val_predict: Y must be finite, got 1 values"):
        cross_val_predict(X, Y)
    with pytest.raises(ValueError, match=r"pearson_r: y must be finite, got 1 values"):
        pearson_r(Y, Y)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_pearson_r_equals_numpys(kind):
    rng = np.random.default_rng(0)
    y, noise = rng.standard_normal((2, 50, 1500)).astype(np.float32)
    yhat = y + 3 * noise + 100
    got = pearson_r(kind(y), kind(yhat))
    assert type(got) is type(kind(y))
    wide = correlations(y.astype(np.float64), yhat.astype(np.float64))
    np.testing.assert_allclose(np.asarray(got), wide, atol=2 * EPS32)
    assert float(pearson_r(kind(y[:, 0]), kind(yhat[:, 0]))) == float(got[0])


def test_pearson_r_of_what_does_not_vary_is_nan_and_shapes_must_agree():
    y = np.random.default_rng(0).standard_normal((9, 2))
    assert np.isnan(pearson_r(y, np.full((9, 2), 0.1))).all()
    with pytest.raises(
        ValueError, match=r"pearson_r: y and yhat must both be \[n, v\] or \[n\].* got \(9, 2\) and \(9,\)"
    ):
        pearson_r(y, y[:, 0])
    with pytest.raises(ValueError, match="pearson_r: yhat is on meta but y is on cpu"):
        pearson_r(torch.from_numpy(y), torch.from_numpy(y).to("meta"))


def test_r_is_defined_however_large_alpha_is() -> None:
    """What a huge penalty leaves of a prediction is far below the rounding of the intercept, but not of r."""
    random = np.random.default_rng(0)
    X = 1e-4 * random.standard_normal((60, 5)).astype(np.float32)
    Y = 3 + (1e4 * X) @ random.standard_normal((5, 3)).astype(np.float32)
    scores = cross_val_score(X, Y, alphas=[1e12])
    assert np.isfinite(scores).all()
    assert scores.mean() > 0.5


def test_alphas_are_those_that_each_training_fold_chooses():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((60, 8)), rng.standard_normal((60, 5))
    Y[:, :3] += X[:, :3]
    scores, alphas = cross_val_score(X, Y, cv=3, return_alphas=True)
    assert np.array_equal(scores, cross_val_score(X, Y, cv=3))
    assert alphas.shape == (3, 5)
    assert alphas.dtype == np.float64
    for fold, (train, _) in enumerate(KFold(3).split(X)):
        assert np.array_equal(alphas[fold], RidgeCV().fit(X[train], Y[train]).alpha_)


def test_alphas_of_one_target_of_several_spaces_and_of_tensors():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 8)), rng.standard_normal(60)
    _, alphas = cross_val_score({"all": X, "half": X[:, :4]}, y, cv=4, scoring=("r", "r2"), return_alphas=True)
    assert {name: chosen.shape for name, chosen in alphas.items()} == {"all": (4,), "half": (4,)}
    _, of_half = cross_val_score(torch.from_numpy(X[:, :4]), torch.from_numpy(y), cv=4, return_alphas=True)
    assert torch.equal(of_half, torch.from_numpy(alphas["half"]))
