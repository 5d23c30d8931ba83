"""Responses that are nearer to features than readouts of confounds are, and responses that are not."""

import numpy as np
import pytest

from gradkern.encoding import conditional_test, pooled, response_model
from gradkern.errors import Refused

N, D = 160, 200  # fewer images than columns: no readout can be learned


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def standard(values):
    return (values - values.mean(0)) / values.std(0)


def features(seed, n=N):
    """Activations of a layer, and a gradient: a nonlinear function of them."""
    A = normal(seed, n, D) * np.arange(1, D + 1) ** -0.3
    gates = A @ normal(seed + 1, D, D) > 0
    return A, (A @ normal(seed + 2, D, D) / D**0.5) * gates


READOUTS = {
    "linear": lambda x: x,
    "energy": np.square,
    "rectified": lambda x: np.maximum(x, 0),
}


def responses(A, seed, readout, ceiling=0.85, targets=60, noise=None):
    signal = standard(READOUTS[readout](A @ normal(seed, A.shape[1], targets)))
    noise = normal(seed + 1, len(A), targets) if noise is None else noise
    return ceiling * signal + (1 - ceiling**2) ** 0.5 * standard(noise)


@pytest.mark.parametrize("readout", list(READOUTS))
def test_random_readouts_of_activations_are_not_taken_for_gradients(readout):
    """Nothing of them can be learned from these images, and gradients are functions of the activations."""
    p = []
    for seed in range(0, 120, 10):
        A, G = features(seed)
        p.append(conditional_test(G, {"activations": A}, responses(A, seed + 5, readout), permutations=99).p)
    assert np.sum(np.array(p) <= 0.05) <= 3  # 0.2 % of valid tests have more


def test_planted_gradients_are_found():
    found = 0
    for seed in range(0, 60, 10):
        A, G = features(seed)
        planted = responses(A, seed + 5, "linear", 0.7) + 0.3 * standard(G @ normal(seed + 7, D, 60))
        test = conditional_test(G, {"activations": A}, planted, permutations=99)
        found += test.p <= 0.05
        assert 0.01 < test.share < 0.12  # 0.09 / 1.09 of the variance; confounds take some of it
    assert found >= 5


def test_noise_that_differs_between_images_is_no_gradient():
    """Images with large gradients have loud noise."""
    p = []
    for seed in range(0, 200, 10):
        A, G = features(seed)
        loud = np.exp(normal(seed + 3, N))[:, None]
        noise = normal(seed + 4, N, 40) * loud
        Y = responses(A, seed + 5, "linear", 0.5, 40, noise)
        p.append(conditional_test(G * loud, {"activations": A}, Y, permutations=99).p)
    assert np.sum(np.array(p) <= 0.05) <= 4


def test_noise_that_images_of_a_session_share_is_no_gradient():
    """Gradients that drift with the sessions, as the images of an unbalanced design do."""
    sessions = np.repeat(np.arange(16), 10)
    rejected = {"dependent": 0, "independent": 0}
    for seed in range(0, 150, 10):
        A, G = features(seed)
        drifting = G + 3 * normal(seed + 3, 16, D)[sessions]
        Y = responses(A, seed + 5, "linear", 0.4) + 0.7 * normal(seed + 4, 16, 60)[sessions]
        for name, labels in (("dependent", sessions), ("independent", None)):
            test = conditional_test(drifting, {"activations": A}, Y, dependent=labels, permutations=99)
            rejected[name] += test.p <= 0.05
    assert rejected["dependent"] <= 3
    assert rejected["independent"] >= 10


def test_p_is_uniform_in_noise():
    p = [
        conditional_test(
            normal(seed, 40, 5), {"activations": normal(seed + 1, 40, 3)}, normal(seed + 2, 40, 4), permutations=19
        ).p
        for seed in range(0, 3000, 10)
    ]
    for level in (0.05, 0.2, 0.5):
        assert abs(np.mean(np.array(p) <= level) - level) < 3 * (level * (1 - level) / 300) ** 0.5


def test_the_statistic_by_hand():
    """Responses that read nothing are used as they are; of the features' kernel that of no confound, and no image's
    noise, is left."""
    X, Y, confound = normal(0, 50, 6), normal(1, 50, 3), normal(2, 50, 4)
    test = conditional_test(X, {"user": confound}, Y, permutations=19)
    model = response_model({"user": confound}, Y)
    assert model.readouts == [(3, {})]  # noise reads nothing
    pairs = np.triu_indices(50, 1)
    center = np.eye(50) - 1 / 50
    beside = np.array([kernel[pairs] for kernel in model.blocks[0].images.kernels.matrices.values()], dtype=float)
    noise = np.array([np.outer(column, column)[pairs] for column in center])
    centered = X - X.mean(0)
    K = (centered @ centered.T / np.square(centered).sum(1).mean())[pairs]
    taken = np.vstack([beside, noise]).T
    left = K - taken @ np.linalg.lstsq(taken, K, rcond=None)[0]
    R = np.zeros((50, 50))
    R[pairs] = left
    R += R.T
    y = standard(Y)
    np.testing.assert_allclose(test.shares, (y * (R @ y)).sum(0) / np.square(R).sum(), atol=2e-5)
    assert test.share == pytest.approx(test.shares.mean())


