"""Fits of outer folds and scores of what they hold out, of many feature spaces by one read of the responses."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradkern._progress import advanced
from gradkern.ridge._engine.folds import Indices
from gradkern.ridge._engine.inputs import Array, DevicePlan, Targets, load, read_parts
from gradkern.ridge._engine.metrics import correlation, r_squared
from gradkern.ridge._engine.nested import (
    FoldResponses,
    NestedFactor,
    NestedScores,
    OuterFolds,
    factor_nested,
    fold_responses,
    score_nested,
)
from gradkern.ridge._engine.precision import product
from gradkern.ridge._engine.solve import AlphaSelection, FitOptions, factor, solve

BLOCK = 1024  # targets that are scored at a time
_LATE_AT_ONCE = 4096  # targets that are scored fold by fold


@dataclass(frozen=True)
class OuterFold:
    """An outer fold: training samples, how alpha is chosen among them, and held-out samples, both with weights."""

    train: Indices
    test: Indices
    selection: AlphaSelection
    train_weights: Tensor | None
    test_weights: Tensor | None


@dataclass(frozen=True)
class NestedProblem:
    """The checked arrays of one feature space, and the outer folds."""

    features: Array
    responses: Array
    one_target: bool
    plan: DevicePlan
    outer: tuple[OuterFold, ...]
    standardize: bool
    first: int = 0  # number of the first target, where the responses are a part
    shared: OuterFolds | None = None  # folds whose statistics all fits share


@dataclass(frozen=True)
class HeldOut:
    """The m samples that fold number `fold` holds out: responses, and predictions = explained + intercept."""

    fold: int
    columns: slice
    responses: Tensor  # [m, b]
    explained: Tensor  # [m, b]
    intercept: Tensor  # [b]
    alpha: Tensor  # [b]

    @property
    def predictions(self) -> Tensor:
        return self.explained + self.intercept


@dataclass(frozen=True)
class HeldOutScores:
    """Scores [s, f, v] and chosen alphas [f, v] of one feature space."""

    scorings: tuple[str, ...]
    scores: Tensor
    alphas: Tensor

    @classmethod
    def empty(cls, nested: NestedProblem, scorings: tuple[str, ...]) -> "HeldOutScores":
        scores = nested.plan.empty(len(scorings), len(nested.outer), nested.responses.shape[1])
        return cls(scorings, scores, torch.empty(scores.shape[1:], dtype=torch.float64))

    def add(self, nested: NestedProblem, total: int | None) -> None:
        """Fit and score the responses of `nested`, fold by fold; of `total` targets in all, for the progress."""
        for held in held_out_samples(nested):
            self.alphas[held.fold, held.columns] = held.alpha.to(self.alphas.device)
            weights = nested.outer[held.fold].test_weights
            if weights is not None:
                weights = weights.to(held.responses.device)
            for number, scoring in enumerate(self.scorings):
                self.scores[number, held.fold, held.columns] = (
                    # r without the intercept: beside it, what a large alpha leaves would be rounded away
                    correlation(held.responses, held.explained, weights)
                    if scoring == "r"
                    else r_squared(held.responses, held.predictions, weights)
                )
            if total is not None:
                advanced(len(held.alpha) / total, "fits")

    def put(self, scored: NestedScores, columns: slice) -> None:
        """Keep scores of a block; those of unsure targets are replaced later."""
        for number, scoring in enumerate(self.scorings):
            self.scores[number, :, columns] = getattr(scored, scoring).to(self.scores)
        self.alphas[:, columns] = scored.alpha.to(self.alphas)

    def scores_to_caller(self, nested: NestedProblem, single: bool) -> Array:
        """Scores [s, f, v], of a single scoring [f, v], without v of a single 1-D target."""
        scores = self.scores[0] if single else self.scores
        return nested.plan.to_caller(scores[..., 0] if nested.one_target else scores)

    def alphas_to_caller(self, nested: NestedProblem) -> Array:
        """Alphas [f, v], or [f]."""
        return nested.plan.to_caller(self.alphas[:, 0] if nested.one_target else self.alphas)


# Takes the name of a feature space, which targets of all, and their scores.
Write = Callable[[str, slice | Tensor, HeldOutScores], None]


@torch.no_grad()
def score_all(nested: Mapping[str, NestedProblem], scorings: tuple[str, ...], write: Write) -> None:
    """Score all feature spaces, part by part of the targets; responses are read once for all of them.

    Some targets of a part may be written again later, by their numbers.
    """
    first = next(iter(nested.values()))
    total = first.responses.shape[1]
    factors = _factors(nested)
    late = {name: _LateTargets(nested[name], scorings) for name in factors}
    for columns, values in read_parts(first.responses):
        parts = {name: replace(problem, responses=values, first=columns.start) for name, problem in nested.items()}
        results = {name: HeldOutScores.empty(part, scorings) for name, part in parts.items()}
        for name, part in parts.items():
            if name not in factors:
                results[name].add(part, total)
        for within, plan, responses in _shared_blocks(parts, factors):
            for name, factored in factors.items():
                if parts[name].plan == plan:
                    scored = score_nested(factored, responses.of_folds)
                    late[name].add(values, within, columns.start, responses.settle(scored))
                    results[name].put(scored, within)
                    advanced(len(factored.outer) * (within.stop - within.start) / total, "fits")
        for name, result in results.items():
            write(name, columns, result)
        for name, targets in late.items():
            if targets.count >= _LATE_AT_ONCE:
                targets.score(name, write)
    for name, targets in late.items():
        targets.score(name, write)


def _factors(nested: Mapping[str, NestedProblem]) -> dict[str, NestedFactor]:
    """Of the feature spaces whose fits can share sums."""
    factors: dict[str, NestedFactor] = {}
    for name, problem in nested.items():
        if problem.shared is not None:
            X = load(problem.features, problem.plan, problem.shared.order)
            factored = factor_nested(X, problem.shared, problem.outer[0].selection)
            if factored is not None:
                factors[name] = factored
    return factors


@dataclass(frozen=True)
class _SharedBlock:
    """Responses of a block of targets by outer fold, and which targets [b] have one value or none."""

    of_folds: FoldResponses
    constant: Tensor  # the same value in all samples
    empty: Tensor  # NaN in all samples
    partly: Tensor  # a fold has only one value, or a sample has none

    @classmethod
    def of(cls, Y: Tensor, shared: OuterFolds) -> "_SharedBlock":
        """Responses Y [n, b] in the order of the folds; Y is overwritten."""
        missing = Y.isnan()
        some = missing.any(0)
        empty = missing.all(0) if bool(some.any()) else some
        if bool(some.any()):
            Y.masked_fill_(missing, 0.0)
        constant = (Y[0] == Y).all(0) & ~some
        of_folds = fold_responses(Y, shared)
        return cls(of_folds, constant, empty, (of_folds.moments.constant.any(0) | some) & ~constant & ~empty)

    def settle(self, scored: NestedScores) -> Tensor:
        """Set scores and alphas of targets without a score; which others [b] are to be scored fold by fold."""
        for scores in (scored.r, scored.r2):
            scores[:, self.constant | self.empty] = torch.nan
        scored.alpha[:, self.empty] = torch.nan
        return (scored.unsure | self.partly) & ~self.constant & ~self.empty


def _shared_blocks(
    parts: Mapping[str, NestedProblem], factors: Mapping[str, NestedFactor]
) -> Iterator[tuple[slice, DevicePlan, _SharedBlock]]:
    """Blocks of the targets of a part, as every device and dtype needs them."""
    plans = {parts[name].plan: parts[name] for name in factors}
    first = next(iter(parts.values()))
    for start in range(0, first.responses.shape[1], BLOCK):
        within = slice(start, min(start + BLOCK, first.responses.shape[1]))
        for plan, part in plans.items():
            if part.shared is not None:
                Y = Targets(part.responses, plan, part.shared.order, part.first).block(within)
                yield within, plan, _SharedBlock.of(Y, part.shared)


class _LateTargets:
    """Targets that folds cannot share sums for; they are scored fold by fold, some thousands at a time."""

    def __init__(self, nested: NestedProblem, scorings: tuple[str, ...]) -> None:
        self._nested, self._scorings = nested, scorings
        self._values: list[Array] = []
        self._places: list[Tensor] = []

    @property
    def count(self) -> int:
        return sum(map(len, self._places))

    def add(self, values: Array, within: slice, first: int, unsure: Tensor) -> None:
        """Keep the responses of unsure targets [b], `within` of values whose first target is number `first`."""
        if not bool(unsure.any()):
            return
        chosen = unsure.nonzero()[:, 0].cpu()
        part = values[:, within]
        self._values.append(part[:, chosen.to(part.device)] if isinstance(part, Tensor) else part[:, chosen.numpy()])
        self._places.append(chosen + first + within.start)

    def score(self, name: str, write: Write) -> None:
        """Score what was kept."""
        if not self._places:
            return
        places = torch.cat(self._places)
        join: Any = torch.cat if isinstance(self._values[0], Tensor) else np.concatenate
        few = replace(self._nested, responses=join(self._values, 1))
        self._values, self._places = [], []
        scored = HeldOutScores.empty(few, self._scorings)
        scored.add(few, None)
        write(name, places, scored)


@torch.no_grad()
def held_out_samples(nested: NestedProblem) -> Iterator[HeldOut]:
    """Fit each outer fold on its training samples alone and predict what it holds out, block by block."""
    plan = nested.plan
    for number, fold in enumerate(nested.outer):
        weights = None if fold.train_weights is None else fold.train_weights.to(plan.device)
        fitting = FitOptions(standardize=nested.standardize, weights=weights)
        solver = factor(load(nested.features, plan, fold.train), fold.selection, fitting)
        tested = load(nested.features, plan, fold.test) - solver.principal.offset
        held_out = Targets(nested.responses, plan, fold.test, nested.first)
        trained = Targets(nested.responses, plan, fold.train, nested.first)
        for block in solve(solver, trained, None, shared=False):
            explained = product(tested, block.coefficients)
            intercept = block.at_offset.to(tested.dtype)
            yield HeldOut(number, block.columns, held_out.block(block.columns), explained, intercept, block.alpha)
