"""The product measure and unique variance: what they add up to, and by explicit nested ridge."""

import warnings

import numpy as np
import pytest
import torch
from himalaya.scoring import r2_score_split
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut

from gradkern.ridge import BandedRidgeCV, cross_val_score, r2_split, variance_partition
from tests.ridge_truth import ALPHAS, EPS32, Stored, fit_by_svd, scores_by_svd

pytestmark = pytest.mark.usefixtures("one_thread")

RATIOS = np.array([[0.5, 0.5], [0.9, 0.1], [0.1, 0.9]])


@pytest.fixture
def data():
    """Two bands that share a part, one that explains nothing, and responses of the first two."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal((240, 3))
    Xs = [np.concatenate([common, rng.standard_normal((240, d))], 1) for d in (4, 6)]
    Xs.append(rng.standard_normal((240, 5)))
    wanted = sum(X @ rng.standard_normal((X.shape[1], 8)) for X in Xs[:2])
    return Xs, wanted + 3 * rng.standard_normal((240, 8)) + 5


# The product measure


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_product_measure_adds_up_to_the_r2_of_held_out_predictions(data, dtype):
    Xs, Y = data
    X, Y = np.concatenate(Xs, 1).astype(dtype), Y.astype(dtype)
    model = BandedRidgeCV((7, 9, 5), band_weights=5).fit(X[:200], Y[:200])
    parts = model.predict(X[200:], split=True)
    split = r2_split(Y[200:], parts, intercept=model.intercept_)
    assert split.shape == (3, 8)
    assert split.dtype == dtype
    truth = r2_score(Y[200:], model.predict(X[200:]), multioutput="raw_values")
    tolerance = 1e-12 if dtype == np.float64 else 40 * EPS32
    np.testing.assert_allclose(split.sum(0), truth, rtol=0, atol=tolerance)
    # without one, the intercept is the one that fits these samples best
    total = parts.sum(0) - parts.sum(0).mean(0) + Y[200:].mean(0)
    best = r2_score(Y[200:], total, multioutput="raw_values")
    np.testing.assert_allclose(r2_split(Y[200:], parts).sum(0), best, rtol=0, atol=tolerance)


def test_the_product_measure_is_himalayas():
    rng = np.random.default_rng(1)
    parts = rng.standard_normal((3, 50, 6))
    y = parts[0] + 0.5 * parts[1] + rng.standard_normal((50, 6))
    y, parts = y - y.mean(0), parts - parts.mean(1, keepdims=True)
    np.testing.assert_allclose(r2_split(y, parts), r2_score_split(y, parts), rtol=0, atol=1e-12)


def test_on_the_fitted_samples_of_least_squares_it_is_weight_times_correlation():
    rng = np.random.default_rng(2)
    X = rng.standard_normal((80, 3)) @ rng.standard_normal((3, 3)) + 1
    y = X @ [1.0, -2.0, 0.5] + rng.standard_normal(80)
    weights = np.linalg.lstsq(X - X.mean(0), y - y.mean(), rcond=None)[0]
    expected = [w * X[:, b].std() / y.std() * np.corrcoef(X[:, b], y)[0, 1] for b, w in enumerate(weights)]
    np.testing.assert_allclose(r2_split(y, (X * weights).T), expected, rtol=0, atol=1e-12)


def test_kinds_of_arrays_and_targets_without_variance():
    rng = np.random.default_rng(3)
    y, parts = rng.standard_normal((30, 4)), rng.standard_normal((2, 30, 4))
    y[:, 1] = 1 / 3
    got = r2_split(torch.from_numpy(y), torch.from_numpy(parts))
    assert isinstance(got, torch.Tensor)
    np.testing.assert_array_equal(got.numpy(), r2_split(y, parts))
    assert got.isnan()[:, 1].all()
    assert got.isfinite()[:, [0, 2, 3]].all()
    one = r2_split(y[:, 0], parts[..., 0], intercept=1.0)
    assert one.shape == (2,)
    np.testing.assert_array_equal(one, r2_split(y, parts, intercept=[1.0, 0, 0, 0])[:, 0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((30, 4), (2, 30, 3), None), r"r2_split: y must be .* got \(30, 4\) and \(2, 30, 3\)"),
        (((30, 4), (30, 4), None), r"r2_split: y must be .* got \(30, 4\) and \(30, 4\)"),
        (((30, 4), (2, 30, 4), np.zeros(3)), r"intercept must be a scalar or one number a target, \[4\], got .*\(3,\)"),
        (((30, 4), (2, 30, 4), np.nan), "r2_split: intercept must be finite"),
    ],
)
def test_shapes_that_do_not_fit_are_named(arguments, message):
    y, parts, intercept = arguments
    with pytest.raises(ValueError, match=message):
        r2_split(np.ones(y), np.ones(parts), intercept=intercept)


def test_parts_that_are_not_finite_are_named():
    parts = np.ones((2, 30, 4))
    parts[1, 3, 2] = np.inf
    with pytest.raises(ValueError, match="r2_split: parts must be finite, got 1 values"):
        r2_split(np.arange(120.0).reshape(30, 4), parts)


# The partition


def nested_r2(Xs, Y, ratios, outer, inner):
    """Held-out R2 [v] and the product measure [bands, v] by explicit ridge, means over outer folds."""
    X, widths = np.concatenate(Xs, 1), [X.shape[1] for X in Xs]
    r2, product = np.zeros(Y.shape[1]), np.zeros((len(Xs), Y.shape[1]))
    for train, test in outer:
        scaled = [X * np.repeat(np.sqrt(ratio), widths) for ratio in ratios]
        scores = np.stack([scores_by_svd(each[train], Y[train], ALPHAS, inner(train)) for each in scaled])
        for target in range(Y.shape[1]):
            ratio, alpha = np.unravel_index(scores[:, :, target].argmax(), scores.shape[:2])
            coef, bias = fit_by_svd(scaled[ratio][train], Y[train][:, [target]], ALPHAS[[alpha]])
            weighted = scaled[ratio][test] * coef[0, :, 0]
            parts = np.stack([part.sum(1) for part in np.split(weighted, np.cumsum(widths)[:-1], axis=1)])
            y = Y[test, target]
            r2[target] += r2_score(y, parts.sum(0) + bias[0, 0]) / len(outer)
            product[:, target] += r2_split(y, parts, intercept=bias[0, 0]) / len(outer)
    return r2, product


def test_the_partition_is_that_of_explicit_nested_ridge(data):
    Xs, Y = data
    outer = list(KFold(3).split(Y))

    def inner(train):
        return list(KFold(4).split(train))

    got = variance_partition(Xs[:2], Y, ALPHAS, band_weights=RATIOS, cv=3, inner_cv=4)
    joint, product = nested_r2(Xs[:2], Y, RATIOS, outer, inner)
    without = [nested_r2([X], Y, [(1.0,)], outer, inner)[0] for X in (Xs[1], Xs[0])]
    np.testing.assert_allclose(got.joint, joint, rtol=0, atol=1e-10)
    np.testing.assert_allclose(got.product, product, rtol=0, atol=1e-10)
    np.testing.assert_allclose(got.unique, joint - without, rtol=0, atol=1e-10)
    np.testing.assert_allclose(got.shared, joint - got.unique.sum(0), rtol=0, atol=1e-10)


def test_products_add_up_and_an_irrelevant_band_has_nothing_of_its_own(data):
    Xs, Y = data
    got = variance_partition(Xs, Y, band_weights=12)
    assert got.product.shape == got.unique.shape == (3, 8)
    np.testing.assert_allclose(got.product.sum(0), got.joint, rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.unique.sum(0) + got.shared, got.joint, rtol=0, atol=1e-12)
    assert (got.joint > 0.3).all()
    # it has five columns of noise: an R2 of -5 / 240 if it were not shrunk
    assert np.abs(got.unique[2]).max() < 0.02
    assert np.abs(got.product[2]).max() < 0.02
    assert (got.unique[:2].mean(1) > 0.1).all()
    assert got.shared.mean() > 0.1


def test_a_copy_of_a_band_is_wholly_shared(data):
    Xs, Y = data
    got = variance_partition([Xs[0], Xs[0]], Y, band_weights=6)
    np.testing.assert_allclose(got.unique, 0, atol=1e-3)
    np.testing.assert_allclose(got.product[0] + got.product[1], got.joint, rtol=0, atol=1e-12)


def test_a_model_without_a_band_chooses_as_plain_ridge_does(data):
    Xs, Y = data
    got = variance_partition(Xs[:2], Y, ALPHAS, band_weights=4, cv=3, inner_cv=4)
    alone = cross_val_score(Xs[1], Y, ALPHAS, cv=3, inner_cv=4, scoring="r2").mean(0)
    np.testing.assert_allclose(got.joint - got.unique[0], alone, rtol=0, atol=1e-10)


def test_the_points_of_a_grid_can_be_compared_and_blocks_do_not_matter(data):
    Xs, Y = data
    corners = [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]
    given = variance_partition(Xs[:2], Y, ALPHAS, band_weights=corners, cv=3, inner_cv=4)
    grid = variance_partition(
        Xs[:2], Stored(Y), ALPHAS, band_weights=3, sampling="grid", cv=3, inner_cv=4, max_memory=1
    )
    for name in ("joint", "product", "unique", "shared"):
        np.testing.assert_allclose(getattr(grid, name), getattr(given, name), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="variance_partition: sampling must be one of 'random', 'grid', got 'even'"):
        variance_partition(Xs[:2], Y, sampling="even")


def test_groups_straddle_neither_outer_nor_inner_folds(data):
    Xs, Y = data
    groups = np.repeat(np.arange(12), 20)[np.random.default_rng(5).permutation(240)]
    got = variance_partition(Xs[:2], Y, ALPHAS, band_weights=RATIOS, cv=3, inner_cv=4, groups=groups)
    outer = list(GroupKFold(3).split(Y, groups=groups))
    joint, _ = nested_r2(Xs[:2], Y, RATIOS, outer, lambda train: list(GroupKFold(4).split(train, groups=groups[train])))
    np.testing.assert_allclose(got.joint, joint, rtol=0, atol=1e-10)
    variance_partition(
        Xs[:2], Y, [1.0], band_weights=1, cv=LeaveOneGroupOut(), inner_cv=LeaveOneGroupOut(), groups=groups
    )
    with pytest.raises(ValueError, match="variance_partition: cv, fold 0 must keep each group on one side"):
        variance_partition(Xs[:2], Y, cv=KFold(3), groups=groups)


def test_bands_wider_than_the_samples_tensors_and_one_target(data):
    Xs, Y = data
    wide = [torch.from_numpy(X[:40].repeat(9, axis=1).astype(np.float32)) for X in Xs]
    responses = torch.from_numpy(Y[:40].astype(np.float32))
    got = variance_partition(wide, responses, band_weights=5, cv=3, inner_cv=3)
    assert isinstance(got.joint, torch.Tensor)
    assert got.joint.dtype == torch.float32
    one = variance_partition(wide, responses[:, 2], band_weights=5, cv=3, inner_cv=3)
    assert one.joint.shape == ()
    assert one.unique.shape == (3,)
    np.testing.assert_allclose(one.product, got.product[:, 2], rtol=0, atol=40 * EPS32)


def test_a_target_that_does_not_vary_where_it_is_held_out_is_counted(data):
    Xs, Y = data
    Y = Y.copy()
    Y[:48, 3] = 1 / 3
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        got = variance_partition(Xs[:2], Y, [1.0], band_weights=2)
    assert "variance_partition: 1 of 8 targets do not vary in some held-out fold" in str(caught[-1].message)
    for array in (got.joint, got.product, got.unique, got.shared):
        assert np.isnan(array[..., 3]).all()
        assert np.isfinite(np.delete(array, 3, axis=-1)).all()


def test_what_cannot_be_partitioned_is_said(data):
    Xs, Y = data
    for bad, message in (
        (Xs[:1], "variance_partition: Xs must be a list of at least 2 bands .*, got 1"),
        (np.stack([Xs[2], Xs[2]]), "variance_partition: Xs must be a list of at least 2 bands .*, got ndarray"),
        ([Xs[0], Xs[1][1:]], r"same number of samples, got 240 in Xs\[0\] and 239 in Xs\[1\]"),
        ([Xs[0], Xs[1][:, 0]], r"variance_partition: Xs\[1\] must be 2-D \[n, d\], got shape \(240,\)"),
        ([Xs[0], np.full((240, 2), np.nan)], r"variance_partition: Xs\[1\] must be finite, got 480 values"),
    ):
        with pytest.raises(ValueError, match=message):
            variance_partition(bad, Y)
    with pytest.raises(ValueError, match="band_weights must have, in some row, more than band 0"):
        variance_partition(Xs[:2], Y, band_weights=[(1.0, 0.0)])
    with pytest.raises(TypeError, match="variance_partition: inner_cv must be an int or a scikit-learn splitter"):
        variance_partition(Xs[:2], Y, inner_cv=[(np.arange(9), np.arange(9, 20))])
