"""What a test of features beside confounds found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradkern.errors import naming

Floats = NDArray[np.float64]

ALL = "all"


@dataclass(frozen=True)
class ConditionalGroup:
    """The result for a group of targets: share of variance, its p, and how many targets it has."""

    share: float
    p: float
    targets: int


@dataclass(frozen=True, eq=False)
class ConditionalTest:
    """What features tell about responses beyond the confounds.

    Attributes
    ----------
    test : what was tested, in words
    share : share of the responses' variance that a linear readout of the features adds, mean over targets. About 0,
        of either sign, where there is none
    p : one-sided, by sign flips of images
    shares : [v], of each target; noisy
    target_groups : name -> result of these targets
    null : [permutations], shares of the flipped data
    weight : by which `pooled` weighs the share: the expected sum over pairs of images at a share of 1
    images, permutations, seed : that the test used
    smallest_p : 1 / (1 + permutations)
    """

    test: str
    share: float
    p: float
    shares: Floats
    target_groups: Mapping[str, ConditionalGroup]
    null: Floats
    weight: float
    images: int
    permutations: int
    seed: int
    smallest_p: float

    def __repr__(self) -> str:
        size = f"{len(self.shares)} targets, {self.images} images"
        return f"ConditionalTest({size}: share {self.share:.4f}, p {self.p:.3g}, at least {self.smallest_p:.2g})"


@naming("pooled")
def pooled(tests: Sequence[ConditionalTest]) -> ConditionalTest:
    """One test of several models' results, as of subjects who saw different images, tested with the same seed.

    Parameters
    ----------
    tests : of `ResponseModel.test`, at least one, with the same permutations and seed

    Returns
    -------
    the test of the mean share, weighted as the tests are; its `images` are the fewest of any, its `shares` [targets of
    all], and it has no target groups

    Raises
    ------
    ValueError : no tests, or of other permutations or seeds
    """
    if len({(test.permutations, test.seed) for test in tests}) != 1:
        raise ValueError(f"tests must be at least one, of the same permutations and seed, got {len(tests)}")
    weights = np.array([test.weight for test in tests])
    values = np.array([[test.share, *test.null] for test in tests])
    shares = weights @ values / weights.sum()
    return ConditionalTest(
        test=tests[0].test,
        share=float(shares[0]),
        p=p_among(shares),
        shares=np.concatenate([test.shares for test in tests]),
        target_groups={},
        null=shares[1:],
        weight=float(weights.sum()),
        images=min(test.images for test in tests),
        permutations=tests[0].permutations,
        seed=tests[0].seed,
        smallest_p=tests[0].smallest_p,
    )


def p_among(values: Floats) -> float:
    """One-sided p of the first value among the others; flips that leave all signs alike count as reaching it."""
    return float((1 + (values[1:] >= values[0] - 1e-9 * abs(values[0])).sum()) / len(values))
