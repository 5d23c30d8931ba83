"""What the ridge engine promises of its numbers: adverse designs in float32, peers, symmetries of any shape."""

import himalaya.kernel_ridge
import himalaya.ridge
import himalaya.scoring
import numpy as np
import pytest
import sklearn
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold

from gradkern.ridge import RidgeCV
from tests import ridge_truth
from tests.ridge_truth import ALPHAS, EPS32, decided, responses, scores_by_svd

pytestmark = pytest.mark.usefixtures("one_thread")


def one_hot_columns_twice(rng):
    X = np.eye(20)[rng.integers(0, 20, 200)]
    return np.concatenate([X, X], 1)


def features_of_all_sizes(rng):
    return rng.standard_normal((200, 30)) * np.logspace(-2, 2, 30)


def rectified(rng):
    return np.maximum(rng.standard_normal((200, 10)) @ rng.standard_normal((10, 40)), 0)


def tiny(rng):
    return 1e-6 * rng.standard_normal((150, 20))


def wider_than_tall_offset_by_100_sd(rng):
    return rng.standard_normal((60, 110)) + 100


DESIGNS = [
    *ridge_truth.DESIGNS,
    one_hot_columns_twice,
    features_of_all_sizes,
    rectified,
    tiny,
    wider_than_tall_offset_by_100_sd,
]


def folds_of(kind, n):
    if kind == "uneven groups":
        sizes = np.minimum(np.arange(n) ** 2 + 1, n // 4)
        groups = np.repeat(np.arange(n), sizes)[:n]
        return list(GroupKFold(4).split(np.zeros(n), groups=groups))
    return list(KFold(kind).split(np.zeros(n)))


def error(scores, truth):
    """The largest, in units of a score's size where that is above 1."""
    return (np.abs(scores - truth) / np.maximum(1, np.abs(truth))).max()


# The bounds of float32


def attacked(design):
    """Features and responses in float32, and alphas from almost none to all."""
    rng = np.random.default_rng(20)
    X = design(rng).astype(np.float32)
    alphas = np.logspace(-4, 6, 21) * (X.var(0).mean() if X.std() < 1e-3 else 1)
    return X, responses(rng, X, v=40).astype(np.float32), alphas


def check_float32(model, truth, direct, alphas):
    """Rounding is random: up to twice the direct maximum is no worse (measured: up to 1.9 times, at condition 1e8)."""
    sure = decided(truth)
    assert sure.sum() >= 5
    np.testing.assert_array_equal(model.alpha_[sure], alphas[truth.argmax(0)][sure])
    assert error(model.best_score_, truth.max(0)) <= max(2e-6, 2 * error(direct.max(0), truth.max(0)))
    assert error(model.scores_, truth) <= max(2e-6, 2 * error(direct, truth))


@pytest.mark.parametrize("scoring", ["r2", "r"])
@pytest.mark.parametrize("kind", [5, 20, "uneven groups"])
@pytest.mark.parametrize("design", DESIGNS)
def test_float32_chooses_as_float64_and_errs_no_more_than_direct_float32(design, kind, scoring):
    X, Y, alphas = attacked(design)
    folds = folds_of(kind, len(X))
    truth, direct = (scores_by_svd(X, Y, alphas, folds, scoring, dtype=dtype) for dtype in (np.float64, np.float32))
    model = RidgeCV(alphas, cv=folds, scoring=scoring, store_scores=True).fit(X, Y)
    check_float32(model, truth, direct, alphas)


@pytest.mark.parametrize("scoring", ["r2", "r"])
@pytest.mark.parametrize("design", DESIGNS)
def test_so_does_float32_with_weights_of_all_sizes(design, scoring):
    X, Y, alphas = attacked(design)
    folds, weights = folds_of(5, len(X)), np.random.default_rng(3).exponential(1, len(X)) ** 2 + 1e-3
    truth, direct = (
        scores_by_svd(X, Y, alphas, folds, scoring, weights=weights, dtype=dtype) for dtype in (np.float64, np.float32)
    )
    model = RidgeCV(alphas, cv=folds, scoring=scoring, store_scores=True).fit(X, Y, sample_weight=weights)
    check_float32(model, truth, direct, alphas)


# Peers


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(200, 30), (90, 140)])
@pytest.mark.parametrize("scoring", ["r2", "r"])
def test_himalaya_has_the_same_scores_alphas_and_coefficients(shape, scoring, dtype):
    rng = np.random.default_rng(21)
    X = rng.standard_normal(shape)
    Y = responses(rng, X, v=200)
    score = {"r2": himalaya.scoring.r2_score, "r": himalaya.scoring.correlation_score}[scoring]
    params = {"score_func": score, "n_targets_batch": 50}
    peer = himalaya.ridge.RidgeCV(ALPHAS, fit_intercept=True, cv=5, solver_params=params).fit(X, Y)
    model = RidgeCV(ALPHAS, scoring=scoring).fit(X.astype(dtype), Y.astype(dtype))
    tolerance = 4e-9 if dtype == np.float64 else 40 * EPS32  # its mean over folds has float32 weights
    np.testing.assert_allclose(model.best_score_, peer.cv_scores_, rtol=0, atol=tolerance)
    same = np.isclose(model.alpha_, peer.best_alphas_, rtol=1e-6)  # it rounds them to float32
    sure = decided(scores_by_svd(X, Y, ALPHAS, folds_of(5, len(X)), scoring))
    assert sure.mean() > 0.7
    assert same[sure].all()
    size = np.abs(peer.coef_).max()
    np.testing.assert_allclose(model.coef_[same], peer.coef_.T[same], rtol=0, atol=5 * tolerance * size)
    np.testing.assert_allclose(model.intercept_[same], peer.intercept_[same], rtol=0, atol=5 * tolerance * size)
    kernel = himalaya.kernel_ridge.KernelRidgeCV(ALPHAS, cv=5, solver_params={"score_func": score})
    without = RidgeCV(ALPHAS, scoring=scoring, fit_intercept=False).fit(X.astype(dtype), Y.astype(dtype))
    np.testing.assert_allclose(without.best_score_, kernel.fit(X, Y).cv_scores_, rtol=0, atol=tolerance)


