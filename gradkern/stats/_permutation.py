"""Permutation tests of encoding scores within a subject: is there any relation between the features and a target?"""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradkern.errors import Refused, naming
from gradkern.ridge._alphas import DEFAULT_ALPHAS, EdgeCount, count_edges
from gradkern.ridge._cross_validation import resolve_setting
from gradkern.ridge._engine.blocks import on_all_cores
from gradkern.ridge._engine.folds import Folds, check_groups, inner_folds, selection_folds
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
from gradkern.stats._exchangeable import Permutations, permutations_of
from gradkern.stats._refits import OrderScores, refit
from gradkern.stats._summary import Summary

_BY_TARGET = ("r", "undefined", "reached", "total", "squares")
_TARGETS_AT_ONCE = {"cpu": 4096, "cuda": 16384}  # at most
# a null score counts as reached if rounding alone keeps it under the observed one
_ROUNDING = {torch.float32: 2e-6, torch.float64: 1e-12}


@dataclass(frozen=True, repr=False)
class TargetGroup(Summary):
    """The mean score of a group of targets: `r`, its p, and its null distribution `null` [permutations].

    `undefined` of the `targets` have no defined score of their own. In this mean a fold without one counts as 0, for
    the measured order as for every permutation, so that the test stays exact.
    """

    r: float
    p: float
    null: NDArray[np.float64]
    targets: int
    undefined: int

    @property
    def brief(self) -> str:
        """r and p in a few words."""
        return f"r {self.r:.4g}, p {self.p:.4g}"


@dataclass(frozen=True, repr=False)
class PermutationTest(Summary):
    """Scores of v targets beside those of permuted responses.

    Attributes
    ----------
    test : what was tested, in words
    r : [v], observed; NaN where it is undefined in a fold, because responses or predictions do not vary there
    p : [v], one-sided: (1 + number of null scores that reach r) / (1 + permutations); NaN where r is
    p_max : [v], the same with the largest null score of all targets: the familywise p. NaN where r is
    undefined : number of targets whose r is NaN
    null_max : [permutations], the largest null score of all targets
    null_mean, null_sd : [v], of the null scores
    target_groups : of the groups asked for
    null : [permutations, v] in float32, if asked for
    alphas_at_edge : how many fits to the measured responses chose an alpha at an edge of the grid; None if nothing was
        fitted
    n : number of units (images) that were permuted
    permutations : number of permutations, drawn with `seed`
    smallest_p : 1 / (1 + permutations), the smallest attainable p
    """

    test: str
    r: NDArray[np.float64]
    p: NDArray[np.float64]
    p_max: NDArray[np.float64]
    undefined: int
    null_max: NDArray[np.float64]
    null_mean: NDArray[np.float64]
    null_sd: NDArray[np.float64]
    target_groups: dict[str, TargetGroup]
    null: NDArray[np.float32] | None
    alphas_at_edge: EdgeCount | None
    n: int
    permutations: int
    seed: int
    smallest_p: float


