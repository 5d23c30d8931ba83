"""BandedRidgeCV against explicit ridge on scaled features, in float64 with predictions formed, and against himalaya."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit
from sklearn.utils.estimator_checks import check_estimator

from gradkern.ridge import BandedRidgeCV, RidgeCV
from gradkern.ridge._engine import banded as engine
from gradkern.ridge._engine import kfold
from gradkern.ridge._engine.band_weights import resolve_band_weights
from tests.ridge_truth import ALPHAS, DESIGNS, EPS32, EPS64, fit_by_svd, responses, scores_by_svd

pytestmark = pytest.mark.usefixtures("one_thread")

RATIOS = np.array([[0.5, 0.3, 0.2], [0.9, 0.05, 0.05], [0.0, 0.4, 0.6], [0.01, 0.98, 0.01], [0.0, 1.0, 0.0]])
WIDTHS = (5, 12, 8)


def bands_of(rng, n=120, widths=WIDTHS, v=40):
    """Bands of different sizes, and targets that need them in different mixtures."""
    Xs = [rng.standard_normal((n, d)) * 10.0**-number + number for number, d in enumerate(widths)]
    wanted = sum(responses(rng, X, v=v, noise=0)[:, rng.permutation(v)] for X in Xs)
    return np.concatenate(Xs, 1), wanted + rng.standard_normal((n, v))


def scores_of(model, X, Y, alphas, divided=True):
    """Scores [a, v] of single alphas, by divided differences or by predicting."""
    with pytest.MonkeyPatch.context() as patch:
        if divided:
            patch.setattr(kfold, "_are_few", lambda n_test, r, a: False)
        return np.stack([model.set_params(alphas=[alpha]).fit(X, Y).best_score_ for alpha in alphas])


def scaled(X, widths, ratio):
    return X.astype(np.float64) * np.repeat(np.sqrt(ratio), widths)


def truth_of(X, Y, widths, ratios, alphas, folds, scoring="r2", intercept=True):
    """Mean scores [m, a, v] of explicit held-out predictions."""
    return np.stack([scores_by_svd(scaled(X, widths, each), Y, alphas, folds, scoring, intercept) for each in ratios])


def chosen_by(truth):
    """Ratio and alpha [v] of the best score, the first of equals, and which targets decide by more than 1e-5."""
    flat = truth.reshape(-1, truth.shape[2])
    best = np.sort(flat, 0)
    ratio, alpha = np.unravel_index(flat.argmax(0), truth.shape[:2])
    return ratio, alpha, best[-1] - best[-2] > 1e-5


# The truth


@pytest.mark.parametrize("scoring", ["r2", "r"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("design", DESIGNS)
def test_scores_of_a_ratio_equal_the_svds_of_scaled_features(design, dtype, scoring):
    rng = np.random.default_rng(0)
    X = design(rng).astype(dtype)
    Y = responses(rng, X).astype(dtype)
    widths = (X.shape[1] // 3, X.shape[1] - X.shape[1] // 3)
    (truth,) = truth_of(X, Y, widths, [(0.8, 0.2)], ALPHAS, list(KFold(5).split(X)), scoring)
    got = scores_of(BandedRidgeCV(widths, band_weights=[(0.8, 0.2)], scoring=scoring), X, Y, ALPHAS)
    assert got.dtype == dtype
    tolerance = 1e-10 if dtype == np.float64 else 40 * EPS32
    np.testing.assert_allclose(got, truth, rtol=0, atol=tolerance * max(1, np.abs(truth).max()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
# more samples than coordinates, one more, fewer, and fewer than a band has columns
@pytest.mark.parametrize("n", [120, 26, 20, 12])
@pytest.mark.parametrize("intercept", [True, False])
def test_each_target_gets_the_best_ratio_and_alpha_and_its_coefficients(n, intercept, dtype):
    rng = np.random.default_rng(1)
    X, Y = (each.astype(dtype) for each in bands_of(rng, n, (5, 13, 7)))
    wide = X.astype(np.float64), Y.astype(np.float64)
    truth = truth_of(*wide, (5, 13, 7), RATIOS, ALPHAS, list(KFold(4).split(X)), intercept=intercept)
    model = BandedRidgeCV((5, 13, 7), ALPHAS, band_weights=RATIOS, cv=4, fit_intercept=intercept).fit(X, Y)
    tolerance = 1e-10 if dtype == np.float64 else 40 * EPS32
    np.testing.assert_allclose(model.best_score_, truth.max((0, 1)), rtol=tolerance, atol=tolerance)
    ratio, alpha, sure = chosen_by(truth)
    assert sure.sum() > 30
    assert len(np.unique(ratio)) > 2
    np.testing.assert_allclose(model.band_weights_[sure], RATIOS[ratio[sure]], rtol=4 * EPS64)
    np.testing.assert_array_equal(model.alpha_[sure], ALPHAS[alpha[sure]])
    for target in range(Y.shape[1]):
        root = np.repeat(np.sqrt(model.band_weights_[target]), (5, 13, 7))
        coef, bias = fit_by_svd(wide[0] * root, wide[1][:, [target]], model.alpha_[[target]], intercept)
        size = np.abs(root * coef[0, :, 0]).max()
        tolerance = 1e-9 if dtype == np.float64 else 500 * EPS32
        np.testing.assert_allclose(model.coef_[target], root * coef[0, :, 0], rtol=0, atol=tolerance * size)
        np.testing.assert_allclose(model.intercept_[target], bias[0, 0], rtol=0, atol=tolerance * (1 + abs(bias[0, 0])))


@pytest.mark.parametrize("n", [120, 40])
@pytest.mark.parametrize(
    "cv",
    [
        20,
        KFold(3, shuffle=True, random_state=1),
        ShuffleSplit(4, train_size=0.4, test_size=0.3, random_state=1),
        [(np.r_[0:25, 0:10], np.arange(25, 40)), (np.arange(24), np.arange(30, 40))],
    ],
)
def test_any_split_is_scored_as_explicit_predictions_are(cv, n):
    rng = np.random.default_rng(2)
    X, Y = bands_of(rng, n, (20, 17), v=8)
    folds = list(KFold(cv).split(X)) if isinstance(cv, int) else cv if isinstance(cv, list) else list(cv.split(X))
    for ratio in ((0.5, 0.5), (0.99, 0.01), (0.0, 1.0)):
        (truth,) = truth_of(X, Y, (20, 17), [ratio], ALPHAS[::2], folds)
        got = scores_of(BandedRidgeCV((20, 17), band_weights=[ratio], cv=cv), X, Y, ALPHAS[::2], divided=False)
        np.testing.assert_allclose(got, truth, rtol=0, atol=1e-10 * max(1, np.abs(truth).max()))


def test_groups_stay_together():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(12), [1, 2, 3, 5, 8, 13, 21, 1, 2, 3, 5, 8])
    X, Y = bands_of(rng, len(groups))
    truth = truth_of(X, Y, WIDTHS, RATIOS, ALPHAS, list(GroupKFold(4).split(X, groups=groups)))
    model = BandedRidgeCV(WIDTHS, ALPHAS, band_weights=RATIOS, cv=4).fit(X, Y, groups=groups)
    np.testing.assert_allclose(model.best_score_, truth.max((0, 1)), rtol=0, atol=1e-10)


@given(
    n=st.integers(6, 40),
    bands=st.lists(st.tuples(st.integers(1, 20), st.sampled_from([0.0, 0.01, 0.3, 1.0])), min_size=1, max_size=4),
    k=st.integers(2, 3),
    scoring=st.sampled_from(["r2", "r"]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_bands_of_any_shape_are_scored_as_explicit_predictions_are(n, bands, k, scoring, seed):
    widths, ratio = zip(*bands, strict=True)
    assume(any(ratio))
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((n, sum(widths))), rng.standard_normal((n, 3))
    ratio = np.array([ratio]) / sum(ratio)
    (truth,) = truth_of(X, Y, widths, ratio, [0.1, 10.0], list(KFold(k).split(X)), scoring)
    got = scores_of(BandedRidgeCV(widths, band_weights=ratio, cv=k, scoring=scoring), X, Y, [0.1, 10.0])
    # r of predictions that hardly vary within a fold has as many digits less
    tolerance = (
        1e-10 if scoring == "r2" else max(1e-10, 3e-12 / spread_of(scaled(X, widths, ratio[0]), Y, [0.1, 10.0], k))
    )
    np.testing.assert_allclose(got, truth, rtol=0, atol=tolerance * max(1, np.abs(truth).max()))


def spread_of(X, Y, alphas, k):
    """The least standard deviation of the predictions of a fold, relative to the largest of them."""
    spreads = []
    for train, test in KFold(k).split(X):
        coef, bias = fit_by_svd(X[train], Y[train], alphas, True)
        predicted = np.einsum("nd,adv->anv", X[test], coef) + bias[:, None]
        spreads.append((predicted.std(1) / np.abs(predicted).max(1)).min())
    return min(spreads)


# The peer


def test_himalaya_chooses_the_same_and_gets_the_same_coefficients():
    ridge, scoring = pytest.importorskip("himalaya.ridge"), pytest.importorskip("himalaya.scoring")
    rng = np.random.default_rng(4)
    X, Y = bands_of(rng, 300, v=300)
    positive = RATIOS[(RATIOS > 0).all(1)]
    params = {"n_iter": positive, "alphas": ALPHAS, "score_func": scoring.r2_score, "progress_bar": False}
    groups = np.repeat(np.arange(3), WIDTHS)
    peer = ridge.GroupRidgeCV(groups=groups, fit_intercept=True, cv=5, solver_params=params).fit(X, Y)
    model = BandedRidgeCV(WIDTHS, ALPHAS, band_weights=positive).fit(X.astype(np.float32), Y.astype(np.float32))
    np.testing.assert_allclose(model.best_score_, peer.cv_scores_.max(0), rtol=0, atol=1e-5)
    ours, theirs = model.band_weights_ / model.alpha_[:, None], np.exp(peer.deltas_.T)
    same = np.isclose(ours, theirs, rtol=1e-6).all(1)
    assert same.mean() >= 0.99
    size = np.abs(peer.coef_).max()
    np.testing.assert_allclose(model.coef_[same], peer.coef_.T[same], rtol=0, atol=200 * EPS32 * size)
    np.testing.assert_allclose(model.intercept_[same], peer.intercept_[same], rtol=0, atol=200 * EPS32 * size)
    predicted = peer.predict(X)[:, same]
    size = np.abs(predicted).max()
    np.testing.assert_allclose(model.predict(X)[:, same], predicted, rtol=0, atol=200 * EPS32 * size)


# Symmetries


@pytest.fixture
def data():
    X, Y = bands_of(np.random.default_rng(9))
    return X.astype(np.float32), Y.astype(np.float32)


@pytest.mark.parametrize("scoring", ["r2", "r"])
@pytest.mark.parametrize("n", [120, 20])
def test_one_band_is_plain_ridge(data, n, scoring):
    X, Y = (each[:n] for each in data)
    plain = RidgeCV(ALPHAS, scoring=scoring).fit(X, Y)
    for bands in (None, (25,), np.array([25])):
        banded = BandedRidgeCV(bands, ALPHAS, scoring=scoring).fit(X, Y)
        np.testing.assert_array_equal(banded.alpha_, plain.alpha_)
        np.testing.assert_allclose(banded.best_score_, plain.best_score_, rtol=0, atol=40 * EPS32)
        np.testing.assert_allclose(banded.coef_, plain.coef_, rtol=0, atol=100 * EPS32 * np.abs(plain.coef_).max())
        size = (np.abs(X.mean(0)) @ np.abs(plain.coef_.T)).max()
        np.testing.assert_allclose(banded.intercept_, plain.intercept_, rtol=0, atol=100 * EPS32 * size)
        np.testing.assert_array_equal(banded.band_weights_, np.ones((40, 1)))


def test_the_same_call_gives_the_same_bits(data):
    first, second = (BandedRidgeCV(WIDTHS, band_weights=9).fit(*data) for _ in range(2))
    for name in ("alpha_", "band_weights_", "coef_", "intercept_", "best_score_"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_permuting_targets_permutes_results(data):
    X, Y = data
    order = np.random.default_rng(0).permutation(Y.shape[1])
    straight = BandedRidgeCV(WIDTHS, ALPHAS, band_weights=9).fit(X, Y)
    permuted = BandedRidgeCV(WIDTHS, ALPHAS, band_weights=9).fit(X, Y[:, order])
    np.testing.assert_allclose(permuted.best_score_, straight.best_score_[order], rtol=0, atol=8 * EPS32)
    np.testing.assert_array_equal(permuted.alpha_, straight.alpha_[order])
    np.testing.assert_array_equal(permuted.band_weights_, straight.band_weights_[order])


@pytest.mark.parametrize("n", [120, 20])
def test_splitting_a_band_in_two_of_equal_weight_changes_nothing(data, n):
    X, Y = (each[:n].astype(np.float64) for each in data)
    whole = BandedRidgeCV(WIDTHS, ALPHAS, band_weights=RATIOS).fit(X, Y)
    # rows are divided by their sums, which scales all weights of a row: so does its alpha
    for ratio, twice in zip(RATIOS, np.insert(RATIOS, 1, RATIOS[:, 1], axis=1), strict=True):
        one = BandedRidgeCV(WIDTHS, ALPHAS, band_weights=[ratio]).fit(X, Y)
        two = BandedRidgeCV((5, 7, 5, 8), ALPHAS / twice.sum(), band_weights=[twice]).fit(X, Y)
        np.testing.assert_allclose(two.best_score_, one.best_score_, rtol=0, atol=1e-10)
        np.testing.assert_allclose(two.coef_, one.coef_, rtol=0, atol=1e-9 * np.abs(one.coef_).max())
    assert (whole.best_score_ >= one.best_score_ - 1e-10).all()


@pytest.mark.parametrize("n", [120, 20])
def test_a_weight_of_zero_leaves_the_band_out(data, n):
    X, Y = (each[:n].astype(np.float64) for each in data)
    zero = BandedRidgeCV(WIDTHS, ALPHAS, band_weights=[(3.0, 0.0, 1.0), (0.0, 0.0, 2.0)]).fit(X, Y)
    kept = np.r_[0:5, 17:25]
    without = BandedRidgeCV((5, 8), ALPHAS, band_weights=[(3.0, 1.0), (0.0, 1.0)]).fit(X[:, kept], Y)
    np.testing.assert_array_equal(zero.alpha_, without.alpha_)
    np.testing.assert_allclose(zero.best_score_, without.best_score_, rtol=0, atol=1e-12)
    np.testing.assert_allclose(zero.coef_[:, kept], without.coef_, rtol=0, atol=1e-10 * np.abs(without.coef_).max())
    assert not zero.coef_[:, 5:17].any()
    assert not zero.predict(X, split=True)[1].any()


def test_swapping_bands_swaps_their_coefficients(data):
    X, Y = data
    order = np.r_[5:17, 0:5, 17:25]
    straight = BandedRidgeCV(WIDTHS, ALPHAS, band_weights=RATIOS).fit(X, Y)
    swapped = BandedRidgeCV((12, 5, 8), ALPHAS, band_weights=RATIOS[:, [1, 0, 2]]).fit(X[:, order], Y)
    np.testing.assert_allclose(swapped.band_weights_, straight.band_weights_[:, [1, 0, 2]], rtol=4 * EPS64)
    size = np.abs(straight.coef_).max()
    np.testing.assert_allclose(swapped.coef_, straight.coef_[:, order], rtol=0, atol=100 * EPS32 * size)


@pytest.mark.parametrize("n", [120, 20])
def test_blocks_of_targets_and_passes_over_ratios_do_not_matter(data, n, monkeypatch):
    X, Y = (each[:n] for each in data)
    whole = BandedRidgeCV(WIDTHS, ALPHAS, band_weights=RATIOS).fit(X, Y)
    monkeypatch.setattr(engine, "_FACTOR_BYTES", 1)
    parted = BandedRidgeCV(WIDTHS, ALPHAS, band_weights=RATIOS, max_memory=50_000).fit(X, Y)
    np.testing.assert_array_equal(parted.alpha_, whole.alpha_)
    np.testing.assert_array_equal(parted.band_weights_, whole.band_weights_)
    np.testing.assert_allclose(parted.best_score_, whole.best_score_, rtol=0, atol=8 * EPS32)
    np.testing.assert_allclose(parted.coef_, whole.coef_, rtol=0, atol=100 * EPS32 * np.abs(whole.coef_).max())


def test_float32_agrees_with_float64(data):
    X, Y = data
    narrow = BandedRidgeCV(WIDTHS, ALPHAS, band_weights=RATIOS).fit(X, Y)
    wide = BandedRidgeCV(WIDTHS, ALPHAS, band_weights=RATIOS).fit(X.astype(np.float64), Y.astype(np.float64))
    assert narrow.coef_.dtype == np.float32
    assert wide.coef_.dtype == np.float64
    np.testing.assert_allclose(narrow.best_score_, wide.best_score_, rtol=0, atol=40 * EPS32)
    np.testing.assert_array_equal(narrow.alpha_, wide.alpha_)
    np.testing.assert_array_equal(narrow.band_weights_, wide.band_weights_)


def test_tensors_and_memory_maps_are_read_as_arrays_are(data, tmp_path):
    X, Y = data
    model = BandedRidgeCV(WIDTHS, band_weights=5).fit(X, Y)
    tensor = BandedRidgeCV(WIDTHS, band_weights=5).fit(torch.from_numpy(X), torch.from_numpy(Y))
    np.save(tmp_path / "Y.npy", Y)
    mapped = BandedRidgeCV(WIDTHS, band_weights=5).fit(X, np.load(tmp_path / "Y.npy", mmap_mode="r"))
    for name in ("alpha_", "band_weights_", "coef_", "intercept_", "best_score_"):
        assert isinstance(getattr(tensor, name), torch.Tensor)
        np.testing.assert_array_equal(getattr(tensor, name).numpy(), getattr(model, name))
        np.testing.assert_array_equal(getattr(mapped, name), getattr(model, name))
    parts = tensor.predict(torch.from_numpy(X), split=True)
    np.testing.assert_array_equal(parts.numpy(), model.predict(X, split=True))


def test_the_parts_and_the_intercept_are_the_prediction(data):
    X, Y = data
    model = BandedRidgeCV(WIDTHS, band_weights=5).fit(X, Y)
    parts = model.predict(X, split=True)
    assert parts.shape == (3, 120, 40)
    np.testing.assert_allclose(
        parts.sum(0) + model.intercept_, model.predict(X), rtol=0, atol=20 * EPS32 * np.abs(parts).max()
    )
    one = BandedRidgeCV(WIDTHS, band_weights=5).fit(X, Y[:, 3])
    assert one.coef_.shape == (25,)
    assert one.band_weights_.shape == (3,)
    assert np.ndim(one.alpha_) == 0
    np.testing.assert_allclose(
        one.predict(X, split=True), parts[..., 3], rtol=0, atol=100 * EPS32 * np.abs(parts).max()
    )


@pytest.mark.parametrize("kwargs", [{}, {"scoring": "r"}])
def test_scikit_learn_accepts_the_estimator(kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_estimator(BandedRidgeCV(**kwargs))


# Ratios


def test_drawn_ratios_begin_with_the_equal_one_and_the_corners_and_follow_the_seed():
    def ratios(m, seed=0):
        return resolve_band_weights(m, 3, seed)

    many = ratios(30)
    np.testing.assert_allclose(many[0], 1 / 3)
    np.testing.assert_allclose(many[1:4], 0.985 * np.eye(3) + 0.005)
    np.testing.assert_allclose(many.sum(1), 1, rtol=4 * EPS64)
    assert (many >= 0).all()
    np.testing.assert_array_equal(ratios(7), many[:7])
    assert not np.array_equal(ratios(30, seed=1)[4:], many[4:])


def test_of_equal_scores_the_earlier_ratio_and_the_larger_alpha_win(data):
    X, Y = data
    nothing = np.zeros_like(X)  # every model predicts the mean
    model = BandedRidgeCV(WIDTHS, ALPHAS, band_weights=RATIOS).fit(nothing, Y)
    np.testing.assert_array_equal(model.alpha_, ALPHAS.max())
    np.testing.assert_allclose(model.band_weights_, np.tile(RATIOS[0], (40, 1)), rtol=4 * EPS64)
    assert not model.coef_.any()


def test_a_band_of_constants_is_no_obstacle(data):
    X, Y = (each.copy() for each in data)
    X[:, 5:17] = 3.0
    model = BandedRidgeCV(WIDTHS, ALPHAS, band_weights=RATIOS).fit(X, Y)
    assert np.isfinite(model.best_score_).all()
    assert not model.coef_[:, 5:17].any()


# Targets without a score


@pytest.mark.parametrize("kwargs", [{}, {"scoring": "r"}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [120, 20])
def test_constant_targets_are_counted_and_get_nothing(data, n, dtype, kwargs):
    X, Y = (each[:n].astype(dtype) for each in data)
    Y[:, [2, 30]] = 0.7
    with pytest.warns(UserWarning, match="BandedRidgeCV: 2 of 40 targets are constant"):
        model = BandedRidgeCV(WIDTHS, ALPHAS, band_weights=RATIOS, **kwargs).fit(X, Y)
    assert np.isnan(model.best_score_[[2, 30]]).all()
    assert np.isfinite(np.delete(model.best_score_, [2, 30])).all()
    assert not model.coef_[[2, 30]].any()
    np.testing.assert_array_equal(model.alpha_[[2, 30]], ALPHAS.max())
    np.testing.assert_allclose(model.band_weights_[[2, 30]], RATIOS[[0, 0]], rtol=4 * EPS64)
    np.testing.assert_array_equal(model.predict(X)[:, 2], dtype(0.7))


def test_a_fold_without_a_score_does_not_count(data):
    X, Y = (each.astype(np.float64) for each in data)
    Y[:24, 1] = 0.7  # constant in the test set of the first of five folds
    with pytest.warns(UserWarning, match="1 of 40 targets have no defined score in some folds"):
        got = BandedRidgeCV(WIDTHS, [1.0], band_weights=RATIOS[:1]).fit(X, Y).best_score_
    (truth,) = truth_of(X, Y[:, [1]], WIDTHS, RATIOS[:1], [1.0], list(KFold(5).split(X))[1:])
    np.testing.assert_allclose(got[1], truth[0, 0], rtol=0, atol=1e-10)


# Errors


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"bands": (4, 5)}, r"BandedRidgeCV: bands must add up to the 25 columns of X, got \(4, 5\)"),
        ({"bands": (25, 0)}, r"BandedRidgeCV: bands must be None or positive integers, .* got \(25, 0\)"),
        ({"bands": (12.5, 12.5)}, r"BandedRidgeCV: bands must be None or positive integers, .* got \(12.5, 12.5\)"),
        ({"bands": 25}, "BandedRidgeCV: bands must be None or positive integers, one width a band, got 25"),
        ({"bands": ()}, r"BandedRidgeCV: bands must be None or positive integers, one width a band, got \(\)"),
        ({"band_weights": 0}, "BandedRidgeCV: band_weights must be at least 1, got 0"),
        ({"band_weights": [(1, 2)]}, r"band_weights must be an integer or of shape \[m, 3 bands\], got shape \(1, 2\)"),
        ({"band_weights": 2.5}, r"band_weights must be an integer or of shape \[m, 3 bands\], got shape \(\)"),
        (
            {"band_weights": [(1, 2, 3), (1, -1, 1)]},
            r"band_weights must be non-negative, got \[1.0, -1.0, 1.0\] in row 1",
        ),
        ({"band_weights": [(1, np.nan, 3)]}, r"band_weights must be finite, got \[1.0, nan, 3.0\] in row 0"),
        (
            {"band_weights": [(0, 0, 0)]},
            r"band_weights must be positive for at least one band, got \[0.0, 0.0, 0.0\] in row 0",
        ),
        ({"band_weights": [("a", "b", "c")]}, "BandedRidgeCV: band_weights must be real numbers, got <U1"),
        ({"alphas": [1.0, 0.0]}, r"BandedRidgeCV: alphas must be positive, got 0\.0 at position 1"),
        ({"scoring": "mse"}, "BandedRidgeCV: scoring must be one of 'r2', 'r', got 'mse'"),
        ({"cv": 61}, "BandedRidgeCV: cv must test at least 2 samples in every fold, for a score, got 1"),
    ],
)
def test_impossible_options_are_value_errors(data, kwargs, message):
    with pytest.raises(ValueError, match=message):
        BandedRidgeCV(**{"bands": WIDTHS, **kwargs}).fit(*data)


def test_values_and_shapes_that_do_not_fit_are_named(data):
    X, Y = data
    bad = X.copy()
    bad[4, 2] = np.nan
    with pytest.raises(ValueError, match=r"BandedRidgeCV: X must be finite, got 1 values .* the first at \[4, 2\]"):
        BandedRidgeCV(WIDTHS).fit(bad, Y)
    with pytest.raises(
        ValueError, match="BandedRidgeCV: X and Y must have the same number of samples, got 120 and 119"
    ):
        BandedRidgeCV(WIDTHS).fit(X, Y[1:])
    model = BandedRidgeCV(WIDTHS, band_weights=2).fit(X, Y)
    with pytest.raises(ValueError, match=r"BandedRidgeCV\.predict: X must be finite"):
        model.predict(bad, split=True)
    with pytest.raises(ValueError, match="X has 24 features, but BandedRidgeCV is expecting 25 features as input"):
        model.predict(X[:, 1:], split=True)


@pytest.mark.gpu
@pytest.mark.parametrize("n", [120, 20])
def test_a_gpu_computes_the_same(data, n):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    X, Y = (each[:n] for each in data)
    ours = BandedRidgeCV(WIDTHS, ALPHAS, band_weights=RATIOS).fit(X, Y)
    theirs = BandedRidgeCV(WIDTHS, ALPHAS, band_weights=RATIOS).fit(*(torch.from_numpy(each).cuda() for each in (X, Y)))
    asked = BandedRidgeCV(WIDTHS, ALPHAS, band_weights=RATIOS, device="cuda").fit(X, Y)
    assert theirs.coef_.is_cuda
    assert theirs.predict(torch.from_numpy(X).cuda(), split=True).is_cuda
    assert isinstance(asked.coef_, np.ndarray)
    for other in (theirs.best_score_.cpu(), asked.best_score_):
        np.testing.assert_allclose(other, ours.best_score_, rtol=0, atol=40 * EPS32)
