"""The other projections: their definitions, and how well they preserve inner products."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gradkern.kernels import baselines

EPS = torch.finfo(torch.float32).eps
SEEDS = 4000
INPUTS, OUTPUTS = 6, 5  # of the tiny layer
FACTOR = (4, 3)
K = 12

Project = Callable[..., Tensor]


def materialised(a: Tensor, g: Tensor) -> Tensor:
    return g.mT @ a


def gaussian(a: Tensor, g: Tensor, seed: int = 0) -> Tensor:
    return baselines.gaussian(materialised(a, g), K, seed=seed)


def factored(a: Tensor, g: Tensor, seed: int = 0) -> Tensor:
    return baselines.factored(a, g, FACTOR, seed=seed)


def tensor_sketch(a: Tensor, g: Tensor, seed: int = 0) -> Tensor:
    return baselines.tensor_sketch(a, g, K, seed=seed)


ALL = pytest.mark.parametrize("project", [gaussian, factored, tensor_sketch])


def inputs(n: int, t: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, t, INPUTS, generator=generator), torch.randn(n, t, OUTPUTS, generator=generator)


def matrix(project: Project) -> Tensor:
    """The projection as a matrix [OUTPUTS * INPUTS, K]: its values at the gradients with a single 1."""
    i, j = torch.meshgrid(torch.arange(OUTPUTS), torch.arange(INPUTS), indexing="ij")
    return project(torch.eye(INPUTS)[j.flatten(), None], torch.eye(OUTPUTS)[i.flatten(), None])


def close(got: Tensor, expected: Tensor, terms: int) -> None:
    scale = float(expected.abs().max())
    torch.testing.assert_close(got.double(), expected.double(), rtol=0, atol=8 * EPS * terms**0.5 * scale)


@ALL
@pytest.mark.parametrize("t", [1, 7])
def test_is_a_projection_of_the_materialised_gradient(project: Project, t: int) -> None:
    a, g = inputs(3, t)
    expected = materialised(a.double(), g.double()).flatten(1) @ matrix(project).double()
    close(project(a, g), expected, t * INPUTS * OUTPUTS)


@ALL
def test_positions_add_up_and_scales_come_out(project: Project) -> None:
    a, g = inputs(3, 7)
    close(project(a, g), project(a[:, :3], g[:, :3]) + project(a[:, 3:], g[:, 3:]), 7 * INPUTS * OUTPUTS)
    close(project(2 * a, -3 * g), -6 * project(a, g), 7 * INPUTS * OUTPUTS)


@ALL
def test_the_batch_does_not_matter_and_the_seed_does(project: Project) -> None:
    a, g = inputs(5, 7)
    close(torch.cat([project(a[:2], g[:2]), project(a[2:], g[2:])]), project(a, g), 7 * INPUTS * OUTPUTS)
    assert torch.equal(project(a, g, seed=1), project(a, g, seed=1))
    assert not torch.equal(project(a, g, seed=1), project(a, g, seed=2))


@ALL
def test_no_sample_and_no_position(project: Project) -> None:
    assert project(*inputs(0, 7)).shape == (0, 12)
    assert torch.equal(project(*inputs(2, 0)), torch.zeros(2, 12))


@ALL
def test_half_types_and_float64_are_computed_in_float32(project: Project) -> None:
    a, g = (x.round().bfloat16() for x in inputs(3, 1))  # small integers: their products are exact
    assert project(a, g).dtype == project(a.double(), g.double()).dtype == torch.float32
    close(project(a, g), project(a.float(), g.float()), 1)


def products(project: Project, a: Tensor, g: Tensor) -> Tensor:
    """Estimates of <G_0, G_1> and <G_0, G_0> over seeds, [2, SEEDS]."""
    sketches = torch.stack([project(a, g, seed=seed) for seed in range(SEEDS)]).double()
    return torch.stack([(sketches[:, 0] * sketches[:, 1]).sum(1), (sketches[:, 0] ** 2).sum(1)])


def variance_of_gaussian(G: Tensor, H: Tensor) -> Tensor:
    return ((G**2).sum() * (H**2).sum() + (G * H).sum() ** 2) / K


def variance_of_factored(G: Tensor, H: Tensor) -> Tensor:
    k_o, k_i = FACTOR
    N, M = G.T @ H, G @ H.T
    norms = (G**2).sum() * (H**2).sum()
    tau, NN, MM = torch.trace(N @ N), (N**2).sum(), (M**2).sum()
    return (NN + tau) / k_i + (MM + tau) / k_o + (norms + MM + NN + (G * H).sum() ** 2) / (k_i * k_o)


@ALL
@pytest.mark.parametrize("t", [1, 3], ids=["rank 1", "rank 3"])
def test_inner_products_are_kept_with_the_variance_of_the_theory(project: Project, t: int) -> None:
    a, g = inputs(2, t)
    G, H = materialised(a.double(), g.double())
    for values, other in zip(products(project, a, g), (H, G), strict=True):
        deviations = values - values.mean()
        variance = deviations.pow(2).mean()
        assert abs(values.mean() - (G * other).sum()) < 4 * (variance / SEEDS) ** 0.5
        error = (deviations.pow(4).mean() - variance**2).div(SEEDS).sqrt()
        if project is tensor_sketch:
            assert variance < 11 / K * (G**2).sum() * (other**2).sum()
        else:
            theory = variance_of_gaussian if project is gaussian else variance_of_factored
            assert abs(variance - theory(G, other)) < 4 * error


def test_at_rank_1_the_factors_errors_add() -> None:
    a, g = inputs(1, 1)
    G = materialised(a.double(), g.double())[0]
    k_o, k_i = FACTOR
    expected = 2 / k_o + 2 / k_i + 4 / (k_o * k_i)
    assert abs(variance_of_factored(G, G) / (G**2).sum() ** 2 - expected) < 1e-12


def test_rows_and_columns_have_their_own_randomness() -> None:
    a, g = torch.randn(2, 1, 1, 9, generator=torch.Generator().manual_seed(0))
    forth, back = baselines.tensor_sketch(a, g, 64), baselines.tensor_sketch(g, a, 64)
    assert not torch.allclose(forth, back)
    forth, back = (baselines.factored(*pair, (4, 4)).reshape(4, 4) for pair in ((a, g), (g, a)))
    assert not torch.allclose(forth, back.T)


def test_the_tensor_sketch_adds_the_buckets_of_row_and_column() -> None:
    used = set()
    for seed in range(20):
        entries = matrix(lambda a, g, seed=seed: tensor_sketch(a, g, seed)).reshape(OUTPUTS, INPUTS, K)
        assert torch.allclose(entries.abs().sum(2), torch.ones(OUTPUTS, INPUTS), atol=1e-5)
        bucket, sign = entries.abs().argmax(2), entries.sum(2).round()
        assert torch.equal((bucket + bucket[0, 0]) % K, (bucket[:, :1] + bucket[:1]) % K)
        assert torch.equal(sign * sign[0, 0], sign[:, :1] * sign[:1])
        used |= set(bucket[:, 0].tolist())
    assert used == set(range(K))


def test_the_gaussian_matrix_is_one_matrix_over_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = baselines.gaussian(torch.eye(500), 64)
    standard = whole.double() * 8
    assert abs(standard.mean()) < 4 / 32000**0.5
    assert abs(standard.var() - 1) < 4 * (2 / 32000) ** 0.5
    monkeypatch.setattr(baselines, "_BLOCK", 100 * 64)
    blocks = baselines.gaussian(torch.eye(500), 64)
    assert len(blocks.unique(dim=0)) == 500
    torch.testing.assert_close(blocks, torch.randn(500, 64, generator=torch.Generator().manual_seed(0)) / 8)


A, G = torch.zeros(2, 3, INPUTS), torch.zeros(2, 3, OUTPUTS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: baselines.gaussian(torch.tensor(1.0), 4), "gaussian: x must be [n, ...], got a scalar"),
        (lambda: baselines.gaussian(A, 0), "gaussian: k must be at least 1, got 0"),
        (lambda: baselines.gaussian(A.int(), 4), "gaussian: x must be floating point, got torch.int32"),
        (lambda: baselines.gaussian(A, 4, seed=-1), "gaussian: seed must be in [0, 2^63), got -1"),
        (lambda: baselines.factored(A, G, (4, 0)), "factored: factor must be two positive integers, got (4, 0)"),
        (lambda: baselines.factored(A, G, (4, 2.0)), "factored: factor must be two positive integers, got (4, 2.0)"),
        (lambda: baselines.factored(A, G, 4), "factored: factor must be two positive integers, got 4"),
        (
            lambda: baselines.factored(A, G[:, :2], (4, 4)),
            "factored: a and g must be [n, t, p] and [n, t, o], got shapes [2, 3, 6] and [2, 2, 5]",
        ),
        (
            lambda: baselines.tensor_sketch(A[0], G[0], 4),
            "tensor_sketch: a and g must be [n, t, p] and [n, t, o], got shapes [3, 6] and [3, 5]",
        ),
        (
            lambda: baselines.tensor_sketch(A, G.to("meta"), 4),
            "tensor_sketch: a and g must be on one device, got cpu and meta",
        ),
    ],
)
def test_bad_input_is_named(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the whole message is compared)
        call()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: baselines.factored([1.0], G, (4, 4)), "factored: a must be a tensor, got list"),
        (lambda: baselines.tensor_sketch(A, G, 4.0), "tensor_sketch: k must be an integer, got 4.0"),
        (lambda: baselines.gaussian(A, 4, seed="0"), "gaussian: seed must be an integer, got '0'"),
    ],
)
def test_bad_types_are_named(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value) == message