@naming("permutation_test")
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
    keep_null: bool = False,
    device: Any = None,
) -> PermutationTest:
    """Test cross-validated scores against those of permuted responses, with the model fitted anew to each permutation.

    The null hypothesis, for every target, is that its responses have nothing to do with the features: then every
    order of the images within a stratum of `within` is as likely as the one measured. This assumes that whatever else
    a response depends on (drift, the previous image) has no order of its own within a stratum. If it has one, a score
    may be significant because features and noise both drift. The test does not say whether one set of features
    predicts more than another.

    The score is the mean over folds of Pearson r within a fold's held-out samples. If r is undefined in a fold of the
    measured order, because responses or predictions do not vary there, the target's r and p are NaN, as in
    `gradkern.cross_val_score`; such targets are counted and warned of. In a permutation, an undefined r counts as 0.
    That is one fixed function of the responses, so p values stay exact, and targets without a score of their own can
    only make `p_max` larger.

    All targets see the same permutations, so `null_max` keeps what they share. With selection="gcv", and folds that
    hold out every sample once, a permutation costs three products per fold. Anything else goes by the solvers of
    `cross_val_score` and takes several times as long. The test is equally valid however alphas are chosen.

    Parameters
    ----------
    X, alphas, cv, inner_cv, selection, device : as in `gradkern.cross_val_score`, for one feature space
    Y : [n, v] or [n], finite, no target constant
    groups : [n] labels (images); the rows of a group are held out together and permuted together
    within : [n] labels (sessions); rows stay within theirs
    permutations, seed : how many permutations to draw, and the seed of the generator
    target_groups : name -> bool [v] or indices: targets whose mean score is tested too (an ROI, a time window)
    keep_null : whether to keep all null scores, 4 bytes per target and permutation

    Raises
    ------
    Refused : a constant target; too few images for that many different permutations
    ValueError : what `cross_val_score` raises; NaN or inf; groups of different sizes

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
    >>> permutation_test(X, Y, permutations=19).p.shape
    (3,)
    """
    features = as_array("X", X)
    check_matrix("X", features)
    n = features.shape[0]
    nesting = resolve_setting(cv, inner_cv, alphas, selection, groups, n)
    choice = alpha_selection(nesting.alphas, nesting.selection, "r2")
    responses, _ = as_targets(Y, n)
    plan = device_plan(device, X, X=features, Y=responses)
    check_finite("X", features)
    folds = selection_folds(nesting.cv, n, groups)
    labels = None if groups is None else check_groups(groups, n)
    choices = tuple(_choice_inside(choice, folds, number, nesting.inner_cv, labels) for number in range(len(folds)))
    orders = permutations_of(n, permutations, seed, groups=groups, within=within)
    members = _target_groups(target_groups, responses.shape[1])
    data = _Data(responses, plan, orders, members, keep_null, choice.alphas)
    what = f"held-out r, mean over {len(folds)} folds, refitted for each of {permutations} permutations"
    with torch.no_grad(), multiplying("float32"):
        score = refit(load(features, plan), folds, choices, plan)
        return _test(f"{what} of {orders.what}", data, seed, lambda _, Y: partial(score, Y))


@naming("permutation_test_held_out")
def permutation_test_held_out(
    Y: Any,
    predictions: Any,
    *,
    groups: Any = None,
    within: Any = None,
    permutations: int = 1000,
    seed: int = 0,
    target_groups: Mapping[str, Any] | None = None,
    keep_null: bool = False,
    device: Any = None,
) -> PermutationTest:
    """Test predictions of one held-out set against its permuted responses; nothing is fitted.

    The null hypothesis, for every target and given the fitted model, is that the responses to the test images have
    nothing to do with what is predicted for them. The test is exact whatever the training set was, because it plays no
    part, provided that the test images could have been shown in any order within a stratum of `within`. It says
    nothing about how another training set would have done. The score is r over all rows; r and p are NaN where
    predictions do not vary.

    Parameters
    ----------
    Y, predictions : [n, v] or [n], of the same test images; finite, no target constant
    groups, within, permutations, seed, target_groups, keep_null, device : as in `permutation_test`

    Raises
    ------
    Refused : a constant target; too few images for that many different permutations
    ValueError : different shapes; NaN or inf; groups of different sizes

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> Y = rng.standard_normal((50, 4))
    >>> permutation_test_held_out(Y, Y + rng.standard_normal((50, 4)), permutations=19).p.shape
    (4,)
    """
    values = as_array("predictions", predictions)
    if values.ndim not in (1, 2):
        raise ValueError(f"predictions must have shape [n] or [n, v], got {tuple(values.shape)}")
    predicted = values[:, None] if values.ndim == 1 else values
    responses, _ = as_targets(Y, predicted.shape[0])
    if predicted.shape != responses.shape:
        raise ValueError(f"predictions must be like Y, {tuple(responses.shape)}, got {tuple(predicted.shape)}")
    check_finite("predictions", predicted)
    plan = device_plan(device, Y, Y=responses, predictions=predicted)
    orders = permutations_of(len(responses), permutations, seed, groups=groups, within=within)
    data = _Data(responses, plan, orders, _target_groups(target_groups, responses.shape[1]), keep_null)
    test = (
        f"r over {len(responses)} held-out rows, predictions as they are, {permutations} permutations of {orders.what}"
    )

    def of_block(columns: slice, Y: Tensor) -> Callable[[Tensor], OrderScores]:
        block = load(predicted, plan, columns=columns)
        undefined = block.amin(0) == block.amax(0)
        units, responses = _unit(block), _unit(Y)
        return lambda order: OrderScores((responses.index_select(0, order) * units).sum(0).double(), undefined)

    with torch.no_grad():
        return _test(test, data, seed, of_block)


