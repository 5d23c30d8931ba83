"""Permutation tests of encoding scores within a subject: is there any relation between the features and a target?"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradkern.errors import naming
from gradkern.ridge._alphas import DEFAULT_ALPHAS
from gradkern.ridge._cross_validation import resolve_setting
from gradkern.ridge._engine.blocks import on_all_cores
from gradkern.ridge._engine.folds import Fold, check_groups, inner_folds, selection_folds
from gradkern.ridge._engine.inputs import (
    Array,
    DevicePlan,
    as_array,
    as_targets,
    check_finite,
    check_matrix,
    device_plan,
    load,
)
from gradkern.ridge._engine.precision import multiplying
from gradkern.ridge._engine.solve import AlphaSelection, alpha_selection
from gradkern.stats._exchangeable import Permutations, draw_permutations
from gradkern.stats._refits import refit

_BY_TARGET = ("r", "reached", "total", "squares")
_TARGETS_AT_ONCE = {"cpu": 4096, "cuda": 16384}  # at most
# a null score counts as reached if rounding alone keeps it under the observed one
_ROUNDING = {torch.float32: 2e-6, torch.float64: 1e-12}


@dataclass(frozen=True)
class TargetGroup:
    """The mean score of some targets: `r`, its p, and its null [permutations]."""

    r: float
    p: float
    null: NDArray[np.float64]


@dataclass(frozen=True)
class PermutationTest:
    """Scores of v targets beside those of permuted responses.

    Parameters
    ----------
    test : what was tested, in words
    r : [v], observed
    p : [v], one-sided: (1 + how many null scores reach r) / (1 + permutations)
    p_max : [v], the same with the largest null score of all targets: the chance that any target of none reaches r
    null_max : [permutations], that largest score
    null_mean, null_sd : [v], of the null scores
    pools : of the pools asked for
    null : [permutations, v] in float32, if asked for
    n : how many units (images) were permuted
    permutations : how many orders were drawn, with `seed`
    smallest_p : 1 / (1 + permutations), under which no p can go
    """

    test: str
    r: NDArray[np.float64]
    p: NDArray[np.float64]
    p_max: NDArray[np.float64]
    null_max: NDArray[np.float64]
    null_mean: NDArray[np.float64]
    null_sd: NDArray[np.float64]
    target_groups: dict[str, TargetGroup]
    null: NDArray[np.float32] | None
    n: int
    permutations: int
    seed: int
    smallest_p: float


def permutation_test(
    X: Any,
    Y: Any,
    alphas: Any = DEFAULT_ALPHAS,
    *,
    cv: Any = 5,
    inner_cv: Any = 5,
    groups: Any = None,
    within: Any = None,
    permutations: int = 1000,
    seed: int = 0,
    selection: str = "gcv",
    target_groups: Mapping[str, Any] | None = None,
    keep: bool = False,
    device: Any = None,
) -> PermutationTest:
    """Test cross-validated scores against those of responses in random order, with the model fitted anew to each.

    Tests, for every target, that its responses have nothing to do with the features: then every order of the images
    within a stratum of `within` is as likely as the one measured. That assumes that what else a response depends on
    (drift, the image before) has no order of its own within a stratum; where it has, a score may be significant because
    features and noise both drift. It does not test whether one set of features predicts more than another.

    The score is the mean over folds of r within a fold's held-out samples, 0 where responses or predictions do
    not vary there, as `gradkern.cross_val_score` has it. All targets see the same orders, so that `null_max` keeps what
    they share. With selection="gcv" and folds that hold out every sample once the orders cost three products a
    fold; anything else goes by the solvers of `cross_val_score`, several times as long. The test is as valid
    with one choice of alpha as with another.

    Parameters
    ----------
    X, alphas, cv, inner_cv, selection, device : as in `gradkern.cross_val_score`; one feature space
    Y : [n, v] or [n], finite, no target constant
    groups : [n] labels (images): the rows of a group are held out together and permuted together
    within : [n] labels (sessions): rows keep theirs
    permutations, seed : orders to draw
    pools : name -> bool [v] or places: targets whose mean score is tested too (a region, a time window)
    keep : whether to keep all null scores, 4 bytes for each target and order

    Raises
    ------
    ValueError : as `cross_val_score`; NaN, inf or constant targets; what `draw_permutations` refuses

    Notes
    -----
    Phipson and Smyth (2010), Stat. Appl. Genet. Mol. Biol. 9:39, for the 1 in both counts; Westfall and Young (1993)
    for the largest score.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 8))
    >>> Y = X @ rng.standard_normal((8, 3)) + rng.standard_normal((60, 3))
    >>> permutation_test(X, Y, permutations=19, seed=0).p.shape
    (3,)
    """
    op = "permutation_test"
    with naming(op):
        features = as_array("X", X)
        check_matrix("X", features)
        n = features.shape[0]
        nesting = resolve_setting(cv, inner_cv, alphas, selection, groups, n)
        cv, inner_cv = nesting.cv, nesting.inner_cv
        choice = alpha_selection(nesting.alphas, nesting.selection, "r2")
        responses, _ = as_targets(Y, n)
        where = device_plan(device, X, X=features, Y=responses)
        check_finite("X", features)
        folds = selection_folds(cv, n, groups)
        labels = None if groups is None else check_groups(groups, n)
        choices = tuple(_choice_inside(choice, fold, inner_cv, labels) for fold in folds.folds)
    orders = draw_permutations(op, n, permutations, seed, groups=groups, within=within)
    members = _pools(op, target_groups, responses.shape[1])
    test = f"mean over {len(folds)} folds of held-out r, refitted for each of {permutations} orders of {orders.what}"
    with torch.no_grad(), multiplying("float32"):
        score = refit(load(features, where), folds, choices, where)
        return _tested(op, test, _Asked(responses, where, orders, members, keep, seed), lambda _, Y: partial(score, Y))


def permutation_test_held_out(
    Y: Any,
    predictions: Any,
    *,
    groups: Any = None,
    within: Any = None,
    permutations: int = 1000,
    seed: int = 0,
    target_groups: Mapping[str, Any] | None = None,
    keep: bool = False,
    device: Any = None,
) -> PermutationTest:
    """Test predictions of one held-out set against its responses in random order; nothing is fitted.

    Tests, for every target and given the model as it is fitted, that the responses to the test images have nothing to
    do with what is predicted for them. Exact whatever the training set was, because it plays no part, if the test
    images could have been shown in any order within a stratum of `within`; it says nothing of how another
    training set would have done. The score is r over all rows, 0 where predictions do not vary.

    Parameters
    ----------
    Y, predictions : [n, v] or [n], of the same test images; finite, no target constant
    groups, within, permutations, seed, pools, keep, device : as in `permutation_test`

    Raises
    ------
    ValueError : different shapes; NaN, inf or constant targets; what `draw_permutations` refuses

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> Y = rng.standard_normal((50, 4))
    >>> permutation_test_held_out(Y, Y + rng.standard_normal((50, 4)), permutations=19, seed=0).p.shape
    (4,)
    """
    op = "permutation_test_held_out"
    with naming(op):
        given = as_array("predictions", predictions)
    if given.ndim not in (1, 2):
        raise ValueError(f"{op}: predictions must have shape [n] or [n, v], got {tuple(given.shape)}")
    predicted = given[:, None] if given.ndim == 1 else given
    with naming(op):
        responses, _ = as_targets(Y, predicted.shape[0])
    if predicted.shape != responses.shape:
        raise ValueError(f"{op}: predictions must be like Y, {tuple(responses.shape)}, got {tuple(predicted.shape)}")
    with naming(op):
        check_finite("predictions", predicted)
        where = device_plan(device, Y, Y=responses, predictions=predicted)
    orders = draw_permutations(op, len(responses), permutations, seed, groups=groups, within=within)
    members = _pools(op, target_groups, responses.shape[1])
    test = f"r over {len(responses)} held-out rows, predictions as they are, {permutations} orders of {orders.what}"
    asked = _Asked(responses, where, orders, members, keep, seed)

    def of_block(columns: slice, Y: Tensor) -> Callable[[Tensor], Tensor]:
        units, responses = _unit(load(predicted, where, columns=columns)), _unit(Y)
        return lambda order: (responses.index_select(0, order) * units).sum(0).double()

    with torch.no_grad():
        return _tested(op, test, asked, of_block)


@dataclass(frozen=True)
class _Asked:
    """Checked responses, orders and what is wanted of their scores; `target_groups` are places of targets."""

    responses: Array
    plan: DevicePlan
    orders: Permutations
    target_groups: dict[str, NDArray[np.int64]]
    keep: bool
    seed: int


# of a block of targets and their responses [n, b]: what scores an order [n]
_OfBlock = Callable[[slice, Tensor], Callable[[Tensor], Tensor]]


def _choice_inside(choice: AlphaSelection, fold: Fold, inner_cv: Any, labels: NDArray[Any] | None) -> AlphaSelection:
    """How alpha is chosen among the training samples of a fold."""
    return replace(choice, folds=inner_folds(inner_cv, fold.train, labels)) if choice.method == "kfold" else choice


@dataclass(frozen=True)
class _Block:
    """Of b targets, over P orders: observed r [b]; how many null scores reach it, their sums and sums of squares [b];
    the largest of them [P]; means in the pools [1 + P, pools], the observed first, as far as these targets go."""

    columns: slice
    r: Tensor
    reached: Tensor
    total: Tensor
    squares: Tensor
    largest: Tensor
    pooled: Tensor


def _tested(op: str, test: str, asked: _Asked, of_block: _OfBlock) -> PermutationTest:
    """Score every order, block by block of targets; the orders are the same for all blocks."""
    (n, v), count = asked.responses.shape, len(asked.orders.rows)
    device = asked.plan.device
    every = torch.from_numpy(np.vstack([np.arange(n), asked.orders.rows])).to(device)
    shares = _shares(asked.target_groups, v).to(device)
    null = np.empty((count, v), dtype=np.float32) if asked.keep else None
    slack = _ROUNDING[asked.plan.dtype]

    def tested(columns: slice) -> _Block:
        with torch.no_grad():  # is of a thread
            score = of_block(columns, _standardized(op, asked, columns))
            return _test_block(columns, score, every, shares[columns], slack, null)

    # small products gain little from a second core; equal blocks of targets do
    cores = torch.get_num_threads() if device.type == "cpu" else 1
    step = math.ceil(v / (cores * math.ceil(v / (cores * _TARGETS_AT_ONCE[device.type]))))
    columns = [slice(start, min(start + step, v)) for start in range(0, v, step)]
    blocks = on_all_cores(tested, columns, cores)
    r, reached, total, squares = (torch.cat([getattr(block, name) for block in blocks]) for name in _BY_TARGET)
    largest = torch.stack([block.largest for block in blocks]).amax(0)
    pooled = torch.stack([block.pooled for block in blocks]).sum(0)
    mean = total / count
    above = count - torch.searchsorted(largest.sort().values, r - slack)
    return PermutationTest(
        test=test,
        r=r.cpu().numpy(),
        p=((1 + reached) / (1 + count)).cpu().numpy(),
        p_max=((1 + above) / (1 + count)).cpu().numpy(),
        null_max=largest.cpu().numpy(),
        null_mean=mean.cpu().numpy(),
        null_sd=(squares / count - mean.square()).clamp(min=0).sqrt().cpu().numpy(),
        target_groups=_pool_results(asked.target_groups, pooled.cpu().numpy(), slack),
        null=null,
        n=asked.orders.n,
        permutations=count,
        seed=asked.seed,
        smallest_p=1 / (1 + count),
    )


def _test_block(
    columns: slice,
    score: Callable[[Tensor], Tensor],
    every: Tensor,
    shares: Tensor,
    slack: float,
    null: NDArray[np.float32] | None,
) -> _Block:
    """`every` [1 + P, n] order, the observed one first; null scores go into `null` [P, v] if it is given."""
    r = score(every[0])
    reached, total, squares = (torch.zeros_like(r) for _ in range(3))
    largest, pooled = r.new_empty(len(every) - 1), [r @ shares]
    for number, order in enumerate(every[1:]):
        found = score(order)
        reached += found >= r - slack
        total += found
        squares += found.square()
        largest[number] = found.max()
        pooled.append(found @ shares)
        if null is not None:
            null[number, columns] = found.cpu().numpy()
    return _Block(columns, r, reached, total, squares, largest, torch.stack(pooled))


def _standardized(op: str, asked: _Asked, columns: slice) -> Tensor:
    """Responses [n, b] of mean 0 and variance 1, which scores do not see; ValueError where they do not vary."""
    Y = load(asked.responses, asked.plan, columns=columns)
    bad = ~torch.isfinite(Y).all(0)
    if bool(bad.any()):
        raise ValueError(
            f"{op}: Y must be finite, got NaN or inf in {int(bad.sum())} of targets {columns.start}.."
            f"{columns.stop - 1}, the first {columns.start + int(bad.int().argmax())}"
        )
    constant = Y.amin(0) == Y.amax(0)
    if bool(constant.any()):
        raise ValueError(
            f"{op}: every target of Y must vary, got {int(constant.sum())} constant of targets "
            f"{columns.start}..{columns.stop - 1}, the first {columns.start + int(constant.int().argmax())}"
        )
    wide = Y.double()
    wide = wide - wide.mean(0)
    return (wide / wide.square().mean(0).sqrt()).to(Y.dtype)


def _unit(values: Tensor) -> Tensor:
    """Columns [n, b] about their means, of length 1; zeros where they do not vary."""
    wide = values.double() - values.double().mean(0)
    varies = values.amin(0) != values.amax(0)
    return torch.where(varies, wide / wide.norm(dim=0), 0.0).to(values.dtype)


def _pools(op: str, target_groups: Mapping[str, Any] | None, v: int) -> dict[str, NDArray[np.int64]]:
    """Places of the targets of each pool."""
    found = {}
    for name, where in (target_groups or {}).items():
        chosen = np.asarray(where)
        if chosen.dtype == bool and chosen.shape == (v,):
            chosen = np.flatnonzero(chosen)
        good = chosen.ndim == 1 and chosen.dtype.kind in "iu" and len(chosen) and chosen.min() >= 0 and chosen.max() < v
        if not good or len(np.unique(chosen)) < len(chosen):
            raise ValueError(
                f"{op}: pools must be bool [{v}] or different places of targets in 0..{v - 1}, at least one, got "
                f"{chosen.dtype} {list(chosen.shape)} for {name!r}"
            )
        found[name] = chosen.astype(np.int64)
    return found


def _shares(target_groups: dict[str, NDArray[np.int64]], v: int) -> Tensor:
    """Of each target in the mean of each pool, [v, pools]."""
    shares = torch.zeros(v, len(target_groups), dtype=torch.float64)
    for number, places in enumerate(target_groups.values()):
        shares[torch.from_numpy(places), number] = 1 / len(places)
    return shares


def _pool_results(
    target_groups: dict[str, NDArray[np.int64]], means: NDArray[np.float64], slack: float
) -> dict[str, TargetGroup]:
    """From mean scores [1 + permutations, pools], the observed ones first."""
    results = {}
    for number, name in enumerate(target_groups):
        observed, null = float(means[0, number]), means[1:, number]
        p = (1 + int((null >= observed - slack).sum())) / (1 + len(null))
        results[name] = TargetGroup(observed, p, null)
    return results
