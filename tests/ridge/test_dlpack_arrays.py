"""Arrays of other packages go in by DLPack without a copy, and results come back as that package's."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from gradkern.ridge import (
    BandedRidgeCV,
    RidgeCV,
    cross_val_predict,
    cross_val_score,
    pearson_r,
    r2_split,
    ridge_path,
    variance_partition,
)
from gradkern.ridge._engine.inputs import as_array
from tests.ridge_truth import ALPHAS, responses

pytestmark = pytest.mark.usefixtures("one_thread")


class Foreign:
    """As a CuPy array: NumPy cannot read it, DLPack can."""

    def __init__(self, values):
        self.values = values

    def __dlpack__(self, **how):
        return self.values.__dlpack__()

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()

    def __array__(self, *_, **__):
        raise TypeError("no implicit conversion")

    def __array_namespace__(self):
        return SimpleNamespace(from_dlpack=lambda given: Foreign(np.from_dlpack(given)))

    def __getitem__(self, index):
        return Foreign(self.values[index])

    def reshape(self, *shape):
        return Foreign(self.values.reshape(*shape))

    def __len__(self):
        return len(self.values)

    shape = property(lambda self: self.values.shape)
    ndim = property(lambda self: self.values.ndim)
    dtype = property(lambda self: self.values.dtype)


@pytest.fixture
def data():
    rng = np.random.default_rng(9)
    X = rng.standard_normal((60, 12)).astype(np.float32)
    return X, responses(rng, X, v=9).astype(np.float32)


def same(ours, theirs):
    """The bits that tensors in the same memory give."""
    assert isinstance(ours, Foreign)
    np.testing.assert_array_equal(ours.values, theirs.numpy())


def test_no_value_is_copied_on_the_way_in(data):
    tensor = as_array("X", Foreign(data[0]))
    assert tensor.data_ptr() == data[0].ctypes.data


@pytest.mark.parametrize("how", [{}, {"selection": "loo"}, {"coef": "dual", "store_scores": True}], ids=str)
@pytest.mark.parametrize("one_target", [False, True])
def test_ridge_gives_back_what_it_got(data, how, one_target):
    X, Y = data
    Y = np.ascontiguousarray(Y[:, 3]) if one_target else Y
    weights = np.linspace(1, 2, 60)
    plain = RidgeCV(ALPHAS, **how).fit(torch.from_numpy(X), torch.from_numpy(Y), sample_weight=weights)
    model = RidgeCV(Foreign(ALPHAS), **how).fit(Foreign(X), Foreign(Y), sample_weight=Foreign(weights))
    names = ["alpha_", "best_score_", "intercept_"]
    names += ["dual_coef_", "X_fit_", "scores_"] if "coef" in how else ["coef_"]
    for name in names:
        same(getattr(model, name), getattr(plain, name))
    same(model.predict(Foreign(X)), plain.predict(torch.from_numpy(X)))
    assert isinstance(model.score(Foreign(X), Foreign(Y)), float)


def test_results_follow_x(data):
    X, Y = data
    assert isinstance(RidgeCV(ALPHAS).fit(X, Foreign(Y)).coef_, np.ndarray)
    assert isinstance(RidgeCV(ALPHAS).fit(torch.from_numpy(X), Foreign(Y)).coef_, torch.Tensor)
    assert isinstance(RidgeCV(ALPHAS).fit(Foreign(X), Y).coef_, Foreign)
    blocks = (Foreign(part) for part in (Y[:, :5].copy(), Y[:, 5:].copy()))
    same(RidgeCV(ALPHAS).fit(Foreign(X), blocks).alpha_, RidgeCV(ALPHAS).fit(*map(torch.from_numpy, data)).alpha_)


def test_the_other_functions_give_back_what_they_got(data):
    (X, Y), (x, y) = (tuple(map(make, data)) for make in (torch.from_numpy, Foreign))
    same(cross_val_score(x, y, ALPHAS), cross_val_score(X, Y, ALPHAS))
    same(cross_val_score({"a": x}, y, ALPHAS)["a"], cross_val_score(X, Y, ALPHAS))
    same(cross_val_predict(x, y, ALPHAS), cross_val_predict(X, Y, ALPHAS))
    same(pearson_r(y, y), pearson_r(Y, Y))
    for ours, theirs in zip(ridge_path(x, y, ALPHAS), ridge_path(X, Y, ALPHAS), strict=True):
        same(ours, theirs)
    bands, plain = (BandedRidgeCV([5, 7], ALPHAS, band_weights=4).fit(*pair) for pair in ((x, y), (X, Y)))
    for name in ("alpha_", "band_weights_", "coef_", "intercept_", "best_score_"):
        same(getattr(bands, name), getattr(plain, name))
    parts = bands.predict(x, split=True)
    same(parts, plain.predict(X, split=True))
    same(r2_split(y, parts), r2_split(Y, torch.from_numpy(parts.values)))
    found = variance_partition([x[:, :5], x[:, 5:]], y, ALPHAS, band_weights=4, cv=3, inner_cv=3)
    same(found.joint, variance_partition([X[:, :5], X[:, 5:]], Y, ALPHAS, band_weights=4, cv=3, inner_cv=3).joint)


def test_a_feature_space_may_be_called_anything(data):
    X, Y = data
    assert set(cross_val_score({"op": X, "device": X}, Y, ALPHAS)) == {"op", "device"}


def test_a_package_known_by_its_name_makes_the_results(data, monkeypatch):
    X, Y = data
    package = ModuleType("shelfpy")
    package.from_dlpack = lambda given: ("made by shelfpy", np.from_dlpack(given))
    Named = type("Named", (Foreign,), {"__module__": "shelfpy.core", "__array_namespace__": None})
    del Named.__array_namespace__
    monkeypatch.delattr(Foreign, "__array_namespace__")
    with pytest.raises(TypeError, match=r"ridge_path: X must be of a .* with from_dlpack, .* got shelfpy's Named"):
        ridge_path(Named(X), Y, ALPHAS)
    monkeypatch.setitem(sys.modules, "shelfpy", package)
    coef, _ = ridge_path(Named(X), Y, ALPHAS)
    assert coef[0] == "made by shelfpy"


@pytest.mark.gpu
def test_cupy_in_and_out(data):
    cupy = pytest.importorskip("cupy")
    X, Y = data
    there = [cupy.asarray(each) for each in data]
    assert as_array("X", there[0]).data_ptr() == there[0].data.ptr
    plain, model = RidgeCV(ALPHAS).fit(X, Y), RidgeCV(ALPHAS).fit(*there)
    for name in ("alpha_", "coef_", "intercept_", "best_score_"):
        assert isinstance(getattr(model, name), cupy.ndarray)
        np.testing.assert_allclose(cupy.asnumpy(getattr(model, name)), getattr(plain, name), atol=1e-5)
    assert isinstance(model.predict(there[0]), cupy.ndarray)
    assert isinstance(cross_val_score(*there, ALPHAS), cupy.ndarray)
    with pytest.raises(ValueError, match="RidgeCV: Y is on cpu but X is on cuda"):
        RidgeCV(ALPHAS).fit(there[0], Y)
