"""RidgeCV as an estimator: its symmetries, the arrays it takes, what it refuses."""

import warnings

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold
from sklearn.utils.estimator_checks import check_estimator

from gradkern.ridge import RidgeCV
from tests.ridge_truth import ALPHAS, EPS32, responses, scores_by_svd

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def data():
    rng = np.random.default_rng(9)
    X = rng.standard_normal((80, 30)).astype(np.float32)
    return X, responses(rng, X, v=33).astype(np.float32)


@pytest.mark.parametrize("selection", ["kfold", "loo", "gcv"])
def test_the_same_call_gives_the_same_bits(data, selection):
    first, second = (RidgeCV(selection=selection).fit(*data) for _ in range(2))
    for name in ("alpha_", "coef_", "intercept_", "best_score_"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize("selection", ["kfold", "loo", "gcv"])
def test_permuting_targets_permutes_results(data, selection):
    X, Y = data
    order = np.random.default_rng(0).permutation(Y.shape[1])
    straight = RidgeCV(ALPHAS, selection=selection).fit(X, Y)
    permuted = RidgeCV(ALPHAS, selection=selection).fit(X, Y[:, order])
    np.testing.assert_allclose(permuted.best_score_, straight.best_score_[order], atol=8 * EPS32)
    np.testing.assert_array_equal(permuted.alpha_, straight.alpha_[order])


@pytest.mark.parametrize("selection", ["kfold", "loo", "gcv"])
@pytest.mark.parametrize("max_memory", [1, 20_000, 50_000, 10**9])
def test_the_block_size_does_not_matter(data, max_memory, selection):
    whole = RidgeCV(ALPHAS, selection=selection).fit(*data)
    blocked = RidgeCV(ALPHAS, selection=selection, max_memory=max_memory).fit(*data)
    np.testing.assert_allclose(blocked.best_score_, whole.best_score_, atol=1e-6)
    np.testing.assert_array_equal(blocked.alpha_, whole.alpha_)
    np.testing.assert_allclose(blocked.coef_, whole.coef_, atol=100 * EPS32)


def test_an_added_target_does_not_matter(data):
    X, Y = data
    few, all_of_them = RidgeCV(ALPHAS).fit(X, Y[:, :-1]), RidgeCV(ALPHAS).fit(X, Y)
    np.testing.assert_allclose(all_of_them.best_score_[:-1], few.best_score_, atol=1e-6)
    np.testing.assert_array_equal(all_of_them.alpha_[:-1], few.alpha_)


def test_scaling_and_shifting_a_target_leaves_its_score(data):
    X, Y = data
    plain = RidgeCV(ALPHAS, scoring="r").fit(X, Y)
    scaled = RidgeCV(ALPHAS, scoring="r").fit(X, 1e-13 * Y)
    np.testing.assert_allclose(scaled.best_score_, plain.best_score_, atol=20 * EPS32)
    np.testing.assert_array_equal(scaled.alpha_, plain.alpha_)
    shifted = RidgeCV(ALPHAS, scoring="r").fit(X.astype(np.float64), Y.astype(np.float64) + 1e4)
    np.testing.assert_allclose(shifted.best_score_, plain.best_score_, atol=20 * EPS32)


def test_the_order_of_alphas_does_not_matter_and_ties_go_to_the_larger(data):
    X, Y = data
    up, down = RidgeCV(ALPHAS).fit(X, Y), RidgeCV(ALPHAS[::-1]).fit(X, Y)
    np.testing.assert_array_equal(up.alpha_, down.alpha_)
    nothing = np.zeros_like(X)  # every alpha predicts the mean
    tied = RidgeCV(ALPHAS).fit(nothing, Y)
    np.testing.assert_array_equal(tied.alpha_, ALPHAS.max())
    assert not tied.coef_.any()


@pytest.mark.parametrize("selection", ["kfold", "loo", "gcv"])
def test_memory_maps_are_read_and_arrays_stay_as_they_are(data, tmp_path, selection):
    X, Y = data
    np.save(tmp_path / "Y.npy", Y)
    mapped = np.load(tmp_path / "Y.npy", mmap_mode="r")
    X.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_map = RidgeCV(selection=selection, max_memory=30_000).fit(X, mapped)
    np.testing.assert_array_equal(from_map.coef_, RidgeCV(selection=selection, max_memory=30_000).fit(X, Y).coef_)


@pytest.mark.parametrize("selection", ["kfold", "loo", "gcv"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_in_tensors_out_arrays_in_arrays_out(data, dtype, selection):
    X, Y = (torch.from_numpy(each).to(dtype) for each in data)
    copies = X.clone(), Y.clone()
    torch_model = RidgeCV(selection=selection).fit(X, Y)
    numpy_model = RidgeCV(selection=selection).fit(X.numpy(), Y.numpy())
    assert torch.equal(X, copies[0])
    assert torch.equal(Y, copies[1])
    for name in ("alpha_", "coef_", "intercept_", "best_score_"):
        tensor, array = getattr(torch_model, name), getattr(numpy_model, name)
        assert isinstance(tensor, torch.Tensor)
        assert isinstance(array, np.ndarray)
        np.testing.assert_array_equal(tensor.numpy(), array)
    assert torch_model.coef_.dtype == dtype
    predicted = torch_model.predict(X)
    assert isinstance(predicted, torch.Tensor)
    np.testing.assert_array_equal(predicted.numpy(), numpy_model.predict(X.numpy()))
    assert torch_model.score(X, Y) == numpy_model.score(X.numpy(), Y.numpy())


def test_half_precision_is_widened_and_integers_become_float64():
    rng = np.random.default_rng(0)
    X, Y = rng.integers(-9, 9, (40, 5)), rng.integers(-9, 9, (40, 3))
    whole = RidgeCV().fit(X, Y)
    half = RidgeCV().fit(X.astype(np.float16), torch.from_numpy(Y).to(torch.bfloat16))
    assert whole.coef_.dtype == np.float64
    assert half.coef_.dtype == np.float32
    np.testing.assert_allclose(half.coef_, whole.coef_, atol=100 * EPS32)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_a_1d_target_gives_scalars(data, kind):
    X, Y = data
    one, column = RidgeCV().fit(kind(X), kind(Y[:, 5])), RidgeCV().fit(kind(X), kind(Y[:, 5:6]))
    assert one.coef_.shape == (30,)
    assert column.coef_.shape == (1, 30)
    for name in ("alpha_", "intercept_", "best_score_"):
        assert np.ndim(getattr(one, name)) == 0
        assert float(getattr(one, name)) == float(getattr(column, name)[0])
    assert one.predict(kind(X)).shape == (80,)
    assert column.predict(kind(X)).shape == (80, 1)


def test_score_is_scikit_learns_mean_r2(data):
    X, Y = data
    Y = Y.copy()
    Y[:, 4] = 1.5
    with pytest.warns(UserWarning, match="constant"):
        model = RidgeCV().fit(X, Y)
    np.testing.assert_allclose(model.score(X, Y), r2_score(Y, model.predict(X)), atol=20 * EPS32)
    Y[:, 4] = 2.5  # constant, and predicted wrongly
    np.testing.assert_allclose(model.score(X, Y), r2_score(Y, model.predict(X)), atol=20 * EPS32)


@pytest.mark.parametrize("kwargs", [{}, {"scoring": "r"}, {"selection": "loo"}, {"selection": "gcv"}])
def test_scikit_learn_accepts_the_estimator(kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_estimator(RidgeCV(**kwargs))


# Targets without a score


@pytest.mark.parametrize("kwargs", [{}, {"scoring": "r"}, {"selection": "loo"}, {"selection": "gcv"}])
@pytest.mark.parametrize("value", [0.0, 1 / 3, 1e7])
def test_constant_targets_are_counted_and_get_nothing(data, value, kwargs):
    X, Y = data
    Y = Y.copy()
    Y[:, [2, 30]] = value
    with pytest.warns(UserWarning, match="RidgeCV: 2 of 33 targets are constant"):
        model = RidgeCV(ALPHAS, max_memory=60_000, **kwargs).fit(X, Y)
    assert np.isnan(model.best_score_[[2, 30]]).all()
    assert np.isfinite(np.delete(model.best_score_, [2, 30])).all()
    assert not model.coef_[[2, 30]].any()
    np.testing.assert_array_equal(model.alpha_[[2, 30]], ALPHAS.max())
    np.testing.assert_array_equal(model.predict(X)[:, 2], np.float32(value))


def test_a_fold_without_a_score_does_not_count():
    rng = np.random.default_rng(10)
    X = rng.standard_normal((60, 5))
    Y = responses(rng, X, v=4)
    Y[:12, 1] = 0.7  # constant in the test set of the first of five folds
    with pytest.warns(UserWarning, match="1 of 4 targets have no defined score in some folds"):
        got = RidgeCV([1.0]).fit(X, Y).best_score_
    folds = list(KFold(5).split(X))
    np.testing.assert_allclose(got[[0, 2, 3]], scores_by_svd(X, Y[:, [0, 2, 3]], [1.0], folds)[0], atol=1e-10)
    np.testing.assert_allclose(got[1], scores_by_svd(X, Y[:, [1]], [1.0], folds[1:])[0, 0], atol=1e-10)


def test_a_target_that_never_varies_in_training_has_no_r_there():
    rng = np.random.default_rng(11)
    X = rng.standard_normal((60, 5))
    Y = np.zeros((60, 1))
    Y[:12, 0] = rng.standard_normal(12)  # varies in the first test set only: no fold has both
    with pytest.warns(UserWarning, match="1 of 1 targets vary but have no defined score"):
        model = RidgeCV(ALPHAS, scoring="r").fit(X, Y)
    assert np.isnan(model.best_score_).all()
    assert model.alpha_[0] == ALPHAS.max()


# Errors


def bad(array, index, value):
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"alphas": [1.0, 2.0, 3.0, 0.0]}, r"RidgeCV: alphas must be positive, got 0\.0 at position 3"),
        ({"alphas": [1.0, np.inf]}, "RidgeCV: alphas must be finite, got inf at position 1"),
        ({"alphas": []}, r"RidgeCV: alphas must be a non-empty 1-D sequence, got shape \(0,\)"),
        (
            {"alphas": 1.0},
            r"RidgeCV: alphas must be .* 1-D sequence, got shape \(\), the number 1\.0; \[1\.0\] is a grid of it",
        ),
        ({"alphas": ["one"]}, "RidgeCV: alphas must be real numbers, got <U3"),
        ({"selection": "best"}, "RidgeCV: selection must be one of 'kfold', 'loo', 'gcv', got 'best'"),
        ({"scoring": "mse"}, "RidgeCV: scoring must be one of 'r2', 'r', got 'mse'"),
        ({"selection": "gcv", "scoring": "r"}, "RidgeCV: scoring must be 'r2' with selection='gcv', got 'r'"),
        ({"max_memory": 0}, "RidgeCV: max_memory must be None or a number of bytes, got 0"),
        ({"alphas": [1.0, 3.0, 2.0]}, "RidgeCV: alphas must ascend, none twice, got 3 before 2; numpy.unique puts"),
        ({"alphas": [1.0, 2.0, 2.0, 3.0]}, "RidgeCV: alphas must ascend, none twice, got 2 before 2"),
        ({"alphas": [3.0, 2.0, 2.0]}, "RidgeCV: alphas must ascend, none twice, got 2 before 2"),
        ({"coef": "both"}, "RidgeCV: coef must be one of 'primal', 'dual', 'none', got 'both'"),
        (
            {"selection": "loo", "standardize": True},
            "RidgeCV: standardize needs selection='kfold', got selection='loo'",
        ),
        ({"cv": 41}, "RidgeCV: cv must test at least 2 samples in every fold, for a score, got 1"),
    ],
)
def test_impossible_options_are_value_errors(data, kwargs, message):
    with pytest.raises(ValueError, match=message):
        RidgeCV(**kwargs).fit(*data)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_values_that_are_not_finite_are_named_before_any_work(data, kind):
    X, Y = data
    with pytest.raises(ValueError, match=r"X must be finite, got 2 values that are NaN or inf, the first at \[4, 2\]"):
        RidgeCV().fit(kind(bad(X, ([4, 9], [2, 1]), np.nan)), kind(Y))
    with pytest.raises(ValueError, match=r"RidgeCV: Y must be finite \(NaN in a target .*\), got inf at \[4, 2\]"):
        RidgeCV().fit(kind(X), kind(bad(Y, ([4, 9], [2, 1]), np.inf)))
    with pytest.raises(ValueError, match=r"RidgeCV\.predict: X must be finite, got 1 values"):
        RidgeCV().fit(kind(X), kind(Y)).predict(kind(bad(X, (0, 0), np.nan)))


