"""What gradients tell of responses beyond activations: unique variance, and a test that it is more than chance.

Gradients are functions of the activations, so they predict responses that are made of activations alone; and where a
ridge over the activations shrinks what it cannot tell apart, gradients beside it can help without anything of their
own. A joint score over that of the activations is therefore an estimate, not a test. The test looks where activations
have no say: with Q [n, m] an orthonormal basis of all that is orthogonal to the constant and to the activations A,

    Y = A W + E   gives   Q'Y = Q'E   for any W at all,

and for independent errors of equal variance the rows of Q'Y are uncorrelated, of equal variance, and nearly normal
whatever E is, each the sum of many images' errors; any order of them is as likely as another (Huh & Jhun 2001; of the
permutation schemes for a linear model beside nuisances in Winkler et al. 2014, the one that is exact for normal
errors). So Q'Y is held against Q'G by a `permutation_test`. Its null is Y linear in A. A response that is a nonlinear
function of the activations breaks it as much as gradients that the brain has: nonlinear features of A belong into A.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.encoding._scale import unit_scale
from gradkern.ridge._alphas import DEFAULT_ALPHAS
from gradkern.ridge._variance_partition import VariancePartition, variance_partition
from gradkern.stats._permutation import PermutationTest, permutation_test

_NOTHING = 1e-5  # of the features' size: what float32 leaves of features that the given ones hold
_LEAST_ROWS = 20  # that must be left: of fewer, folds have no correlation worth the name


@dataclass(frozen=True, eq=False)
class UniqueVariance:
    """Held-out R2 [v] in parts, and the test of one of them.

    Attributes
    ----------
    joint : of both feature spaces, each with a penalty of its own
    unique : `joint` minus that of what was given alone: what only the features add
    unique_given : `joint` minus that of the features alone: what only the given ones add
    shared : what either can explain
    test : whether the features tell anything beyond the given ones, see `partial_permutation_test`; its r is not
        `unique`
    """

    joint: NDArray[np.float64]
    unique: NDArray[np.float64]
    unique_given: NDArray[np.float64]
    shared: NDArray[np.float64]
    test: PermutationTest


def unique_variance(
    X: Any,
    given: Any,
    Y: Any,
    alphas: Any = DEFAULT_ALPHAS,
    *,
    ratios: Any = 20,
    cv: Any = 5,
    axes: int | None = None,
    permutations: int = 1000,
    seed: int,
    target_groups: Mapping[str, Any] | None = None,
) -> UniqueVariance:
    """Partition held-out R2 between features and what is given, and test what the features add.

    Parameters
    ----------
    X : [n, d], for example gradients; one row an image
    given : [n, a], for example activations, or a list of them (of all layers), each brought to one size and then side
        by side; never fewer than all that the responses may be made of
    Y : [n, v] or [n], finite
    alphas, ratios, cv : as of `gradkern.variance_partition`
    axes, permutations, seed, pools : as of `partial_permutation_test`

    Raises
    ------
    ValueError : what `variance_partition` and `partial_permutation_test` refuse

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> A, G, Y = (rng.standard_normal((60, d)) for d in (4, 3, 2))
    >>> unique_variance(G, A, Y, ratios=4, cv=3, permutations=19, seed=0).unique.shape
    (2,)
    """
    features, beside, responses = _checked("unique_variance", X, given, Y)
    test = partial_permutation_test(
        X, given, Y, alphas, cv=cv, axes=axes, permutations=permutations, seed=seed, target_groups=target_groups
    )
    parts: VariancePartition = variance_partition(
        [features, beside], responses, alphas, band_weights=ratios, cv=cv, inner_cv=cv, seed=seed
    )
    joint, unique, shared = (np.asarray(each) for each in (parts.joint, parts.unique, parts.shared))
    return UniqueVariance(joint, unique[0], unique[1], shared, test)


def partial_permutation_test(
    X: Any,
    given: Any,
    Y: Any,
    alphas: Any = DEFAULT_ALPHAS,
    *,
    cv: Any = 5,
    axes: int | None = None,
    permutations: int = 1000,
    seed: int,
    selection: str = "gcv",
    target_groups: Mapping[str, Any] | None = None,
) -> PermutationTest:
    """Test whether features tell anything of the responses that no linear readout of the given ones does.

    The statistic is the mean over folds of held-out r of Q'Y by Q'X, see the head of this module. Rows of Y must have
    independent errors of equal variance: images in the mean of equally many presentations, shown in random order.
    Targets may be dependent in any way, and so may subjects who saw the same images, side by side in Y: a pool over all
    of them is tested as one.

    Parameters
    ----------
    X, given, Y : as of `unique_variance`
    alphas, cv, permutations, seed, selection, pools : as of `permutation_test`; "images" are rows of Q'Y here
    axes : remove only so many principal axes of the given features, those of the largest variance; the null is then
        that nothing but these matters. None: all of them, which must leave at least 20 of the n rows

    Raises
    ------
    ValueError : too few rows left; features that the given ones hold whole; axes out of range; shapes that do not fit
        together, NaN or inf; what `permutation_test` refuses

    Notes
    -----
    Huh and Jhun (2001), Commun. Stat. Theory Methods 30:2023; Winkler et al. (2014), NeuroImage 92:381. `Y` must have
    one row an image: repeats of an image are not new evidence about its gradient.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> A, G, Y = (rng.standard_normal((60, d)) for d in (4, 3, 2))
    >>> partial_permutation_test(G, A, Y, permutations=19, seed=0).n
    55
    """
    features, beside, responses = _checked("partial_permutation_test", X, given, Y)
    left = _complement("partial_permutation_test", beside, axes)
    own = left.T @ features
    if np.linalg.norm(own) <= _NOTHING * np.linalg.norm(features - features.mean(0)):
        raise ValueError(
            "partial_permutation_test: X must hold something that is no linear readout of the given features, got none "
            "of "
            f"{features.shape[1]} columns"
        )
    dtype = np.result_type(np.asarray(X), np.asarray(Y))  # what is permuted is of the callers' precision
    within, seen = (values.astype(dtype) for values in (unit_scale(own), left.T @ responses))
    return permutation_test(
        within,
        seen,
        alphas,
        cv=cv,
        permutations=permutations,
        seed=seed,
        selection=selection,
        target_groups=target_groups,
    )


def _complement(op: str, given: NDArray[np.float64], axes: int | None) -> NDArray[np.float64]:
    """Orthonormal basis Q [n, m] of what is orthogonal to the constant and to axes of the given features [n, a]."""
    n = len(given)
    vectors, sizes, _ = np.linalg.svd(given - given.mean(0), full_matrices=False)
    # features may have been float32: axes that are rounding remove rows for nothing, but nothing else
    rank = int((sizes > max(given.shape) * np.finfo(np.float64).eps * sizes[0]).sum())
    if axes is not None and (isinstance(axes, bool) or not isinstance(axes, int) or not 0 < axes <= rank):
        raise ValueError(f"{op}: axes must be None or 1..{rank}, the rank of the given features, got {axes!r}")
    removed = rank if axes is None else axes
    if n - 1 - removed < _LEAST_ROWS:
        raise ValueError(
            f"{op}: the given features must leave at least {_LEAST_ROWS} of the rows, got {removed} axes of {n} rows; "
            "take more images, fewer features, or fewer of their axes (`axes`)"
        )
    taken = np.column_stack([np.full(n, n**-0.5), vectors[:, :removed]])
    whole: NDArray[np.float64] = np.linalg.qr(taken, mode="complete")[0]
    return whole[:, removed + 1 :]


def _checked(op: str, X: Any, given: Any, Y: Any) -> tuple[NDArray[np.float64], ...]:
    """Features [n, d], what is given side by side [n, a], each of one size, and responses [n, v], in float64."""
    parts: Sequence[Any] = given if isinstance(given, list | tuple) else [given]
    if not parts:
        raise ValueError(f"{op}: given must hold at least one matrix, got none")
    features = _matrix(op, "X", X, None)
    beside = [unit_scale(_matrix(op, "given", part, len(features))) for part in parts]
    responses = np.asarray(Y)
    responses = _matrix(op, "Y", responses[:, None] if responses.ndim == 1 else responses, len(features))
    for name, part in (("X", features), ("given", np.column_stack(beside))):
        if not np.ptp(part, axis=0).any():
            raise ValueError(f"{op}: {name} must vary over its rows, got the same row everywhere")
    return unit_scale(features), np.column_stack(beside), responses


def _matrix(op: str, name: str, given: Any, rows: int | None) -> NDArray[np.float64]:
    values = np.asarray(given)
    good = values.ndim == 2 and 0 not in values.shape and values.dtype.kind == "f"
    if not good or (rows is not None and len(values) != rows):
        wanted = "n" if rows is None else rows
        raise ValueError(f"{op}: {name} must be floating-point [{wanted}, d], got {values.dtype} {list(values.shape)}")
    if not np.isfinite(values).all():
        raise ValueError(f"{op}: {name} must be finite, got {int((~np.isfinite(values)).sum())} NaN or inf")
    return values.astype(np.float64)