@dataclass(frozen=True)
class _Data:
    """Checked responses, their permutations, and what is wanted of the scores.

    `target_groups` are indices of targets; `alphas` [a], largest first, the grid that fits choose from.
    """

    responses: Array
    plan: DevicePlan
    orders: Permutations
    target_groups: dict[str, NDArray[np.int64]]
    keep_null: bool
    alphas: Tensor | None = None


# of a block of targets and their responses [n, b]: what scores an order [n]
_OfBlock = Callable[[slice, Tensor], Callable[[Tensor], OrderScores]]


def _choice_inside(
    choice: AlphaSelection, outer: Folds, number: int, inner_cv: Any, labels: NDArray[Any] | None
) -> AlphaSelection:
    """How alpha is chosen among the training samples of a fold."""
    return replace(choice, folds=inner_folds(inner_cv, outer, number, labels)) if choice.method == "kfold" else choice


@dataclass(frozen=True)
class _Block:
    """Scores of b targets under P permutations.

    Observed r [b] and whether it is undefined [b]; how many null scores reach it, their sums and sums of squares [b];
    the largest of them [P]; these targets' share of the means of the groups [1 + P, groups], the observed first; fits
    at the edges of the grid.
    """

    columns: slice
    r: Tensor
    undefined: Tensor
    reached: Tensor
    total: Tensor
    squares: Tensor
    largest: Tensor
    grouped: Tensor
    edges: EdgeCount | None


def _test(test: str, data: _Data, seed: int, of_block: _OfBlock) -> PermutationTest:
    """Score every order, block by block of targets; the orders are the same for all blocks."""
    (n, v), count = data.responses.shape, len(data.orders.rows)
    device = data.plan.device
    every = torch.from_numpy(np.vstack([np.arange(n), data.orders.rows])).to(device)
    shares = _shares(data.target_groups, v).to(device)
    null = np.empty((count, v), dtype=np.float32) if data.keep_null else None
    slack = _ROUNDING[data.plan.dtype]

    def tested(columns: slice) -> _Block:
        with torch.no_grad():  # is of a thread
            score = of_block(columns, _standardized(data, columns))
            return _test_block(columns, score, every, shares[columns], slack, null, data.alphas)

    # small products gain little from a second core; equal blocks of targets do
    cores = torch.get_num_threads() if device.type == "cpu" else 1
    step = math.ceil(v / (cores * math.ceil(v / (cores * _TARGETS_AT_ONCE[device.type]))))
    columns = [slice(start, min(start + step, v)) for start in range(0, v, step)]
    blocks = on_all_cores(tested, columns, cores)
    r, undefined, reached, total, squares = (
        torch.cat([getattr(block, name) for block in blocks]) for name in _BY_TARGET
    )
    largest = torch.stack([block.largest for block in blocks]).amax(0)
    grouped = torch.stack([block.grouped for block in blocks]).sum(0)
    mean = total / count
    above = count - torch.searchsorted(largest.sort().values, r - slack)
    missing = undefined.cpu().numpy()
    if missing.any():
        warnings.warn(
            f"permutation test: {int(missing.sum())} of {v} targets have no defined score, because responses or "
            f"predictions do not vary in a fold; their r and p are NaN. The first is target {int(missing.argmax())}",
            stacklevel=4,  # the decorator is between
        )

    def known(values: Tensor) -> NDArray[np.float64]:
        return np.where(missing, np.nan, values.cpu().numpy())

    edges = [block.edges for block in blocks if block.edges is not None]
    return PermutationTest(
        test=test,
        r=known(r),
        p=known((1 + reached) / (1 + count)),
        p_max=known((1 + above) / (1 + count)),
        undefined=int(missing.sum()),
        null_max=largest.cpu().numpy(),
        null_mean=mean.cpu().numpy(),
        null_sd=(squares / count - mean.square()).clamp(min=0).sqrt().cpu().numpy(),
        target_groups=_group_results(data.target_groups, grouped.cpu().numpy(), missing, slack),
        null=null,
        alphas_at_edge=sum(edges[1:], edges[0]) if edges else None,
        n=data.orders.n,
        permutations=count,
        seed=seed,
        smallest_p=1 / (1 + count),
    )