def test_wrong_shapes_and_kinds_are_named(data):
    X, Y = data
    with pytest.raises(ValueError, match="RidgeCV: X and Y must have the same number of samples, got 80 and 79"):
        RidgeCV().fit(X, Y[1:])
    with pytest.raises(ValueError, match=r"RidgeCV: Y must have shape \[n\] or \[n, v\], got \(80, 33, 1\)"):
        RidgeCV().fit(X, Y[..., None])
    with pytest.raises(ValueError, match=r"RidgeCV: Y must have at least 1 target, got shape \(80, 0\)"):
        RidgeCV().fit(X, Y[:, :0])
    with pytest.raises(ValueError, match=r"RidgeCV: X must be 2-D \[n, d\], got shape \(80,\)"):
        RidgeCV().fit(torch.from_numpy(X[:, 0]), Y)
    with pytest.raises(ValueError, match=r"RidgeCV: X must not be empty, got shape \(80, 0\)"):
        RidgeCV().fit(torch.from_numpy(X[:, :0]), Y)
    with pytest.raises(ValueError, match=r"RidgeCV: Y must hold real numbers, got torch\.complex64"):
        RidgeCV().fit(X, torch.from_numpy(Y).to(torch.complex64))
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        RidgeCV().fit(X, None)
    with pytest.raises(ValueError, match="X has 29 features, but RidgeCV is expecting 30 features as input"):
        RidgeCV().fit(torch.from_numpy(X), Y).predict(torch.from_numpy(X[:, 1:]))


