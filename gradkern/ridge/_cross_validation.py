"""One setting of cross-validation for all that scores encoding models, so that one layer has one r everywhere."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from gradkern.ridge._ridge_cv import DEFAULT_ALPHAS

SCHEMES = ("image", "concept", "session", "published", "zero-shot")
SELECTIONS = ("auto", "kfold", "loo", "gcv")
_LEAST_FOLDS = 2

Split = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class CrossValidation:
    """What is held out, and how each target's penalty is chosen inside every training part.

    `cross_val_score`, `encoding.score`, `stats.permutation_test` and a study's verdict take the same setting, and with
    the same one they compute the same scores.

    Parameters
    ----------
    by : "image", "concept" or "session", each in `folds` parts; "published", the authors' test set; "zero-shot", the
        same without the test images' concepts in training. All but "image" need a recording, which knows them
    folds : outer folds
    inner_folds : folds of a training part, where selection is "kfold"
    gap : temporal buffer in seconds between training and test epochs; None: no buffer (see `recordings.folds`)
    alphas : penalties, for features of unit size (see `encoding.unit_scale`)
    selection : how alpha is chosen: "kfold", "loo" or "gcv" as in `RidgeCV`; "auto" is "gcv" where every image has one
        row, and "kfold" where images repeat, because it alone keeps the rows of an image together
    seed : of the folds

    Raises
    ------
    ValueError : an unknown scheme or selection, fewer than 2 folds
    """

    by: str = "image"
    folds: int = 5
    inner_folds: int = 5
    gap: float | None = None
    alphas: tuple[float, ...] = DEFAULT_ALPHAS
    selection: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in (("by", SCHEMES), ("selection", SELECTIONS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"CrossValidation: {name} must be one of {choices}, got {getattr(self, name)!r}")
        for name in ("folds", "inner_folds"):
            if getattr(self, name) < _LEAST_FOLDS:
                raise ValueError(f"CrossValidation: {name} must be at least 2, got {getattr(self, name)}")

    def selection_for(self, groups: Any) -> str:
        """How alpha is chosen among rows with these labels [n]: where two rows share one, "auto" is "kfold"."""
        if self.selection != "auto":
            return self.selection
        labels = np.asarray(groups)
        return "gcv" if len(np.unique(labels)) == len(labels) else "kfold"

    def split(self, X: Any, y: Any = None, groups: Any = None) -> list[Split]:
        """(train, test) rows of every outer fold; rows with the same label of `groups` [n] stay together.

        Raises
        ------
        ValueError : a scheme that only a recording can resolve, fewer labels than folds
        """
        if self.by != "image":
            raise ValueError(f"CrossValidation: by={self.by!r} needs a recording; rows alone can be split by image")
        labels = np.arange(len(X)) if groups is None else np.asarray(groups)
        count = len(np.unique(labels))
        if self.folds > count:
            raise ValueError(f"CrossValidation: folds must lie in 2..{count}, the number of images, got {self.folds}")
        splitter = GroupKFold(self.folds, shuffle=True, random_state=self.seed)
        return list(splitter.split(np.zeros(len(labels)), groups=labels))

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """How many outer folds there are, as scikit-learn asks for it."""
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
            raise ValueError(
                f"CrossValidation: inner_folds must be at most {len(X)}, the rows to train on, got {self.folds}"
            )
        return list(GroupKFold(self.folds).split(X, groups=np.arange(len(X))))

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """How many inner folds there are, as scikit-learn asks for it."""
        return self.folds


@dataclass(frozen=True)
class Nesting:
    """Outer folds, inner folds, penalties and selection of one call, whether they came one by one or as one setting."""

    cv: Any
    inner_cv: Any
    alphas: Any
    selection: str


def resolve_setting(cv: Any, inner_cv: Any, alphas: Any, selection: str, groups: Any, n: int) -> Nesting:
    """What a call means: a `CrossValidation` as `cv` decides everything; anything else changes nothing."""
    if not isinstance(cv, CrossValidation):
        return Nesting(cv, inner_cv, alphas, selection)
    if alphas is not DEFAULT_ALPHAS:
        raise ValueError("alphas must be left out where cv is a CrossValidation, which has alphas of its own")
    if groups is None:
        return Nesting(cv, InnerFolds(cv.inner_folds), cv.alphas, cv.selection_for(np.arange(n)))
    return Nesting(cv, cv.inner_folds, cv.alphas, cv.selection_for(groups))