def _test_block(
    columns: slice,
    score: Callable[[Tensor], OrderScores],
    every: Tensor,
    shares: Tensor,
    slack: float,
    null: NDArray[np.float32] | None,
    alphas: Tensor | None,
) -> _Block:
    """`every` [1 + P, n] order, the observed one first; null scores go into `null` [P, v] if it is given."""
    observed = score(every[0])
    r = observed.r
    reached, total, squares = (torch.zeros_like(r) for _ in range(3))
    largest, grouped = r.new_empty(len(every) - 1), [r @ shares]
    for number, order in enumerate(every[1:]):
        permuted = score(order).r
        reached += permuted >= r - slack
        total += permuted
        squares += permuted.square()
        largest[number] = permuted.max()
        grouped.append(permuted @ shares)
        if null is not None:
            null[number, columns] = permuted.cpu().numpy()
    edges = None if alphas is None else _count_edges(observed, alphas)
    return _Block(columns, r, observed.undefined, reached, total, squares, largest, torch.stack(grouped), edges)


def _count_edges(observed: OrderScores, alphas: Tensor) -> EdgeCount:
    """Count the fits of targets with a defined score whose alpha is at an edge of the grid [a], largest first."""
    chosen = torch.stack(observed.alphas)
    scored = torch.where(observed.undefined, torch.nan, observed.r).expand_as(chosen)
    return count_edges(chosen.flatten(), scored.flatten(), alphas)


def _standardized(data: _Data, columns: slice) -> Tensor:
    """Responses [n, b] of mean 0 and variance 1, which scores do not see."""
    Y = load(data.responses, data.plan, columns=columns)
    span = f"targets {columns.start}..{columns.stop - 1}"
    bad = ~torch.isfinite(Y).all(0)
    if bool(bad.any()):
        first = columns.start + int(bad.int().argmax())
        raise ValueError(f"Y must be finite, got NaN or inf in {int(bad.sum())} of {span}, the first {first}")
    constant = Y.amin(0) == Y.amax(0)
    if bool(constant.any()):
        first = columns.start + int(constant.int().argmax())
        raise Refused(f"every target of Y must vary, got {int(constant.sum())} constant of {span}, the first {first}")
    wide = Y.double()
    wide = wide - wide.mean(0)
    return (wide / wide.square().mean(0).sqrt()).to(Y.dtype)


def _unit(values: Tensor) -> Tensor:
    """Columns [n, b] about their means, of length 1; zeros where they do not vary."""
    wide = values.double() - values.double().mean(0)
    varies = values.amin(0) != values.amax(0)
    return torch.where(varies, wide / wide.norm(dim=0), 0.0).to(values.dtype)


def _target_groups(target_groups: Mapping[str, Any] | None, v: int) -> dict[str, NDArray[np.int64]]:
    """Indices of the targets of each group."""
    members = {}
    for name, given in (target_groups or {}).items():
        chosen = np.asarray(given)
        if chosen.dtype == bool and chosen.shape == (v,):
            chosen = np.flatnonzero(chosen)
        good = chosen.ndim == 1 and chosen.dtype.kind in "iu" and len(chosen) and chosen.min() >= 0 and chosen.max() < v
        if not good or len(np.unique(chosen)) < len(chosen):
            raise ValueError(
                f"target_groups must be bool [{v}] or different indices in 0..{v - 1}, at least one, got "
                f"{chosen.dtype} {list(chosen.shape)} for {name!r}"
            )
        members[name] = chosen.astype(np.int64)
    return members


def _shares(target_groups: dict[str, NDArray[np.int64]], v: int) -> Tensor:
    """Share of each target in the mean of each group, [v, groups]."""
    shares = torch.zeros(v, len(target_groups), dtype=torch.float64)
    for number, members in enumerate(target_groups.values()):
        shares[torch.from_numpy(members), number] = 1 / len(members)
    return shares


def _group_results(
    target_groups: dict[str, NDArray[np.int64]],
    means: NDArray[np.float64],
    missing: NDArray[np.bool_],
    slack: float,
) -> dict[str, TargetGroup]:
    """From mean scores [1 + permutations, groups], the observed ones first."""
    results = {}
    for number, (name, members) in enumerate(target_groups.items()):
        observed, null = float(means[0, number]), means[1:, number]
        p = (1 + int((null >= observed - slack).sum())) / (1 + len(null))
        results[name] = TargetGroup(observed, p, null, len(members), int(missing[members].sum()))
    return results