def test_sparse_and_unreal_values_are_refused(data):
    X, Y = data
    with pytest.raises(TypeError, match="RidgeCV: Y must be dense, got the sparse csr_array"):
        RidgeCV().fit(X, csr_array(Y))
    with pytest.raises(ValueError, match="RidgeCV: Y must hold real numbers, got <U1"):
        RidgeCV().fit(X, np.full(80, "a"))


def test_a_failed_eigendecomposition_is_an_error(data, monkeypatch):
    real = torch.linalg.eigh

    def corrupted(matrix):
        values, vectors = real(matrix)
        return values, vectors.index_fill(1, torch.tensor([0]), 0.1)

    monkeypatch.setattr(torch.linalg, "eigh", corrupted)
    with pytest.raises(RuntimeError, match="RidgeCV: eigh of a 30 x 30 Gram matrix failed, residual"):
        RidgeCV().fit(*data)


def test_groups_need_folds_and_leave_one_out_needs_samples(data):
    X, Y = data
    with pytest.raises(ValueError, match="RidgeCV: groups need selection='kfold', got selection='loo'"):
        RidgeCV(selection="loo").fit(X, Y, groups=np.arange(80))
    with pytest.raises(ValueError, match="RidgeCV: X must have at least 3 samples, got n_samples=2"):
        RidgeCV(selection="loo").fit(X[:2], Y[:2])


