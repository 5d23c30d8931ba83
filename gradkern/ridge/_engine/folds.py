"""Folds: what `cv` and `groups` mean, resolved once and checked."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold

from gradkern.ridge._engine.inputs import as_numpy

Indices: TypeAlias = NDArray[np.int64]
_LEAST_WITH_OTHERS, _LEAST_TESTED = 3, 2


@dataclass(frozen=True)
class Fold:
    """One split of the samples.

    `complement` says that the training samples are exactly those not tested, each once: only then may
    training statistics be the total minus the fold.
    """

    train: Indices
    test: Indices
    complement: bool


@dataclass(frozen=True)
class Folds:
    """All splits of n samples; `tested_once` says that each sample is tested exactly once."""

    n_samples: int
    folds: tuple[Fold, ...]
    tested_once: bool

    @property
    def partition(self) -> bool:
        """Each sample is tested exactly once, and trained on in all other folds."""
        return self.tested_once and all(fold.complement for fold in self.folds)

    def __len__(self) -> int:
        return len(self.folds)


def resolve_folds(cv: Any, n_samples: int, groups: Any = None, *, argument: str = "cv") -> Folds:
    """Turn `cv` and `groups` into checked folds.

    An integer is scikit-learn's KFold (not shuffled), or GroupKFold when groups are given; a splitter is
    called with the groups; anything else must be an iterable of (train, test) index pairs.

    Parameters
    ----------
    cv : int, scikit-learn splitter, or iterable of (train, test) pairs of integer indices
    n_samples : number of samples n
    groups : [n] labels (image, concept, session); a group never straddles train and test
    argument : what the caller calls `cv`

    Raises
    ------
    ValueError : too few samples or groups, indices out of range, empty or overlapping parts, a group on both
    sides
    TypeError : cv is none of the three, or indices are not integers

    Examples
    --------
    >>> folds = resolve_folds(5, 20)
    >>> len(folds), folds.folds[0].train.shape, folds.folds[0].test.shape
    (5, (16,), (4,))
    """
    labels = None if groups is None else check_groups(groups, n_samples)
    pairs = _pairs(argument, cv, n_samples, labels)
    if not pairs:
        raise ValueError(f"{argument} must give at least one fold, got none")
    folds = tuple(_checked_fold(argument, number, pair, n_samples) for number, pair in enumerate(pairs))
    if labels is not None:
        for number, fold in enumerate(folds):
            _check_no_straddling(argument, number, fold, labels)
    tested = np.bincount(np.concatenate([fold.test for fold in folds]), minlength=n_samples)
    return Folds(n_samples, folds, bool((tested == 1).all()))


LEAVE_ONE_OUT = "; selection='loo' leaves out one at a time, exactly"


def selection_folds(cv: Any, n_samples: int, groups: Any, *, argument: str = "cv") -> Folds:
    """Folds to choose alpha on: as `resolve_folds`, and each must test enough samples for a score."""
    folds = resolve_folds(cv, n_samples, groups, argument=argument)
    smallest = min(len(fold.test) for fold in folds.folds)
    if smallest < 2:
        raise ValueError(
            f"{argument} must test at least 2 samples in every fold, for a score, got {smallest} "
            f"(n_samples={n_samples}){LEAVE_ONE_OUT if smallest == 1 and argument == 'cv' else ''}"
        )
    return folds


OTHERS = "outer"  # inner folds that are the other outer folds


def check_inner_cv(inner_cv: Any) -> None:
    """TypeError for folds that are index pairs, which cannot fit every training fold."""
    if isinstance(inner_cv, str) and inner_cv == OTHERS:
        return
    if hasattr(inner_cv, "__iter__"):
        raise TypeError(
            "inner_cv must be an int or a scikit-learn splitter (it splits each training fold), or 'outer' (the other "
            f"outer folds), got {inner_cv!r}"
        )


def inner_folds(inner_cv: Any, outer: Folds, number: int, labels: NDArray[Any] | None) -> Folds:
    """Folds of the training samples of outer fold `number`; labels are those of all samples."""
    train = outer.folds[number].train
    if isinstance(inner_cv, str) and inner_cv == OTHERS:
        return _other_folds(outer, number)
    return selection_folds(inner_cv, len(train), None if labels is None else labels[train], argument="inner_cv")


def _other_folds(outer: Folds, number: int) -> Folds:
    """The other outer folds, in the positions of the training samples of one."""
    if not outer.partition or len(outer) < _LEAST_WITH_OTHERS:
        raise ValueError(
            f"inner_cv='outer' needs at least {_LEAST_WITH_OTHERS} outer folds that hold out every sample once and "
            f"train on all others, got {len(outer)} folds"
        )
    train = outer.folds[number].train
    position = np.full(outer.n_samples, -1)
    position[train] = np.arange(len(train))
    tests = [position[fold.test] for other, fold in enumerate(outer.folds) if other != number]
    whole = np.arange(len(train))
    parts = tuple(Fold(np.setdiff1d(whole, test), test, True) for test in tests)
    if any(len(fold.test) < _LEAST_TESTED for fold in parts):
        raise ValueError(f"inner_cv='outer' needs at least {_LEAST_TESTED} samples in every outer fold, for a score")
    return Folds(len(train), parts, True)


def are_others(inner: Folds, outer: Folds, number: int) -> bool:
    """Whether inner folds of outer fold `number` hold out what the other outer folds do, each once."""
    if not (inner.partition and outer.partition and len(inner) == len(outer) - 1):
        return False
    train = outer.folds[number].train
    others = {np.sort(fold.test).tobytes() for other, fold in enumerate(outer.folds) if other != number}
    return {np.sort(train[fold.test]).tobytes() for fold in inner.folds} == others


def subset(folds: Folds, kept: Indices) -> Folds:
    """The same folds of some of the samples, numbered anew; ValueError where a fold has too few of them."""
    position = np.full(folds.n_samples, -1)
    position[kept] = np.arange(len(kept))
    parts = []
    for number, fold in enumerate(folds.folds):
        train, test = (side[side >= 0] for side in (position[fold.train], position[fold.test]))
        if len(train) < 2 or len(test) < 1:
            raise ValueError(
                f"sample_weight must leave fold {number} 2 samples to train on and 1 to test, got {len(train)} "
                f"and {len(test)}"
            )
        parts.append(Fold(train, test, fold.complement))
    return Folds(len(kept), tuple(parts), folds.tested_once)


def check_groups(groups: Any, n_samples: int) -> NDArray[Any]:
    """Return groups [n] as a NumPy array of labels; ValueError where the length is wrong or a label is missing."""
    labels = as_numpy(groups)
    if labels.ndim != 1 or len(labels) != n_samples:
        raise ValueError(f"groups must hold one label per sample, shape ({n_samples},), got shape {labels.shape}")
    # NaN equals nothing, not even itself: such a group would be on both sides unseen
    missing = [at for at, label in enumerate(labels.tolist()) if label is None or label != label]
    if missing:
        raise ValueError(f"groups must have a label for every sample, got {labels[missing[0]]} for sample {missing[0]}")
    try:
        np.sort(labels)
    except TypeError:
        kinds = " and ".join(sorted({type(label).__name__ for label in labels}))
        raise TypeError(f"groups must be labels of one kind, got {kinds}") from None
    return labels


def _pairs(argument: str, cv: Any, n: int, labels: NDArray[Any] | None) -> list[Any]:
    if isinstance(cv, int | np.integer) and not isinstance(cv, bool):
        return _integer_pairs(argument, int(cv), n, labels)
    if hasattr(cv, "split") and not isinstance(cv, str):
        # the splitter sees how many samples there are, never their values
        try:
            return list(cv.split(np.zeros((n, 1)), groups=labels))
        except TypeError as error:
            if "'y'" not in str(error):
                raise
            raise TypeError(
                f"{argument} must split without looking at y, got {cv!r}; give its pairs, list(cv.split(X, y))"
            ) from error
    if isinstance(cv, Iterable) and not isinstance(cv, str):
        return list(cv)
    raise TypeError(
        f"{argument} must be an int, a scikit-learn splitter or an iterable of (train, test) indices, got {cv!r}"
    )


def _integer_pairs(argument: str, k: int, n: int, labels: NDArray[Any] | None) -> list[Any]:
    if k < 2:
        raise ValueError(f"{argument} must be at least 2 folds, got {k}")
    if k > n:
        raise ValueError(f"{argument}={k} needs at least {k} samples, got n_samples={n}")
    if labels is None:
        return list(KFold(k).split(np.zeros((n, 1))))
    n_groups = len(np.unique(labels))
    if k > n_groups:
        raise ValueError(f"{argument}={k} needs at least {k} different groups, got {n_groups}")
    return list(GroupKFold(k).split(np.zeros((n, 1)), groups=labels))


def _checked_fold(argument: str, number: int, pair: Any, n: int) -> Fold:
    where = f"{argument}, fold {number}"
    try:
        train, test = pair
    except (TypeError, ValueError):
        raise TypeError(f"{where} must be a pair (train, test) of indices, got {pair!r}") from None
    train = _checked_indices(where, "train", train, n)
    test = _checked_indices(where, "test", test, n)
    if len(train) < 2:
        raise ValueError(f"{where} must train on at least 2 samples, got {len(train)}")
    if len(test) < 1:
        raise ValueError(f"{where} must test at least 1 sample, got 0")
    shared = np.intersect1d(train, test)
    if len(shared):
        raise ValueError(
            f"{where} must not train on what it tests, got {len(shared)} shared samples, the first {shared[0]}"
        )
    complement = len(train) + len(test) == n == len(np.unique(train)) + len(np.unique(test))
    return Fold(train, test, complement)


def _checked_indices(where: str, part: str, indices: Any, n: int) -> Indices:
    array = as_numpy(indices)
    if array.ndim != 1:
        raise ValueError(f"{where}: {part} indices must be 1-D, got shape {array.shape}")
    if array.size == 0:
        return np.empty(0, dtype=np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{where}: {part} indices must be integers, got {array.dtype}")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= n:
        raise ValueError(f"{where}: {part} indices must lie in 0..{n - 1}, got {low if low < 0 else high}")
    return array.astype(np.int64)


def _check_no_straddling(argument: str, number: int, fold: Fold, labels: NDArray[Any]) -> None:
    shared = np.intersect1d(labels[fold.train], labels[fold.test])
    if len(shared):
        raise ValueError(
            f"{argument}, fold {number} must keep each group on one side, got {len(shared)} groups "
            f"in both train and test, the first {shared[0]}"
        )
