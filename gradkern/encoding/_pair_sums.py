"""Sums over pairs of different images, sum_{i != j} R_ij <e_i, e_j>, of whitened responses e and what is left of a
kernel of features, R (`_conditional`), for tests and for groups of targets.

The share of variance of a group is its sum divided by the norm of R and its number of targets. Under the null
hypothesis the sum has mean 0 and, as under all flips of images, the variance 2 sum_{i != j} (R_ij <e_i, e_j>)^2.
Resampled images move it by sum_i (count_i - 1) (2 h_i - s_i), with the terms h_i of an image and the part s_i of the
sum that is its part of the squared responses, by which resampled responses are standardized. That variance is too large
by the variance under the null hypothesis (Efron & Stein 1981, Annals of Statistics 9, for U-statistics of degree 2),
and resampled sums are brought nearer to the sum by the root of what is left.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradkern.encoding._confounds import Confounds
from gradkern.encoding._response_blocks import Floats, Remainder, ResponseBlock, Rows, kernel_names
from gradkern.encoding._variance_components import Floats32

NOTHING_LEFT_OF_KERNEL = 1e-3  # of its sum of squares, in what the kernels of all confounds leave


class FlippedSums:
    """Sums for one feature space and one set of excluded parts, of groups of targets, and of flipped images."""

    def __init__(self, groups: Mapping[str, NDArray[np.bool_]], permutations: int) -> None:
        self.groups = groups
        self.sums = {name: np.zeros(1 + permutations) for name in groups}
        self.sizes = dict.fromkeys(groups, 0.0)
        targets = len(next(iter(groups.values())))
        self.by_target, self.target_sizes = np.zeros(targets), np.zeros(targets)
        self.left = self.whole = 0.0  # sums of squares of kernels
        self.products: dict[str, Floats32] = {}

    def add(self, targets: Rows, responses: Floats32, alike: Mapping[str, Floats32], rest: Remainder) -> None:
        """Terms of the targets of a cell, given how alike the responses of each group are."""
        self.left += len(targets) * rest.norm**2
        self.whole += len(targets) * rest.whole**2
        self.by_target[targets] += np.einsum("it,it->t", responses, rest.kernel @ responses)
        self.target_sizes[targets] += rest.norm
        for name, similarity in alike.items():
            terms = rest.kernel * similarity
            self.products[name] = self.products[name] + terms if name in self.products else terms
            self.sizes[name] += rest.norm * int(self.groups[name][targets].sum())

    def flip(self, signs: Floats32) -> None:
        """Sum the terms of a block with flipped signs [1 + permutations, m], and forget them."""
        for name, terms in self.products.items():
            self.sums[name] += np.einsum("pi,pi->p", signs @ terms, signs)
        self.products = {}


def add_block(
    block: ResponseBlock,
    spaces: Sequence[Any],
    excluded: Sequence[Confounds],
    sums: Mapping[tuple[int, int], FlippedSums],
) -> None:
    """Add the terms of a block's pairs of images, for each set of excluded parts and each feature space."""
    if not sums:
        return
    kernels = block.images.kernels
    rows, tested = sorted({a for a, _ in sums}), sorted({b for _, b in sums})
    subsets = [kernel_names(kernels, excluded[a]) for a in rows]
    groups = next(iter(sums.values())).groups
    for cell in block.components.cells():
        targets = block.components.members(cell)
        responses = block.whitened(cell, block.Y, targets)
        alike = {}
        for name, members in groups.items():
            inside = responses[:, members[targets]]
            if inside.shape[1]:
                alike[name] = inside @ inside.T
        rests = block.remainders(cell, kernels, subsets, [spaces[b] for b in tested])
        for b, left in zip(tested, rests, strict=True):
            for a, rest in zip(rows, left, strict=True):
                if (a, b) in sums:
                    sums[a, b].add(targets, responses, alike, rest)


class Groups(Protocol):
    """Responses to n images, of targets in groups; either each target is one, or all groups are of the same size."""

    groups: int
    size: int  # targets of a group

    def blocks(self, images: Rows) -> Iterator[tuple[slice, Floats]]:
        """Some groups, and responses [m, groups, size] of theirs to some images, numbered from 0 to n - 1."""


@dataclass(frozen=True, eq=False)
class PairSums:
    """Sums over pairs of images, for l feature spaces, g groups of targets and b resamplings.

    Attributes
    ----------
    sums : [l, g]
    resampled : [b, l, g], of resampled images
    sizes : [l, g], by which a sum is divided to give a share of variance; 0 where features have nothing of their own
    errors : [l, g], standard deviation of the sum under the null hypothesis
    """

    sums: Floats
    resampled: Floats
    sizes: Floats
    errors: Floats

    def over(self, units: Floats) -> tuple[Floats, Floats]:
        """Sums and resampled sums in units [l, g], 0 where these are."""
        inverse = np.divide(1, units, out=np.zeros_like(units), where=units > 0)
        return self.sums * inverse, self.resampled * inverse


