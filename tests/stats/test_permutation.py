"""Permutation tests of scores: exact refits, whole groups, and p that are uniform where there is nothing to find."""

import re

import numpy as np
import pytest
from scipy.stats import binom, kstest
from sklearn.model_selection import KFold, ShuffleSplit

from gradkern.errors import Refused
from gradkern.ridge import CrossValidation, RidgeCV, cross_val_score, pearson_r
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
    found = permutation_test(X, Y, ALPHAS, cv=cv, permutations=4, seed=3, selection=selection, keep_null=True)
    orders = draw_permutations(len(X), 4, 3).rows
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


@pytest.mark.parametrize("selection", ["gcv", "kfold", "loo"])
class TestUndefinedScores:
    """A target that is constant in a fold has no score, as of `cross_val_score`; nothing else changes."""

    def test_the_target_is_nan_and_counted_and_others_keep_their_numbers(self, selection):
        X, Y = make_data()
        plain = permutation_test(X, Y, ALPHAS, permutations=19, selection=selection)
        assert plain.undefined == 0
        Y[18:36, 2] = 1.5  # the second of five folds
        with pytest.warns(UserWarning, match=r"1 of 6 targets have no defined score.* The first is target 2"):
            found = permutation_test(X, Y, ALPHAS, permutations=19, selection=selection, keep_null=True)
        assert found.undefined == 1
        others = np.arange(6) != 2
        for name in ("r", "p"):
            assert np.isnan(getattr(found, name)).tolist() == [False, False, True, False, False, False]
            np.testing.assert_array_equal(getattr(found, name)[others], getattr(plain, name)[others])
        assert np.isnan(found.p_max).tolist() == np.isnan(found.p).tolist()
        by_fold = cross_val_score(X, Y, ALPHAS, selection=selection)
        assert np.isnan(by_fold[1, 2])
        assert np.isfinite(found.null).all()

    def test_in_a_permutation_a_fold_without_a_score_counts_as_zero(self, selection):
        """One function of the responses for every order, the measured one too: that makes the test exact."""
        X, Y = make_data()
        Y[:, 0] = 0
        Y[[7, 20], 0] = 1  # in two folds, or in one, so that in others nothing varies
        with pytest.warns(UserWarning, match="1 of 6 targets"):
            found = permutation_test(
                X, Y, ALPHAS, permutations=9, selection=selection, keep_null=True, target_groups={"all": range(6)}
            )
        for r, order in zip(found.null, draw_permutations(90, 9).rows, strict=True):
            plain = np.nan_to_num(cross_val_score(X, Y[order], ALPHAS, selection=selection)).mean(0)
            np.testing.assert_allclose(r, plain, atol=2e-6)
        group = found.target_groups["all"]
        assert (group.targets, group.undefined) == (6, 1)
        observed = np.nan_to_num(cross_val_score(X, Y, ALPHAS, selection=selection)).mean()
        assert group.r == pytest.approx(observed, abs=1e-6)

    def test_predictions_that_do_not_vary_in_a_fold_have_no_score_either(self, selection):
        X, Y = make_data()
        X[:18] = X[0]
        with pytest.warns(UserWarning, match="6 of 6 targets"):
            found = permutation_test(X, Y, ALPHAS, permutations=9, selection=selection)
        assert np.isnan(found.r).all()
        assert found.undefined == 6


