"""Controls of features: what they take out is out, what they mix is mixed, and nothing leaks from held-out rows."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

import gradkern
from gradkern import Sketch, objectives
from gradkern.encoding import (
    Residualizer,
    effective_rank,
    image_permuted,
    layer_permuted,
    match_dimension,
    nuisances,
    residualize,
    unit_length,
)
from gradkern.errors import Refused
from gradkern.features import Features
from tests.toy_models import ConvNet, Transformer

TINY = (1e-9,)  # an alpha that shrinks nothing


def rand(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def centred(X: np.ndarray) -> np.ndarray:
    return X - X.mean(0)


def test_unit_length_keeps_zeros() -> None:
    X = np.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_array_equal(unit_length(X), [[0.6, 0.8], [0.0, 0.0]])


# Mixed up.


@pytest.mark.parametrize("layers", [2, 3, 12])
def test_no_layer_keeps_its_features(layers: int) -> None:
    features = {f"blocks.{i}": rand(4, 2 + i, seed=i) for i in range(layers)}
    moved = layer_permuted(features, seed=1)
    assert list(moved) == list(features)
    assert all(moved[name] is not features[name] for name in features)
    assert {id(X) for X in moved.values()} == {id(X) for X in features.values()}
    assert [id(X) for X in layer_permuted(features, seed=1).values()] == [id(X) for X in moved.values()]
    with pytest.raises(ValueError, match="features must be of at least 2 layers"):
        layer_permuted({"blocks.0": rand(3, 3)})


def test_no_image_keeps_its_features() -> None:
    X = rand(30, 4)
    moved = image_permuted(X, seed=2)
    assert (moved != X).all()
    np.testing.assert_array_equal(np.sort(moved, axis=0), np.sort(X, axis=0))
    np.testing.assert_array_equal(moved, image_permuted(X, seed=2))
    assert (moved != image_permuted(X, seed=3)).any()


def test_rows_of_one_image_move_together() -> None:
    images = np.array(["b", "a", "c", "b", "d", "a", "b"])
    X = dict(zip("abcd", rand(4, 3), strict=True))
    given = np.array([X[name] for name in images])
    moved = image_permuted(given, seed=5, images=images)
    target = {name: moved[images == name] for name in "abcd"}
    assert all((rows == rows[0]).all() for rows in target.values())
    assert all((rows[0] != X[name]).all() for name, rows in target.items())
    assert {rows[0].tobytes() for rows in target.values()} == {row.tobytes() for row in X.values()}
    given[6] += 1
    with pytest.raises(ValueError, match=r"the same in all rows of an image, got others for image .*'b'.* in row 6"):
        image_permuted(given, images=images)
    with pytest.raises(ValueError, match=r"images must be \[7\], one for each row of X, got \[2\]"):
        image_permuted(given, images=[1, 2])
    with pytest.raises(ValueError, match="X must hold at least 2 images, got 1"):
        image_permuted(np.ones((3, 2)), images=[1, 1, 1])


# Taken out.


def test_what_is_left_has_no_linear_relation_to_the_activations_in_training_rows() -> None:
    A, noise = rand(80, 6), rand(80, 9, seed=1)
    G = A @ rand(6, 9, seed=2) + 0.3 * noise + 4
    train = np.arange(80) < 60
    left = residualize(G, A, train, alphas=TINY)
    assert np.abs(centred(A[train]).T @ left[train]).max() < 1e-6 * np.abs(centred(A[train]).T @ G[train]).max()
    np.testing.assert_allclose(left[train].mean(0), 0, atol=1e-6)
    truth = LinearRegression().fit(A[train], G[train])
    np.testing.assert_allclose(left, G - truth.predict(A), atol=1e-6)


def test_shrinkage_is_all_that_is_left_of_the_relation() -> None:
    A, G = rand(60, 5), rand(60, 3, seed=1) + rand(60, 5)[:, :3]
    fitted = Residualizer(5, alphas=(0.1, 3.0, 90.0)).fit(np.hstack([A, G]))
    left = fitted.transform(np.hstack([A, G]))
    np.testing.assert_allclose(centred(A).T @ left, (fitted.ridge_.alpha_ * fitted.ridge_.coef_.T), atol=1e-6)
    assert set(fitted.ridge_.alpha_) <= {0.1, 3.0, 90.0}


@pytest.mark.parametrize("several", [False, True])
def test_held_out_rows_change_nothing_but_themselves(several: bool) -> None:
    A, G = [rand(50, 4), 100 * rand(50, 3, seed=4)], rand(50, 6, seed=1)
    train = np.r_[3:40]
    test = np.setdiff1d(np.arange(50), train)
    given = A if several else A[0]
    before = residualize(G, given, train)
    other = G.copy()
    other[test] = 1e3 * rand(len(test), 6, seed=9)
    after = residualize(other, given, train)
    np.testing.assert_array_equal(after[train], before[train])
    np.testing.assert_allclose(other[test] - after[test], G[test] - before[test], atol=1e-9)
    moved = [part.copy() for part in A]
    for part in moved:
        part[test] *= 50
    again = residualize(G, moved if several else moved[0], train)
    np.testing.assert_array_equal(again[train], before[train])


def test_layers_of_any_size_count_alike() -> None:
    A, B, G = rand(50, 4), rand(50, 3, seed=4), rand(50, 6, seed=1)
    train = np.arange(50) % 3 > 0
    np.testing.assert_allclose(
        residualize(G, [A, B], train), residualize(G, [1e-4 * A, 1e3 * B], train), rtol=1e-6, atol=1e-9
    )
    G = A @ rand(4, 6) + B @ rand(3, 6)
    assert np.abs(residualize(G, [A, B], train, alphas=TINY)).max() < 1e-5
    assert np.abs(residualize(G, A, train, alphas=TINY)).max() > 0.5


def test_an_image_is_not_split_when_alphas_are_chosen() -> None:
    """Of repeated rows, half of an image's would tell the other half: nothing would be shrunk."""
    images = np.repeat(np.arange(20), 4)
    A, G = rand(20, 15)[images], rand(20, 4, seed=1)[images]
    order = np.random.default_rng(0).permutation(80)
    A, G, images = A[order], G[order], images[order]
    kept = Residualizer(15).fit(np.hstack([A, G]), groups=images).ridge_.alpha_
    split = Residualizer(15).fit(np.hstack([A, G])).ridge_.alpha_
    assert (kept >= 10 * split).all()
    train = np.arange(80) < 80
    expected = Residualizer(15).fit(np.hstack([A, G]), groups=images).transform(np.hstack([A, G]))
    np.testing.assert_array_equal(residualize(G, A, train, groups=images), expected)


