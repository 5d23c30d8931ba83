"""One setting of cross-validation: its checks, its folds, and what every function takes from it."""

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, KFold, cross_validate

from gradkern.ridge import (
    DEFAULT_ALPHAS,
    BandedRidgeCV,
    CrossValidation,
    RidgeClassifierCV,
    RidgeCV,
    cross_val_predict,
    cross_val_score,
    variance_partition,
)

pytestmark = pytest.mark.usefixtures("one_thread")
ALPHAS = (0.1, 10.0, 1000.0)
GROUPS = np.repeat(np.arange(30), 2)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 8))
    return X, X @ rng.standard_normal((8, 3)) + 4 * rng.standard_normal((60, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "run"}, "CrossValidation: by must be one of 'image', .*, got 'run'"),
        ({"selection": "grid"}, "CrossValidation: selection must be one of 'auto', .*, got 'grid'"),
        ({"folds": 1}, "CrossValidation: folds must be an integer of at least 2, got 1"),
        ({"folds": 2.5}, "CrossValidation: folds must be an integer of at least 2, got 2.5"),
        ({"inner_folds": 0}, "CrossValidation: inner_folds must be an integer of at least 2, got 0"),
        ({"gap": -1.0}, "CrossValidation: gap must be .* at least 0, got -1.0"),
        ({"gap": float("nan")}, "CrossValidation: gap must be .* at least 0, got nan"),
        ({"alphas": (1.0, 0.0)}, "CrossValidation: alphas must be positive, got 0.0 at position 1"),
        ({"alphas": ()}, "CrossValidation: alphas must be a non-empty 1-D sequence"),
    ],
)
def test_impossible_settings_are_refused_when_they_are_made(options, message):
    with pytest.raises(ValueError, match=message):
        CrossValidation(**options)


def test_equal_settings_are_equal_whatever_holds_the_alphas():
    from_array = CrossValidation(alphas=np.array(ALPHAS), seed=1)
    assert from_array == CrossValidation(alphas=ALPHAS, seed=1)
    assert hash(from_array) == hash(CrossValidation(alphas=ALPHAS, seed=1))
    assert from_array.alphas == ALPHAS


def test_the_repr_is_a_line_without_the_grid():
    text = repr(CrossValidation(folds=4))
    assert len(text) < 130
    assert "folds=4" in text
    assert "alphas=1e-10..1e+10 (41)" in text
    assert "alphas=(0.1, 10.0, 1000.0)" in repr(CrossValidation(alphas=ALPHAS))


def test_rows_of_an_image_stay_together_and_the_seed_decides_the_folds(data):
    cv = CrossValidation(folds=5, seed=3)
    folds = cv.split(data[0], groups=GROUPS)
    assert len(folds) == cv.get_n_splits() == 5
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(60))
    for train, test in folds:
        assert not set(GROUPS[train]) & set(GROUPS[test])
    again, other = cv.split(data[0], groups=GROUPS), CrossValidation(seed=4).split(data[0], groups=GROUPS)
    assert all(np.array_equal(ours[1], theirs[1]) for ours, theirs in zip(folds, again, strict=True))
    assert not all(np.array_equal(ours[1], theirs[1]) for ours, theirs in zip(folds, other, strict=True))


def test_folds_that_rows_alone_cannot_give_are_refused(data):
    with pytest.raises(ValueError, match="CrossValidation: by='session' needs a recording"):
        CrossValidation(by="session").split(data[0])
    with pytest.raises(ValueError, match=r"CrossValidation: folds must lie in 2\.\.30, .* got 31"):
        CrossValidation(folds=31).split(data[0], groups=GROUPS)
    with pytest.raises(ValueError, match="CrossValidation: by='zero-shot' needs a recording"):
        cross_val_score(*data, cv=CrossValidation(by="zero-shot"))


def test_auto_is_gcv_unless_images_repeat():
    cv = CrossValidation()
    assert cv.selection_for(np.arange(60)) == "gcv"
    assert cv.selection_for(GROUPS) == "kfold"
    assert CrossValidation(selection="loo").selection_for(GROUPS) == "loo"


