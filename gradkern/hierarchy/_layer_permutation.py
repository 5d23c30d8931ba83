"""The layer-permuted control: is an order in the depth of the layers, or would any other order of them do as well?

Scores stay as they are, and the layers' depths change places. Under the null that depth says nothing of a layer, every
order is as likely as the model's own. Layers that are neighbours are alike, so the null is false of many a model whose
layers have no order in the brain: latencies that walked at random from layer to layer, of 12 layers, were found ordered
in 32 % of 2,000 cases at a level of 5 %. The test is a control that an order must survive, and decides nothing alone.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations as all_orders
from math import factorial, prod
from typing import Any

import numpy as np

from gradkern.hierarchy._layers import checked_depth
from gradkern.stats._bootstrap import Floats

_LEAST_LAYERS = 3
_FEW = 720  # orders, of 6 layers: all are tried, which takes no time


@dataclass(frozen=True, eq=False)
class LayerPermutationTest:
    """A statistic of the layers' order beside its values when depths have changed places.

    Attributes
    ----------
    value : of the layers as they are
    p : one-sided: share of the orders, the layers' own among them, in which the statistic is as large
    smallest_p : under which no p can go
    null : [orders], its values in all orders, or in the drawn ones
    orders : which orders these are, in words
    """

    value: float
    p: float
    smallest_p: float
    null: Floats
    orders: str

    @property
    def against(self) -> str:
        low, high = np.quantile(self.null, [0.025, 0.975])
        return f"layers in another order ({self.orders}; 95 % of them from {low:.3g} to {high:.3g})"


def layer_permutation_test(
    statistic: Callable[[Floats], float], depth: Any, *, expected: int = 1, permutations: int = 1000, seed: int
) -> LayerPermutationTest:
    """Hold a statistic against its values when the layers' depths change places.

    All orders are tried where there are at most 720 (6 layers) or 1 + `permutations`; of more, so many are drawn.

    Parameters
    ----------
    statistic : of depths [l] in the order of the layers; its scores are its own
    depth : [l], of the layers
    expected : 1 if an order makes the statistic large, -1 if small
    permutations, seed : of orders that are drawn

    Raises
    ------
    ValueError : fewer than 3 layers, depths all the same, fewer than 1 permutation, an order without a statistic

    Examples
    --------
    >>> layer_permutation_test(lambda at: float(at @ [1, 2, 3, 4]), [0, 0.3, 0.7, 1], seed=0).null.shape
    (24,)
    """
    op = "layer_permutation_test"
    layers = len(np.atleast_1d(depth))
    if layers < _LEAST_LAYERS:
        raise ValueError(f"{op}: layers must be at least {_LEAST_LAYERS} to have an order, got {layers}")
    if permutations < 1:
        raise ValueError(f"{op}: permutations must be at least 1, got {permutations}")
    at = checked_depth(op, depth, layers)
    count = factorial(layers)
    if count <= max(_FEW, 1 + permutations):
        orders, what = np.array(list(all_orders(range(layers)))), f"all {count} orders"
    else:
        generator = np.random.default_rng(seed)
        orders = np.array([generator.permutation(layers) for _ in range(permutations)])
        what = f"{permutations} orders drawn of {layers}!"
    value, null = statistic(at), np.array([statistic(at[order]) for order in orders])
    missing = int(np.isnan([value, *null]).sum())
    if missing:
        raise ValueError(f"{op}: every order must have a statistic, got none of {missing} of {1 + len(null)}")
    # equal values of other orders may be rounded differently
    reached = int((expected * null >= expected * value - 1e-12 * np.abs(null).max()).sum())
    exact = len(orders) == count
    # layers of one depth change places and nothing changes
    smallest = prod(factorial(same) for same in Counter(at.tolist()).values()) / count
    p = reached / count if exact else (1 + reached) / (1 + permutations)
    return LayerPermutationTest(value, p, smallest if exact else max(smallest, 1 / (1 + permutations)), null, what)
