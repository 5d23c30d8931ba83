"""One setting of cross-validation for all that scores encoding models, so that one layer has one r everywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from gradkern.errors import naming
from gradkern.ridge._alphas import DEFAULT_ALPHAS, shorten
from gradkern.ridge._engine.folds import OTHERS
from gradkern.ridge._engine.inputs import check_alphas, check_choice

SCHEMES = ("image", "concept", "session", "published", "zero-shot")
SELECTIONS = ("auto", "kfold", "loo", "gcv")
INNER_CV = 5  # the default of functions that take inner folds singly
_LEAST_FOLDS = 2

Split = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class CrossValidation:
    """The outer folds of an analysis, and how each target's penalty is chosen inside every training fold.

    `cross_val_score`, `encoding.score`, `stats.permutation_test` and a study's verdict all take such a setting as `cv`,
    and with equal settings they compute equal scores. To scikit-learn, and to `RidgeCV`, it is a splitter: they take
    its outer folds only.

    Parameters
    ----------
    by : what is held out together: "image", "concept" or "session", in `folds` folds; "published", the authors' test
        set; "zero-shot", the same without the test images' concepts in training
        All but "image" need a recording, which knows concepts, sessions and the published test set.
    folds : number of outer folds, at least 2
    inner_folds : number of folds of a training fold, where selection is "kfold"; or "outer", the other outer folds,
        which takes about half of the time, as a fit without two folds serves both
    gap : temporal buffer in seconds between training and test epochs; None: no buffer (see `recordings.folds`)
    alphas : [a] positive penalties, for features of unit size (see `encoding.unit_scale`)
    selection : how alpha is chosen: "kfold", "loo" or "gcv" as in `RidgeCV`; "auto" is "gcv" where every image has one
        row, and "kfold" where images repeat, because only k-fold keeps the rows of an image together
    seed : of the assignment of images to folds

    Raises
    ------
    ValueError : an unknown scheme or selection, fewer than 2 folds, a negative gap, impossible penalties

    Examples
    --------
    >>> cv = CrossValidation(folds=4, seed=1)
    >>> [test.shape for _, test in cv.split(np.zeros((60, 8)))]
    [(15,), (15,), (15,), (15,)]
    """

    by: str = "image"
    folds: int = 5
    inner_folds: int | str = 5
    gap: float | None = None
    alphas: tuple[float, ...] = DEFAULT_ALPHAS
    selection: str = "auto"
    seed: int = 0

    @naming("CrossValidation")
    def __post_init__(self) -> None:
        check_choice("by", self.by, SCHEMES)
        check_choice("selection", self.selection, SELECTIONS)
        for name in ("folds", "inner_folds"):
            folds = getattr(self, name)
            if name == "inner_folds" and isinstance(folds, str) and folds == OTHERS:
                continue
            if not isinstance(folds, int | np.integer) or isinstance(folds, bool) or folds < _LEAST_FOLDS:
                also = f"; it may also be {OTHERS!r}" if name == "inner_folds" else ""
                raise ValueError(f"{name} must be an integer of at least {_LEAST_FOLDS}, got {folds!r}{also}")
        if self.gap is not None and not self.gap >= 0:
            raise ValueError(f"gap must be None or a number of seconds of at least 0, got {self.gap!r}")
        check_alphas(self.alphas)
        object.__setattr__(self, "alphas", tuple(np.asarray(self.alphas, dtype=np.float64).tolist()))

    def __repr__(self) -> str:
        """All fields on one line, the alphas as their range and number."""
        return f"CrossValidation({', '.join(f'{name}={shorten(value)}' for name, value in vars(self).items())})"

    def selection_for(self, groups: Any) -> str:
        """Resolve "auto" for rows with labels `groups` [n]: "kfold" where two rows share a label, else "gcv"."""
        if self.selection != "auto":
            return self.selection
        labels = np.asarray(groups)
        return "gcv" if len(np.unique(labels)) == len(labels) else "kfold"

    @naming("CrossValidation")
    def split(self, X: Any, y: Any = None, groups: Any = None) -> list[Split]:
        """(train, test) rows of every outer fold; rows with the same label of `groups` [n] stay together.

        Raises
        ------
        ValueError : a scheme that only a recording can resolve, fewer labels than folds
        """
        if self.by != "image":
            raise ValueError(f"by={self.by!r} needs a recording; rows alone can be split by image")
        labels = np.arange(len(X)) if groups is None else np.asarray(groups)
        count = len(np.unique(labels))
        if self.folds > count:
            raise ValueError(f"folds must lie in 2..{count}, the number of images, got {self.folds}")
        splitter = GroupKFold(self.folds, shuffle=True, random_state=self.seed)
        return list(splitter.split(np.zeros(len(labels)), groups=labels))

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of outer folds, as scikit-learn's splitters have it."""
        return self.folds