def test_no_array_changes_device_unasked(data):
    X, Y = (torch.from_numpy(each) for each in data)
    with pytest.raises(ValueError, match=r"RidgeCV: Y is on meta but X is on cpu; move one of them"):
        RidgeCV().fit(X, Y.to("meta"))


@pytest.mark.gpu
@pytest.mark.parametrize("selection", ["kfold", "loo", "gcv"])
def test_a_gpu_computes_the_same(data, selection):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    X, Y = data
    ours = RidgeCV(ALPHAS, selection=selection).fit(X, Y)
    theirs = RidgeCV(ALPHAS, selection=selection).fit(*(torch.from_numpy(each).cuda() for each in (X, Y)))
    assert theirs.coef_.is_cuda
    assert theirs.predict(torch.from_numpy(X).cuda()).is_cuda
    asked = RidgeCV(ALPHAS, selection=selection, device="cuda").fit(X, Y)
    assert isinstance(asked.coef_, np.ndarray)
    for other in (theirs.best_score_.cpu(), asked.best_score_):
        np.testing.assert_allclose(other, ours.best_score_, atol=20 * EPS32)
    with pytest.raises(ValueError, match="RidgeCV: Y is on cpu but X is on cuda:0"):
        RidgeCV().fit(torch.from_numpy(X).cuda(), Y)