@pytest.mark.parametrize("intercept", [True, False])
def test_weights_give_what_scikit_learns_grid_search_gives_with_them(intercept):
    rng = np.random.default_rng(22)
    X, weights = rng.standard_normal((90, 12)), rng.uniform(0.1, 4, 90)
    Y = responses(rng, X, v=5) + 1
    model = RidgeCV(ALPHAS, fit_intercept=intercept).fit(X, Y, sample_weight=weights)
    with sklearn.config_context(enable_metadata_routing=True):
        ridge = Ridge(fit_intercept=intercept).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        for target in range(5):
            peer = GridSearchCV(ridge, {"alpha": ALPHAS}, cv=KFold(5)).fit(X, Y[:, target], sample_weight=weights)
            assert model.alpha_[target] == peer.best_params_["alpha"]
            np.testing.assert_allclose(model.best_score_[target], peer.best_score_, atol=1e-10)
            np.testing.assert_allclose(model.coef_[target], peer.best_estimator_.coef_, atol=1e-9)


# Symmetries

SHAPES = {"n": st.integers(12, 60), "d": st.integers(1, 70), "v": st.integers(2, 9), "seed": st.integers(0, 10**6)}
SETTINGS = st.sampled_from(
    [
        {},
        {"scoring": "r"},
        {"standardize": True},
        {"fit_intercept": False},
        {"selection": "loo"},
        {"selection": "gcv"},
    ]
)


def agree(ours, whole, columns):
    """Scores within 1e-6, and the same alpha wherever the lead of the best is over 1e-5.

    Scores under -1 count as -1: no target chooses these, and float32 knows them by their size.
    """
    scores, wanted = (np.asarray(each) for each in (ours.scores_, whole.scores_[:, columns]))
    np.testing.assert_array_equal(np.isnan(scores), np.isnan(wanted))
    np.testing.assert_allclose(np.maximum(scores, -1), np.maximum(wanted, -1), rtol=0, atol=1e-6)
    sure = ~np.isnan(wanted).any(0) & decided(wanted)
    np.testing.assert_array_equal(ours.alpha_[sure], whole.alpha_[columns][sure])


@given(**SHAPES, how=SETTINGS)
@settings(max_examples=80, deadline=None)
def test_order_company_and_blocks_of_targets_do_not_matter(n, d, v, seed, how):
    # float32 knows less where features all but interpolate the rows that are fitted, two thirds of them or all:
    # there residuals are differences of large numbers
    assume(not n / 3 < d < 2 * n)
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)).astype(np.float32)
    Y = responses(rng, X, v=v).astype(np.float32)

    def fit(Y, **more):
        return RidgeCV(ALPHAS, cv=3, store_scores=True, **how, **more).fit(X, Y)

    whole, order, everything = fit(Y), rng.permutation(v), np.arange(v)
    again = fit(Y)
    for name in ("alpha_", "scores_", "coef_", "intercept_"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    agree(fit(Y[:, order]), whole, order)
    agree(fit(Y[:, :-1]), whole, everything[:-1])
    agree(fit(Y, max_memory=int(rng.integers(1, 40_000))), whole, everything)