@dataclass(frozen=True)
class InnerFolds:
    """Inner folds of training samples without labels: those of `GroupKFold` with a group for each sample.

    Labels that are all different therefore choose the same alphas as no labels.
    """

    folds: int

    def split(self, X: Any, y: Any = None, groups: Any = None) -> list[Split]:
        """(train, test) rows of every inner fold.

        Raises
        ------
        ValueError : fewer rows than folds
        """
        if self.folds > len(X):
            raise ValueError(f"inner_folds must be at most {len(X)}, the rows to train on, got {self.folds}")
        return list(GroupKFold(self.folds).split(X, groups=np.arange(len(X))))

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of inner folds, as scikit-learn's splitters have it."""
        return self.folds


@dataclass(frozen=True)
class OtherFolds:
    """Inner folds of one outer fold: what the other outer folds hold out, for a fit of that fold alone.

    Parameters
    ----------
    splits : (train, test) rows of every outer fold; `number` is the one that is fitted
    """

    splits: Sequence[Split]
    number: int

    def split(self, X: Any, y: Any = None, groups: Any = None) -> list[Split]:
        """(train, test) places among the rows that the fold trains on."""
        train = self.splits[self.number][0]
        places = [np.flatnonzero(np.isin(train, test)) for number, (_, test) in enumerate(self.splits)
                  if number != self.number]  # fmt: skip
        return [(np.setdiff1d(np.arange(len(train)), test), test) for test in places]


@dataclass(frozen=True)
class Nesting:
    """Outer folds, inner folds, penalties and selection of a call, whether given singly or as a `CrossValidation`."""

    cv: Any
    inner_cv: Any
    alphas: Any
    selection: str


def resolve_setting(cv: Any, inner_cv: Any, alphas: Any, selection: str, groups: Any, n: int) -> Nesting:
    """Resolve the arguments of a call: a `CrossValidation` as `cv` decides them all, anything else decides nothing.

    Raises
    ------
    ValueError : a `CrossValidation` beside alphas or inner folds that are not the defaults
    """
    if not isinstance(cv, CrossValidation):
        return Nesting(cv, inner_cv, alphas, selection)
    if alphas is not DEFAULT_ALPHAS:
        raise ValueError("alphas must be left out where cv is a CrossValidation, which has alphas of its own")
    if inner_cv != INNER_CV:
        raise ValueError(
            f"inner_cv must be left out where cv is a CrossValidation, which has inner_folds, got {inner_cv!r}"
        )
    if groups is None:
        inner = cv.inner_folds if isinstance(cv.inner_folds, str) else InnerFolds(cv.inner_folds)
        return Nesting(cv, inner, cv.alphas, cv.selection_for(np.arange(n)))
    return Nesting(cv, cv.inner_folds, cv.alphas, cv.selection_for(groups))


def check_only_folds_are_set(cv: Any, alphas: Any, selection: str) -> None:
    """ValueError where a `CrossValidation` says how alpha is chosen, to an estimator that takes its folds alone."""
    if not isinstance(cv, CrossValidation):
        return
    if cv.alphas != DEFAULT_ALPHAS and cv.alphas != tuple(np.asarray(alphas, dtype=float).tolist()):
        raise ValueError(
            "alphas must be given to the estimator itself, which takes only the folds of a CrossValidation"
        )
    if cv.selection not in ("auto", selection):
        raise ValueError(
            f"selection must be given to the estimator itself, which takes only the folds of a CrossValidation, got "
            f"{selection!r} and {cv.selection!r}"
        )
