"""The outer and inner folds of a recording, as a setting of cross-validation defines them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.recordings._recording import Recording
from gradkern.recordings._splits import Split, folds, published
from gradkern.ridge._cross_validation import CrossValidation

_PUBLISHED = ("published", "zero-shot")
_BY_CONCEPT = ("concept", "zero-shot")


def outer_folds(cv: CrossValidation, recording: Recording) -> list[Split]:
    """Training and test rows of the recording, fold by fold.

    Raises
    ------
    ValueError : folds that `recordings.folds` or `recordings.published` cannot make
    """
    if cv.by in _PUBLISHED:
        return [published(recording, cv.by == "zero-shot", cv.gap)]
    return folds(recording, cv.by, cv.folds, cv.seed, cv.gap)


def inner_groups(cv: CrossValidation, recording: Recording) -> NDArray[Any]:
    """Labels [n] that the inner folds keep together: concepts where these are held out, otherwise images."""
    column = "concept" if cv.by in _BY_CONCEPT else "image"
    return np.unique(recording.presentations[column].to_numpy(), return_inverse=True)[1]