def test_whatever_confounds_and_noise_weigh_the_statistic_expects_nothing():
    """Of every covariance that is a sum of the kernels and of noise of its own in each image."""
    A, G = features(0, 60)
    model = response_model({"activations": A}, responses(A, 5, "linear", targets=6))
    (block,) = model.blocks
    random = np.random.default_rng(1)
    kernels = block.images.kernels
    names = list(kernels.matrices)
    weights = random.exponential(size=len(names))
    V = sum(weight * kernels.matrices[name] for weight, name in zip(weights, names, strict=True))
    center = np.eye(60) - 1 / 60
    V = V + center @ np.diag(random.exponential(size=60) ** 2) @ center
    assert block.components.cells()
    for cell in block.components.cells():
        W = center @ block.components.whitening(cell) @ center
        covariance = W @ V @ W
        for (left,), (alone,) in zip(
            block.remainders(cell, kernels, [names], [G]), block.remainders(cell, kernels, [[]], [G]), strict=True
        ):
            assert left.norm < alone.norm <= left.whole * (1 + 1e-6)
            assert abs(np.vdot(left.kernel, covariance)) < 2e-4 * np.linalg.norm(covariance) * left.whole / left.norm
            of_kernels = [W @ kernel @ W for kernel in kernels.matrices.values()]
            largest = max(abs(np.vdot(alone.kernel, each)) / np.linalg.norm(each) for each in of_kernels)
            assert largest > 0.02  # what is left beside noise alone is not orthogonal to confounds


def test_rows_in_any_order_are_those_images():
    A, G = features(3, 80)
    Y = responses(A, 4, "linear", targets=5)
    rows = np.random.default_rng(0).permutation(80)[:60]
    one = response_model({"activations": A}, Y[np.sort(rows)], rows=np.sort(rows)).test(G, permutations=19)
    other = response_model({"activations": A}, Y[rows], rows=rows).test(G, permutations=19)
    np.testing.assert_allclose(other.shares, one.shares, atol=1e-4)


def test_dead_sizes_and_shifts_change_nothing():
    A, G = features(3)
    Y = responses(A, 4, "linear", targets=8)
    one = conditional_test(G, {"activations": A}, Y, permutations=19)
    other = conditional_test(3 * G + 5, {"activations": 7 * A}, Y * 1000 - 4, permutations=19)
    np.testing.assert_allclose(other.shares, one.shares, atol=1e-7)
    assert other.p == one.p


def test_blocks_of_images_hold_and_find():
    A, G = features(0, 400)
    confounds = {"activations": A}
    nothing = responses(A, 5, "linear")
    model = response_model(confounds, nothing, images_at_once=150)
    assert [len(block.rows) for block in model.blocks] == [134, 133, 133]
    assert sorted(np.concatenate([block.rows for block in model.blocks])) == list(range(400))
    assert model.test(G, permutations=99).p > 0.05
    planted = nothing + 0.4 * standard(G @ normal(7, D, 60))
    assert response_model(confounds, planted, images_at_once=150).test(G, permutations=99).p <= 0.05


def test_target_groups_and_pooled_models():
    """Subjects side by side are what their models are together; those of other images are pooled."""
    A, G = features(0, 300)
    Y = responses(A, 5, "linear", targets=20) + 0.5 * standard(G @ normal(7, D, 20))
    groups = {"first": np.arange(10), "second": np.arange(20) >= 10}
    test = conditional_test(G, {"activations": A}, Y, permutations=99, target_groups=groups)
    assert list(test.target_groups) == ["first", "second"]
    assert test.target_groups["first"].targets == 10
    assert test.share == pytest.approx(np.mean([group.share for group in test.target_groups.values()]), rel=0.2)
    halves = [response_model({"activations": A}, Y[rows], rows=rows) for rows in np.array_split(np.arange(300), 2)]
    tests = [half.test(G, permutations=99) for half in halves]
    together = pooled(tests)
    assert together.p <= min(tests, key=lambda one: one.p).p + 0.05
    assert together.share == pytest.approx(np.mean([one.share for one in tests]), rel=0.1)
    with pytest.raises(ValueError, match=r"pooled: .*permutations and seed"):
        pooled([tests[0], halves[1].test(G, permutations=49)])


def test_features_that_are_a_confound_are_refused():
    A, G = features(0)
    outputs = G[:, :10]
    with pytest.raises(Refused, match=r"conditional_test|ResponseModel.test.*'outputs': 'logits'"):
        conditional_test(
            outputs @ normal(3, 10, 6), {"activations": A, "outputs": {"logits": outputs}}, normal(1, N, 3)
        )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"Y": np.ones((N, 2))}, Refused, "every target must vary, got 2"),
        ({"Y": normal(0, N - 1, 2)}, ValueError, r"Y must be a floating-point matrix \[160, d\]"),
        ({"X": np.ones((N, 2))}, Refused, "X must vary"),
        ({"X": normal(0, N, 2) * np.nan}, ValueError, "X must be finite"),
        ({"confounds": [normal(0, N, 2)]}, ValueError, "confounds must be"),
        ({"confounds": {"activations": normal(0, N, 2), "user": normal(0, 3, 2)}}, ValueError, r"\[160, d\]"),
        ({"permutations": 18}, ValueError, "permutations must be at least 19, got 18"),
        ({"dependent": np.arange(3)}, ValueError, r"dependent must be \[160\]"),
        ({"images_at_once": 10}, ValueError, "images_at_once must be at least 40, got 10"),
        ({"target_groups": {"none": [7]}}, ValueError, "target_groups"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {"X": normal(0, N, 3), "confounds": {"activations": normal(1, N, 4)}, "Y": normal(2, N, 2), **change}
    with pytest.raises(error, match=message):
        conditional_test(**arguments)


def test_few_images_are_refused():
    with pytest.raises(Refused, match="images must be at least 20, got 19"):
        conditional_test(normal(0, 19, 3), {"activations": normal(1, 19, 4)}, normal(2, 19, 2))
