"""Unique variance of gradients beside activations, and a test that it is more than chance.

Gradients are functions of the activations, so they predict responses that are made of activations alone; and where a
ridge regression on the activations shrinks what it cannot tell apart, gradients beside them can help without adding
anything. The joint score minus that of the activations is therefore an estimate, not a test. The test looks where
activations have no say. With Q [n, m] an orthonormal basis of everything orthogonal to the constant and to the
activations A,

    Y = A W + E   gives   Q'Y = Q'E   for any W at all.

For independent errors of equal variance the rows of Q'Y are uncorrelated, of equal variance, and nearly normal whatever
E is, each the sum of many images' errors; any order of them is as likely as another (Huh & Jhun 2001; of the
permutation schemes for a linear model with nuisance variables in Winkler et al. 2014, the one that is exact for normal
errors). So Q'Y is predicted from Q'G in a `permutation_test`. Its null is that Y is linear in A. A response that is a
nonlinear function of the activations breaks this null as much as gradients in the brain do: nonlinear features of the
activations belong into A.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.encoding._checks import check_matrix
from gradkern.encoding._scale import unit_scale
from gradkern.errors import Refused, naming
from gradkern.ridge._alphas import DEFAULT_ALPHAS
from gradkern.ridge._cross_validation import CrossValidation
from gradkern.ridge._variance_partition import VariancePartition, variance_partition
from gradkern.stats._permutation import PermutationTest, permutation_test

_ROUNDING = 1e-5  # of the features' size: what float32 leaves of features that are linear in the covariates
_LEAST_ROWS = 20  # that must be left: with fewer, a correlation within a fold means little


@dataclass(frozen=True, eq=False)
class UniqueVariance:
    """Held-out R2 [v] in parts, and the test of one of them.

    Attributes
    ----------
    joint : R2 of features and covariates together, each with a penalty of its own
    unique : `joint` minus the R2 of the covariates alone: what only the features add
    unique_covariates : `joint` minus the R2 of the features alone: what only the covariates add
    shared : what either can explain
    test : whether the features tell anything beyond the covariates, see `partial_permutation_test`; its r is not
        `unique`
    """

    joint: NDArray[np.float64]
    unique: NDArray[np.float64]
    unique_covariates: NDArray[np.float64]
    shared: NDArray[np.float64]
    test: PermutationTest

    def __repr__(self) -> str:
        parts = ", ".join(
            f"{name} {np.mean(getattr(self, name)):.4f}" for name in ("joint", "unique", "unique_covariates", "shared")
        )
        return f"UniqueVariance({len(self.joint)} targets; mean R2: {parts})"


@naming("unique_variance")
def unique_variance(
    X: Any,
    covariates: Any,
    Y: Any,
    alphas: Any = DEFAULT_ALPHAS,
    *,
    band_weights: Any = 20,
    cv: Any = 5,
    n_components: int | None = None,
    permutations: int = 1000,
    seed: int = 0,
    target_groups: Mapping[str, Any] | None = None,
) -> UniqueVariance:
    """Partition held-out R2 between features and covariates, and test what the features add.

    Parameters
    ----------
    X : [n, d], for example gradients; one row an image
    covariates : [n, a], for example activations, or a list of such matrices (of all layers), which are scaled to one
        size and put side by side. They should hold everything else that the responses may be made of.
    Y : [n, v] or [n], finite
    alphas, band_weights, cv : as in `gradkern.variance_partition`
    n_components, permutations, seed, target_groups : as in `partial_permutation_test`

    Raises
    ------
    ValueError, Refused : as `variance_partition` and `partial_permutation_test`

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> A, G, Y = (rng.standard_normal((60, d)) for d in (4, 3, 2))
    >>> unique_variance(G, A, Y, band_weights=4, cv=3, permutations=19).unique.shape
    (2,)
    """
    features, beside, responses = _checked(X, covariates, Y)
    test = partial_permutation_test(
        X,
        covariates,
        Y,
        alphas,
        cv=cv,
        n_components=n_components,
        permutations=permutations,
        seed=seed,
        target_groups=target_groups,
    )
    inner: dict[str, Any] = {} if isinstance(cv, CrossValidation) else {"inner_cv": cv}
    partition: VariancePartition = variance_partition(
        [features, beside], responses, alphas, band_weights=band_weights, cv=cv, **inner, seed=seed
    )
    joint, unique, shared = (np.asarray(values) for values in (partition.joint, partition.unique, partition.shared))
    return UniqueVariance(joint, unique[0], unique[1], shared, test)


@naming("partial_permutation_test")
def partial_permutation_test(
    X: Any,
    covariates: Any,
    Y: Any,
    alphas: Any = DEFAULT_ALPHAS,
    *,
    cv: Any = 5,
    n_components: int | None = None,
    permutations: int = 1000,
    seed: int = 0,
    selection: str = "gcv",
    target_groups: Mapping[str, Any] | None = None,
) -> PermutationTest:
    """Test whether features tell anything about the responses that no linear readout of the covariates tells.

    With Q [n, m] an orthonormal basis of everything orthogonal to the constant and to the covariates, the statistic is
    the mean over folds of held-out r between Q'Y and its prediction from Q'X. Rows of Y must have independent errors of
    equal variance: images, each the mean of equally many trials, shown in random order. Targets may depend on each
    other in any way, and so may subjects who saw the same images, side by side in Y: a target group that holds all of
    them is tested as one.

    Parameters
    ----------
    X, covariates, Y : as in `unique_variance`
    alphas, cv, permutations, seed, selection, target_groups : as in `permutation_test`, whose "images" are rows of Q'Y
        here
    n_components : number of principal components of the covariates, those of the largest variance, that are removed;
        the null is then that only these matter, and responses to the others are taken for the features'. None: all of
        them. At least 20 of the n rows must be left.

    Raises
    ------
    ValueError : n_components out of range; shapes that do not fit together, NaN or inf; as `permutation_test`
    Refused : too few rows left; more components than the covariates have; features or covariates that do not vary;
        features that are linear in the covariates

    Notes
    -----
    Huh and Jhun (2001), Commun. Stat. Theory Methods 30:2023; Winkler et al. (2014), NeuroImage 92:381. `Y` must have
    one row an image: repeats of an image are not new evidence about its gradient.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> A, G, Y = (rng.standard_normal((60, d)) for d in (4, 3, 2))
    >>> partial_permutation_test(G, A, Y, permutations=19).n
    55
    """
    features, beside, responses = _checked(X, covariates, Y)
    complement = _complement(beside, n_components)
    own = complement.T @ features
    if np.linalg.norm(own) <= _ROUNDING * np.linalg.norm(features - features.mean(0)):
        raise Refused(
            "X must hold something that is no linear readout of the covariates, got none in its "
            f"{features.shape[1]} columns"
        )
    dtype = np.result_type(np.asarray(X), np.asarray(Y))  # the permutations run in the caller's precision
    inside, seen = (values.astype(dtype) for values in (unit_scale(own), complement.T @ responses))
    return permutation_test(
        inside,
        seen,
        alphas,
        cv=cv,
        permutations=permutations,
        seed=seed,
        selection=selection,
        target_groups=target_groups,
    )


def _fewer(n: int) -> str:
    """How many components could be removed of n rows, in words."""
    most = n - 1 - _LEAST_ROWS
    return f"n_components (encode --unique --components) up to {most} removes fewer; " if most > 0 else ""


def _complement(covariates: NDArray[np.float64], n_components: int | None) -> NDArray[np.float64]:
    """Orthonormal basis Q [n, m] of what is orthogonal to the constant and to components of the covariates [n, a]."""
    n = len(covariates)
    vectors, sizes, _ = np.linalg.svd(covariates - covariates.mean(0), full_matrices=False)
    # covariates may have been float32: components that are rounding cost rows, but do no other harm
    rank = int((sizes > max(covariates.shape) * np.finfo(np.float64).eps * sizes[0]).sum())
    is_integer = isinstance(n_components, int) and not isinstance(n_components, bool)
    if n_components is not None and not (is_integer and 0 < n_components <= rank):
        # a number that other covariates have is a limit of these data, not a mistake
        kind = Refused if is_integer and n_components > rank else ValueError
        raise kind(f"n_components must be None or 1..{rank}, the rank of the covariates, got {n_components!r}")
    removed = rank if n_components is None else n_components
    if n - 1 - removed < _LEAST_ROWS:
        raise Refused(
            f"the covariates must leave at least {_LEAST_ROWS} of the rows, got {removed} components of {n} rows; "
            f"{_fewer(n)}`conditional_test` takes covariates of more columns than images"
        )
    taken = np.column_stack([np.full(n, n**-0.5), vectors[:, :removed]])
    basis: NDArray[np.float64] = np.linalg.qr(taken, mode="complete")[0]
    return basis[:, removed + 1 :]


def _checked(X: Any, covariates: Any, Y: Any) -> tuple[NDArray[np.float64], ...]:
    """Features [n, d], covariates side by side [n, a], each of unit size, and responses [n, v], in float64."""
    matrices: Sequence[Any] = covariates if isinstance(covariates, list | tuple) else [covariates]
    if not matrices:
        raise ValueError("covariates must hold at least one matrix, got none")
    features = check_matrix("X", X).astype(np.float64)
    n, Y = len(features), np.asarray(Y)
    beside = np.column_stack([unit_scale(check_matrix("covariates", matrix, n)) for matrix in matrices])
    responses = check_matrix("Y", Y[:, None] if Y.ndim == 1 else Y, n).astype(np.float64)
    for name, values in (("X", features), ("covariates", beside)):
        if not np.ptp(values, axis=0).any():
            raise Refused(f"{name} must vary over its rows, got the same row everywhere")
    return unit_scale(features), beside, responses
