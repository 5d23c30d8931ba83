"""Permutation tests of scores: exact refits, whole groups, and p that are uniform where there is nothing to find."""

import numpy as np
import pytest
from scipy.stats import binom, kstest
from sklearn.model_selection import ShuffleSplit

from gradkern.ridge import cross_val_score, pearson_r
from gradkern.stats import draw_permutations, permutation_test, permutation_test_held_out

ALPHAS = np.logspace(-1, 4, 6)
pytestmark = pytest.mark.usefixtures("one_thread")


def make_data(n=90, d=12, v=6, dtype=np.float32, strength=1.0):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.5 + 3
    Y = strength * X @ rng.standard_normal((d, v)) + np.linspace(1, 6, v) * rng.standard_normal((n, v)) - 2
    return X.astype(dtype), Y.astype(dtype)


@pytest.mark.parametrize(
    ("selection", "cv", "d", "dtype", "atol"),
    [
        ("gcv", 5, 12, np.float32, 2e-6),
        ("gcv", 5, 12, np.float64, 1e-11),
        ("gcv", 4, 200, np.float32, 5e-6),  # wide: training folds are interpolated
        ("gcv", ShuffleSplit(3, random_state=0), 12, np.float64, 1e-11),  # no partition
        ("kfold", 5, 12, np.float32, 2e-6),
        ("loo", 5, 12, np.float64, 1e-11),
    ],
)
def test_every_order_is_a_plain_refit(selection, cv, d, dtype, atol):
    X, Y = make_data(d=d, dtype=dtype)
    found = permutation_test(X, Y, ALPHAS, cv=cv, permutations=4, seed=3, selection=selection, keep=True)
    orders = draw_permutations("test", len(X), 4, 3).rows
    for r, order in zip([found.r, *found.null], [np.arange(len(X)), *orders], strict=True):
        plain = cross_val_score(X, Y[order], ALPHAS, cv=cv, selection=selection).mean(0)
        np.testing.assert_allclose(r, plain, atol=atol + 1e-7)  # null scores are kept in float32
    assert len({tuple(order) for order in orders}) == 4


def test_features_that_hardly_vary_in_a_training_fold_are_no_rounding():
    X, Y = make_data(n=100, d=6, v=300)
    X[:, 5] = 0
    X[:20, 5] = 1e3 * np.random.default_rng(1).standard_normal(20)
    X[20:, 5] = 1e-4 * np.random.default_rng(2).standard_normal(80)
    found = permutation_test(X, Y, [1e-8], permutations=1, seed=0)
    exact = cross_val_score(X.astype(float), Y.astype(float), [1e-8], selection="gcv").mean(0)
    np.testing.assert_allclose(found.r, exact, atol=1e-3)


def test_features_that_leave_nothing_over_are_no_rounding():
    X, Y = make_data(d=200)
    alphas = np.logspace(-7, 1, 9)
    found = permutation_test(X, Y, alphas, permutations=1, seed=0)
    exact = cross_val_score(X.astype(float), Y.astype(float), alphas, selection="gcv").mean(0)
    np.testing.assert_allclose(found.r, exact, atol=1e-4)


def test_what_does_not_vary_in_a_fold_counts_as_no_prediction():
    X, Y = make_data()
    Y[:, 0] = 0
    Y[7, 0] = 1
    found = permutation_test(X, Y, ALPHAS, permutations=9, seed=0)
    assert found.r[0] == found.null_mean[0] == found.null_sd[0] == 0
    assert found.p[0] == 1


def test_counts_are_those_of_the_null_scores(monkeypatch):
    monkeypatch.setitem(permutation_test.__globals__["_TARGETS_AT_ONCE"], "cpu", 4)
    X, Y = make_data(v=10)
    target_groups = {"first": np.arange(10) < 5, "two": [9, 3]}
    found = permutation_test(X, Y, ALPHAS, permutations=60, seed=1, keep=True, target_groups=target_groups)
    np.testing.assert_allclose(found.p, (1 + (found.null >= found.r).sum(0)) / 61)
    np.testing.assert_allclose(found.null_max, found.null.max(1), atol=1e-7)
    np.testing.assert_allclose(found.p_max, (1 + (found.null.max(1)[:, None] >= found.r).sum(0)) / 61)
    np.testing.assert_allclose(found.null_mean, found.null.mean(0), atol=1e-7)
    np.testing.assert_allclose(found.null_sd, found.null.std(0), atol=1e-6)
    for name, where in target_groups.items():
        np.testing.assert_allclose(found.target_groups[name].null, found.null[:, where].mean(1), atol=1e-7)
        assert found.target_groups[name].r == pytest.approx(found.r[where].mean())
        assert (
            found.target_groups[name].p
            == (1 + (found.target_groups[name].null >= found.target_groups[name].r).sum()) / 61
        )
    assert (found.n, found.permutations, found.smallest_p) == (90, 60, 1 / 61)