def test_the_transformer_nests_in_cross_validation() -> None:
    A, G = rand(60, 4), rand(60, 5, seed=1) + 2 * rand(60, 4)[:, :1]
    y, X = G[:, 0] + rand(60, seed=3), np.hstack([A, G])
    model = make_pipeline(Residualizer(4, alphas=TINY), LinearRegression())
    predicted = cross_val_predict(clone(model), X, y, cv=3)
    for test in np.split(np.arange(60), 3):
        train = np.setdiff1d(np.arange(60), test)
        left = residualize(G, A, train, alphas=TINY)
        expected = LinearRegression().fit(left[train], y[train]).predict(left[test])
        np.testing.assert_allclose(predicted[test], expected, atol=1e-6)


BAD = [
    (lambda: residualize(rand(9, 2), rand(8, 2), range(5)), "A must have the 9 rows of G, got 8"),
    (lambda: residualize(rand(9, 2), [], range(5)), "A must hold at least one matrix, got none"),
    (lambda: residualize(rand(9, 2) * np.nan, rand(9, 2), range(5)), "residualize: G must be finite"),
    (lambda: residualize(rand(9), rand(9, 2), range(5)), r"G must be .* matrix \[n, d\], got float64 \[9\]"),
    (lambda: residualize(rand(9, 2), rand(9, 2), [1, 9]), r"train must be bool \[9\] or distinct indices in 0..8"),
    (lambda: residualize(rand(9, 2), rand(9, 2), [1, 1]), "train must be bool"),
    (lambda: residualize(rand(9, 2), rand(9, 2), np.ones(8, bool)), "train must be bool"),
    (lambda: residualize(rand(9, 2), rand(9, 2), [-1, 2]), "train must be bool"),
    (lambda: residualize(rand(9, 2), rand(9, 2), range(9), groups=[1, 2]), r"groups must be \[9\], got \[2\]"),
    (lambda: Residualizer(4).fit(rand(9, 4)), r"covariates must be in 1..3, columns of X, got 4"),
    (lambda: match_dimension({"a": rand(9, 80), "b": rand(9, 63)}, 64, [1]), "every set, got 64 and 63 of 'b'"),
    (lambda: match_dimension({"a": rand(9, 80)}, 32, [1]), "k must be at least 64, got 32"),
    (lambda: match_dimension({"a": rand(9, 80)}, 64, [1, 1]), "no seed twice"),
    (lambda: match_dimension({}, 64, [1]), "at least one each"),
    (lambda: effective_rank(np.ones((5, 3)) * 0.1), "X must vary over its rows"),
    (lambda: effective_rank(np.zeros((5, 3))), "X must vary over its rows"),
    (lambda: effective_rank(np.zeros((0, 3))), r"floating-point matrix \[n, d\], got float64 \[0, 3\]"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# Difficulty.


def test_nuisances_are_loss_entropy_and_log_norms() -> None:
    torch.manual_seed(0)
    images = torch.randn(5, 3, 16, 16)
    features = gradkern.capture(
        ConvNet(), images, objectives.CrossEntropy(), layers=["stem", "head"], sketch=Sketch(4096)
    )
    table = nuisances(features)
    assert list(table.nuisance.values) == ["loss", "entropy", "log norm/stem", "log norm/head"]
    np.testing.assert_allclose(table.sel(nuisance="loss"), features.losses)
    np.testing.assert_allclose(table.sel(nuisance="entropy"), features.entropy)
    torch.manual_seed(0)
    images = torch.randn(5, 3, 16, 16)
    logits = ConvNet().eval()(images).logits.detach()
    error = logits.softmax(1) - torch.nn.functional.one_hot(logits.argmax(1), 10)
    np.testing.assert_allclose(table.sel(nuisance="log norm/head"), error.norm(dim=1).log(), rtol=1e-4)  # d < 64: exact


def test_nuisances_are_of_the_kind_asked_for() -> None:
    def features(values: torch.Tensor, losses: torch.Tensor) -> Features:
        return Features({("activation", "a"): values, ("gradient", "a"): values}, losses, "o", "raw", "float32")

    values = torch.rand(4, 2, 3) + 0.1
    table = nuisances(features(values, torch.rand(4)))
    assert list(table.nuisance.values) == ["loss", "log norm/a"]
    np.testing.assert_allclose(table[:, 1], values.flatten(1).norm(dim=1).log(), rtol=1e-5)
    with pytest.raises(ValueError, match=r"kind must be a gradient of the features, got 'weight_gradient'"):
        nuisances(features(values, torch.rand(4)), "weight_gradient")
    with pytest.raises(ValueError, match="kind must be a gradient of the features, got 'activation'"):
        nuisances(features(values, torch.rand(4)), "activation")
    with pytest.raises(ValueError, match="features must be finite, got others in loss"):
        nuisances(features(values, torch.tensor([1.0, float("nan"), 1.0, 1.0])))
    with pytest.raises(Refused, match="features must have the losses of the images, got none"):
        nuisances(features(values, torch.full((4,), float("nan"))))
    values[2] = 0
    with pytest.raises(ValueError, match="gradient of 'a' must not be zero, got that for image 2"):
        nuisances(features(values, torch.rand(4)))


def test_nuisances_of_a_control() -> None:
    torch.manual_seed(0)
    images, kind = torch.randn(4, 3, 16, 16), "gradient/random-cotangent"
    features = gradkern.capture(
        Transformer(), images, objectives.Entropy(), layers=["blocks.0"], kinds=[kind], batch_size=2
    )
    assert nuisances(features, kind).shape == (4, 3)


# Dimension.


def test_every_set_has_the_same_dimension() -> None:
    sets = {"activation": rand(7, 64), "gradient": rand(7, 300, seed=1).astype(np.float32)[:, ::2]}
    matched = match_dimension(sets, 64, [3, 5])
    for name, X in sets.items():
        assert matched[name].shape == (2, 7, 64)
        for values, seed in zip(matched[name], [3, 5], strict=True):
            np.testing.assert_array_equal(values, gradkern.sketch(np.ascontiguousarray(X), 64, seed=seed))
        assert (matched[name][0] != matched[name][1]).any()


@pytest.mark.parametrize("shape", [(200, 12), (40, 90)])
def test_effective_rank_of_known_spectra(shape: tuple[int, int]) -> None:
    n, d = shape
    u, _ = np.linalg.qr(centred(rand(n, 8)))
    v, _ = np.linalg.qr(rand(d, 8, seed=1))
    flat = effective_rank(u @ v.T + 7)  # the mean does not count
    np.testing.assert_allclose(flat, (8, 8), rtol=1e-6)
    spectrum = 2.0 ** -np.arange(8)
    p = spectrum / spectrum.sum()
    falling = effective_rank((u * np.sqrt(spectrum)) @ v.T)
    np.testing.assert_allclose(falling, (1 / (p**2).sum(), np.exp(-(p * np.log(p)).sum())), rtol=1e-6)
    assert falling.participation < falling.entropy < 8
    np.testing.assert_allclose(effective_rank(1e-200 * (u @ v.T)), (8, 8), rtol=1e-6)
    np.testing.assert_allclose(effective_rank(np.outer(rand(n), rand(d, seed=2))), (1, 1), rtol=1e-6)