def test_sparse_targets_are_not_found_too_often():
    """Responses to few images vary in some folds only: those with a score are significant no more often than 5 %."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((60, 4)), np.zeros((60, 600))
    for target in range(600):
        Y[rng.choice(60, 9, replace=False), target] = rng.standard_normal(9)
    with pytest.warns(UserWarning, match="have no defined score"):
        p = permutation_test(X, Y, ALPHAS, permutations=99).p
    assert 200 < np.isfinite(p).sum() < 600
    assert np.nansum(p <= 0.05) <= binom.ppf(0.999, int(np.isfinite(p).sum()), 0.05)


def test_counts_are_those_of_the_null_scores():
    v = 4200  # more than are tested at once
    X, Y = make_data(n=60, v=v)
    target_groups = {"first": np.arange(v) < 5, "two": [v - 1, 3]}
    found = permutation_test(X, Y, ALPHAS, permutations=60, seed=1, keep_null=True, target_groups=target_groups)
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
    assert (found.n, found.permutations, found.smallest_p) == (60, 60, 1 / 61)


def test_groups_stay_whole_and_rows_stay_within_their_session():
    groups, session = np.tile(np.arange(20), 3), np.repeat([0, 1, 2], 20)
    shuffled = np.random.default_rng(0).permutation(60)
    groups, session = groups[shuffled], session[shuffled]
    orders = draw_permutations(60, 30, 0, groups=groups, within=session)
    assert orders.n == 20
    for order in orders.rows:
        assert sorted(order) == list(range(60))
        np.testing.assert_array_equal(session[order], session)
        partners = {(groups[row], groups[source]) for row, source in enumerate(order)}
        assert len(partners) == 20  # every image takes the responses of one other
    moved = draw_permutations(60, 200, 1, groups=groups).rows
    first = groups[moved[:, 0]]
    assert np.bincount(first, minlength=20).min() > 0  # any image may come anywhere


def test_groups_of_one_place_move_only_among_their_own():
    groups, half = np.arange(40), np.arange(40) % 2
    for order in draw_permutations(40, 20, 0, groups=groups, within=half).rows:
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
    with pytest.warns(UserWarning, match="1 of 6 targets have no defined score"):
        found = permutation_test_held_out(Y, predictions, permutations=5, seed=0, keep_null=True)
    order = draw_permutations(40, 5, 0).rows[2]
    for r, rows in ((found.r, Y), (found.null[2], Y[order])):
        np.testing.assert_allclose(np.nan_to_num(r), np.nan_to_num(pearson_r(rows, predictions)), atol=1e-6)
    assert np.isnan([found.r[2], found.p[2], found.p_max[2]]).all()
    assert found.undefined == 1
    assert found.alphas_at_edge is None


@pytest.mark.parametrize("selection", ["gcv", "kfold"])
def test_alphas_at_the_edges_of_the_grid_are_counted(selection):
    X, Y = make_data(strength=1.5)
    Y[:, 4:] = np.random.default_rng(3).standard_normal((90, 2))
    edges = permutation_test(X, Y, [1e-3, 1e3, 1e9], permutations=1, selection=selection).alphas_at_edge
    chosen = np.stack(
        [
            RidgeCV([1e-3, 1e3, 1e9], selection=selection, cv=5).fit(X[train], Y[train]).alpha_
            for train, _ in KFold(5).split(X)
        ]
    )
    assert (edges.lowest, edges.highest) == ((chosen == 1e-3).sum(), (chosen == 1e9).sum())
    assert edges.lowest > 0 < edges.highest
    assert edges.choices == 30
    alone = permutation_test(X, Y, [10.0], permutations=1, selection=selection).alphas_at_edge
    assert (alone.lowest, alone.highest, alone.choices) == (0, 0, 30)


def test_a_setting_of_cross_validation_is_taken_whole():
    X, Y = make_data()
    cv = CrossValidation(folds=4, alphas=tuple(ALPHAS), seed=2)
    found = permutation_test(X, Y, cv=cv, permutations=5)
    np.testing.assert_allclose(found.r, cross_val_score(X, Y, cv=cv).mean(0), atol=1e-6)


def test_a_result_fits_a_screen():
    X, Y = make_data(v=3000)
    groups = {f"region {number}": [number] for number in range(40)}
    found = permutation_test(X, Y, ALPHAS, permutations=9, target_groups=groups, keep_null=True)
    text = repr(found)
    assert len(text.splitlines()) <= 20
    assert max(map(len, text.splitlines())) <= 120
    for words in (
        "float64 \\[3000\\]",
        "region 0: r ",
        "and 3. more",
        "smallest alpha: ",
        "of 15000 choices",
        "9 permutations",
    ):
        assert re.search(words, text)
    assert found._repr_html_().startswith("<table>")


def with_value(Y, value):
    return np.where(np.arange(Y.size).reshape(Y.shape) == 5, value, Y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"groups": np.r_[0, np.arange(89)]},
            "groups must have the same number of rows each.*got 1 of 1 and 2 of 0; average repeats first",
        ),
        ({"groups": np.arange(80)}, "groups must hold one label per sample"),
        ({"permutations": 0}, "permutations must be a whole number of at least 1, got 0"),
        ({"within": np.arange(90)}, "permutations must be fewer than the 0 that differ"),
        ({"within": np.r_[0, 0, np.arange(88)]}, "permutations must be fewer than the 5 that differ.*got 9"),
        ({"target_groups": {"none": []}}, "target_groups must be bool"),
        ({"target_groups": {"far": [6]}}, "target_groups must be bool"),
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
    with pytest.raises(Refused, match=r"permutation_test: every target of Y must vary, got 1 constant.*the first 1"):
        permutation_test(X, Y * (np.arange(6) != 1), permutations=9, seed=0)
    with pytest.raises(ValueError, match=r"predictions must be like Y, \(90, 6\), got \(90, 5\)"):
        permutation_test_held_out(Y, Y[:, :5], permutations=9, seed=0)