def test_groups_stay_whole_and_rows_stay_within_their_session():
    groups, session = np.tile(np.arange(20), 3), np.repeat([0, 1, 2], 20)
    shuffled = np.random.default_rng(0).permutation(60)
    groups, session = groups[shuffled], session[shuffled]
    orders = draw_permutations("test", 60, 30, 0, groups=groups, within=session)
    assert orders.n == 20
    for order in orders.rows:
        assert sorted(order) == list(range(60))
        np.testing.assert_array_equal(session[order], session)
        partners = {(groups[row], groups[source]) for row, source in enumerate(order)}
        assert len(partners) == 20  # every image takes the responses of one other
    moved = draw_permutations("test", 60, 200, 1, groups=groups).rows
    first = groups[moved[:, 0]]
    assert np.bincount(first, minlength=20).min() > 0  # any image may come anywhere


def test_groups_of_one_place_move_only_among_their_own():
    groups, half = np.arange(40), np.arange(40) % 2
    for order in draw_permutations("test", 40, 20, 0, groups=groups, within=half).rows:
        np.testing.assert_array_equal(order % 2, half)


def test_p_is_uniform_where_there_is_nothing_to_find():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((60, 5)), rng.standard_normal((60, 400))
    p = permutation_test(X, Y, ALPHAS, permutations=199, seed=0).p
    assert kstest(p, "uniform").pvalue > 1e-3
    held_out = permutation_test_held_out(Y, rng.standard_normal((60, 400)), permutations=199, seed=0).p
    assert kstest(held_out, "uniform").pvalue > 1e-3


def test_the_largest_score_holds_its_level_with_correlated_targets():
    rng = np.random.default_rng(1)
    hits = naive = 0
    for repeat in range(120):
        Y = rng.standard_normal((50, 1)) + rng.standard_normal((50, 30))
        found = permutation_test_held_out(Y, rng.standard_normal((50, 30)), permutations=99, seed=repeat)
        hits += found.p_max.min() <= 0.05
        naive += found.p.min() <= 0.05
    assert hits <= binom.ppf(0.999, 120, 0.05)
    assert naive > binom.ppf(0.999, 120, 0.05)


def test_repeats_that_are_permuted_alone_would_be_too_good():
    """Noise of the image itself: only whole images may change places."""
    rng = np.random.default_rng(2)
    images = np.repeat(np.arange(15), 6)
    Y = rng.standard_normal((15, 300))[images] + 0.3 * rng.standard_normal((90, 300))
    predictions = rng.standard_normal((15, 300))[images]
    rows = permutation_test_held_out(Y, predictions, permutations=99, seed=0).p
    whole = permutation_test_held_out(Y, predictions, groups=images, permutations=99, seed=0).p
    assert (whole <= 0.05).sum() <= binom.ppf(0.999, 300, 0.05)
    assert (rows <= 0.05).sum() > binom.ppf(0.999, 300, 0.05)


def test_what_was_planted_is_found():
    X, Y = make_data(n=150, strength=3.0)
    found = permutation_test(X, Y, ALPHAS, permutations=99, seed=0)
    assert (found.p_max == found.smallest_p).all()
    assert (found.r > found.null_max.max()).all()


def test_the_held_out_score_is_r():
    Y = make_data(n=40)[1]
    predictions = Y + np.random.default_rng(0).standard_normal(Y.shape).astype(np.float32)
    predictions[:, 2] = 1
    found = permutation_test_held_out(Y, predictions, permutations=5, seed=0, keep=True)
    order = draw_permutations("test", 40, 5, 0).rows[2]
    for r, rows in ((found.r, Y), (found.null[2], Y[order])):
        np.testing.assert_allclose(r, np.nan_to_num(pearson_r(rows, predictions)), atol=1e-6)
    assert found.r[2] == 0
    assert found.p[2] == 1


def with_value(Y, value):
    return np.where(np.arange(Y.size).reshape(Y.shape) == 5, value, Y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"groups": np.r_[0, np.arange(89)]},
            "groups must have as many rows each.*got 1 of 1 and 2 of 0; average repeats first",
        ),
        ({"groups": np.arange(80)}, "groups must hold one label per sample"),
        ({"permutations": 0}, "permutations must be a whole number of at least 1, got 0"),
        ({"within": np.arange(90)}, "permutations must be fewer than the 0 orders that differ"),
        ({"within": np.r_[0, 0, np.arange(88)]}, "permutations must be fewer than the 5 orders that differ.*got 9"),
        ({"pools": {"none": []}}, "pools must be bool"),
        ({"pools": {"far": [6]}}, "pools must be bool"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    X, Y = make_data()
    for test in (permutation_test, permutation_test_held_out):
        with pytest.raises(ValueError, match=f"{test.__name__}: {message}"):
            test(*((X, Y) if test is permutation_test else (Y, Y)), **{"permutations": 9, "seed": 0, **change})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_missing_responses_are_refused(value):
    X, Y = make_data()
    with pytest.raises(ValueError, match=r"Y must be finite, got NaN or inf in 1 of targets .*, the first 5"):
        permutation_test(X, with_value(Y, value), permutations=9, seed=0)
    with pytest.raises(ValueError, match=r"every target of Y must vary, got 1 constant.*the first 1"):
        permutation_test(X, Y * (np.arange(6) != 1), permutations=9, seed=0)
    with pytest.raises(ValueError, match=r"predictions must be like Y, \(90, 6\), got \(90, 5\)"):
        permutation_test_held_out(Y, Y[:, :5], permutations=9, seed=0)
