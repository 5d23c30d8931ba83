"""The layer-permuted control: p is the share of orders that do as well, and an order that is there is found."""

from math import factorial
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from gradkern.hierarchy import layer_permutation_test, slope

DEPTH = np.linspace(0, 1, 5)


def along(values: Any) -> Any:
    return lambda depth: slope(values, depth)


def test_of_few_layers_every_order_is_tried() -> None:
    found = layer_permutation_test(along([1.0, 2, 3, 5, 4]), DEPTH, seed=0)
    assert found.null.shape == (120,)
    assert len(np.unique(found.null.round(9))) > 10
    # the perfect order, and this one with what ties it
    assert found.p == (found.null >= found.value - 1e-9).sum() / 120
    assert 1 / 120 < found.p < 0.1
    best = layer_permutation_test(along([1.0, 2, 3, 4, 5]), DEPTH, seed=0)
    assert best.p == best.smallest_p == 1 / 120
    assert best.orders == "all 120 orders"
    assert layer_permutation_test(along([5.0, 4, 3, 2, 1]), DEPTH, seed=0).p == 1
    assert layer_permutation_test(along([5.0, 4, 3, 2, 1]), DEPTH, alternative="less", seed=0).p == 1 / 120
    np.testing.assert_allclose(best.null.mean(), 0, atol=1e-12)


def test_of_many_layers_orders_are_drawn() -> None:
    depth = np.linspace(0, 1, 9)
    found = layer_permutation_test(along(depth), depth, permutations=99, seed=3)
    assert found.null.shape == (99,)
    assert found.p == found.smallest_p == 0.01
    assert "99 orders drawn of 9!; 95 % of them from -0." in found.against
    again, other = (layer_permutation_test(along(depth), depth, permutations=99, seed=seed) for seed in (3, 4))
    np.testing.assert_array_equal(again.null, found.null)
    assert (other.null != found.null).any()


def test_layers_of_one_depth_cannot_be_told_apart() -> None:
    found = layer_permutation_test(along([1.0, 2, 2, 3]), [0, 0.5, 0.5, 1], seed=0)
    assert found.p == found.smallest_p == 2 / factorial(4)


@pytest.mark.parametrize("layers", [5, 12])
def test_without_an_order_its_level_is_held(layers: int) -> None:
    depth, runs = np.linspace(0, 1, layers), 300
    random = np.random.default_rng(0)
    tests = [
        layer_permutation_test(along(random.standard_normal(layers)), depth, permutations=119, seed=run)
        for run in range(runs)
    ]
    low, high = binom.ppf([0.005, 0.995], runs, 0.05)
    assert low <= sum(test.p <= 0.05 for test in tests) <= high


def test_neighbours_that_are_alike_are_found_ordered_too_often() -> None:
    """Why it is a control, and no test of an order."""
    depth, random = np.linspace(0, 1, 12), np.random.default_rng(0)
    walks = np.cumsum(random.standard_normal((100, 12)), axis=1)
    found = sum(layer_permutation_test(along(walk), depth, permutations=99, seed=0).p <= 0.05 for walk in walks)
    assert found > 15


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: layer_permutation_test(along([1, 2]), [0, 1], seed=0),
            "layers must be at least 3 to have an order, got 2",
        ),
        (lambda: layer_permutation_test(along([1, 2, 3]), [1, 1, 1], seed=0), "depth must differ between layers"),
        (lambda: layer_permutation_test(along([1, 2, 3]), [0, np.nan, 1], seed=0), "depth must be 3 finite numbers"),
        (lambda: layer_permutation_test(along([1, 2, 3]), [0, 0.5, 1], permutations=0, seed=0), "at least 1, got 0"),
        (
            lambda: layer_permutation_test(along([1, np.nan, 3, 2]), [0, 0, 0, 1], seed=0),
            "every order must have a statistic, got none of 6 of 25",
        ),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