def test_scores_and_predictions_under_a_setting_are_those_of_its_parts(data):
    X, Y = data
    cv = CrossValidation(folds=4, inner_folds=3, alphas=ALPHAS, seed=2)
    singly = {"cv": cv.split(X), "alphas": ALPHAS, "selection": "gcv"}
    assert np.array_equal(cross_val_score(X, Y, cv=cv), cross_val_score(X, Y, **singly))
    assert np.array_equal(cross_val_predict(X, Y, cv=cv), cross_val_predict(X, Y, **singly))
    grouped = {"cv": cv.split(X, groups=GROUPS), "alphas": ALPHAS, "selection": "kfold", "inner_cv": GroupKFold(3)}
    assert np.array_equal(cross_val_score(X, Y, cv=cv, groups=GROUPS), cross_val_score(X, Y, groups=GROUPS, **grouped))


def test_variance_partition_under_a_setting_chooses_by_k_fold(data):
    X, Y = data
    cv = CrossValidation(folds=3, inner_folds=4, alphas=ALPHAS, seed=2)
    ours = variance_partition([X[:, :3], X[:, 3:]], Y, band_weights=4, cv=cv)
    one_each = np.arange(len(X))
    singly = variance_partition(
        [X[:, :3], X[:, 3:]], Y, ALPHAS, band_weights=4, cv=cv.split(X), inner_cv=4, groups=one_each
    )
    assert np.array_equal(ours.unique, singly.unique)
    with pytest.raises(ValueError, match=r"variance_partition: selection must be 'kfold' or 'auto' .*, got 'loo'"):
        variance_partition([X[:, :3], X[:, 3:]], Y, cv=CrossValidation(selection="loo"))


@pytest.mark.parametrize("call", [cross_val_score, cross_val_predict])
def test_what_a_setting_decides_must_not_be_given_beside_it(data, call):
    with pytest.raises(ValueError, match=f"{call.__name__}: alphas must be left out where cv is a CrossValidation"):
        call(*data, [1.0, 2.0], cv=CrossValidation())
    with pytest.raises(ValueError, match=rf"{call.__name__}: inner_cv must be left out .*, got 3"):
        call(*data, cv=CrossValidation(), inner_cv=3)


@pytest.mark.parametrize("kind", [RidgeCV, BandedRidgeCV])
def test_an_estimator_takes_the_folds_alone(data, kind):
    X, Y = data
    cv = CrossValidation(folds=4, seed=2)
    assert np.array_equal(kind(cv=cv).fit(X, Y).coef_, kind(cv=cv.split(X)).fit(X, Y).coef_)
    with pytest.raises(ValueError, match=f"{kind.__name__}: alphas must be given to the estimator itself"):
        kind(cv=CrossValidation(alphas=ALPHAS)).fit(X, Y)
    kind(alphas=ALPHAS, cv=CrossValidation(alphas=ALPHAS)).fit(X, Y)
    with pytest.raises(ValueError, match=f"{kind.__name__}: selection must be given .* got 'kfold' and 'gcv'"):
        kind(cv=CrossValidation(selection="gcv")).fit(X, Y)


def test_the_classifier_and_scikit_learn_take_it_as_a_splitter(data):
    X, Y = data
    labels, cv = (Y[:, 0] > 0).astype(int), CrossValidation(folds=3, seed=2)
    ours = RidgeClassifierCV(cv=cv).fit(X, labels)
    assert np.array_equal(ours.coef_, RidgeClassifierCV(cv=cv.split(X)).fit(X, labels).coef_)
    with pytest.raises(ValueError, match="RidgeClassifierCV: alphas must be given to the estimator itself"):
        RidgeClassifierCV(cv=CrossValidation(alphas=ALPHAS)).fit(X, labels)
    scores = cross_validate(RidgeCV(cv=KFold(3)), X, Y, cv=cv)["test_score"]
    assert scores.shape == (3,)


def test_the_default_grid_is_the_same_for_all():
    assert CrossValidation().alphas == DEFAULT_ALPHAS == RidgeCV().alphas == BandedRidgeCV().alphas