class _Totals:
    """What the images of all blocks add up to."""

    def __init__(self, spaces: int, groups: int, resamplings: int) -> None:
        self.sums, self.squares, self.means, self.null, self.sizes = (np.zeros((spaces, groups)) for _ in range(5))
        self.moved = np.zeros((resamplings, spaces, groups))
        self.left, self.whole = np.zeros(spaces), np.zeros(spaces)

    def add(
        self, space: int, groups: Any, terms: Floats, squares: Floats, null: Floats, size: Floats, drawn: Floats
    ) -> None:
        """Terms and squared responses [m, g] of each image, null variance and size [g]; `drawn` [b, m]: counts - 1."""
        whole = terms.sum(0)
        size_of_all = squares.sum(0)  # 0 where responses do not vary in these images
        moves = 2 * terms - np.divide(whole * squares, size_of_all, out=np.zeros_like(terms), where=size_of_all > 0)
        self.sums[space, groups] += whole
        self.squares[space, groups] += np.square(moves).sum(0)
        self.means[space, groups] += moves.sum(0)
        self.null[space, groups] += null
        self.sizes[space, groups] += size
        self.moved[:, space, groups] += drawn @ moves

    def result(self, images: int) -> PairSums:
        spread = self.squares - np.square(self.means) / images
        narrower = np.sqrt(np.divide(
            np.maximum(spread - self.null, self.null), spread, out=np.zeros_like(spread), where=spread > 0
        ))  # fmt: skip
        known = (self.left >= NOTHING_LEFT_OF_KERNEL * self.whole) & (self.whole > 0)
        sums, sizes, errors = (
            np.where(known[:, None], values, 0) for values in (self.sums, self.sizes, np.sqrt(self.null))
        )
        moved = np.where(known[:, None], self.moved * narrower, 0)
        return PairSums(sums, sums + moved, sizes, errors)


def pair_sums(
    blocks: Sequence[ResponseBlock],
    confounds: Confounds,
    spaces: Sequence[Any],
    tested: Sequence[int],
    groups: Groups,
    counts: Floats,
) -> PairSums:
    """Sums of groups of responses, beside all confounds; of spaces that are not `tested`, 0."""
    images = np.sort(np.concatenate([block.rows for block in blocks]))
    totals = _Totals(len(spaces), groups.groups, len(counts))
    for block in blocks if tested else ():
        places = np.searchsorted(images, block.rows)
        rests = _Rests(block, confounds, [spaces[number] for number in tested])
        add = _add_targets if groups.size == 1 else _add_groups
        for chosen, responses in groups.blocks(places):
            add(totals, rests, list(tested), chosen, responses, counts[:, places] - 1)
    return totals.result(len(images))


class _Rests:
    """What is left of every space in the pairs of a block, for targets of each covariance, computed when asked for."""

    def __init__(self, block: ResponseBlock, confounds: Confounds, spaces: Sequence[Any]) -> None:
        self.block, self._spaces = block, spaces
        self._kernels = block.images.kernels
        self._names = kernel_names(self._kernels, confounds)
        self._known: dict[tuple[int, int], list[Remainder]] = {}

    def of(self, cell: tuple[int, int]) -> list[Remainder]:
        if cell not in self._known:
            left = self.block.remainders(cell, self._kernels, [self._names], self._spaces)
            self._known[cell] = [rest for (rest,) in left]
        return self._known[cell]

    def whitened(self, Y: Floats) -> tuple[Floats32, dict[tuple[int, int], Rows]]:
        """Responses [m, v] whitened, and the targets of each cell."""
        spread = Y.std(0)
        standardized = (Y - Y.mean(0)) / np.where(spread > 0, spread, 1)
        components = self.block.components.of(standardized)
        whitened = np.empty(Y.shape, dtype=np.float32)
        members = {cell: components.members(cell) for cell in components.cells()}
        for cell, targets in members.items():
            whitened[:, targets] = self.block.whitened(cell, standardized, targets)
        return whitened, members


def _add_targets(
    totals: _Totals, rests: _Rests, tested: Sequence[int], chosen: slice, responses: Floats, drawn: Floats
) -> None:
    """Add terms of targets that are groups of one each."""
    whitened, members = rests.whitened(responses[:, :, 0])
    numbers = np.arange(chosen.start, chosen.stop)
    for cell, targets in members.items():
        seen = whitened[:, targets]
        squared = np.square(seen)
        for space, rest in zip(tested, rests.of(cell), strict=True):
            terms = (seen * (rest.kernel @ seen)).astype(np.float64)
            null = 2 * np.einsum("it,it->t", squared, np.square(rest.kernel) @ squared).astype(np.float64)
            totals.add(space, numbers[targets], terms, squared, null, np.full(len(targets), rest.norm), drawn)
            totals.left[space] += len(targets) * rest.norm**2
            totals.whole[space] += len(targets) * rest.whole**2


def _add_groups(
    totals: _Totals, rests: _Rests, tested: Sequence[int], chosen: slice, responses: Floats, drawn: Floats
) -> None:
    """Add terms of groups of several targets [m, groups, size]."""
    m, groups, size = responses.shape
    whitened, members = rests.whitened(responses.reshape(m, -1))
    group = np.repeat(np.arange(groups), size)
    left = {cell: rests.of(cell) for cell in members}
    for number in range(groups):
        alike, squares = [], np.zeros((m, 1))
        for cell, targets in members.items():
            inside = whitened[:, targets[group[targets] == number]]
            if inside.shape[1]:
                similarity = inside @ inside.T
                alike.append((left[cell], similarity, inside.shape[1]))
                squares += np.diag(similarity)[:, None]
        for place, space in enumerate(tested):
            terms, norms = np.zeros((m, m), dtype=np.float32), 0.0
            for rest, similarity, count in alike:
                terms += rest[place].kernel * similarity
                norms += rest[place].norm * count
                totals.left[space] += count * rest[place].norm ** 2
                totals.whole[space] += count * rest[place].whole ** 2
            by_image = terms.sum(1, dtype=np.float64)[:, None]
            null = np.array([2 * float(np.vdot(terms, terms))])
            totals.add(space, [chosen.start + number], by_image, squares, null, np.array([norms]), drawn)
